"""RQ1 on multi-view images: whether a map settles when the network's use of the views does."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib.measures import statistics
from kd_lib.measures.statistics import RESAMPLES, interval, share

CLOSE = 1  # epochs apart that still count as the same time
COLUMNS = ["quantity", "estimate", "low", "high"]


def maps_and_views(settling: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How well the epoch at which a map settles matches the one at which the use of the views does.

    `settling` is what `truth.settling` gives, a row a network and image: model, image, map and use (epochs; NaN for
    never).

    Gives the columns quantity, estimate, low, high (95 % bootstrap over images). The quantities: 'rank correlation'
    (Spearman, mean over networks), 'map less use (epochs)' (mean difference), 'at most one epoch apart' (share) and
    'the same by chance' (that share, were the images of a network shuffled; no interval). NaN where all images of all
    networks settle at one epoch. No rows without networks.
    """
    known = settling.dropna(subset=["map", "use"])
    if known.empty:
        return pd.DataFrame(columns=COLUMNS)
    paired = known.pivot(index="image", columns="model", values=["map", "use"]).dropna()
    late, use = paired["map"].to_numpy(float), paired["use"].to_numpy(float)
    difference = (known["map"] - known["use"]).to_numpy(float)
    chance = np.mean([np.abs(np.subtract.outer(a, b)) <= CLOSE for a, b in zip(late.T, use.T, strict=True)])
    rows = [
        ("rank correlation", *mean_rank_correlation(late, use, seed=seed)),
        ("map less use (epochs)", *interval(difference, known["image"], seed=seed)),
        ("at most one epoch apart", *share(np.abs(difference) <= CLOSE, known["image"], seed=seed)),
        ("the same by chance", chance, np.nan, np.nan),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def mean_rank_correlation(x: ArrayLike, y: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple:
    """Spearman's rank correlation of x and y, shapes (N, M), over N images, its mean over M networks, and its interval.

    The bootstrap draws images. Networks in which x or y does not vary are left out; NaN where there is no other.
    """
    x, y = np.asarray(x, dtype=np.float64).T, np.asarray(y, dtype=np.float64).T
    estimate = _mean_of_known(statistics.rank_correlation(x, y))
    if x.shape[-1] < 2 or np.isnan(estimate):
        return estimate, np.nan, np.nan
    drawn = statistics.resampled_rank_correlations(x, y, resamples=resamples, seed=seed)
    return estimate, *map(float, statistics.percentiles([_mean_of_known(own) for own in drawn.T]))


def _mean_of_known(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def maps_and_views_in_words(settling: pd.DataFrame, *, seed: int = 0) -> str:
    """Say whether maps settle when the use of views does, one sentence a line."""
    found = maps_and_views(settling, seed=seed).set_index("quantity")
    if found.empty:
        return "Maps and views: cannot tell, no network has maps of every epoch."
    rho, apart, close = (found.loc[name] for name in found.index[:3])
    chance = found.loc["the same by chance", "estimate"]
    if rho["low"] > 0:
        order = "images whose views settle late have maps that settle late"
    elif rho["high"] < 0:
        order = "images whose views settle late have maps that settle early"
    else:
        order = "cannot tell whether images whose views settle late have maps that settle late"
    later = "later" if apart["low"] > 0 else "earlier" if apart["high"] < 0 else None
    delay = (
        f"{abs(apart['estimate']):.2f} epochs {later} than" if later else "cannot tell whether earlier or later than"
    )
    more = "more" if close["low"] > chance else "less" if close["high"] < chance else "not clearly more"
    return "\n".join(
        [
            f"Maps and views: {order} (rank correlation {_numbers(rho)}).",
            f"On average maps settle: {delay} the use of views (difference in epochs {_numbers(apart)}).",
            f"At most one epoch apart, share of maps: {_numbers(close)}; {more} than of shuffled images, {chance:.2f}.",
        ]
    )


def _numbers(row: pd.Series) -> str:
    if np.isnan(row["estimate"]):
        return "unknown, all settle at one epoch"
    return f"{row['estimate']:.2f}" + ("" if np.isnan(row["low"]) else f", {row['low']:.2f} to {row['high']:.2f}")
