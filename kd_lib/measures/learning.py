"""RQ1: when, in training, a saliency map comes to look as it will in the end.

A map *arrives* when its similarity to the same network's final map reaches T_c: for the first time, or for good. With
the last epoch it arrives by construction, since it then is the final map. So a map that has not arrived before is
*censored*: it takes longer than was watched, nobody knows how long.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student

from kd_lib.measures import piecewise, survival
from kd_lib.measures.piecewise import INTERVALS, TRANSITION
from kd_lib.measures.similarity import check_labels, check_threshold
from kd_lib.measures.statistics import RESAMPLES, cluster_of, percentiles

CROSSINGS = ("first", "lasting")
REFITS = 200


def first_crossing(similarity: ArrayLike, threshold: float) -> np.ndarray:
    """Epoch at which a similarity first reaches the threshold.

    Parameters
    ----------
    similarity : array_like, shape (E, ...)
        Similarity of each map to the same network's final map, epoch by epoch from 0.
    threshold : float
        T_c, in [-1, 1].

    Returns
    -------
    ndarray of float64, shape (...)
        Position along the first axis of the first value >= threshold; NaN where there is none. A NaN similarity
        (constant map) never reaches the threshold.

    Raises
    ------
    ValueError
        If the threshold is outside [-1, 1] or there is no epoch.
    """
    reached = _reached(similarity, threshold)
    return np.where(reached.any(0), reached.argmax(0), np.nan)


def lasting_crossing(similarity: ArrayLike, threshold: float) -> np.ndarray:
    """Epoch from which on a similarity never falls below the threshold again.

    Parameters and errors are those of `first_crossing`.

    Returns
    -------
    ndarray of float64, shape (...)
        Position along the first axis of the first value of the last unbroken run of values >= threshold; NaN where the
        last value is below it or NaN.
    """
    reached = _reached(similarity, threshold)
    held = np.logical_and.accumulate(reached[::-1]).sum(0)
    return np.where(held > 0, len(reached) - held, np.nan)


def _reached(similarity: ArrayLike, threshold: float) -> np.ndarray:
    threshold = check_threshold(threshold)
    similarity = np.asarray(similarity)
    if similarity.ndim == 0 or not len(similarity):
        raise ValueError(f"similarity of shape {similarity.shape}: expected (E, ...) with at least one epoch")
    return similarity >= threshold


def arrivals(similarity: Mapping[str, ArrayLike], labels: ArrayLike, threshold: float) -> pd.DataFrame:
    """When the maps of several networks arrive.

    Parameters
    ----------
    similarity : mapping of str to array_like, shape (E, N, K)
        For each network the similarity of each map to its final one: epochs, images, target classes.
    labels : array_like of int, shape (N,)
        True class of each image, 0 to K - 1.
    threshold : float
        T_c, in [-1, 1].

    Returns
    -------
    DataFrame
        A row a map: model, image, target, on_target, first and lasting (epochs, see `first_crossing` and
        `lasting_crossing`), undefined (whether the final map is constant, so that it has no similarity), epochs (E).

    Raises
    ------
    ValueError
        If the threshold, the labels or the shapes are wrong.
    """
    frames = []
    for model, values in similarity.items():
        values = np.asarray(values)
        if values.ndim != 3:
            raise ValueError(f"similarity of shape {values.shape}: expected (E, N, K)")
        epochs, images, classes = values.shape
        target = np.tile(np.arange(classes), images)
        columns = {
            "model": model,
            "image": np.repeat(np.arange(images), classes),
            "target": target,
            "on_target": target == np.repeat(check_labels(labels, images, classes), classes),
            "first": first_crossing(values, threshold).ravel(),
            "lasting": lasting_crossing(values, threshold).ravel(),
            "undefined": np.isnan(values[-1]).ravel(),
            "epochs": epochs,
        }
        frames.append(pd.DataFrame(columns))
    columns = ["model", "image", "target", "on_target", "first", "lasting", "undefined", "epochs"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def arrival_curves(arrivals: pd.DataFrame, *, by: Sequence[str], crossing: str = "first") -> pd.DataFrame:
    """Cumulative share of maps that have arrived by each epoch, with its uncertainty.

    Of what `arrivals` returns, the columns `by` tell the curves apart, the network among them; `crossing` is 'first' or
    'lasting'. Gives the columns of `by`, crossing, epoch, share, low, high (95 % bootstrap by image), maps (how many).
    At the last epoch the share is that of the maps that have a similarity, by construction.
    """
    by, found = list(by), []
    for key, group in arrivals.groupby(by):
        epochs = int(group["epochs"].iloc[0])
        shares, _ = _shares(group, crossing, epochs, RESAMPLES, 0)
        low, high = percentiles(shares[1:], outward=True)
        points = {"epoch": np.arange(epochs), "share": shares[0], "low": low, "high": high, "maps": len(group)}
        found.append(pd.DataFrame(dict(zip(by, key, strict=True)) | {"crossing": crossing} | points))
    return _concat(found, [*by, "crossing", "epoch", "share", "low", "high", "maps"])


def over_networks(curves: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """Mean of the networks' curves, and how much networks differ.

    Of what `arrival_curves` returns, the columns `by` tell the curves of one network apart. Gives these, epoch, share
    (mean over networks), low and high (its 95 % t interval, NaN for one network), lowest and highest (single networks),
    networks (how many).
    """
    grouped = curves.groupby([*by, "epoch"], sort=False)["share"]
    found = grouped.agg(share="mean", error="sem", lowest="min", highest="max", networks="size").reset_index()
    half = student.ppf(0.975, found["networks"].astype(float) - 1) * found["error"].astype(float)
    found = found.assign(low=(found["share"] - half).clip(lower=0), high=(found["share"] + half).clip(upper=1))
    return found[[*by, "epoch", "share", "low", "high", "lowest", "highest", "networks"]]


def crossing_times(
    arrivals: pd.DataFrame, *, by: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """When maps arrive, those that have not arrived before the last epoch being censored.

    `arrivals` and `by` are as of `arrival_curves`; the bootstrap draws whole images. Gives a row a group and crossing
    ('first', 'lasting'): the columns of `by`, crossing, median (epoch by which half of the maps have arrived, see
    `survival.median`), share (of maps that have arrived half-way through training), censored (share of maps that have
    not arrived before the last epoch), undefined (share of maps, all censored, that have no similarity), maps, images,
    last (number of the last epoch, the latest one). 95 % intervals are median_low, median_high; low, high;
    censored_low, censored_high; NaN where there is one image.
    """
    by, rows = list(by), []
    for key, group in arrivals.groupby(by):
        last = group["epochs"].to_numpy() - 1
        images, count = cluster_of(group["image"], len(group))
        weights = survival.weights(count, resamples, seed=seed)
        sizes = weights @ np.bincount(images)
        for crossing in CROSSINGS:
            time = group[crossing].to_numpy()
            arrived = time < last
            events = weights @ survival.tally(images, time, arrived, last.max())
            leaving = weights @ survival.tally(images, last - 1, ~arrived, last.max())
            numbers = {
                "median": survival.median(events, leaving),
                "share": weights @ np.bincount(images, time <= last // 2) / sizes,
                "censored": weights @ np.bincount(images, ~arrived) / sizes,
            }
            row = dict(zip(by, key, strict=True)) | {"crossing": crossing}
            for name, values in numbers.items():
                prefix = "" if name == "share" else f"{name}_"
                low, high = percentiles(values[1:], outward=True)
                row |= {name: values[0], f"{prefix}low": low, f"{prefix}high": high}
            row |= {"undefined": group["undefined"].mean(), "maps": len(group), "images": count, "last": last.max()}
            rows.append(row)
    numbers = ["median", "median_low", "median_high", "share", "low", "high", "censored", "censored_low"]
    numbers += ["censored_high", "undefined", "maps", "images", "last"]
    return pd.DataFrame(rows, columns=[*by, "crossing", *numbers])


def crossing_times_by_threshold(
    similarity: Mapping[str, ArrayLike], labels: ArrayLike, thresholds: Iterable[float], *, resamples: int = REFITS
) -> pd.DataFrame:
    """`crossing_times` of all networks, on and off target, for every threshold (column threshold)."""
    found = []
    for threshold in thresholds:
        times = crossing_times(arrivals(similarity, labels, threshold), by=["on_target"], resamples=resamples)
        found.append(times.assign(threshold=threshold))
    return pd.concat(found, ignore_index=True)


def onsets(
    arrivals: pd.DataFrame, *, by: Sequence[str], crossing: str = "first", resamples: int = REFITS, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the transitions of every curve, with intervals, and whether it has a second phase of learning.

    The last epoch, at which maps arrive by construction, is no part of the curves. `arrivals`, `by` and `crossing` are
    as of `arrival_curves`; the bootstrap draws whole images.

    The transitions have the columns of `piecewise.transitions`, those of `by`, and transition: its number, from 1. The
    second table has a row a curve: the columns of `by`, able (whether it has epochs enough to show a second phase),
    second (whether it has one, a transition that is distinct) and support (share of resampled curves that have one).
    """
    by, found, second = list(by), [], []
    for key, group in arrivals.groupby(by):
        last = int(group["epochs"].iloc[0]) - 1
        if last < 2:
            continue
        shares, count = _shares(group, crossing, last, resamples, seed)
        frame, again = piecewise.transitions(shares, count)
        ids = dict(zip(by, key, strict=True))
        found.append(frame.assign(**ids, transition=np.arange(1, len(frame) + 1)))
        support = again[1:].mean() if count > 1 else np.nan
        second.append(ids | {"able": piecewise.able(last), "second": bool(again[0]), "support": support})
    columns = [*TRANSITION, *INTERVALS, *by, "transition"]
    return _concat(found, columns), pd.DataFrame(second, columns=[*by, "able", "second", "support"])


