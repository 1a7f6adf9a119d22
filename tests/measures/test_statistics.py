import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, spearmanr, t, ttest_1samp

from kd_lib.measures.statistics import (
    bootstrap_weights,
    cluster_of,
    crossed_interval,
    holm,
    interval,
    interval_table,
    percentiles,
    quantiles,
    resampled_rank_correlations,
    share,
    share_of_gain,
    sign_flip_test,
    standardised,
)


def test_weights_draw_as_many_clusters_as_there_are():
    weights = bootstrap_weights(7, resamples=50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(7, resamples=50, seed=3))
    assert (weights != bootstrap_weights(7, resamples=50, seed=4)).any()


def test_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=80)
    ours = interval(values, resamples=20_000)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert ours.estimate == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_clusters_agree_with_scipy_on_sums_and_sizes():
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 30, 300)
    values = rng.normal(size=30)[clusters] + 0.1 * rng.normal(size=300)
    sums, sizes = np.bincount(clusters, values), np.bincount(clusters).astype(float)
    theirs = bootstrap(
        (sums, sizes),
        lambda s, n, axis: s.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=2,
    ).confidence_interval
    ours = interval(values, clusters, resamples=20_000)
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)
    assert ours.high - ours.low > 2 * np.diff(interval(values)[1:])[0]  # rows of a cluster are not independent


def test_repeating_every_row_of_a_cluster_tells_nothing_new():
    values = np.random.default_rng(2).normal(size=40)
    once = interval(values)
    thrice = interval(np.repeat(values, 3), np.repeat(np.arange(40), 3))
    np.testing.assert_allclose(thrice, once)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_a_share_stays_within_its_range(values):
    share, low, high = interval(values, resamples=200)
    assert share == pytest.approx(np.mean(values))
    assert 0 <= low <= high <= 1
    if len(set(values)) == 1:
        assert low == high == share


def test_columns_are_the_same_as_one_by_one():
    values = np.random.default_rng(3).normal(size=(50, 4))
    clusters = np.arange(50) // 5
    together = interval(values, clusters)
    for column in range(4):
        np.testing.assert_allclose([part[column] for part in together], interval(values[:, column], clusters))


def test_clusters_of_unequal_size():
    clusters = np.repeat(np.arange(6), [1, 1, 1, 1, 1, 20])
    assert interval(np.ones(25), clusters) == (1, 1, 1)
    share, low, high = interval(clusters == 5, clusters)
    assert share == 0.8
    assert low == 0  # a sample without the large cluster
    assert high < 1


def test_names_of_clusters_do_not_matter():
    values = np.arange(6.0)
    assert interval(values, ["b", "b", "a", "a", "c", "c"]) == interval(values, [1, 1, 0, 0, 2, 2])
    group, count = cluster_of(["b", "a", "b"], 3)
    assert group.tolist() == [1, 0, 1]
    assert count == 2


def test_more_confidence_is_wider():
    values = np.random.default_rng(4).normal(size=60)
    _, low, high = interval(values, confidence=0.99)
    _, inner_low, inner_high = interval(values, confidence=0.8)
    assert low < inner_low < inner_high < high


def test_one_cluster_tells_nothing_of_the_spread():
    found = interval([1.0, 2.0], ["x", "x"])
    assert found.estimate == 1.5
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert interval(np.ones((2, 3)), [0, 0]).low.shape == (3,)


@pytest.mark.parametrize(("images", "coverage"), [(30, 0.925), (100, 0.94)])
def test_intervals_cover_at_their_nominal_rate(images, coverage):
    """Maps of one image share its effect; with few images a percentile interval is known to be a little narrow."""
    rng, maps, trials = np.random.default_rng(5), 10, 1000
    clusters = np.repeat(np.arange(images), maps)
    covered = 0
    for trial in range(trials):
        own, shared = rng.random((images, maps)), rng.random((images, 1))
        reached = own < 0.3 + 0.5 * (shared < 0.4)  # 0.3 + 0.5 * 0.4 = 0.5 of them in the long run
        _, low, high = interval(reached.ravel(), clusters, resamples=400, seed=trial)
        covered += low <= 0.5 <= high
    noise = 3 * np.sqrt(0.95 * 0.05 / trials)
    assert coverage - noise < covered / trials < 0.95 + noise


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one row"),
        (1.0, {}, "at least one row"),
        ([1.0, np.nan], {}, "1 of 2 values are not finite"),
        ([1.0, 2.0], {"clusters": [1]}, "one for each of the 2 rows"),
        ([1.0, 2.0], {"confidence": 95}, "confidence 95"),
        ([1.0, 2.0], {"resamples": 0}, "resamples 0"),
    ],
)
def test_refuses(values, options, message):
    with pytest.raises(ValueError, match=message):
        interval(values, **options)


