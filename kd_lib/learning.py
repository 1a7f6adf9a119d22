"""RQ1: when, in training, a saliency map comes to look as it will in the end."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pwlf
from numpy.typing import ArrayLike

from kd_lib.similarity import check_labels, check_threshold
from kd_lib.statistics import interval

MAX_SEGMENTS = 4
POINTS_PER_SEGMENT = 3
STARTS = 10
# Shares are told apart down to this; a residual below it is a perfect fit.
RESOLUTION = 1e-4


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
    threshold = check_threshold(threshold)
    similarity = np.asarray(similarity)
    if similarity.ndim == 0 or not len(similarity):
        raise ValueError(f"similarity of shape {similarity.shape}: expected (E, ...) with at least one epoch")
    reached = similarity >= threshold
    return np.where(reached.any(0), reached.argmax(0), np.nan)


def cumulative(first: ArrayLike, epochs: int) -> np.ndarray:
    """Share of maps that have crossed the threshold by each epoch.

    Parameters
    ----------
    first : array_like
        Epoch at which each map crosses, NaN for never; any shape.
    epochs : int
        Number of epochs E.

    Returns
    -------
    ndarray of float64, shape (E,)
        Share of all maps, those that never cross included, with first <= 0, 1, ..., E - 1.

    Raises
    ------
    ValueError
        If there are no maps or no epochs.
    """
    first = np.ravel(np.asarray(first, dtype=np.float64))
    if not first.size or epochs < 1:
        raise ValueError(f"{first.size} maps over {epochs} epochs: expected at least one of each")
    return _crossed(first, epochs).mean(0)


def curves(
    similarity: ArrayLike, labels: ArrayLike, threshold: float, *, model: str, per_class: bool = False
) -> pd.DataFrame:
    """Cumulative share of maps that have reached the threshold by each epoch, with its uncertainty.

    Parameters
    ----------
    similarity : array_like, shape (E, N, K)
        Similarity of each map to the same network's final map: epochs, images, target classes.
    labels : array_like of int, shape (N,)
        True class of each image, 0 to K - 1.
    threshold : float
        T_c, in [-1, 1].
    model : str
        Name of the network.
    per_class : bool
        One curve for each target class rather than one over all of them.

    Returns
    -------
    DataFrame
        Columns model, target (with `per_class`), on_target, epoch, share, low, high (95 % bootstrap by image),
        maps (how many). Off target, a class's maps are those of the images of all other classes.

    Raises
    ------
    ValueError
        If the threshold, the labels or the shapes are wrong.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 3:
        raise ValueError(f"similarity of shape {similarity.shape}: expected (E, N, K)")
    epochs, images, classes = similarity.shape
    labels = check_labels(labels, images, classes)
    first = first_crossing(similarity, threshold)
    on_target = labels[:, None] == np.arange(classes)
    frames = []
    for target in range(classes) if per_class else [slice(None)]:
        chosen = np.zeros_like(on_target)
        chosen[:, target] = True
        for on in (True, False):
            image, _ = maps = np.nonzero(chosen & (on_target == on))
            if not len(image):
                continue
            share, low, high = interval(_crossed(first[maps], epochs), image)
            ids = {"model": model} | ({"target": target} if per_class else {}) | {"on_target": on}
            points = {"epoch": np.arange(epochs), "share": share, "low": low, "high": high, "maps": len(image)}
            frames.append(pd.DataFrame(ids | points))
    return pd.concat(frames, ignore_index=True)


