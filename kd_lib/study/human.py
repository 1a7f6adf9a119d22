"""What `rq3` says of people: whether they see in the test images what networks' soft answers say."""

import numpy as np
import pandas as pd
from upath import UPath

from kd_lib.measures import outputs, soft_labels
from kd_lib.people.human_labels import read_counts
from kd_lib.study.reading import ENSEMBLE, Study

NOBODY = (
    "No human labels: nobody is compared with. To ask people, give human_labels=labels.csv, a table of path (such as "
    "test/cat/0000.jpg) and, for each class, how many people called the image so."
)


def by_image(here: Study, human_labels: str, *, device: str = "auto") -> tuple[pd.DataFrame, str]:
    """Compare soft answers with people's on the test images that people labelled.

    `human_labels` is the CSV that `people.human_labels` reads; empty: nobody was asked. Networks answer on `device`.

    The frame has the columns `soft_labels.BY_IMAGE`; kind is 'component', 'ensemble', 'distilled' (every student of the
    ensemble), 'other' or a technique's name. With it comes a sentence on how many images and people there are. A
    ValueError or FileNotFoundError if the images have no paths, as drawn ones, or the table has a mistake.
    """
    if not human_labels:
        return pd.DataFrame(columns=list(soft_labels.BY_IMAGE)), NOBODY
    test = here.dataset.test
    if test.paths is None:
        raise ValueError(
            f"human_labels={human_labels!r}: the images of {here.dataset.name!r} are drawn and have no paths that "
            "people's labels could name; leave it out"
        )
    counts = read_counts(UPath(human_labels), here.class_names, test.paths.tolist())
    used = counts.sum(1) > 0
    counts, labels = counts[used], test.labels.numpy()[used]
    names = [*here.components, *here.students, *here.others, *here.techniques]
    logits = {name: here.answers(name, device=device).numpy()[used] for name in names}
    if here.has_ensemble:
        members = [logits[name] for name in here.components]
        logits[ENSEMBLE] = outputs.together(members, output=here.parameters["ensemble_output"])
    kinds = here.kinds | {ENSEMBLE: ENSEMBLE}
    frames = [
        soft_labels.by_image(counts, own, labels).assign(kind=kinds[name], model=name) for name, own in logits.items()
    ]
    named = int((counts[np.arange(len(counts)), labels] < counts.sum(1)).sum())
    said = (
        f"Human labels of {len(counts)} of the {len(test)} test images, {counts.sum(1).mean():.1f} an image; "
        f"somebody named another class than the true one on {named}."
    )
    return pd.concat(frames, ignore_index=True)[list(soft_labels.BY_IMAGE)], said


def agreement(here: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """How near each kind is to people, see `soft_labels.agreement`; kept as the table `human_agreement`."""
    return here.keep(soft_labels.agreement(frame), "human_agreement")


def gaps(here: Study, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """How much nearer one kind is than another, see `soft_labels.gaps`, and in words; kept as `human_gaps`."""
    found = here.keep(soft_labels.gaps(frame), "human_gaps")
    return found, soft_labels.nearer_in_words(found)
