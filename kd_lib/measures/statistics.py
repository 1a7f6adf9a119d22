"""Uncertainty of a mean over rows that come in clusters, and whether it differs from zero.

The maps of one image are not independent of one another, so the bootstrap draws whole images.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.stats import binomtest, permutation_test, rankdata
from scipy.stats import t as t_distribution
from statsmodels.stats.multitest import multipletests

RESAMPLES = 1000
LEVELS = (0.025, 0.975)  # of a 95 % interval
PERMUTATIONS = 9999
MANY = 2000  # differences, from which on `scipy.stats.permutation_test` takes seconds
AT_ONCE = 10_000_000  # numbers in memory while permuting


class Interval(NamedTuple):
    """A mean with its bootstrap interval; each field is a float, or an array with one entry a column."""

    estimate: float | np.ndarray
    low: float | np.ndarray
    high: float | np.ndarray


def interval(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over rows with a percentile interval of the cluster bootstrap.

    Parameters
    ----------
    values : array_like, shape (n,) or (n, E)
        Numbers or booleans (whose mean is a share), one row an observation; E columns share the resamples.
    clusters : array_like, shape (n,), optional
        Which cluster (image) a row belongs to. Each row is its own by default.
    confidence : float
        Coverage aimed at, between 0 and 1.
    resamples : int
        Number of bootstrap samples.
    seed : int
        Seed of the draws.

    Returns
    -------
    Interval
        estimate, low, high. With a single cluster nothing is known of the spread: low and high are NaN.

    Raises
    ------
    ValueError
        If there are no rows, a value is not finite, or the shapes, confidence or number of resamples are wrong.

    References
    ----------
    Davison and Hinkley (1997), Bootstrap Methods and their Application, sections 3.8 and 5.3.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2) or not len(values):
        raise ValueError(f"values of shape {values.shape}: expected at least one row, (n,) or (n, E)")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} of {values.size} values are not finite: leave them out")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected a number between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples {resamples}: expected at least 1")
    group, count = cluster_of(clusters, len(values))
    estimate = values.mean(0)
    if count < 2:
        return Interval(_plain(estimate), *[_plain(np.full_like(estimate, np.nan))] * 2)
    # The mean of a resample needs only each cluster's sum and size, not its rows.
    sums = csr_array((np.ones(len(values)), (group, np.arange(len(values)))), shape=(count, len(values))) @ values
    weights = bootstrap_weights(count, resamples=resamples, seed=seed)
    sizes = weights @ np.bincount(group)
    means = ((weights @ sums).T / sizes).T
    low, high = percentiles(means, levels=((1 - confidence) / 2, (1 + confidence) / 2))
    return Interval(*map(_plain, (estimate, low, high)))


def share(reached: ArrayLike, clusters: ArrayLike | None = None, *, seed: int = 0) -> Interval:
    """Share of rows (n,) that reach something, bool, with its 95 % interval: `interval`, but for none or all of them.

    No bootstrap sample of 200 right answers out of 200 has a wrong one, which is no interval from 100 to 100 %. Then it
    is the exact one of as many images (`clusters`), each of which has or lacks it as a whole: 98.2 to 100 %.

    Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26(4).
    """
    reached = np.asarray(reached, dtype=bool)
    found = interval(reached, clusters, seed=seed)
    count = cluster_of(clusters, len(reached))[1]
    if found.estimate not in (0, 1) or count < 2:
        return found
    exact = binomtest(count if found.estimate else 0, count).proportion_ci(method="exact")
    return Interval(found.estimate, float(exact.low), float(exact.high))


def crossed_interval(values: ArrayLike, less: ArrayLike | None = None) -> Interval:
    """Mean over networks and images with a 95 % interval that counts both as drawn from many.

    Every network meets every image. The variance of the mean is that of the networks' means over S, plus that of the
    images' means over N, less what both contain; Student's t has as many degrees of freedom as Satterthwaite gives such
    a sum, so few networks make the interval wide.

    `values` (S, N) is a number of S networks on each of N images, such as 1 for a right answer; `less` (M, N) the same
    of other networks on the same images, whose mean is taken away. The bounds are NaN unless there are three networks
    of each kind, and two images.

    Satterthwaite (1946), "An approximate distribution of estimates of variance components", Biometrics Bulletin 2(6);
    Owen and Eckles (2012), "Bootstrapping data arrays of arbitrary order", Annals of Applied Statistics 6(3).
    """
    groups = [np.asarray(group, dtype=np.float64) for group in (values, less) if group is not None]
    by_image = groups[0].mean(0) - sum(group.mean(0) for group in groups[1:])
    mean, images = float(by_image.mean()), len(by_image)
    if images < 2 or min(map(len, groups)) < 3:
        return Interval(mean, np.nan, np.nan)
    parts, freedom = [by_image.var(ddof=1) / images], [images - 1]
    both = 0.0
    for group in groups:
        networks = len(group)
        parts.append(group.mean(1).var(ddof=1) / networks)
        freedom.append(networks - 1)
        rest = group - group.mean(0) - group.mean(1, keepdims=True) + group.mean()
        both += (rest**2).sum() / ((networks - 1) * (images - 1)) / group.size
    variance = max(sum(parts) - both, *parts)
    squares = sum(part**2 / free for part, free in zip(parts, freedom, strict=True))
    half = t_distribution.ppf(LEVELS[1], sum(parts) ** 2 / squares) * np.sqrt(variance) if squares else 0.0
    return Interval(mean, mean - half, mean + half)


def share_of_gain(values: ArrayLike, less: ArrayLike, whole: ArrayLike) -> Interval:
    """How much of a gain some networks have: (values - less) / (whole - less), of means, with a 95 % interval.

    The interval holds the shares r for which values - r whole - (1 - r) less does not differ from zero on average
    (Fieller's method), by `crossed_interval` where there are three networks of both kinds, and over images alone where
    there are not.

    Parameters
    ----------
    values, less : array_like, shapes (S, N) and (M, N)
        A number of each network on each of N images, such as 1 for a right answer: of students, and of components.
    whole : array_like, shape (N,)
        The same of what has the whole gain: the ensemble.

    Returns
    -------
    Interval
        The bounds are NaN unless the whole gain is known to be above zero, or where no share can be excluded.

    References
    ----------
    Fieller (1954), "Some problems in interval estimation", Journal of the Royal Statistical Society B 16(2).
    """
    values, less, whole = (np.asarray(array, dtype=np.float64) for array in (values, less, whole))
    gain, of = values.mean() - less.mean(), whole.mean() - less.mean()
    if not _mean_difference(whole[None], less).low > 0:
        return Interval(gain / of if of else np.nan, np.nan, np.nan)
    share, bounds = gain / of, []
    for side, bound in ((-1, "low"), (1, "high")):

        def excluded(r: float, bound: str = bound) -> float:
            return getattr(_mean_difference(values - r * whole, (1 - r) * less), bound)

        far = next((side * 2.0**k for k in range(12) if side * excluded(share + side * 2.0**k) < 0), None)
        known = far is not None and excluded(share) * side >= 0
        bounds.append(brentq(excluded, *sorted((share, share + far)), xtol=1e-6) if known else np.nan)
    return Interval(share, *bounds) if np.isfinite(bounds).all() else Interval(share, np.nan, np.nan)


def _mean_difference(values: np.ndarray, less: np.ndarray) -> Interval:
    """Mean difference of networks (S, N) and (M, N); over images alone where there are fewer than three of a kind."""
    if min(len(values), len(less)) > 2:
        return crossed_interval(values, less)
    by_image = values.mean(0) - less.mean(0)
    half = t_distribution.ppf(LEVELS[1], len(by_image) - 1) * by_image.std(ddof=1) / np.sqrt(len(by_image))
    return Interval(by_image.mean(), by_image.mean() - half, by_image.mean() + half)


def percentiles(
    draws: ArrayLike, *, levels: tuple[float, float] = LEVELS, outward: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a statistic, from its bootstrap samples.

    `draws` has shape (R,), where NaN are left out, or (R, ...); the bounds, at the quantiles `levels`, have shape
    (...), and are NaN where there are no draws. `outward` takes the next values that occur, as where some are infinite,
    and does not interpolate.
    """
    draws = np.asarray(draws)
    if draws.ndim == 1:
        draws = draws[~np.isnan(draws)]
    if not len(draws):
        return (np.full(draws.shape[1:], np.nan)[()],) * 2
    methods = ("lower", "higher") if outward else ("linear", "linear")
    low, high = (np.quantile(draws, q, axis=0, method=how) for q, how in zip(levels, methods, strict=True))
    return low, high


def rank_correlation(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Spearman's rank correlation (...) over the last axis of (..., N); NaN where x or y does not vary."""
    x, y = centred_ranks(x), centred_ranks(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))


def resampled_rank_correlations(x: ArrayLike, y: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """`rank_correlation` of x and y, shapes (M, N), over each bootstrap sample of the N: shape (M, R).

    All M are resampled alike. A value drawn twice ties with itself.
    """
    return weighted_rank_correlations(x, y, bootstrap_weights(np.shape(x)[-1], resamples=resamples, seed=seed))


def weighted_rank_correlations(x: ArrayLike, y: ArrayLike, weights: ArrayLike) -> np.ndarray:
    """`rank_correlation` of x and y, shapes (M, N), where sample r of R holds pair i `weights[r, i]` times: (M, R)."""
    weights = np.asarray(weights, dtype=np.float64)
    return np.array([_weighted_correlations(*own, weights) for own in zip(x, y, strict=True)])


def _weighted_correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation (R,) of x and y (N,), each of which counts `weights` (R, N) times."""
    middle = (weights.sum(1, keepdims=True) + 1) / 2
    x, y = (_weighted_ranks(values, weights) - middle for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.vecdot(weights * x, y) / np.sqrt(np.vecdot(weights * x, x) * np.vecdot(weights * y, y))


def _weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    distinct, position = np.unique(values, return_inverse=True)
    member = csr_array((np.ones(len(values)), (np.arange(len(values)), position)), shape=(len(values), len(distinct)))
    tied = weights @ member
    return (tied.cumsum(1) - (tied - 1) / 2)[:, position]


def centred_ranks(values: ArrayLike) -> np.ndarray:
    """Ranks over the last axis, ties sharing theirs, less their mean."""
    ranks = rankdata(values, axis=-1)
    return ranks - ranks.mean(-1, keepdims=True)


def known_interval(frame: pd.DataFrame, value: str, *, clusters: str = "image", seed: int = 0) -> Interval:
    """`interval` of a column, its NaN left out, with the clusters that another names; NaN where nothing is left."""
    known = frame.dropna(subset=[value])
    return interval(known[value], known[clusters], seed=seed) if len(known) else Interval(*[np.nan] * 3)


def interval_table(frame: pd.DataFrame, columns: list[str], *, by: str, clusters: str) -> pd.DataFrame:
    """Means of some columns with their intervals, group by group, as text to be read: 0.812 (0.790–0.834).

    `frame` has a row an observation, in groups named by the column `by` and clusters (images) named by the column
    `clusters`. Gives text, groups by `columns`; NaN are left out, and a dash is where nothing is left.
    """
    rows = {
        name: {column: _text(known_interval(group, column, clusters=clusters)) for column in columns}
        for name, group in frame.groupby(by, sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(by)


def _text(found: Interval) -> str:
    estimate = "–" if np.isnan(found.estimate) else f"{found.estimate:.3f}"
    return estimate if np.isnan(found.low) else f"{estimate} ({found.low:.3f}–{found.high:.3f})"


def cluster_of(clusters: ArrayLike | None, rows: int) -> tuple[np.ndarray, int]:
    """Give each row's cluster a number from 0; return these (n,) and how many there are. None: each row its own."""
    if clusters is None:
        return np.arange(rows), rows
    clusters = np.asarray(clusters)
    if clusters.shape != (rows,):
        raise ValueError(f"clusters of shape {clusters.shape}: expected one for each of the {rows} rows")
    names, group = np.unique(clusters, return_inverse=True)
    return group, len(names)


@lru_cache(maxsize=4)  # most of a study's intervals are over the same images
def bootstrap_weights(clusters: int, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each of R bootstrap samples holds each of C clusters, drawn C times: float64 (R, C), read-only."""
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    weights = draws.astype(np.float64)
    weights.flags.writeable = False
    return weights


def sign_flip_test(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p-value of paired differences (n,) having mean zero, by a permutation test that swaps within pairs.

    Under the null hypothesis the two of a pair (an image) may be swapped: the sign is arbitrary. `seed` is of the
    permutations, where there are more than `PERMUTATIONS`. NaN for fewer than two differences.

    References
    ----------
    Good (2005), Permutation, Parametric and Bootstrap Tests of Hypotheses, section 3.2.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < 2:
        return float("nan")
    if len(differences) > MANY:
        return _sign_flips_of_many(differences, seed)
    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=max(1, AT_ONCE // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _sign_flips_of_many(differences: np.ndarray, seed: int) -> float:
    """`sign_flip_test` in a fraction of the time: a random byte looks up the sum of eight differences so signed."""
    signs = 1.0 - 2 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    sums = np.pad(differences, (0, -len(differences) % 8)).reshape(-1, 8) @ signs.T
    bytes_ = np.random.default_rng(seed).integers(256, size=(PERMUTATIONS, len(sums)), dtype=np.uint8)
    at_random = sum(own[drawn] for own, drawn in zip(sums, bytes_.T, strict=True))
    as_far = np.abs(at_random) >= abs(differences.sum()) * (1 - 1e-12)
    return float((1 + as_far.sum()) / (1 + PERMUTATIONS))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust p-values (n,) for their number by Holm's step-down method; a NaN counts for none and stays NaN.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2).
    """
    adjusted = np.asarray(p_values, dtype=np.float64).copy()
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = multipletests(adjusted[known], method="holm")[1]
    return adjusted


def standardised(differences: ArrayLike) -> float:
    """Effect size of paired differences (n,): their mean in units of their standard deviation (Cohen's d_z).

    NaN where there are fewer than two or they do not vary. Lakens (2013), "Calculating and reporting effect sizes",
    Frontiers in Psychology 4:863, equation 6.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < 2 or np.ptp(differences) == 0:
        return float("nan")
    return float(differences.mean() / differences.std(ddof=1))


def quantiles(frame: pd.DataFrame, value: str, *, by: list[str]) -> pd.DataFrame:
    """Quantiles of a column, group by group, for box plots.

    A row a group: the columns `by` that tell the groups apart, then q05, q25, q50, q75, q95 of `value`, NaN left out.
    """
    levels = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
    if frame.empty:
        return pd.DataFrame(columns=[*by, *levels])
    found = frame.groupby(by, sort=False)[value].quantile(list(levels.values())).unstack()
    return found.set_axis(list(levels), axis=1).reset_index()


def _plain(value: np.ndarray) -> float | np.ndarray:
    return float(value) if np.ndim(value) == 0 else value
