"""RQ2: whether networks differ in which views they use or know, or some views are simply easier than others.

The multi-view theory (Allen-Zhu & Li, 2020) has it that chance decides, network by network, which of a class's views
are learnt. If so, a view's rate differs between networks; if the view decides, all networks have the same rate.
"""

import numpy as np
import pandas as pd
from statsmodels.stats.contingency_tables import cochrans_q

from kd_lib.measures import statistics

SIGNIFICANCE = 0.05  # of p corrected by Holm's method
DISPERSION, BETWEEN, ALIKE = "dispersion", "share between networks", "correlation of rates"  # quantities
BY_VIEW: tuple[str, ...] = ("class", "view", "images", "networks", "lowest", "rate", "highest", "Q", DISPERSION)
BY_VIEW += ("p", "p (Holm)", "between networks", "of images")
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
        and their mean); Q; dispersion (Q over its M - 1 degrees of freedom, 1 on average under the null); p; p (Holm)
        (corrected for the number of views); between networks (variance of the rate that lies between networks, less
        what chance within images gives: unbiased, so it can be below 0) and of images (variance of the mean rate that
        comes from having drawn these images). Q, dispersion and p are NaN where all networks agree on every image, and
        everything but the rates is with fewer than two networks.

    References
    ----------
    Cochran (1950), "The comparison of percentages in matched samples", Biometrika 37(3/4).
    """
    rows = []
    for key, group in answers.groupby(["class", "view"]):
        used = group.pivot(index="image", columns="network", values=value).dropna().to_numpy(dtype=float)
        images, networks = used.shape
        rates = used.mean(0) if images else np.full(networks, np.nan)
        numbers = [*key, images, networks, rates.min(), rates.mean(), rates.max()]
        q = p = between = of_images = np.nan
        if networks > 1 and images > 1:
            if (used != used[:, :1]).any():
                found = cochrans_q(used)
                q, p = found.statistic, found.pvalue
            between = rates.var(ddof=1) - used.var(axis=1, ddof=1).mean() / images
            of_images = used.mean(1).var(ddof=1) / images
        rows.append((*numbers, q, q / max(networks - 1, 1), p, np.nan, between, of_images))
    found = pd.DataFrame(rows, columns=list(BY_VIEW))
    return found.assign(**{"p (Holm)": statistics.holm(found["p"])})


def rates(answers: pd.DataFrame, value: str) -> pd.DataFrame:
    """Rate of `value` by view (rows, as of `by_view`) and network (columns); takes what `by_view` takes."""
    return answers.groupby(["class", "view", "network"])[value].mean().unstack("network")


def summary(answers: pd.DataFrame, value: str, *, seed: int = 0) -> pd.DataFrame:
    """How much of what networks do with views is the network's, and how much the view's.

    Takes what `by_view` takes, and draws whole classes with their views for 95 % intervals, since views of a class are
    seen in the same images. `seed` is of the draws.

    Gives the columns `SUMMARY`: 'dispersion' (mean of `by_view`'s, 1 if networks do not differ), 'share between
    networks' (variance of the rates between networks over that and the variance between views, both freed of what
    drawing images adds; 1 if all views are alike and each network draws its own, 0 if networks do not differ; a
    negative part counts as 0), 'correlation of rates' (Pearson, of two networks' rates over views, mean of pairs). NaN
    where it is not defined; no rows with fewer than two networks, or views that two images show.
    """
    networks, table = answers["network"].nunique(), by_view(answers, value)
    known = table["between networks"].notna().to_numpy()
    if not known.any():
        return pd.DataFrame(columns=list(SUMMARY))
    table, of_networks = table[known], rates(answers, value).to_numpy(dtype=float)[known]
    group, count = statistics.cluster_of(table["class"], len(table))
    numbers = table[[DISPERSION, "rate", "between networks", "of images"]].to_numpy(dtype=float)
    estimate = _of_views(numbers, of_networks)
    bounds = (np.full(len(estimate), np.nan),) * 2
    if count > 1:
        drawn = [
            np.repeat(np.arange(len(table)), own.astype(int)[group])
            for own in statistics.bootstrap_weights(count, seed=seed)
        ]
        draws = np.array([_of_views(numbers[rows], of_networks[rows]) for rows in drawn])
        bounds = tuple(zip(*(statistics.percentiles(own) for own in draws.T), strict=True))
    found = pd.DataFrame(
        {"quantity": (DISPERSION, BETWEEN, ALIKE), "estimate": estimate, "low": bounds[0], "high": bounds[1]}
    )
    return found.assign(views=len(table), networks=networks)


def _of_views(numbers: np.ndarray, of_networks: np.ndarray) -> np.ndarray:
    """Dispersion, share between networks and correlation of rates, of some views."""
    dispersion, rate, between, of_images = numbers.T
    known = dispersion[~np.isnan(dispersion)]
    of_network, networks = max(float(between.mean()), 0.0), of_networks.shape[1]
    of_view = max(float(rate.var(ddof=1) - of_images.mean() - of_network / networks), 0.0) if len(rate) > 1 else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.corrcoef(of_networks, rowvar=False)[np.triu_indices(networks, 1)]
        share = np.divide(of_network, of_network + of_view)
    alike = alike[~np.isnan(alike)]
    return np.array([known.mean() if len(known) else np.nan, share, alike.mean() if len(alike) else np.nan])


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
        f"{what}: networks {verdict} (Q over its degrees of freedom {told[DISPERSION]}; 1 by chance), and do at "
        f"{differ} of {views} views on their own (Cochran's Q, p below {SIGNIFICANCE} after Holm's correction). Of the "
        f"variance of the rates, {told[BETWEEN]} lies between networks, the rest between views; two networks' rates "
        f"correlate at {told[ALIKE]}."
    )
