"""How close networks' importances are to those of ensembles: by hand, held to scipy, and as a property."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr, spearmanr

from kd_lib.measures import importances
from kd_lib.measures.importances import EVERY
from kd_lib.measures.statistics import bootstrap_weights, crossed_interval, interval

VIEWS = 6


def drawn(seed=0, images=12):
    """Importances (N, K, V) of some networks, which views are present, and labels: two classes of three views."""
    rng = np.random.default_rng(seed)
    labels, present = np.arange(images) % 2, rng.random((images, VIEWS)) < 0.7
    present[:, :2] = present[:, 3:5] = True
    shared = rng.normal(size=(images, 2, VIEWS))
    every = [
        (shared + rng.normal(size=shared.shape) * spread) * present[:, None] for spread in (1, 1, 1, 0.3, 0.2, 0.1)
    ]
    return every, present, labels


def test_a_correlation_is_over_the_views_present():
    (a, b, *_), present, _ = drawn()
    found = importances.correlation(a, b, present)
    for n, k in np.ndindex(found.shape):
        there = present[n]
        assert found[n, k] == pytest.approx(pearsonr(a[n, k, there], b[n, k, there]).statistic)
    flat = np.where(present[:, None], 1.0, 0.0) * np.ones_like(a)
    assert np.isnan(importances.correlation(a, flat, present)).all()


def test_same_views_are_used_to_the_same_effect():
    a = np.array([[[2.0, 1.0, 0.5], [2.0, -1.0, 0.0]]])
    b = np.array([[[9.0, 9.0, 1.0], [2.0, 1.0, 0.0]]])
    assert importances.same_views(a, b).tolist() == [[1, 0]]  # for one class they use views 1 and 2, for the other not
    assert importances.same_views(a, b, view_share=0.9).tolist() == [[0, 1]]
    b[0, 1, 2] = np.nan
    np.testing.assert_array_equal(importances.same_views(a, b), [[1, np.nan]])


@settings(max_examples=50, deadline=None)
@given(arrays(float, (3, 2, 4), elements=st.integers(-8, 8).map(float)), st.floats(0.1, 10))
def test_a_network_is_like_itself_whatever_the_scale_of_its_logits(own, scale):
    present = np.ones((3, 4), dtype=bool)
    found = importances.correlation(own, own * scale, present)
    varies = np.ptp(own, axis=-1) > 0
    np.testing.assert_allclose(found[varies], 1)
    assert np.isnan(found[~varies]).all()
    assert (importances.same_views(own, own) == 1).all()
    other = own[::-1]
    both = importances.correlation(own, other, present), importances.correlation(other, own, present)
    np.testing.assert_allclose(*both)


def compared(students=3):
    every, present, labels = drawn()
    components, names = dict(zip("abc", every, strict=False)), ["distilled", "distilled-2", "distilled-3"][:students]
    others = [(name, "distilled", own) for name, own in zip(names, every[3:], strict=False)]
    return importances.to_the_rest(components, others, present, labels), components, every[3:], present, labels, names


def test_component_and_student_are_held_against_the_same_ensembles():
    found, components, students, present, labels, _ = compared()
    value = found.set_index(["what", "network", "quantity", "target", "image"])["value"]
    rests = {"a": (components["b"] + components["c"]) / 2, "b": (components["a"] + components["c"]) / 2}
    rests |= {"c": (components["a"] + components["b"]) / 2}
    n, own, other = 5, labels[5], 1 - labels[5]

    def r(x, y, k):
        return pearsonr(x[n, k, present[n]], y[n, k, present[n]]).statistic

    key = ("leave-one-out", "b", "correlation")
    assert value[*key, "on target", n] == pytest.approx(r(components["b"], rests["b"], own))
    assert value[*key, "off target", n] == pytest.approx(r(components["b"], rests["b"], other))
    expected = np.mean([r(students[0], rest, own) for rest in rests.values()])
    assert value["distilled", "distilled", "correlation", "on target", n] == pytest.approx(expected)
    same = np.mean([importances.same_views(students[1], rest)[n, own] for rest in rests.values()])
    assert value["distilled-2", "distilled-2", "same views", "on target", n] == same
    with pytest.raises(ValueError, match="at least two components"):
        importances.to_the_rest({"a": components["a"]}, [], present, labels)
    with pytest.raises(ValueError, match="images by views"):
        importances.correlation(components["a"], components["b"], present[:, :2])


def test_tables_hold_means_and_paired_differences_with_intervals_over_images():
    by_image, *_, names = compared()
    means = importances.table(by_image, {}).set_index(["what", "quantity", "target"])
    chosen = by_image[(by_image["quantity"] == "correlation") & (by_image["target"] == "off target")]
    wide = chosen.pivot_table(index="image", columns="what", values="value")
    row = means.loc[("leave-one-out", "correlation", "off target")]
    assert row[["mean", "low", "high"]].tolist() == pytest.approx(list(interval(wide["leave-one-out"])))
    assert row[["networks", "images"]].tolist() == [3, 12]
    gaps = importances.gaps(by_image, {}, names).set_index(["what", "less", "quantity", "target"])
    row = gaps.loc[("distilled-2", "leave-one-out", "correlation", "off target")]
    expected = interval(wide["distilled-2"] - wide["leave-one-out"])
    assert row[["difference", "low", "high"]].tolist() == pytest.approx(list(expected))
    assert 0 < row["p"] <= 1
    per_network = chosen.pivot(index=["what", "network"], columns="image", values="value")
    expected = crossed_interval(per_network.loc[names].to_numpy(), per_network.loc[["leave-one-out"]].to_numpy())
    row = gaps.loc[(EVERY, "leave-one-out", "correlation", "off target")]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx(list(expected))


def test_few_students_say_nothing_of_every_student_and_none_is_no_error():
    by_image, *_, names = compared(students=1)
    gaps = importances.gaps(by_image, {}, names)
    assert set(gaps["what"]) == {"distilled"}
    none = importances.gaps(by_image, {}, [])
    assert none.empty
    assert list(none.columns) == list(gaps.columns)
    assert "No distilled network" in importances.in_words(importances.table(by_image, {}), none)[0]


def test_view_by_view_is_the_mean_rank_correlation_over_the_images_that_show_the_view():
    rng = np.random.default_rng(4)
    labels, present = np.repeat([0, 1], 9), rng.random((18, 2)) < 0.8
    present[:4, 0] = False  # view 0 of class 0: five images; class 1: as drawn
    present[4:9, 0] = True
    present[9:, 1] = [True] * 4 + [False] * 5  # too few
    pairs = [(rng.normal(size=(18, 2)), rng.normal(size=(18, 2))) for _ in range(2)]
    found = importances.view_by_view(pairs, present, labels)
    weights = bootstrap_weights(18).astype(int)

    def mean(times):
        each = []
        for k, v in ((0, 0), (0, 1), (1, 0)):
            rows = np.repeat(np.arange(18), times * ((labels == k) & present[:, v]))
            each += [spearmanr(x[rows, v], y[rows, v]).statistic for x, y in pairs]
        return np.nanmean(each)

    assert found[0] == pytest.approx(mean(np.ones(18, dtype=int)))
    assert found[3] == pytest.approx(mean(weights[2]))
    assert np.isnan(importances.view_by_view(pairs, np.zeros((18, 2), dtype=bool), labels)).all()


def test_in_words_each_way():
    by_image, *_, names = compared()
    by_view = {"leave-one-out": np.linspace(0.1, 0.2, 1001), "distilled": np.linspace(0.5, 0.6, 1001)}
    means, gaps = importances.table(by_image, by_view), importances.gaps(by_image, by_view, names)
    assert importances.in_words(means, gaps)[-1] == (
        "view by view, on target: 0.500 for the distilled network and 0.100 for a left-out component, each with the "
        "same ensembles; the distilled network is closer: +0.400 (+0.400 to +0.400)."
    )
    for low, high, said in ((-0.2, -0.1, "is further"), (-0.1, 0.1, "not known to be closer or further")):
        assert said in importances.in_words(means, gaps.assign(low=low, high=high))[0]
