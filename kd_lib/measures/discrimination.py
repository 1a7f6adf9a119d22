"""Which measure of similarity tells apart the pairs of maps that show the same features and those that do not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from kd_lib.measures.similarity import spearman, ssim
from kd_lib.measures.statistics import Interval, bootstrap_weights, cluster_of, percentiles

REFERENCE = "pearson"  # the measure that the others are compared with
SIMILARITIES = ("pearson", "cosine", "spearman", "ssim")
MOST = 20_000  # pairs that are measured in all four ways; SSIM takes a third of a millisecond a pair
RESAMPLES = 200
POINTS = 100  # of a curve that is drawn


def measured(labelled: pd.DataFrame, maps: Mapping[str, ArrayLike], *, seed: int = 0) -> pd.DataFrame:
    """Add the Spearman correlation and the structural similarity to labelled pairs.

    `labelled` has the columns model_a, model_b, image, target and any others; `maps` are (N, K, H, W) of each network.
    More than `MOST` pairs are sampled, by `seed`. Gives them with the columns spearman and ssim, without pairs for
    which one of them is not defined.
    """
    if len(labelled) > MOST:
        labelled = labelled.sample(MOST, random_state=seed).sort_index()
    found = labelled.reset_index(drop=True)
    values = {name: np.full(len(found), np.nan) for name in ("spearman", "ssim")}
    for (a, b), rows in found.groupby(["model_a", "model_b"], sort=False).indices.items():
        at = (found["image"].to_numpy()[rows], found["target"].to_numpy()[rows])
        pair = np.asarray(maps[a])[at], np.asarray(maps[b])[at]
        values["spearman"][rows], values["ssim"][rows] = spearman(*pair), ssim(*pair)
    return found.assign(**values).dropna(subset=list(values))


def areas_under_curve(
    labelled: pd.DataFrame, *, measures: Sequence[str] = SIMILARITIES, resamples: int = RESAMPLES, seed: int = 0
) -> pd.DataFrame:
    """Area under the ROC curve of each measure: how often a pair that is the same is the more similar of two.

    Parameters
    ----------
    labelled : DataFrame
        Columns image, same and those of the measures; all finite.
    measures : sequence of str
    resamples, seed : int
        Of the bootstrap, which draws whole images.

    Returns
    -------
    DataFrame
        A row a measure: measure, AUC, low, high (95 % interval), then less pearson, less low, less high: its AUC less
        that of Pearson's correlation, from the same resamples. NaN where all labels are equal.
    """
    same = labelled["same"].to_numpy().astype(bool)
    group, count = cluster_of(labelled["image"], len(same))
    weights = bootstrap_weights(count, resamples=resamples, seed=seed)[:, group]
    values = {name: labelled[name].to_numpy() for name in {REFERENCE, *measures}}
    draws = {name: _areas(same, value, weights) for name, value in values.items()}
    whole = {name: _areas(same, value, np.ones((1, len(same)))).item() for name, value in values.items()}
    rows = []
    for name in measures:
        row = {"measure": name, "AUC": whole[name]} | _range(draws[name], "")
        if name != REFERENCE:
            row[f"less {REFERENCE}"] = whole[name] - whole[REFERENCE]
            row |= _range(draws[name] - draws[REFERENCE], "less ")
        rows.append(row)
    return pd.DataFrame(rows)


def area_within_images(
    labelled: pd.DataFrame, *, measure: str = REFERENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Area under the ROC curve among the pairs of one image, over all images: its mean, weighted by what is compared.

    Images differ in how alike all maps of them are. This is how often a pair that is the same is the more similar of
    two pairs of one image. With a 95 % interval that draws whole images; NaN where no image has pairs of both kinds.
    """
    above, compared = [], []
    for _, own in labelled.groupby("image"):
        same, ranks = own["same"].to_numpy().astype(bool), rankdata(own[measure])
        number = same.sum()
        above.append(ranks[same].sum() - number * (number + 1) / 2)
        compared.append(number * (len(own) - number))
    if not sum(compared):
        return Interval(*[np.nan] * 3)
    weights = bootstrap_weights(len(above), resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore"):
        draws = (weights @ np.array(above)) / (weights @ np.array(compared))
    return Interval(sum(above) / sum(compared), *percentiles(draws))


def roc_curves(labelled: pd.DataFrame, *, measures: Sequence[str] = SIMILARITIES) -> pd.DataFrame:
    """Trace the ROC curve of each measure.

    Returns
    -------
    DataFrame
        Columns measure, threshold, false positive rate (share of the pairs that are different but reach the threshold)
        and true positive rate (share of those that are the same). At most `POINTS` points a curve; none where all
        labels are equal.
    """
    frames = []
    for name in measures if labelled["same"].nunique() == 2 else ():
        false, true, threshold = roc_curve(labelled["same"].astype(bool), labelled[name])
        kept = np.unique(np.linspace(0, len(false) - 1, POINTS).round().astype(int))
        columns = {"threshold": threshold, "false positive rate": false, "true positive rate": true}
        frames.append(pd.DataFrame(columns).iloc[kept].assign(measure=name))
    names = ["measure", "threshold", "false positive rate", "true positive rate"]
    return pd.concat(frames, ignore_index=True)[names] if frames else pd.DataFrame(columns=names)


def _areas(same: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the curve for each row of weights: scikit-learn's, of hundreds of samples with one sorting."""
    order = np.argsort(value, kind="stable")
    starts = np.flatnonzero(np.diff(value[order], prepend=np.nan) != 0)  # of each run of ties
    right, wrong = (np.add.reduceat(weights[:, order] * kind[order], starts, axis=1) for kind in (same, ~same))
    below = np.cumsum(wrong, axis=1) - wrong / 2
    with np.errstate(invalid="ignore"):  # 0 / 0 where a sample has one kind only
        return (below * right).sum(1) / (right.sum(1) * wrong.sum(1))


def _range(draws: np.ndarray, prefix: str) -> dict[str, Any]:
    return dict(zip((f"{prefix}low", f"{prefix}high"), percentiles(draws), strict=True))
