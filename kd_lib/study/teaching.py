"""Teach what `lessons` planned, and ask every network what it knows of the planted view.

Answers are kept in `inheritance/` of the run folder, a file a network beside its weights, and are asked for once.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from kd_lib import _files, _workers, data, networks
from kd_lib.data import Dataset, planting
from kd_lib.data.multiview import VIEWS
from kd_lib.data.planting import WHOLE
from kd_lib.measures import outputs, planted
from kd_lib.networks import training
from kd_lib.networks.answers import saying
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.study.lessons import COMPLEMENTARY, COMPONENT, STUDENT, TEACHERS, UNTRAINED, Network, Plan
from kd_lib.study.reading import ENSEMBLE, Study

if TYPE_CHECKING:
    from distributed import Client

MEND = "give recompute=True, which trains it anew, or another run folder"


def train(here: Study, planned: Plan, *, executor: "str | Client" = "", **options) -> pd.DataFrame:
    """Train what is lacking, teachers first, and verify these before anything is distilled.

    A seed whose lesions do not hold teaches nobody. Gives `measures.planted.lesions`, kept as `inheritance_lesions`;
    `options` are device and recompute.
    """
    if planned.lacking:
        return pd.DataFrame(columns=list(planted.LESIONS))
    stages = [[k for k, n in planned.networks.items() if bool(n.teachers) == taught] for taught in (False, True)]
    with _workers.connect(executor) as client:
        images = _images(planned) if client is None else client.submit(_images, planned)
        options |= {"here": here, "planned": planned}
        _workers.each(client, make, stages[0], images, **options)
        lesions = here.keep(_lesions(here, planned), "inheritance_lesions")
        good = _good(lesions)
        _workers.each(client, make, [k for k in stages[1] if planned.networks[k].seed in good], images, **options)
    return lesions


def _good(lesions: pd.DataFrame) -> set[int]:
    """Seeds all of whose lesions hold."""
    return {int(seed) for seed, rows in lesions.groupby("seed") if rows["holds"].all()}


def _images(planned: Plan) -> Dataset:
    return data.load("multiview", **planned.images)


def make(
    key: str, dataset: Dataset, *, here: Study, planned: Plan, device: str = "auto", recompute: bool = False
) -> None:
    """Train one network, and keep what it answers to the test images with and without views.

    Of its checkpoints the last one is kept. A ValueError if it was trained in another way before.
    """
    network, folder = planned.networks[key], here.run.folder / "inheritance"
    place = Checkpoints(folder / key.rpartition("/")[0])
    setting = _setting(planned, network, dataset)
    if recompute or not _known(here, key, setting):
        options: dict[str, Any] = {"checkpoints": place, "seed": network.seed, "device": device, "verbose": False}
        if network.teachers:
            members = [_restored(here, planned, teacher, device) for teacher in network.teachers]
            teacher = saying(networks.Ensemble(members, here.parameters["ensemble_output"]), network.answers)
            options |= {"teacher": teacher, "temperature": network.temperature, "hard_weight": network.hard_weight}
        options |= {} if network.trained else {"until": 0}
        shown = planting.planted(dataset, network.shown, network.view)
        history = training.train(network.name, shown, planned.regime, recompute=recompute, **options)
        answers = _ask(_restored(here, planned, key, device), dataset)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, setting=json.dumps(setting), answers=answers)
        _files.write_bytes(_answers_of(here, key), buffer.getvalue())
        _workers.say(f"{key}: accuracy {history['test_accuracy'].iloc[-1]:.1%}")
    place.keep_last(network.name)


def _setting(planned: Plan, network: Network, dataset: Dataset) -> dict:
    """All that decides what a network answers."""
    setting = asdict(planned.regime) | {"data": dataset.fingerprint} | network._asdict()
    return json.loads(json.dumps(setting))


def _answers_of(here: Study, key: str):
    return here.run.folder / "inheritance" / f"{key}.npz"


def _known(here: Study, key: str, setting: Mapping) -> bool:
    """Whether a network's answers are there; a ValueError if it was trained in another way or the file is damaged."""
    if (content := _files.read_bytes(_answers_of(here, key))) is None:
        return False
    try:
        known = json.loads(str(np.load(io.BytesIO(content), allow_pickle=False)["setting"]))
    except Exception as error:  # whatever a damaged archive makes of its reader
        raise ValueError(f"{_answers_of(here, key)} is damaged ({error}): {MEND}") from None
    if differing := _files.differences(known, setting):
        raise ValueError(f"network {key!r} was trained in another way ({'; '.join(differing)}): {MEND}")
    return True


