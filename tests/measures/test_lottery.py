"""Whether networks differ in which views they use: counted by hand, held to statsmodels, and on simulated lotteries."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2
from statsmodels.stats.contingency_tables import mcnemar

from kd_lib.measures import lottery


def answers(used, view=0, label=0):
    """A row a network (column) and image (row) that shows a view."""
    images, networks = np.indices(np.shape(used)).reshape(2, -1)
    columns = {"network": [f"net {n}" for n in networks], "image": images, "class": label, "view": view}
    return pd.DataFrame(columns | {"used": np.ravel(used).astype(bool)})


def views_of(rates, images, rng):
    """Views of classes of three, used at the rates (W, M)."""
    draws = [rng.random((images, len(own))) < own for own in rates]
    return pd.concat([answers(own, view=w % 3, label=w // 3) for w, own in enumerate(draws)], ignore_index=True)


def test_one_view_by_hand():
    row = lottery.by_view(answers([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]]), "used").iloc[0]
    # Networks use it 4, 2 and 1 times, images are used by 1, 2, 1 and 3 networks.
    q = 2 * (3 * (16 + 4 + 1) - 49) / (3 * 7 - (1 + 4 + 1 + 9))
    assert row["Q"] == pytest.approx(q)
    assert row["dispersion"] == pytest.approx(q / 2)
    assert row["p"] == row["p (Holm)"] == pytest.approx(chi2.sf(q, 2))
    assert (row["lowest"], row["rate"], row["highest"]) == pytest.approx((1 / 4, 7 / 12, 1))
    within = np.mean([1 / 3, 1 / 3, 1 / 3, 0])
    assert row["between networks"] == pytest.approx(np.var([1, 0.5, 0.25], ddof=1) - within / 4)
    assert row["of images"] == pytest.approx(np.var([1 / 3, 2 / 3, 1 / 3, 1], ddof=1) / 4)


def test_two_networks_are_mcnemars_test():
    used = np.random.default_rng(0).random((40, 2)) < [0.3, 0.6]
    (a, b), (c, d) = [[np.sum((used[:, 0] == i) & (used[:, 1] == j)) for j in (True, False)] for i in (True, False)]
    theirs = mcnemar([[a, b], [c, d]], exact=False, correction=False)
    row = lottery.by_view(answers(used), "used").iloc[0]
    assert (row["Q"], row["p"]) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_where_networks_agree_on_every_image_there_is_nothing_to_test():
    frame = pd.concat([answers([[1, 1], [0, 0]]), answers([[1, 0], [1, 0], [1, 0]], view=1)])
    table = lottery.by_view(frame, "used").set_index("view")
    assert table.loc[0, ["Q", "p", "p (Holm)"]].isna().all()
    assert table.loc[0, "between networks"] == 0
    assert table.loc[1, "p (Holm)"] == table.loc[1, "p"]  # the other counts for no test


@settings(max_examples=25, deadline=None)
@given(arrays(bool, st.tuples(st.integers(2, 8), st.integers(2, 5))))
def test_dispersion_is_the_variance_between_networks_over_that_of_chance(used):
    row = lottery.by_view(answers(used), "used").iloc[0]
    by_chance = used.var(axis=1, ddof=1).mean() / len(used)
    if by_chance:
        assert row["between networks"] == pytest.approx((row["dispersion"] - 1) * by_chance)
        assert row["p"] == pytest.approx(chi2.sf(row["Q"], used.shape[1] - 1))
    shuffled = lottery.by_view(answers(used[::-1, ::-1]), "used").iloc[0]
    pd.testing.assert_series_equal(row, shuffled)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_between_networks_is_found(share):
    """Rates spread by views and by networks; images add noise that counts as neither."""
    rng, spread = np.random.default_rng(2), 0.15
    of_view, of_network = rng.normal(0, 1, (150, 1)), rng.normal(0, 1, (150, 6))
    rates = 0.5 + spread * (np.sqrt(1 - share) * of_view + np.sqrt(share) * of_network)
    found = lottery.summary(views_of(rates.clip(0, 1), 60, rng), "used").set_index("quantity")
    assert found.loc["share between networks", "estimate"] == pytest.approx(share, abs=0.08)
    low, high = found.loc["share between networks", ["low", "high"]]
    assert low - 0.02 <= share <= high + 0.02
    assert (found.loc["dispersion", "low"] > 1) == (share > 0)
    if share == 1:
        assert abs(found.loc["correlation of rates", "estimate"]) < 0.1


def said(frame):
    return lottery.in_words(lottery.by_view(frame, "used"), lottery.summary(frame, "used"), "used")


def test_in_words_each_way():
    rng = np.random.default_rng(3)
    differing, alike = (views_of(np.tile(rates, (12, 1)), 30, rng) for rates in ([0.05, 0.95], [0.5, 0.5]))
    assert "networks differ more than chance has them" in said(differing)
    assert "and do at 12 of 12 views" in said(differing)
    assert "networks are not known to differ" in said(alike)
    turns = alike.assign(used=(alike["image"] + alike["network"].eq("net 0")) % 2 == 0)  # each time just one does
    assert "networks differ less than chance has them" in said(turns)


@pytest.mark.parametrize("frame", [answers([[1], [0]]), answers(np.zeros((0, 2))), answers([[1, 0]])])
def test_too_little_to_tell(frame):
    table, parts = lottery.by_view(frame, "used"), lottery.summary(frame, "used")
    assert parts.empty
    assert table["Q"].isna().all()
    assert "cannot be told" in said(frame)