def test_quantiles_by_hand():
    frame = pd.DataFrame({"kind": ["z"] * 6 + ["a"], "v": [0.0, 1, 2, 3, 4, np.nan, 7]})
    found = quantiles(frame, "v", by=["kind"])
    assert list(found) == ["kind", "q05", "q25", "q50", "q75", "q95"]
    assert found.set_index("kind").loc["z"].tolist() == pytest.approx([0.2, 1, 2, 3, 3.8])
    assert found.set_index("kind").loc["a"].tolist() == [7] * 5


def test_all_sign_flips_are_tried_where_they_are_few():
    assert sign_flip_test([1.0, 2.0, 3.0, 4.0]) == pytest.approx(2 / 16)  # only all plus and all minus reach the mean
    assert sign_flip_test([1.0, -1.0]) == 1
    assert np.isnan(sign_flip_test([1.0]))


def test_sign_flips_agree_with_the_t_test_on_normal_differences():
    differences = np.random.default_rng(6).normal(0.25, 1, 80)
    assert sign_flip_test(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert sign_flip_test(differences) == sign_flip_test(differences)
    assert sign_flip_test(differences) == pytest.approx(sign_flip_test(-differences), abs=0.005)


def test_sign_flips_of_many_agree_with_the_t_test():
    differences = np.random.default_rng(6).normal(0.02, 1, 2003)
    assert sign_flip_test(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.02)
    assert sign_flip_test(differences) == pytest.approx(sign_flip_test(-differences), abs=0.02)
    assert sign_flip_test(np.repeat([0.0, 1.0], [3000, 8])) == pytest.approx(2 / 256, abs=0.003)  # zeros do not count


def test_p_values_are_true_to_size():
    rng = np.random.default_rng(7)
    rejected = [sign_flip_test(rng.exponential(size=(2, 9)).T @ [1, -1]) <= 0.05 for _ in range(400)]
    assert 0.01 < np.mean(rejected) < 0.09


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03 times 3, 2, 1, none below the one before.
    np.testing.assert_allclose(holm([0.02, 0.01, np.nan, 0.03]), [0.04, 0.03, np.nan, 0.04])
    assert np.isnan(holm([np.nan])).all()


def test_effect_size_by_hand():
    assert standardised([1, 2, 3]) == 2
    assert np.isnan(standardised([1, 1]))
    assert np.isnan(standardised([1]))


def test_a_table_of_intervals_is_text():
    frame = pd.DataFrame({"net": ["a", "a", "b"], "image": [0, 1, 0], "x": [1.0, 1.0, np.nan], "y": [0.0, 0.0, 2.0]})
    found = interval_table(frame, ["x", "y"], by="net", clusters="image")
    assert found.loc["a"].tolist() == ["1.000 (1.000–1.000)", "0.000 (0.000–0.000)"]
    assert found.loc["b"].tolist() == ["–", "2.000"]


def test_percentiles_are_interpolated_or_values_that_occur():
    assert percentiles(np.arange(1000.0)) == pytest.approx((24.975, 974.025))
    assert percentiles(np.arange(1000.0), outward=True) == (24, 975)
    assert percentiles([1, 2, np.inf], outward=True) == (1, np.inf)
    assert percentiles([3, np.nan, 1], levels=(0.5, 1)) == (2, 3)
    assert np.isnan([percentiles([]), percentiles([np.nan], outward=True)]).all()


@pytest.mark.parametrize("values", [9, 2])
def test_ranks_of_resamples_are_those_of_the_images_drawn(values):
    rng = np.random.default_rng(3)
    x, y = rng.integers(values, size=12), rng.normal(size=12)
    drawn = resampled_rank_correlations(x[None], y[None], resamples=20)[0]
    for own, found in zip(bootstrap_weights(12, resamples=20).astype(int), drawn, strict=True):
        assert found == pytest.approx(spearmanr(np.repeat(x, own), np.repeat(y, own)).statistic, nan_ok=True)


def test_an_interval_over_networks_and_images_by_hand():
    values = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 7.0]])  # means 1.5, 2.5, 5 and 2, 4
    found = crossed_interval(values)
    residuals = values - [[1.5], [2.5], [5]] - np.array([2, 4]) + 3
    parts = np.array([np.var([1.5, 2.5, 5], ddof=1) / 3, np.var([2, 4], ddof=1) / 2])
    variance = parts.sum() - (residuals**2).sum() / 2 / 6
    freedom = parts.sum() ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    half = t.ppf(0.975, freedom) * np.sqrt(variance)
    np.testing.assert_allclose(found, [3, 3 - half, 3 + half])
    shifted = crossed_interval(values + 1, np.ones((3, 2)))
    np.testing.assert_allclose(shifted.estimate, 3)
    assert np.isnan(crossed_interval(values[:2]).low)


