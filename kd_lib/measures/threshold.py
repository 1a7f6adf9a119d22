"""T_c: how similar two saliency maps must be to show the same features."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from kd_lib.measures.statistics import bootstrap_weights, cluster_of, interval, percentiles, share

PUBLISHED = 0.53  # Gardner (2022), from human labels
RESAMPLES = 500
# More bootstrap samples than this without a curve to fit, and the labels say too little for an interval.
UNUSABLE = 0.05


@dataclass(frozen=True)
class Threshold:
    """A fitted threshold T_c.

    Attributes
    ----------
    value : float
        Similarity at which the fitted curve crosses 1/2.
    low, high : float
        95 % percentile interval of the bootstrap, within [-1, 1].
    error : float
        Share of the n pairs on the wrong side of `value` (same means similarity >= value).
    slope : float
        Of the fitted log-odds, per unit of similarity.
    """

    value: float
    low: float
    high: float
    error: float
    n: int
    slope: float

    def probability(self, similarity: ArrayLike) -> np.ndarray:
        """Fitted probability that two maps of this similarity (of any shape) show the same features."""
        return expit(self.slope * (np.asarray(similarity, dtype=np.float64) - self.value))


def fit_threshold(
    similarity: ArrayLike, same: ArrayLike, *, loss: str = "log", clusters: ArrayLike | None = None, seed: int = 0
) -> Threshold:
    """Fit a logistic curve of the label on the similarity; T_c is where it crosses 1/2.

    Parameters
    ----------
    similarity : array_like, shape (n,)
        Similarity of each pair of maps, in [-1, 1].
    same : array_like of bool or 0/1, shape (n,)
        Whether the pair shows the same features.
    loss : {'log', 'mse'}
        What the curve minimises: log loss (maximum likelihood), or mean squared error as in Gardner (2022).
    clusters : array_like, shape (n,), optional
        Image of each pair; the bootstrap draws whole images. Each pair is its own by default.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If the input is not n finite similarities in [-1, 1] with n labels, or if the labels fix no threshold: all
        labels equal, or all similarities; labels perfectly separated by similarity (the best curve is then infinitely
        steep, and any value in the gap fits as well), not rising with it, or crossing 1/2 outside [-1, 1]; or so few
        pairs that over 5 % of the bootstrap samples fix none.

    Notes
    -----
    A bootstrap sample that happens to be separable takes the middle of its gap, the limit of a ridge penalty that
    goes to zero (Rosset et al., 2004, J. Mach. Learn. Res. 5, 941-973); one that crosses outside [-1, 1] counts as the
    nearer end.

    References
    ----------
    J. Gardner (2022), Using Neural Network Interpretability Methods to Understand Knowledge Distillation,
    University of York.
    """
    if loss not in ("log", "mse"):
        raise ValueError(f"loss {loss!r}: expected 'log' or 'mse'")
    x, y = _checked(similarity, same)
    group, count = cluster_of(clusters, len(x))
    if (gap := _gap(x, y)) is not None:
        raise ValueError(
            f"labels are separable: every similarity up to {gap[0]:.3g} is 'different' and from {gap[1]:.3g} 'same', "
            "so no curve is the best; label more pairs between"
        )
    intercept, slope = _curve(x, y, np.ones(len(x)), loss)
    if not slope > 0:
        raise ValueError("the share of 'same' does not rise with similarity: no threshold; check the labels")
    value = -intercept / slope
    if not -1 <= value <= 1:
        raise ValueError(
            f"the curve crosses 1/2 at {value:.3g}, outside [-1, 1]; label pairs of both kinds over the whole range"
        )
    samples = bootstrap_weights(count, resamples=RESAMPLES, seed=seed)
    draws = [_resampled(x, y, weights[group], loss, (intercept, slope)) for weights in samples]
    if (without := np.mean(np.isnan(draws))) > UNUSABLE:
        raise ValueError(
            f"{len(x)} pairs fix no threshold: {without:.0%} of their bootstrap samples have no rising curve; "
            "label more pairs"
        )
    low, high = percentiles(draws)
    numbers = map(float, (value, low, high, np.mean((x >= value) != y)))
    return Threshold(*numbers, n=len(x), slope=float(slope))


def fit_all(labelled: pd.DataFrame | None, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit T_c by both measures and both losses.

    `labelled` has the columns image, pearson, cosine and same; it is None where there are no labels. `seed` is of the
    bootstrap.

    The table has a row a fit: measure, loss, value, low, high, error with its interval over images (error low, error
    high; the threshold is taken as given), baseline (error of always giving the commoner label), less baseline (error
    less that; less low, less high), n, and remark, which says why a fit gives no threshold; it is empty without labels.
    The curves of the fits that succeeded have the columns measure, loss, similarity, same (fitted probability).
    """
    rows, curves, grid = [], [], np.linspace(-1, 1, 101)
    of_error, less_baseline = ("error", "error low", "error high"), ("less baseline", "less low", "less high")
    for measure in ("pearson", "cosine") if labelled is not None else ():
        similarity, same, image = labelled[measure], labelled["same"], labelled["image"]
        for loss in ("log", "mse"):
            constant = same.astype(bool) != (same.mean() >= 0.5)
            row = {"measure": measure, "loss": loss, "n": len(same), "baseline": constant.mean()}
            try:
                found = fit_threshold(similarity, same, loss=loss, clusters=image, seed=seed)
            except ValueError as error:
                rows.append(row | {"remark": str(error)})
                continue
            wrong = (similarity >= found.value) != same.astype(bool)
            row |= dict(zip(of_error, share(wrong, image, seed=seed), strict=True))
            less = interval(wrong.astype(float) - constant, image, seed=seed)
            row |= dict(zip(less_baseline, less, strict=True))
            rows.append(row | {"value": found.value, "low": found.low, "high": found.high, "remark": ""})
            fitted = {"measure": measure, "loss": loss, "similarity": grid, "same": found.probability(grid)}
            curves.append(pd.DataFrame(fitted))
    columns = ["measure", "loss", "value", "low", "high", *of_error, "baseline", *less_baseline, "n", "remark"]
    return pd.DataFrame(rows, columns=columns), pd.concat(curves) if curves else pd.DataFrame()


