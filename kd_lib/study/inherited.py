"""How much is inherited: of what an ensemble has more than its components, the share that its students have."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from kd_lib._workers import in_threads
from kd_lib.measures.statistics import share_of_gain
from kd_lib.measures.transfer import COMPONENT, STRANGERS, TEACHERS
from kd_lib.networks.architectures import HALF_TAUGHT
from kd_lib.study.reading import ENSEMBLE, TARGETS, Study
from kd_lib.study.students import right

SIMILARITY, TEACHING = "similarity", "any ensemble's teaching"
COLUMNS = ("quantity", "share", "low", "high", "component", "student", "whole", "students", "images")
Quantity = tuple[str, np.ndarray, np.ndarray, np.ndarray]  # name; of students (S, N), components (M, N), the whole (N,)


def shares(here: Study, halves: pd.DataFrame, *, device: str = "auto") -> pd.DataFrame:
    """Share of the ensemble's gain over a component that its students have; kept as `rq3_inherited_shares`.

    'accuracy' is of the test images. 'similarity on target' (or off target) is of maps to those of the ensemble without
    a component, both a student's and that component's; the whole gain would be to have its maps, a similarity of 1.
    'any ensemble's teaching' is of the half-taught networks: their gain over components in likeness to the ensemble of
    strangers, as a share of that in likeness to their own teachers'; what is left is their own teachers'.

    Parameters
    ----------
    here : Study
    halves : DataFrame
        Similarity to the ensembles of half of the components, as of `rq3.to_half_ensembles`.
    device : {'auto', 'cpu', 'cuda'}

    Returns
    -------
    DataFrame
        See `table`. No rows without an ensemble and a student of it.
    """
    known = here.has_ensemble and here.students
    return here.keep(table(_quantities(here, halves, device) if known else ()), "rq3_inherited_shares")


def table(quantities: Iterable[Quantity]) -> pd.DataFrame:
    """Shares of gains by quantity, see `statistics.share_of_gain`.

    A row a quantity: share, low, high; the means component, student, whole; students and images (how many). Images for
    which a number is not known are left out.
    """
    rows = []
    for name, values, less, whole in quantities:
        known = np.isfinite(np.vstack([values, less, whole])).all(0)
        if known.sum() > 1:
            values, less, whole = values[:, known], less[:, known], whole[known]
            found = share_of_gain(values, less, whole)
            rows.append((name, *found, less.mean(), values.mean(), whole.mean(), len(values), known.sum()))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _quantities(here: Study, halves: pd.DataFrame, device: str) -> Iterator[Quantity]:
    own, less, whole = (right(here, who, device) for who in (here.students, here.components, [ENSEMBLE]))
    yield "accuracy", own, less, whole[0]

    def to_the_rest(left_out: str) -> np.ndarray:
        return np.stack([here.similarity_to_rest(name, left_out) for name in (*here.students, left_out)])

    close = np.stack(list(in_threads(to_the_rest, here.components)))  # (M, S + 1, N, K)
    yield from to_same_ensembles(close, here.labels)
    if len(halves):
        yield from teaching(halves)


def to_same_ensembles(close: np.ndarray, labels: np.ndarray) -> Iterator[Quantity]:
    """Quantities of the similarity (M, S + 1, N, K) to all but one component: of S students, and last of that one."""
    own = labels[:, None] == np.arange(close.shape[-1])
    for on, target in TARGETS.items():
        means = np.where(own == on, close, 0).sum(-1) / (own == on).sum(-1)
        yield f"{SIMILARITY} {target}", means[:, :-1].mean(0), means[:, -1], np.ones(means.shape[-1])


def teaching(halves: pd.DataFrame) -> Iterator[Quantity]:
    """Quantities of what the half-taught networks have from any ensemble, see `shares`."""
    for target in TARGETS.values():
        means = halves[halves["target"] == target].groupby(["kind", "ensemble", "model", "image"])["pearson"].mean()
        by_image = means.unstack("image")
        taught, strange = (by_image.loc[(HALF_TAUGHT[0], ensemble)].to_numpy() for ensemble in (TEACHERS, STRANGERS))
        yield f"{TEACHING}, {target}", strange, by_image.loc[(COMPONENT, STRANGERS)].to_numpy(), taught.mean(0)


def in_words(found: pd.DataFrame) -> list[str]:
    """Say what `shares` found."""
    said = []
    for row in found.itertuples():
        if np.isnan(row.low):
            said.append(f"{row.quantity}: one cannot tell, for it is not clear that there is a whole gain.")
            continue
        number = f"{100 * row.share:.0f} % ({100 * row.low:.0f} to {100 * row.high:.0f})"
        if row.quantity.startswith(TEACHING):
            rest = f"{100 * (1 - row.share):.0f} % ({100 * (1 - row.high):.0f} to {100 * (1 - row.low):.0f})"
            target = row.quantity.removeprefix(f"{TEACHING}, ")
            said.append(f"maps {target}: {number} of the gain is what any ensemble teaches, {rest} its own teachers'.")
        else:
            of = "one student" if row.students == 1 else f"{row.students} students"
            said.append(
                f"{row.quantity}: {of} of the ensemble {'has' if row.students == 1 else 'have'} {number} of the gain."
            )
    return said
