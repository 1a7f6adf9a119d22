"""Times of events that some observations never show while they are watched, in clusters (images) that are resampled."""

from functools import lru_cache

import numpy as np

from kd_lib.measures.statistics import bootstrap_weights


@lru_cache(maxsize=16)  # many curves have as many images
def weights(clusters: int, resamples: int, *, seed: int = 0) -> np.ndarray:
    """How often each of C clusters counts: once in the first row, in R others as in a bootstrap sample: (1 + R, C).

    None is drawn from a single cluster, of whose spread nothing is known. Read-only.
    """
    drawn = bootstrap_weights(clusters, resamples=resamples if clusters > 1 else 0, seed=seed)
    found = np.vstack([np.ones((1, clusters)), drawn])
    found.flags.writeable = False
    return found


def tally(clusters: np.ndarray, time: np.ndarray, chosen: np.ndarray, epochs: int) -> np.ndarray:
    """Count the chosen observations (n,) of each cluster, 0 to C - 1, by their time, 0 to E - 1: int64 (C, E)."""
    count = clusters.max() + 1
    at = clusters[chosen] * epochs + time[chosen].astype(int)
    return np.bincount(at, minlength=count * epochs).reshape(count, epochs)


def median(events: np.ndarray, censored: np.ndarray) -> np.ndarray:
    """Median time to an event (R,), by the product-limit estimate; infinite where half of the events were not seen.

    `events` and `censored` (R, E) count those that have their event at each time, and that are not watched after it.

    Kaplan and Meier (1958), "Nonparametric estimation from incomplete observations", Journal of the American
    Statistical Association 53(282).
    """
    leaving = events + censored
    at_risk = leaving.sum(1, keepdims=True) - leaving.cumsum(1) + leaving
    alive = np.cumprod(1 - events / np.maximum(at_risk, 1), axis=1)
    half = alive <= 0.5 + 1e-12
    return np.where(half.any(1), half.argmax(1), np.inf)