def mean_onsets(
    arrivals: pd.DataFrame, *, by: Sequence[str], crossing: str = "first", resamples: int = REFITS, seed: int = 0
) -> pd.DataFrame:
    """Find the first bend of the mean of several networks' curves, with an interval over networks and images.

    Parameters and what a bend is are as of `onsets`; `by` does not name the network here. Each resample draws images,
    the same ones for all networks, and networks; with one network the interval is over images alone.

    Gives a row a curve, NaN where it has no bend: the columns of `by`, onset, onset_low, onset_high,
    proportion_memorised, proportion_low, proportion_high, support, networks, and without (networks whose own curve has
    no bend).
    """
    by, rows = list(by), []
    numbers = ["onset", "onset_low", "onset_high", "proportion_memorised", "proportion_low", "proportion_high"]
    for key, group in arrivals.groupby(by):
        last = int(group["epochs"].iloc[0]) - 1
        if last < 2:
            continue
        every, without, count = [], 0, 0
        for _, own in group.groupby("model"):
            shares, count = _shares(own, crossing, last, resamples, seed)
            every.append(shares)
            without += not len(piecewise.transitions(shares[:1], count)[0])
        curves, networks = np.stack(every), len(every)
        drawn = np.random.default_rng(seed).integers(networks, size=(resamples, networks))
        sampled = curves[drawn, np.arange(1, resamples + 1)[:, None]].mean(1)
        found, _ = piecewise.transitions(np.vstack([curves[:, :1].mean(0), sampled]), count)
        first = found.iloc[0] if len(found) else {}
        bend = {name: first.get(name, np.nan) for name in [*numbers, "support"]}
        rows.append(dict(zip(by, key, strict=True)) | bend | {"networks": networks, "without": without})
    return pd.DataFrame(rows, columns=[*by, *numbers, "support", "networks", "without"])


def _shares(group: pd.DataFrame, crossing: str, epochs: int, resamples: int, seed: int) -> tuple[np.ndarray, int]:
    """Shares (1 + R, epochs) that have arrived by each epoch, in the data and in bootstrap samples, and the images."""
    images, count = cluster_of(group["image"], len(group))
    weights, time = survival.weights(count, resamples, seed=seed), group[crossing].to_numpy()
    events = weights @ survival.tally(images, time, time < epochs, epochs)
    return events.cumsum(1) / (weights @ np.bincount(images))[:, None], count


def _concat(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
