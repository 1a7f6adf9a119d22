"""What becomes of a planted view: whether networks recognise it alone, rely on it, and what a student has of it.

A view is planted in some teachers of an ensemble and in no others; `known` counts those that know it. All is asked by
intervention, of the same images for every network: no map and no T_c enters.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib.measures import statistics, views

ALONE, EVERY_ALONE, IMPORTANCE, USED = "accuracy alone", "every view alone", "importance", "used"
QUANTITIES = (ALONE, IMPORTANCE, USED, EVERY_ALONE)
KEYS = ("arm", "kind", "known", "quantity")
VALUES = (*KEYS, "seed", "image", "value")
MEANS = (*KEYS, "mean", "low", "high", "seeds", "images")
OVER_SEEDS = ("low over seeds", "high over seeds")
GAPS = ("arm", "what", "less", "quantity", "difference", "low", "high", *OVER_SEEDS, "seeds", "images")
LESIONS = ("seed", "network", "knows", "accuracy alone", "low", "high", "importance", "holds")
LITTLE = 0.1  # of the importance that the view has for a network that knows it


def outcomes(answers: ArrayLike, labels: ArrayLike, view: int, *, view_share: float = views.USED) -> dict:
    """Find what a network makes of one view of each image's own class.

    Parameters
    ----------
    answers : array_like, shape (1 + 2 V, N, K)
        Logits of images that show all V views of their class: as they are, without each of them, with each of them
        alone.
    labels : array_like of int, shape (N,)
    view : int
        Number of the view, 0 to V - 1.
    view_share : float
        See `views.used`.

    Returns
    -------
    dict of str to ndarray of float64, shape (N,)
        'accuracy alone': 1 where the image that shows the view alone is recognised. 'importance': by how many logits
        its class falls when the view is taken away. 'used': 1 where that matters (`views.used`, among the own views).
        'every view alone': share of the V views that are recognised alone.

    Raises
    ------
    ValueError
        If the shapes or the view are wrong.
    """
    answers, labels = np.asarray(answers, dtype=np.float64), np.asarray(labels)
    if answers.ndim != 3 or not len(answers) % 2 or answers.shape[1:2] != labels.shape:
        raise ValueError(f"answers {answers.shape} and labels {labels.shape}: expected (1 + 2 V, N, K) and (N,)")
    count = len(answers) // 2
    if not 0 <= view < count:
        raise ValueError(f"view={view!r}: expected 0 to {count - 1}")
    own = answers[: 1 + count, np.arange(len(labels)), labels]  # (1 + V, N)
    fall = views.importance(own[0][:, None], own[1:].T[:, None])  # (N, 1, V)
    right = answers[1 + count :].argmax(-1) == labels  # (V, N)
    return {
        ALONE: right[view].astype(float),
        IMPORTANCE: fall[:, 0, view],
        USED: (views.used(fall, share=view_share)[:, 0, view] > 0).astype(float),
        EVERY_ALONE: right.mean(0),
    }


def lesions(alone: Mapping, importance: Mapping, labels: ArrayLike, *, chance: float) -> pd.DataFrame:
    """Whether planted teachers are what they were made to be.

    A network that never saw the view must answer images that show it alone at chance, and not rely on it: the interval
    of its accuracy, over classes, begins at chance or below, and that of its importance at `LITTLE` of what it is for
    those who know the view, or below.

    Parameters
    ----------
    alone, importance : mapping
        From (seed, network, whether it knows the view) to what `outcomes` gave (N,).
    labels : array_like of int, shape (N,)
        Classes of the images, which the intervals are over: a view looks like others of one class or another.
    chance : float

    Returns
    -------
    DataFrame
        Columns `LESIONS`, a row a network; holds is of those that know the view always true.
    """
    rows = []
    for (seed, network, knows), right in alone.items():
        found = statistics.interval(right, labels)
        fall = statistics.interval(importance[seed, network, knows], labels)
        strong = np.mean([own.mean() for (of, _, well), own in importance.items() if of == seed and well] or [0])
        holds = knows or (found.low <= chance and fall.low <= LITTLE * max(strong, 0))
        rows.append((seed, network, knows, *found, fall.estimate, holds))
    return pd.DataFrame(rows, columns=list(LESIONS))


def two_way(values: ArrayLike) -> statistics.Interval:
    """Mean of numbers (S, N) of S seeds on N images with a 95 % interval.

    It counts seeds and images from three seeds on (`statistics.crossed_interval`), and images alone with fewer.
    """
    values = np.asarray(values, dtype=np.float64)
    return statistics.crossed_interval(values) if len(values) > 2 else statistics.interval(values.mean(0))


def known_over_seeds(found: statistics.Interval, seeds: int) -> tuple:
    """Low and high of an interval, NaN if it does not count seeds, for then it says nothing of the next network."""
    return (found.low, found.high) if seeds > 2 else (np.nan, np.nan)


def means(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds and images of every arm, kind of network, number of teachers that know and quantity.

    `values` has the columns `VALUES`, one row a seed and image at most; the result `MEANS`, see `two_way`.
    """
    rows = []
    for key, group in values.groupby(list(KEYS), sort=False):
        table = _by_seed(group)
        rows.append((*key, *two_way(table), *table.shape))
    return pd.DataFrame(rows, columns=list(MEANS))


def by_seed(values: pd.DataFrame) -> pd.DataFrame:
    """Mean over images, seed by seed: the columns `KEYS`, seed and mean."""
    return values.groupby([*KEYS, "seed"], sort=False)["value"].mean().rename("mean").reset_index()


Side = Sequence[tuple[float, str, str, int]]  # weight, arm, kind, known


def gaps(values: pd.DataFrame, pairs: Iterable[tuple[str, str, str, Side]]) -> pd.DataFrame:
    """Differences, seed by seed and image by image.

    Parameters
    ----------
    values : DataFrame
        Columns `VALUES`, with the same seeds and images of every kind.
    pairs : iterable of (str, str, str, sequence)
        Arm, what, less what it is called, and what is added up: (weight, arm, kind, known).

    Returns
    -------
    DataFrame
        Columns `GAPS`: a row a pair and quantity, for the interval see `two_way`; over seeds it is NaN with fewer than
        three. No row where a part is not there.
    """
    groups = {key: _by_seed(group) for key, group in values.groupby(list(KEYS), sort=False)}
    rows = []
    for arm, what, less, parts in pairs:
        for quantity in QUANTITIES:
            there = [(weight, groups[*of, quantity]) for weight, *of in parts if (*of, quantity) in groups]
            if len(there) == len(parts):
                table = np.sum([weight * table.to_numpy() for weight, table in there], axis=0)
                found = two_way(table)
                rows.append((arm, what, less, quantity, *found, *known_over_seeds(found, len(table)), *table.shape))
    return pd.DataFrame(rows, columns=list(GAPS))


def _by_seed(group: pd.DataFrame) -> pd.DataFrame:
    return group.pivot(index="seed", columns="image", values="value")