def curves_of(
    similarity: Mapping[str, ArrayLike], labels: ArrayLike, threshold: float, *, per_class: bool = False
) -> pd.DataFrame:
    """Give the `curves` of several networks, by name, in one frame; no rows for no networks."""
    found = [curves(values, labels, threshold, model=name, per_class=per_class) for name, values in similarity.items()]
    columns = ["model", *(["target"] if per_class else []), "on_target", "epoch", "share", "low", "high", "maps"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def transitions_by(curves: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Find the `transitions` of every group of a frame of curves.

    Returns
    -------
    DataFrame
        The columns of `transitions` and `by`, and transition: its number in its group, from 1.
    """
    by = list(by)
    found = [transitions(group["share"]).assign(**dict(zip(by, key, strict=True))) for key, group in curves.groupby(by)]
    columns = ["onset", "proportion_memorised", "slope_before", "slope_after", *by]
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)
    return frame.assign(transition=frame.groupby(by).cumcount() + 1)


def transitions(curve: ArrayLike, epochs: ArrayLike | None = None) -> pd.DataFrame:
    """Epochs at which fast learning gives way to slow memorising.

    A continuous piecewise-linear function of one to four segments, as many as give the least Bayesian information
    criterion, is fitted to a cumulative curve. Each bend at which its slope falls is a transition.

    Parameters
    ----------
    curve : array_like, shape (E,)
        Share of maps that have reached the threshold by each epoch.
    epochs : array_like, shape (E,), optional
        Strictly increasing epochs; 0 to E - 1 by default.

    Returns
    -------
    DataFrame
        One row a transition, in order of onset; none where the curve has no such bend. Columns: onset (epoch of the
        bend), proportion_memorised (share still to come: the curve's last value less its value at the onset),
        slope_before and slope_after (share per epoch).

    Raises
    ------
    ValueError
        If the curve has fewer than two points or a value that is not finite, or the epochs do not match.

    Notes
    -----
    A segment takes at least three points, so a curve of fewer than six has no transition. A gradual bend is described
    by two or more in a row, so a second row means a second transition only where the curve has two distinct bends.

    References
    ----------
    Jekel and Venter (2019), pwlf: A Python Library for Fitting 1D Continuous Piecewise Linear Functions.
    """
    curve = np.asarray(curve, dtype=np.float64)
    epochs = np.arange(len(curve), dtype=np.float64) if epochs is None else np.asarray(epochs, dtype=np.float64)
    if curve.ndim != 1 or len(curve) < 2 or not np.isfinite(curve).all():
        raise ValueError(f"curve of shape {curve.shape}: expected at least two finite shares, one an epoch")
    if epochs.shape != curve.shape or not (np.diff(epochs) > 0).all():
        raise ValueError(f"epochs of shape {epochs.shape}: expected {len(curve)} increasing numbers, one a share")
    most = max(1, min(MAX_SEGMENTS, len(curve) // POINTS_PER_SEGMENT))
    fits = [_piecewise(epochs, curve, segments) for segments in range(1, most + 1)]
    best = min(fits, key=lambda fitted: _criterion(fitted, curve))
    bends, slopes = best.fit_breaks[1:-1], best.calc_slopes()
    frame = pd.DataFrame(
        {
            "onset": bends,
            "proportion_memorised": curve[-1] - np.interp(bends, epochs, curve),
            "slope_before": slopes[:-1],
            "slope_after": slopes[1:],
        }
    )
    return frame[frame.slope_after < frame.slope_before].reset_index(drop=True)


def _crossed(first: np.ndarray, epochs: int) -> np.ndarray:
    return first[:, None] <= np.arange(epochs)


def _piecewise(x: np.ndarray, y: np.ndarray, segments: int) -> pwlf.PiecewiseLinFit:
    fitted = pwlf.PiecewiseLinFit(x, y, seed=0)
    fitted.fitfast(segments, pop=STARTS)
    return fitted


def _criterion(fitted: pwlf.PiecewiseLinFit, y: np.ndarray) -> float:
    parameters = 2 * fitted.n_segments
    residual = np.mean((fitted.predict(fitted.x_data) - y) ** 2)
    return len(y) * np.log(residual + RESOLUTION**2) + parameters * np.log(len(y))


def lasting_crossing(similarity, threshold):  # TEMPORARY until merged
    """Temporary."""
    reached = np.asarray(similarity) >= threshold
    n = np.logical_and.accumulate(reached[::-1]).sum(0)
    return np.where(n > 0, len(reached) - n, np.nan)