@pytest.mark.parametrize("spread", [0.0, 0.05, 0.3])
def test_an_interval_over_networks_and_images_covers_both(spread):
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        image = rng.normal(0, 0.3, 200)
        networks = [image + rng.normal(0, spread, (n, 1)) + rng.normal(0, 0.3, (n, 200)) for n in (5, 10)]
        found = crossed_interval(*networks)
        hits += found.low <= 0 <= found.high
    assert 0.92 <= hits / 400 <= 0.99
    if spread == 0.3:  # an interval over images alone is far too narrow
        assert found.high - found.low > 4 * np.ptp(interval(networks[0].mean(0) - networks[1].mean(0))[1:])


def test_a_share_of_a_gain_has_fiellers_interval():
    rng = np.random.default_rng(1)
    gain, whole = rng.normal(0.4, 1, 300), rng.normal(1, 1, 300)
    found = share_of_gain(gain[None], np.zeros((1, 300)), whole)
    a, b, limit = gain.mean(), whole.mean(), t.ppf(0.975, 299) ** 2 / 300
    (aa, ab), (_, bb) = np.cov(gain, whole)
    roots = np.roots([b**2 - limit * bb, -2 * (a * b - limit * ab), a**2 - limit * aa])  # Fieller (1954), one sample
    np.testing.assert_allclose(found, [a / b, *sorted(roots)], atol=2e-6)
    shifted = share_of_gain(gain[None] + 3, np.full((2, 300), 3.0), whole + 3)
    np.testing.assert_allclose(shifted, found, atol=2e-6)


def test_a_share_of_no_gain_has_no_bounds():
    noise = np.random.default_rng(0).normal(size=(3, 40))
    for whole in (noise[2], np.zeros(40), noise[2] - 5):
        found = share_of_gain(noise[:1], noise[1:2] * 0, whole)
        assert np.isnan([found.low, found.high]).all()


def test_a_share_of_a_gain_covers_students_components_and_images():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(250):
        image = rng.normal(0, 0.3, 200)
        spreads = ((5, 0.4, 0.1), (10, 0.0, 0.1), (1, 1.0, 0.0))  # how many, mean, spread between networks
        values, less, whole = (
            image + mean + rng.normal(0, spread, (n, 1)) + rng.normal(0, 0.3, (n, 200)) for n, mean, spread in spreads
        )
        found = share_of_gain(values, less, whole[0])
        hits += found.low <= 0.4 <= found.high
    assert 0.92 <= hits / 250 <= 0.99


def test_a_share_of_all_or_none_has_an_exact_interval():
    found = share(np.ones(200, bool))
    assert found == pytest.approx((1.0, 0.025 ** (1 / 200), 1.0))
    none = share(np.zeros(40, bool), np.repeat(np.arange(20), 2))  # as many as there are images, not rows
    assert none == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 20)))
    some = np.arange(10) < 4
    assert share(some) == interval(some)
    assert np.isnan(share([True, True], [0, 0]).low)