def _restored(here: Study, planned: Plan, key: str, device: str) -> nn.Module:
    place, name = key.rsplit("/", 1)
    checkpoints = Checkpoints(here.run.folder / "inheritance" / place)
    model = networks.build(planned.regime.arch, len(here.class_names))
    checkpoints.load(name, checkpoints.last_epoch(name), model)
    return model.to(training.pick_device(device)).eval()


def _ask(model: nn.Module, dataset: Dataset) -> np.ndarray:
    """Answers float32 (1 + 2 V, N, K) to the test images of several views, as `planted.outcomes` takes them."""
    split = planting.several(dataset.test)
    own = F.one_hot(split.labels, len(dataset.class_names)).bool()  # (N, K)
    less = [own[..., None] & (torch.arange(VIEWS) == view) for view in range(VIEWS)]
    shown = [split, *(planting.without(split, gone) for gone in less)]
    shown += [planting.alone(split, view) for view in range(VIEWS)]
    return np.stack([training.predict(model, dataset, own).numpy() for own in shown])


# ---- what they know --------------------------------------------------------------------------------------------------


class Answers:
    """What networks of a plan answer, read once."""

    def __init__(self, here: Study, planned: Plan):
        self._here, self.plan, self._read = here, planned, {}
        self.labels = planting.several(_images(planned).test).labels.numpy()

    def of(self, key: str) -> np.ndarray:
        """Answers (1 + 2 V, N, K) of a network."""
        if key not in self._read:
            content = _files.read_bytes(_answers_of(self._here, key)) or b""
            self._read[key] = np.load(io.BytesIO(content), allow_pickle=False)["answers"]
        return self._read[key]

    def ensemble(self, keys: Sequence[str]) -> np.ndarray:
        """Answers of an ensemble."""
        output = self._here.parameters["ensemble_output"]
        return np.stack([outputs.together(own, output=output) for own in np.stack([self.of(k) for k in keys], 1)])


def _lesions(here: Study, planned: Plan) -> pd.DataFrame:
    answers, alone, importance = Answers(here, planned), {}, {}
    for key, network in planned.networks.items():
        if network.trained and not network.teachers:
            found = planted.outcomes(answers.of(key), answers.labels, network.view)
            who = network.seed, f"{network.place}/{network.name}", network.shown == WHOLE
            alone[who], importance[who] = found[planted.ALONE], found[planted.IMPORTANCE]
    return planted.lesions(alone, importance, answers.labels, chance=planned.chance)


def values(here: Study, planned: Plan, lesions: pd.DataFrame, *, view_share: float) -> pd.DataFrame:
    """Find what networks make of the planted view, image by image, seeds whose lesions fail left out.

    Columns `measures.planted.VALUES`. kind is 'distilled' (the students of an arm), 'ensemble' (their teachers
    together), 'component' (single teachers, the mean of those that know the view, 1, or do not, 0, in the arm
    'teachers'; of complementary teachers in theirs) or 'untrained'.
    """
    if planned.lacking:
        return pd.DataFrame(columns=list(planted.VALUES))
    answers, frames = Answers(here, planned), []

    def measured(seed: int, arm: str, kind: str, known: int, every: Sequence[np.ndarray], view: int) -> None:
        each = [planted.outcomes(own, answers.labels, view, view_share=view_share) for own in every]
        for quantity in planted.QUANTITIES:
            value = np.mean([found[quantity] for found in each], axis=0)
            ids = {"arm": arm, "kind": kind, "known": known, "quantity": quantity, "seed": seed}
            frames.append(pd.DataFrame(ids | {"image": np.arange(len(value)), "value": value}))

    for seed in sorted(_good(lesions)):
        own = {k: n for k, n in planned.networks.items() if n.seed == seed}
        view = next(iter(own.values())).view
        for place, known in (("knows", 1), (f"lacks-{view}", 0), (UNTRAINED, 0)):
            kind = UNTRAINED if place == UNTRAINED else COMPONENT
            every = [answers.of(k) for k, n in own.items() if n.place == place]
            measured(seed, kind if kind == UNTRAINED else TEACHERS, kind, known, every, view)
        for (_, arm, known), key in ((who, key) for who, key in planned.students.items() if who[0] == seed):
            teachers = own[key].teachers
            measured(seed, arm, STUDENT, known, [answers.of(key)], view)
            measured(seed, arm, ENSEMBLE, known, [answers.ensemble(teachers)], view)
            if arm == COMPLEMENTARY:
                measured(seed, arm, COMPONENT, known, [answers.of(k) for k in teachers], view)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(planted.VALUES))
