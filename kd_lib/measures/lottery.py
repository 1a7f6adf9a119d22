"""RQ2: whether networks differ in which views they use or know, or some views are simply easier than others.

The multi-view theory (Allen-Zhu & Li, 2020) has it that chance decides, network by network, which of a class's views
are learnt. If so, a view's rate differs between networks; if the view decides, all networks have the same rate.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp
from statsmodels.stats.contingency_tables import cochrans_q

from kd_lib.measures import statistics

SIGNIFICANCE = 0.05  # of p corrected by Holm's method
DISPERSION, BETWEEN, ALIKE = "dispersion", "share between networks", "correlation of rates"  # quantities
BY_VIEW = ("class", "view", "images", "networks", "lowest", "rate", "highest", "Q", "p", "p (Holm)")
SUMMARY = ("quantity", "estimate", "low", "high", "views", "networks")


def by_view(answers: pd.DataFrame, value: str) -> pd.DataFrame:
    """Test, view by view, whether networks have the same rate of something that an image with the view shows or not.

    Cochran's Q over images (blocks) and networks: under the null hypothesis networks are exchangeable within an image,
    so that only the image and its view decide. It is McNemar's test for two networks.

    Parameters
    ----------
    answers : DataFrame
        A row a network, image and view that it shows: columns network, image, class, view and the bool `value`.
    value : str
        Such as 'used', whether the network uses the view.

    Returns
    -------
    DataFrame
        Columns `BY_VIEW`, a row a view: class, view, images, networks; lowest, rate, highest (of the networks' rates,
        and their mean); Q; p; p (Holm) (corrected for the number of views). Q and p are NaN where all networks agree on
        every image, as one alone does.

    References
    ----------
    Cochran (1950), "The comparison of percentages in matched samples", Biometrika 37(3/4).
    """
    rows = []
    for key, group in answers.groupby(["class", "view"]):
        used = group.pivot(index="image", columns="network", values=value).dropna().to_numpy(dtype=float)
        q = p = np.nan
        if (used != used[:, :1]).any():
            found = cochrans_q(used)
            q, p = found.statistic, found.pvalue
        of = used.mean(0) if len(used) else np.full(used.shape[1], np.nan)
        rows.append((*key, *used.shape, of.min(), of.mean(), of.max(), q, p, np.nan))
    found = pd.DataFrame(rows, columns=list(BY_VIEW))
    return found.assign(**{"p (Holm)": statistics.holm(found["p"])})


def by_pair(answers: pd.DataFrame, value: str) -> pd.DataFrame:
    """Tell what is the network's from what is the view's, for every two views of a class; takes what `by_view` takes.

    A network that is better, or likes a class, has higher rates for all of its views, which is no lottery of views. The
    difference of two views' rates is free of that. It varies between networks by chance within images, too: by what it
    would if networks were exchanged image by image (with all their answers to an image).

    Gives a row a pair of views that two images show each, with two networks or more: class; dispersion (variance of the
    difference between networks over that of chance, 1 on average if only image and view decide; NaN where there is no
    chance), of networks and of views (half of the variance of the difference between networks, and of its mean's
    square, less what chance and drawing images add: unbiased, so either can be below 0).
    """
    rows = []
    for label, group in answers.groupby("class"):
        of_view = group.pivot(index="image", columns=["view", "network"], values=value).astype(float)
        views = [of_view[view].to_numpy() for view in sorted(group["view"].unique())]
        for one, other in combinations([used for used in views if (~np.isnan(used)).all(1).sum() > 1], 2):
            networks, parts, means = one.shape[1], [], []
            for used in (one, other):
                there = ~np.isnan(used).any(1, keepdims=True)
                n, used = there.sum(), np.where(there, used, 0)
                parts.append(used / n)
                means.append(there[:, 0] * (used.mean(1) - used.sum() / n / networks) / np.sqrt(n * (n - 1)))
            if networks > 1:
                by_image = parts[0] - parts[1]
                difference, chance = by_image.sum(0), by_image.var(axis=1, ddof=1).sum()
                spread = difference.var(ddof=1)
                of_networks = (spread - chance) / 2
                drawn = np.square(means[0] - means[1]).sum()
                of_views = (difference.mean() ** 2 - drawn) / 2 - of_networks / networks
                rows.append((label, spread / chance if chance else np.nan, of_networks, of_views))
    return pd.DataFrame(rows, columns=["class", DISPERSION, "of networks", "of views"])


def summary(answers: pd.DataFrame, value: str, *, seed: int = 0) -> pd.DataFrame:
    """How much of which of a class's views networks use, or know, is the network's, and how much the view's.

    Takes what `by_view` takes. Intervals (95 %) are over classes: Student's for the dispersion, so that it is true to
    size with ten of them, and of a bootstrap for the others, which is a little narrow then; `seed` is of its draws.

    Gives the columns `SUMMARY`: 'dispersion' (mean of `by_pair`'s, class by class; 1 if networks do not differ), 'share
    between networks' (of `by_pair`'s variances, of networks over both; 1 if each network draws its own views, 0 if
    networks do not differ; a negative variance counts as 0), 'correlation of rates' (Pearson, of two networks' rates
    over views, less each network's mean of the class; mean of pairs of networks). NaN where it is not defined; no rows
    with fewer than two networks, or without two views of a class.
    """
    pairs = by_pair(answers, value)
    if pairs.empty:
        return pd.DataFrame(columns=list(SUMMARY))
    rates = answers.groupby(["class", "view", "network"])[value].mean().unstack("network")
    rates -= rates.groupby("class").transform("mean")
    of_class, labels = rates.index.get_level_values("class"), pairs["class"].unique()
    pieces = [
        (
            pairs.loc[pairs["class"] == k, [DISPERSION, "of networks", "of views"]].to_numpy(),
            rates[of_class == k].to_numpy(),
        )
        for k in labels
    ]

    def measured(times: np.ndarray) -> list[float]:
        drawn = np.repeat(np.arange(len(pieces)), times)
        return _of_views(*(np.concatenate([pieces[k][part] for k in drawn]) for part in (0, 1)))

    estimate = measured(np.ones(len(pieces), dtype=int))
    bounds: list[tuple] = [(np.nan, np.nan)] * 3
    if len(pieces) > 1:
        draws = [measured(own) for own in statistics.bootstrap_weights(len(pieces), seed=seed).astype(int)]
        bounds = [statistics.percentiles(own) for own in np.transpose(draws)]
        by_class = pairs.groupby("class")[DISPERSION].mean().dropna()
        estimate[0], bounds[0] = by_class.mean(), tuple(ttest_1samp(by_class, 1).confidence_interval())
    counts = len(rates), rates.shape[1]
    named = zip((DISPERSION, BETWEEN, ALIKE), estimate, bounds, strict=True)
    return pd.DataFrame([(name, value, *own, *counts) for name, value, own in named], columns=list(SUMMARY))


def _of_views(pairs: np.ndarray, rates: np.ndarray) -> list[float]:
    """Dispersion, share between networks and correlation of rates, of some classes."""
    dispersion = pairs[~np.isnan(pairs[:, 0]), 0]
    of_networks, of_views = np.maximum(pairs[:, 1:].mean(0), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.corrcoef(rates, rowvar=False)[np.triu_indices(rates.shape[1], 1)]
    alike = alike[~np.isnan(alike)]
    whole = of_networks + of_views
    return [dispersion.mean() if len(dispersion) else np.nan, of_networks / whole if whole else np.nan] + [
        alike.mean() if len(alike) else np.nan
    ]


def in_words(table: pd.DataFrame, parts: pd.DataFrame, what: str) -> str:
    """Say in a sentence what `by_view` and `summary` found of the `what` 'used', say."""
    if parts.empty:
        return (
            f"{what}: fewer than two components, or images, of which it is known: whether they differ cannot be told."
        )
    of = parts.set_index("quantity")[["estimate", "low", "high"]]
    differ, views = int((table["p (Holm)"] < SIGNIFICANCE).sum()), len(table)
    told = {name: f"{row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})" for name, row in of.iterrows()}
    low, high = of.loc[DISPERSION, ["low", "high"]]
    verdict = "differ more than chance has them" if low > 1 else "are not known to differ"
    verdict = "differ less than chance has them" if high < 1 else verdict
    return (
        f"{what}: at {differ} of {views} views networks' rates differ (Cochran's Q, p below {SIGNIFICANCE} after "
        f"Holm's correction). In which of a class's views they favour, networks {verdict}: dispersion "
        f"{told[DISPERSION]}, 1 by chance. Of the variance of that, {told[BETWEEN]} lies between networks, the rest "
        f"between views; two networks' rates correlate at {told[ALIKE]} within classes."
    )
