"""Where the slope of a cumulative curve changes: continuous piecewise-linear fits by maximum likelihood, many at once.

Least squares would take the points of the curve as independent. They are not: an image that is late is missing from
every point until it arrives, so the error of one point is carried on to the next, and bends are found in mere noise.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import xlogy

from kd_lib.measures.statistics import percentiles

MAX_SEGMENTS = 6
POINTS_PER_SEGMENT = 3
SECOND = 4  # segments that a second transition takes: fast, slow, fast, slow
TRANSITION = ["onset", "proportion_memorised", "slope_before", "slope_after", "distinct"]
INTERVALS = ["onset_low", "onset_high", "proportion_low", "proportion_high", "support"]


class Fit(NamedTuple):
    """Best fits of R curves with S segments: knots (R, S - 1) along the curve, slopes (R, S), BIC (R,)."""

    knots: np.ndarray
    slopes: np.ndarray
    criterion: np.ndarray


def most_segments(points: int) -> int:
    """Give how many segments a curve of so many points can tell apart: a third of them, from 1 to `MAX_SEGMENTS`."""
    return max(1, min(MAX_SEGMENTS, points // POINTS_PER_SEGMENT))


def able(points: int) -> bool:
    """Whether a curve of so many points can show a second transition."""
    return most_segments(points) >= SECOND


def transitions(
    curves: ArrayLike, images: float, *, epochs: ArrayLike | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Epochs at which fast learning gives way to slow memorising: bends at which the slope of a curve falls.

    Of the continuous piecewise-linear fits (`fits`), the one with the least Bayesian information criterion counts.

    Parameters
    ----------
    curves : array_like, shape (1 + R, E)
        Share of maps that have arrived by each epoch, then what it is in R bootstrap samples.
    images, epochs
        See `fits`.

    Returns
    -------
    found : DataFrame
        One row a transition, in order of onset; none where the curve has no such bend. Columns: onset (epoch of the
        bend), proportion_memorised (share still to come: the curve's last value less its value at the onset),
        slope_before and slope_after (share per epoch), distinct (whether the slope has fallen and risen before);
        onset_low, onset_high, proportion_low, proportion_high: 95 % intervals from the samples, fitted with as many
        segments as the curve; support: share of the samples that, with as many segments as suit each of them best, have
        as many transitions.
    second : ndarray of bool, shape (1 + R,)
        Whether each curve's slope falls, rises and falls again.

    Notes
    -----
    A segment takes at least three points, so a curve of fewer than six has no transition. A gradual bend is described
    by several in a row; a second phase of learning is one that is `distinct`.
    """
    curves = np.asarray(curves, dtype=np.float64)
    every = fits(curves, images, epochs=epochs)
    epochs = np.arange(curves.shape[1]) if epochs is None else np.asarray(epochs)
    chosen = np.argmin([fit.criterion for fit in every], axis=0), np.arange(len(curves))
    counts = np.array([slope_falls(fit.slopes)[0].sum(1) for fit in every])[chosen]
    second = np.array([slope_falls(fit.slopes)[1].any(1) for fit in every])[chosen]
    best = every[chosen[0][0]]
    falls, distinct = (each[0] for each in slope_falls(best.slopes))
    onset = epochs[best.knots].astype(float)
    memorised = curves[:, -1:] - np.take_along_axis(curves, best.knots, 1)
    slopes = best.slopes[0]
    intervals = [bound for draws in (onset[1:], memorised[1:]) for bound in percentiles(draws, outward=True)]
    values = [onset[0], memorised[0], slopes[:-1], slopes[1:], distinct, *intervals]
    found = pd.DataFrame(dict(zip(TRANSITION + INTERVALS, values, strict=False)))[falls].reset_index(drop=True)
    found["support"] = [np.mean(counts[1:] > n) if len(curves) > 1 else np.nan for n in found.index]
    return found, second


def fits(curves: ArrayLike, images: float, *, epochs: ArrayLike | None = None) -> list[Fit]:
    """Fit cumulative curves with one, two, ... segments.

    Between two knots the curve rises evenly: arrivals have a constant rate there, which is estimated by maximum
    likelihood. The fit then meets the curve at its knots, which are found exactly, by dynamic programming.

    `curves` (R, E) is the share that has arrived by each of the increasing `epochs` (E,), 0 to E - 1 by default;
    `images` is the number of independent observations behind each curve. The fits have 1, 2, ..., `most_segments(E)`
    segments, each of at least three points. Each segment counts for two parameters of the criterion, its slope and the
    knot before it, the first one for one. A ValueError if the curves are not (R, E) with at least two points, a value
    is not finite, or the epochs do not increase.

    Jackson et al. (2005), "An algorithm for optimal partitioning of data on an interval", IEEE Signal Processing
    Letters 12(2); Yao (1988), "Estimating the number of change-points via Schwarz' criterion", Statistics and
    Probability Letters 6(3).
    """
    curves = np.asarray(curves, dtype=np.float64)
    if curves.ndim != 2 or curves.shape[1] < 2 or not np.isfinite(curves).all():
        raise ValueError(f"curves of shape {curves.shape}: expected (R, E), at least two finite shares a curve")
    points = curves.shape[1]
    epochs = np.arange(points, dtype=np.float64) if epochs is None else np.asarray(epochs, dtype=np.float64)
    if epochs.shape != (points,) or not (np.diff(epochs) > 0).all():
        raise ValueError(f"epochs of shape {epochs.shape}: expected {points} increasing numbers, one a share")
    most = most_segments(points)
    likelihood = _log_likelihood(curves * images, epochs, shortest=1 if most == 1 else POINTS_PER_SEGMENT - 1)
    best, origins, found = likelihood[:, 0], [], []
    for segments in range(1, most + 1):
        if segments > 1:
            through = best[:, :, None] + likelihood
            origins.append(through.argmax(1))
            best = through.max(1)
        first, last = np.zeros((len(curves), 1), int), np.full((len(curves), 1), points - 1)
        knots = _trace(origins, last)
        ends = np.hstack([first, knots, last])
        slopes = np.diff(np.take_along_axis(curves, ends, 1)) / np.diff(epochs[ends])
        found.append(Fit(knots, slopes, (2 * segments - 1) * np.log(images) - 2 * best[:, -1]))
    return found


def slope_falls(slopes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """At which knots (R, S - 1) slopes (R, S) fall, and which of these falls come after another and a rise since."""
    change = np.diff(slopes, axis=1)
    falls, rises = change < 0, change > 0
    risen = np.logical_or.accumulate(rises & np.logical_or.accumulate(falls, axis=1), axis=1)
    return falls, falls & risen


def _log_likelihood(counts: np.ndarray, epochs: np.ndarray, *, shortest: int) -> np.ndarray:
    """Log-likelihood (R, E, E) of the arrivals from one point to another, up to what all fits share."""
    arrivals = np.maximum(counts[:, None, :] - counts[:, :, None], 0)
    length = epochs[None, :] - epochs[:, None]
    likelihood = xlogy(arrivals, arrivals / np.where(length > 0, length, np.inf))
    position = np.arange(len(epochs))
    likelihood[:, position[None, :] - position[:, None] < shortest] = -np.inf
    return likelihood


def _trace(origins: list[np.ndarray], last: np.ndarray) -> np.ndarray:
    """Follow the best fits back from their last point (R, 1) to their knots (R, S - 1)."""
    path = [last]
    for origin in reversed(origins):
        path.insert(0, np.take_along_axis(origin, path[0], 1))
    return np.hstack(path)[:, :-1]
