"""Times of events that some observations never show while they are watched, in clusters (images) that are resampled."""

from functools import lru_cache

import numpy as np

from kd_lib.measures.statistics import bootstrap_weights


@lru_cache(maxsize=16)  # many curves have as many images
def weights(clusters: int, resamples: int, *, seed: int = 0) -> np.ndarray:
    """How often each cluster counts: once in the first row, in the others as often as a bootstrap sample holds it.

    Parameters
    ----------
    clusters : int
        Number of clusters C.
    resamples : int
        Number of bootstrap samples R; none is drawn from a single cluster, of whose spread nothing is known.
    seed : int
        Seed of the draws.

    Returns
    -------
    ndarray of float64, shape (1 + R, C)
        Not to be written to.
    """
    drawn = bootstrap_weights(clusters, resamples=resamples if clusters > 1 else 0, seed=seed)
    found = np.vstack([np.ones((1, clusters)), drawn])
    found.flags.writeable = False
    return found


def tally(clusters: np.ndarray, time: np.ndarray, chosen: np.ndarray, epochs: int) -> np.ndarray:
    """Count the chosen observations of each cluster by their time.

    Parameters
    ----------
    clusters : ndarray of int, shape (n,)
        From 0 to C - 1.
    time : ndarray, shape (n,)
        Whole numbers from 0 to E - 1 where chosen.
    chosen : ndarray of bool, shape (n,)
    epochs : int
        Their number E.

    Returns
    -------
    ndarray of int64, shape (C, E)
    """
    count = clusters.max() + 1
    at = clusters[chosen] * epochs + time[chosen].astype(int)
    return np.bincount(at, minlength=count * epochs).reshape(count, epochs)


def median(events: np.ndarray, censored: np.ndarray) -> np.ndarray:
    """Median time to an event, by the product-limit estimate.

    Parameters
    ----------
    events, censored : ndarray, shape (R, E)
        How many observations have their event at each time, and of how many no more is known after it.

    Returns
    -------
    ndarray of float64, shape (R,)
        The first time by which half have had their event; infinite where that was not seen.

    References
    ----------
    Kaplan and Meier (1958), "Nonparametric estimation from incomplete observations", Journal of the American
    Statistical Association 53(282).
    """
    leaving = events + censored
    at_risk = leaving.sum(1, keepdims=True) - leaving.cumsum(1) + leaving
    alive = np.cumprod(1 - events / np.maximum(at_risk, 1), axis=1)
    half = alive <= 0.5 + 1e-12
    return np.where(half.any(1), half.argmax(1), np.inf)