def by_part(parts: Mapping[str, pd.DataFrame], *, measure: str, loss: str, seed: int = 0) -> pd.DataFrame:
    """Fit T_c to several parts of the labelled pairs by themselves.

    A row a part: pairs (its name), n, share same, value, low, high, error, baseline, and remark, which says why a part
    gives no threshold. The others are as of `fit_all`.
    """
    rows = []
    for name, part in parts.items():
        same = part["same"].astype(bool)
        row = {"pairs": name, "n": len(same), "share same": same.mean(), "baseline": min(same.mean(), 1 - same.mean())}
        try:
            found = fit_threshold(part[measure], same, loss=loss, clusters=part["image"], seed=seed)
        except ValueError as error:
            rows.append(row | {"remark": str(error)})
            continue
        numbers = {"value": found.value, "low": found.low, "high": found.high, "error": found.error}
        rows.append(row | numbers | {"remark": ""})
    return pd.DataFrame(
        rows, columns=["pairs", "n", "share same", "value", "low", "high", "error", "baseline", "remark"]
    )


def choose(table: pd.DataFrame, *, measure: str, loss: str, source: str) -> pd.DataFrame:
    """Mark the threshold to go by: the fit asked for, or the published value where that fit gives none.

    `table` is what `fit_all` returned, `measure` and `loss` name the fit, and `source` says where the labels come from.
    The published value is added as a last row (loss 'published'), and the columns source and used. A ValueError if the
    measure or the loss is unknown.
    """
    for name, value, valid in (("measure", measure, ("pearson", "cosine")), ("loss", loss, ("log", "mse"))):
        if value not in valid:
            raise ValueError(f"{name} {value!r}: expected {' or '.join(map(repr, valid))}")
    published = {"measure": "pearson", "loss": "published", "value": PUBLISHED, "n": pd.NA, "remark": ""}
    rows = [row | {"source": source} for row in table.to_dict("records")]
    frame = pd.DataFrame([*rows, published | {"source": f"published, Gardner (2022): T_c = {PUBLISHED}"}])
    fitted = (frame["measure"] == measure) & (frame["loss"] == loss) & frame["value"].notna()
    frame["used"] = fitted if fitted.any() else frame["loss"] == "published"
    return frame


def binned(labelled: pd.DataFrame, *, bins: int = 20) -> pd.DataFrame:
    """Share of pairs labelled same in equal-width bins of each measure: columns measure, similarity, same, pairs."""
    parts, edges = [], np.linspace(-1, 1, bins + 1)
    for measure in ("pearson", "cosine"):
        middle = pd.cut(labelled[measure], edges, labels=(edges[1:] + edges[:-1]) / 2, include_lowest=True)
        counted = labelled.groupby(middle.astype(float))["same"].agg(same="mean", pairs="size").reset_index()
        parts.append(counted.rename(columns={measure: "similarity"}).assign(measure=measure))
    return pd.concat(parts, ignore_index=True)


