"""Several students of one ensemble: what is true of students, and what of one of them only."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from kd_lib.measures.importances import EVERY
from kd_lib.measures.similarity import compare
from kd_lib.measures.statistics import crossed_interval, interval
from kd_lib.measures.transfer import COMPONENT, DISTILLED, LEFT_OUT
from kd_lib.study.reading import ENSEMBLE, TARGETS, Study

COLUMNS = ("quantity", "less", "student", "difference", "low", "high", "students", "images")


def gains(here: Study, similarity: pd.DataFrame, *, device: str = "auto") -> pd.DataFrame:
    """By how much each student of the ensemble is above components, and what that says of students; `rq3_students`.

    Parameters
    ----------
    here : Study
    similarity : DataFrame
        Of maps to the ensemble's, as of `rq3.to_ensemble`.
    device : {'auto', 'cpu', 'cuda'}

    Returns
    -------
    DataFrame
        A row a quantity ('accuracy', 'similarity on target', 'share off target' …: of maps like the ensemble's), less
        ('component', as a part of the ensemble, 'leave-one-out', where both are held against the same ensembles, of all
        components but one, or 'ensemble') and student: difference, low, high, students, images. The interval of one
        student is a bootstrap over images. That of 'every student' counts students, components and images
        (`statistics.crossed_interval`); it is there from three students on.
    """
    names, rows = here.students if here.has_ensemble else [], []
    for quantity, less, own, other in _compared(here, names, similarity, device) if names else ():
        for name, value in zip(names, own, strict=True):
            found = interval(value - other.mean(0))
            rows.append((quantity, less, name, *found, 1, len(value)))
        if len(names) > 2:
            found = crossed_interval(own, other) if len(other) > 1 else crossed_interval(own - other)
            rows.append((quantity, less, EVERY, *found, len(names), own.shape[1]))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    here.keep(table, "rq3_students")
    return table


def right(here: Study, networks: Sequence[str], device: str) -> np.ndarray:
    """Which test images networks know: float (S, N), 1 for a right answer."""
    answers = [here.answers(name, device=device).argmax(1) == here.dataset.test.labels for name in networks]
    return np.stack([own.numpy() for own in answers]).astype(float)


def _compared(
    here: Study, names: list[str], similarity: pd.DataFrame, device: str
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Give what is compared: quantity, less, values (S, N) of the students and (M, N) of the others."""
    own = right(here, names, device)
    for less, networks in ((COMPONENT, here.components), (ENSEMBLE, [ENSEMBLE])):
        yield "accuracy", less, own, right(here, networks, device)
    whole = here.maps(ENSEMBLE)
    more = [compare(here.maps(name), whole, here.labels, kind=DISTILLED, model=name) for name in names[1:]]
    close = pd.concat([similarity, *map(here.named, more)])
    close = close.assign(share=(close["pearson"] >= here.t_c).astype(float))
    to_rest = np.stack([np.stack([here.similarity_to_rest(n, out) for out in here.components]) for n in names])
    for on, target in TARGETS.items():
        at = (here.labels[:, None] == np.arange(to_rest.shape[-1])) == on
        for quantity, column in (("similarity", "pearson"), ("share", "share")):
            means = close[close["target"] == target].groupby(["kind", "model", "image"], sort=False)[column].mean()
            by_image = means.unstack("image")
            beside_same = np.where(at, to_rest if column == "pearson" else to_rest >= here.t_c, 0).sum(-1) / at.sum(-1)
            own_of = {COMPONENT: by_image.loc[DISTILLED].to_numpy(), LEFT_OUT: beside_same.mean(1)}
            for less, values in own_of.items():
                others = by_image.loc[less].to_numpy()
                known = np.isfinite(values).all(0) & np.isfinite(others).all(0)
                if known.any():  # not so where all maps are constant
                    yield f"{quantity} {target}", less, values[:, known], others[:, known]


def in_words(table: pd.DataFrame) -> list[str]:
    """Say what `gains` says of students in general, or that one student says nothing of others."""
    if not len(table):
        return ["No students of an ensemble."]
    every = table[table["student"] == EVERY]
    if not len(every):
        count = table["student"].nunique()
        return [f"{count} student{'s' * (count > 1)}: one cannot tell what holds of students; train at least three."]
    said = []
    for row in every.itertuples():
        scale, unit = (1, "") if row.quantity.startswith("similarity") else (100, " points")
        numbers = f"{row.difference * scale:+.3g}{unit} ({row.low * scale:+.3g} to {row.high * scale:+.3g})"
        above = "above" if row.low > 0 else "below" if row.high < 0 else "not known to differ from"
        kind = {COMPONENT: "components", LEFT_OUT: "left-out components"}.get(row.less, f"the {row.less}")
        said.append(f"{row.quantity}: {row.students} students are {above} {kind}: {numbers}")
    return said
