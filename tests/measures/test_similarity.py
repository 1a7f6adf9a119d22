import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cosine as cosine_distance
from scipy.stats import pearsonr, spearmanr

from kd_lib.measures import similarity
from kd_lib.measures.similarity import check_threshold, compare, cosine, pairs_of_components, pearson, spearman, ssim

maps = arrays(np.float32, (2, 3, 4), elements=st.integers(-50, 50).map(lambda n: n / 8))


def test_by_hand():
    a, b = [[0, 1], [2, 3]], [[0, 1], [3, 2]]
    # deviations (-1.5, -.5, .5, 1.5) and (-1.5, -.5, 1.5, .5): 4 / 5; products 0 + 1 + 6 + 6 over squares 14
    assert pearson(a, b) == pytest.approx(0.8)
    assert cosine(a, b) == pytest.approx(13 / 14)


@given(maps, maps)
def test_equals_scipy(a, b):
    for row, (one, other) in enumerate(zip(a, b, strict=True)):
        if np.ptp(one) and np.ptp(other):
            expected = pearsonr(one.ravel().astype(float), other.ravel().astype(float))[0]
            assert pearson(a, b)[row] == pytest.approx(expected, abs=1e-12)
            expected = spearmanr(one.ravel(), other.ravel())[0]
            assert spearman(a, b)[row] == pytest.approx(expected, abs=1e-12)
        if one.any() and other.any():
            expected = 1 - cosine_distance(one.ravel().astype(float), other.ravel().astype(float))
            assert cosine(a, b)[row] == pytest.approx(expected, abs=1e-12)


@given(maps, maps)
def test_symmetric_and_bounded(a, b):
    for score in (pearson, cosine):
        np.testing.assert_array_equal(score(a, b), score(b, a))
        assert (np.abs(score(a, b)[~np.isnan(score(a, b))]) <= 1).all()


@given(maps, maps, st.floats(0.1, 10), st.integers(-5, 5))
def test_pearson_ignores_scale_and_shift_and_cosine_scale_only(a, b, scale, shift):
    a, b = a.astype(np.float64), b.astype(np.float64)
    np.testing.assert_allclose(pearson(a * scale, b), pearson(a, b), atol=1e-9)
    np.testing.assert_allclose(cosine(a * scale, b), cosine(a, b), atol=1e-9)
    np.testing.assert_allclose(pearson(a + shift, b), pearson(a, b), atol=1e-9)
    np.testing.assert_allclose(pearson(-a, b), -pearson(a, b), atol=1e-9)


def test_cosine_feels_a_shift():
    a, b = np.array([[1.0, -1.0]]), np.array([[-1.0, 1.0]])
    assert cosine(a, b) == pytest.approx(-1)
    assert cosine(a + 2, b + 2) == pytest.approx(6 / 10)


def test_undefined_maps_are_nan_without_a_warning(recwarn):
    ramp = np.arange(4.0).reshape(2, 2)
    tenth = np.full((2, 2), 0.1)
    assert np.isnan(pearson(tenth, ramp))
    assert np.isnan(pearson(np.full((5, 7), 0.1), np.arange(35.0).reshape(5, 7)))  # its computed mean is not 0.1
    assert np.isnan(pearson(np.zeros((2, 2)), ramp))
    assert np.isnan(cosine(np.zeros((2, 2)), ramp))
    assert cosine(tenth, ramp) == pytest.approx(6 / np.sqrt(4 * 14))
    for bad in (np.nan, np.inf):
        holed = ramp.copy()
        holed[0, 0] = bad
        assert np.isnan(pearson(holed, ramp))
        assert np.isnan(cosine(holed, ramp))
    assert not recwarn.list


def test_float32_maps_are_summed_in_float64():
    noise = np.random.default_rng(0).normal(size=(2, 32, 32))
    high = (1000 + noise).astype(np.float32)
    assert pearson(*high) == pytest.approx(pearsonr(*high.astype(np.float64).reshape(2, -1))[0], abs=1e-10)


@pytest.mark.parametrize("block", [1, 40, 2**16])
@pytest.mark.parametrize(
    ("lead_a", "lead_b"),
    [((), ()), ((5,), ()), ((3, 1), (1, 4)), ((2, 3, 4), (3, 4)), ((3, 4), (2, 1, 1)), ((0, 3), (3,))],
)
def test_broadcasts_the_same_in_blocks_of_any_size(monkeypatch, block, lead_a, lead_b):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(*lead_a, 3, 5)), rng.normal(size=(*lead_b, 3, 5))
    monkeypatch.setattr(similarity, "BLOCK", block)
    found = pearson(a, b)
    wide_a, wide_b = np.broadcast_arrays(a, b)
    expected = np.array(
        [pearsonr(p, q)[0] for p, q in zip(wide_a.reshape(-1, 15), wide_b.reshape(-1, 15), strict=True)]
    ).reshape(wide_a.shape[:-2])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_takes_tensors():
    a = torch.arange(6.0).reshape(2, 3)
    assert pearson(a, a * 2 + 1) == pytest.approx(1)