def examples(labelled: pd.DataFrame) -> pd.DataFrame:
    """Pick four labelled pairs to learn from: two that are what they look like, and two that are not.

    `labelled` has the columns same, pearson, on_target and those that name the pair; pairs on target are preferred.
    Gives up to four of its rows, with a column ``what``; none where no pair is labelled.
    """
    pool = labelled[labelled["on_target"]] if labelled["on_target"].any() else labelled
    pool = pool.reset_index(drop=True)
    kinds = {kind: pool[pool["same"].astype(bool) == kind] for kind in (True, False)}
    wanted = [
        ("same, and alike", True, "idxmax"),
        ("different, and unlike", False, "idxmin"),
        ("same, though unlike", True, "idxmin"),
        ("different, though alike", False, "idxmax"),
    ]
    rows = {getattr(kinds[kind]["pearson"], best)(): what for what, kind, best in reversed(wanted) if len(kinds[kind])}
    return pool.loc[list(reversed(rows))].assign(what=list(reversed(rows.values())))


def merge_labels(pairs: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """Give people's labels to the pairs of maps they are about.

    `pairs` has the columns model_a, model_b, image, target and the similarities; `people`, a row a label, image,
    target, model_a, model_b (in either order), same and annotator. Gives the columns of both, a row a label; a
    ValueError if a label is about a pair that this run does not have.
    """
    swapped = pairs.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    keys = ["image", "target", "model_a", "model_b"]
    found = people.merge(pd.concat([pairs, swapped]), on=keys, how="left", indicator=True)
    strange = found[found["_merge"] == "left_only"]
    if len(strange):
        what = ", ".join(f"{key} {strange.iloc[0][key]}" for key in keys)
        raise ValueError(f"a label is about a pair that this run does not have ({what}): remove the row")
    return found.drop(columns="_merge").dropna(subset=["pearson", "cosine"])


def view_labels(used_a: ArrayLike, used_b: ArrayLike) -> np.ndarray:
    """Label pairs by intervention: same where two models use the same views to the same effect.

    `used_a` and `used_b` (N, K, V) are what `views.used` returns of each model. Gives bool (N, K); a ValueError if the
    shapes differ or are others.
    """
    used_a, used_b = np.asarray(used_a), np.asarray(used_b)
    if used_a.ndim != 3 or used_a.shape != used_b.shape:
        raise ValueError(f"views used of shapes {used_a.shape} and {used_b.shape}: expected the same (N, K, V) twice")
    return (used_a == used_b).all(-1)


def _checked(similarity: ArrayLike, same: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(similarity, dtype=np.float64), np.asarray(same)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"similarity of shape {x.shape} and labels of shape {y.shape}: expected (n,) twice")
    if np.isnan(x).any():
        raise ValueError(f"{np.isnan(x).sum()} of {len(x)} similarities are NaN (constant maps): leave these pairs out")
    if (np.abs(x) > 1).any():
        raise ValueError(f"similarity {x[np.abs(x) > 1][0]:.3g}: expected a value between -1 and 1")
    if not np.isin(y, [0, 1]).all():
        raise ValueError(f"label {y[~np.isin(y, [0, 1])][0]}: expected True or False, 1 or 0")
    y = y.astype(bool)
    if y.all() or not y.any():
        kind = "no labels" if not len(y) else f"all {len(y)} labels are {'same' if y.all() else 'different'!r}"
        raise ValueError(f"{kind}: label pairs of both kinds")
    if x.min() == x.max():
        raise ValueError(f"all {len(x)} similarities are {x[0]:.3g}: label pairs that differ in similarity")
    return x, y


def _gap(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Similarities between which any threshold separates the labels, or None where none does."""
    below, above = x[~y].max(), x[y].min()
    return (below, above) if below <= above else None


def _resampled(x: np.ndarray, y: np.ndarray, weights: np.ndarray, loss: str, start: tuple[float, float]) -> float:
    """Fit one bootstrap sample: its threshold within [-1, 1], or NaN where it fixes none."""
    drawn = weights > 0
    x, y, weights = x[drawn], y[drawn], weights[drawn]
    if y.all() or not y.any() or x.min() == x.max():
        return np.nan
    gap = _gap(x, y)
    if gap is not None:
        return float(np.mean(gap))
    intercept, slope = _curve(x, y, weights, loss, start)
    return float(np.clip(-intercept / slope, -1, 1)) if slope > 0 else np.nan


def _curve(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, loss: str, start: tuple[float, float] | None = None
) -> tuple[float, float]:
    """Intercept and slope of the log-odds."""
    if loss == "log" or start is None:
        model = LogisticRegression(C=np.inf, solver="newton-cholesky", max_iter=1000)
        model.fit(x[:, None], y, sample_weight=weights)
        start = (model.intercept_[0], model.coef_[0, 0])
    if loss == "log":
        return start
    root = np.sqrt(weights)

    def residuals(line: np.ndarray) -> np.ndarray:
        return root * (expit(line[0] + line[1] * x) - y)

    def gradient(line: np.ndarray) -> np.ndarray:
        p = expit(line[0] + line[1] * x)
        steep = root * p * (1 - p)
        return np.stack([steep, steep * x], axis=1)

    intercept, slope = least_squares(residuals, start, jac=gradient, method="lm").x
    return intercept, slope
