"""Whether networks differ in which views they use: counted by hand, held to statsmodels, and on simulated lotteries."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2, t
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
    assert row["p"] == row["p (Holm)"] == pytest.approx(chi2.sf(q, 2))
    assert (row["lowest"], row["rate"], row["highest"]) == pytest.approx((1 / 4, 7 / 12, 1))


def pair_of_views(first, second):
    """Two views of a class, seen in the same images."""
    return pd.concat([answers(first), answers(second, view=1)], ignore_index=True)


def test_one_pair_of_views_by_hand():
    first, second = np.array([[1, 0], [1, 0], [1, 1], [1, 0]]), np.array([[0, 1], [0, 1], [0, 0], [1, 1]])
    row = lottery.by_pair(pair_of_views(first, second), "used").iloc[0]
    # Rates 1 and 1/4, 1/4 and 3/4: differences 3/4 and -1/2. By image 1, 1, 1, 0 and -1, -1, 1, -1, each over 4.
    by_chance = (2 + 2 + 0 + 0.5) / 16
    spread = (3 / 4 + 1 / 2) ** 2 / 2
    assert row["dispersion"] == pytest.approx(spread / by_chance)
    assert row["of networks"] == pytest.approx((spread - by_chance) / 2)
    drawn = np.sum((np.array([0, 0, 1, -0.5]) - 1 / 8) ** 2) / (4 * 3)
    assert row["of views"] == pytest.approx(((1 / 8) ** 2 - drawn) / 2 - row["of networks"] / 2)


def test_chance_is_what_exchanging_networks_image_by_image_gives():
    rng = np.random.default_rng(5)
    used = rng.random((2, 5, 2)) < 0.5  # two views, five images, two networks
    expected = []
    for flips in np.ndindex(*[2] * 5):
        exchanged = np.where(np.array(flips)[:, None], used[:, :, ::-1], used).mean(1)
        expected.append((exchanged[0] - exchanged[1]).var(ddof=1))
    observed = (used[0].mean(0) - used[1].mean(0)).var(ddof=1)
    row = lottery.by_pair(pair_of_views(*used), "used").iloc[0]
    assert row["dispersion"] == pytest.approx(observed / np.mean(expected))


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
    assert table.loc[1, "p (Holm)"] == table.loc[1, "p"]  # the other counts for no test


@settings(max_examples=15, deadline=None)
@given(arrays(bool, st.tuples(st.just(2), st.integers(2, 8), st.integers(2, 5))))
def test_neither_test_knows_the_order_of_networks_and_images(used):
    for test in (lottery.by_view, lottery.by_pair):
        one, other = test(pair_of_views(*used), "used"), test(pair_of_views(*used[:, ::-1, ::-1]), "used")
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_between_networks_is_found(share):
    """Rates spread by views and by networks; images add noise, and networks like classes, that counts as neither."""
    rng, spread = np.random.default_rng(2), 0.12
    of_view, of_network = rng.normal(0, 1, (150, 1)), rng.normal(0, 1, (150, 6))
    of_class = 0.08 * np.repeat(rng.normal(0, 1, (50, 6)), 3, axis=0)
    rates = 0.5 + of_class + spread * (np.sqrt(1 - share) * of_view + np.sqrt(share) * of_network)
    frame = views_of(rates.clip(0, 1), 60, rng)
    found = lottery.summary(frame, "used").set_index("quantity")
    assert found.loc["share between networks", "estimate"] == pytest.approx(share, abs=0.1)
    low, high = found.loc["share between networks", ["low", "high"]]
    assert low - 0.02 <= share <= high + 0.02
    assert (found.loc["dispersion", "low"] > 1) == (share > 0)
    if share == 0:
        assert (lottery.by_view(frame, "used")["p (Holm)"] < 0.05).any()  # networks that like classes do differ


def said(frame):
    return lottery.in_words(lottery.by_view(frame, "used"), lottery.summary(frame, "used"), "used")


def test_in_words_each_way():
    rng = np.random.default_rng(3)
    turned, even = [[0.05, 0.95], [0.95, 0.05], [0.05, 0.95]], [[0.5, 0.5]] * 3
    differing, alike = (views_of(np.tile(rates, (10, 1)), 30, rng) for rates in (turned, even))
    assert "networks differ more than chance has them" in said(differing)
    assert "at 30 of 30 views networks' rates differ" in said(differing)
    assert "networks are not known to differ" in said(alike)
    turns = alike.assign(used=(alike["image"] + alike["view"] + alike["network"].eq("net 0")) % 2 == 0)  # just one does
    assert "networks differ less than chance has them" in said(turns)


@pytest.mark.parametrize("frame", [answers([[1], [0]]), answers(np.zeros((0, 2))), answers([[1, 0]])])
def test_too_little_to_tell(frame):
    assert lottery.summary(frame, "used").empty
    assert "cannot be told" in said(frame)


def test_the_interval_of_the_dispersion_is_students_over_classes():
    frame = views_of(np.full((9, 4), 0.5), 20, np.random.default_rng(6))
    by_class = lottery.by_pair(frame, "used").groupby("class")["dispersion"].mean()
    found = lottery.summary(frame, "used").set_index("quantity").loc["dispersion", ["estimate", "low", "high"]]
    half = t.ppf(0.975, 2) * by_class.std() / np.sqrt(3)
    assert found.tolist() == pytest.approx([by_class.mean(), by_class.mean() - half, by_class.mean() + half])