@pytest.mark.parametrize("score", [pearson, cosine])
@pytest.mark.parametrize(("a", "b"), [((4,), (4,)), ((2, 2), (2, 3)), ((3, 2, 2), (4, 2, 2))])
def test_shapes_that_do_not_match(score, a, b):
    with pytest.raises(ValueError, match="maps of shapes"):
        score(np.zeros(a), np.zeros(b))


def test_compare_is_one_row_a_map():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 2, 3, 4, 4))
    frame = compare(a, b, [2, 0], model="a", epoch=5, index=[70, 30])
    assert list(frame) == ["model", "epoch", "image", "target", "label", "on_target", "pearson", "cosine"]
    assert frame.image.tolist() == [70, 70, 70, 30, 30, 30]
    assert frame.target.tolist() == [0, 1, 2, 0, 1, 2]
    assert frame.label.tolist() == [2, 2, 2, 0, 0, 0]
    assert frame.on_target.tolist() == [False, False, True, True, False, False]
    assert (frame.model == "a").all()
    assert (frame.epoch == 5).all()
    row = frame[(frame.image == 30) & (frame.target == 1)].iloc[0]
    assert row.pearson == pytest.approx(pearsonr(a[1, 1].ravel(), b[1, 1].ravel())[0])
    assert compare(a, b, [2, 0]).image.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "labels", "index", "message"),
    [
        ((2, 3, 4), [0, 0], None, "expected the same"),
        ((2, 3, 4, 4), [0], None, "one for each of the 2 images"),
        ((2, 3, 4, 4), [0, 3], None, "from 0 to 2"),
        ((2, 3, 4, 4), [0, -1], None, "from 0 to 2"),
        ((2, 3, 4, 4), [0.0, 1.0], None, "whole numbers"),
        ((2, 3, 4, 4), [0, 1], [5], "index of shape"),
    ],
)
def test_compare_refuses(shape, labels, index, message):
    with pytest.raises(ValueError, match=message):
        compare(np.zeros(shape), np.zeros(shape), labels, index=index)


@settings(max_examples=30)
@given(st.floats(-1, 1))
def test_thresholds_within_the_range_pass(value):
    assert check_threshold(value) == value


@pytest.mark.parametrize("value", [1.01, -1.5, float("nan"), float("inf"), "0.5", None])
def test_thresholds_outside_do_not(value):
    with pytest.raises(ValueError, match="between -1 and 1"):
        check_threshold(value)


def test_spearman_heeds_order_alone_and_constant_maps_have_none():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 4, 4))
    np.testing.assert_allclose(spearman(np.exp(a), b), spearman(a, b))
    assert np.isnan(spearman(np.zeros((4, 4)), b[0]))
    assert np.isnan(spearman(np.where(a[0] > 1, np.nan, a[0]), b[0])) == (a[0] > 1).any()


def test_ssim_ignores_scale_and_tells_what_is_like_from_what_is_not():
    a, b = np.random.default_rng(0).normal(size=(2, 2, 3, 9, 9))
    found = ssim(a, b)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(ssim(a, a), 1)
    np.testing.assert_allclose(ssim(5 * a, 0.1 * b), found)
    assert (ssim(a, a + 0.1 * b) > found).all()
    assert np.isnan(ssim(np.zeros((9, 9)), b[0, 0]))
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(a[..., :6], b[..., :6])
    with pytest.raises(ValueError, match="expected the same"):
        ssim(a, b[0])


def test_pairs_of_components():
    maps = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 5))
    frame = pairs_of_components(maps, [1, 3], models="abc")
    assert list(frame) == ["model_a", "model_b", "image", "target", "label", "on_target", "pearson", "cosine"]
    assert len(frame) == 3 * 2 * 4
    assert list(zip(frame.model_a, frame.model_b, strict=True))[::8] == [("a", "b"), ("a", "c"), ("b", "c")]
    row = frame.query("model_a == 'b' and model_b == 'c' and image == 1 and target == 3").iloc[0]
    assert row.pearson == pytest.approx(pearson(maps[1, 1, 3], maps[2, 1, 3]))
    assert row.on_target


def test_pairs_of_components_take_a_name_each():
    with pytest.raises(ValueError, match="3 components and 2 names: expected one name each"):
        pairs_of_components(np.zeros((3, 2, 2, 3, 3)), [0, 1], models="ab")


@pytest.mark.parametrize("models", ["", "a"])
def test_fewer_than_two_components_are_no_pair(models):
    none = pairs_of_components(np.zeros((len(models), 2, 2, 3, 3)), [0, 1], models=models)
    some = pairs_of_components(np.zeros((2, 2, 2, 3, 3)), [0, 1], models="ab")
    assert none.empty
    assert none.dtypes.equals(some.dtypes)
