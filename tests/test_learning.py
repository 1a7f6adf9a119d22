import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd_lib.learning import cumulative, curves, first_crossing, transitions

similarities = arrays(np.float64, (5, 8), elements=st.one_of(st.floats(-1, 1), st.just(np.nan)))


def test_first_crossing_by_hand():
    similarity = np.array([[0.1, 0.6, np.nan, np.nan], [0.5, 0.2, 0.4, np.nan], [0.9, 1.0, 0.5, np.nan]])
    np.testing.assert_array_equal(first_crossing(similarity, 0.5), [1, 0, 2, np.nan])
    np.testing.assert_array_equal(first_crossing(similarity, 1.0), [np.nan, 2, np.nan, np.nan])
    assert first_crossing([0.1, 0.9], 0.5) == 1


@given(similarities, st.floats(-1, 1))
def test_first_crossing_is_first(similarity, threshold):
    first = first_crossing(similarity, threshold)
    for values, epoch in zip(similarity.T, first, strict=True):
        reached = [e for e, value in enumerate(values) if value >= threshold]
        assert (np.isnan(epoch) and not reached) or epoch == reached[0]


@given(similarities, st.floats(-1, 1), st.floats(-1, 1))
def test_a_higher_threshold_is_never_reached_sooner(similarity, one, other):
    low, high = sorted((one, other))
    late = np.nan_to_num(first_crossing(similarity, high), nan=99)
    assert (np.nan_to_num(first_crossing(similarity, low), nan=99) <= late).all()


@pytest.mark.parametrize("threshold", [1.1, -2, np.nan, "high"])
def test_threshold_outside_its_range(threshold):
    with pytest.raises(ValueError, match="between -1 and 1"):
        first_crossing([0.1, 0.2], threshold)


@pytest.mark.parametrize("similarity", [[], 0.3, np.zeros((0, 4))])
def test_no_epochs(similarity):
    with pytest.raises(ValueError, match="at least one epoch"):
        first_crossing(similarity, 0.5)


def test_cumulative_by_hand():
    np.testing.assert_allclose(cumulative([0, 2, 2, np.nan], 4), [0.25, 0.25, 0.75, 0.75])


@given(similarities, st.floats(-1, 1))
def test_cumulative_rises_to_the_share_that_ever_crosses(similarity, threshold):
    first = first_crossing(similarity, threshold)
    curve = cumulative(first, 5)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(np.mean(~np.isnan(first)))
    assert curve[0] == pytest.approx(np.mean(similarity[0] >= threshold))


@pytest.mark.parametrize(("first", "epochs"), [([], 3), ([1.0], 0)])
def test_cumulative_of_nothing(first, epochs):
    with pytest.raises(ValueError, match="at least one of each"):
        cumulative(first, epochs)


def test_curves_split_on_and_off_target():
    similarity = np.zeros((3, 2, 2))  # two images of classes 0 and 1
    similarity[1:, 0, 0] = 1  # on target, at epoch 1
    similarity[2, 1, 0] = 1  # class 0 off target, at epoch 2
    frame = curves(similarity, [0, 1], 0.5, model="a")
    assert list(frame) == ["model", "on_target", "epoch", "share", "low", "high", "maps"]
    assert frame[frame.on_target].share.tolist() == [0, 0.5, 0.5]
    assert frame[~frame.on_target].share.tolist() == [0, 0, 0.5]
    each = curves(similarity, [0, 1], 0.5, model="a", per_class=True)
    assert each[(each.target == 0) & each.on_target].share.tolist() == [0, 1, 1]
    assert each[(each.target == 0) & ~each.on_target].share.tolist() == [0, 0, 1]
    assert each[each.target == 1].share.tolist() == [0] * 6
    assert (each.maps == 1).all()


def test_curves_are_cumulative_with_an_interval_by_image():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 10)
    similarity = rng.uniform(-1, 1, (6, 40, 4))
    frame = curves(similarity, labels, 0.3, model="b")
    off = frame[~frame.on_target]
    expected = cumulative(first_crossing(similarity, 0.3)[labels[:, None] != np.arange(4)], 6)
    np.testing.assert_allclose(off.share, expected)
    assert ((frame.low <= frame.share) & (frame.share <= frame.high)).all()
    assert (off.maps == 120).all()
    assert (frame[frame.on_target].maps == 40).all()


def test_a_class_without_images_has_no_curve_on_target():
    frame = curves(np.ones((2, 3, 3)), [0, 0, 1], 0.5, model="a", per_class=True)
    assert set(frame[frame.on_target].target) == {0, 1}
    assert set(frame[~frame.on_target].target) == {0, 1, 2}


@pytest.mark.parametrize(
    ("shape", "labels", "threshold", "message"),
    [
        ((3, 2), [0, 1], 0.5, "expected .E, N, K."),
        ((3, 2, 2), [0], 0.5, "one for each of the 2 images"),
        ((3, 2, 2), [0, 2], 0.5, "from 0 to 1"),
        ((3, 2, 2), [0, 1], 5, "between -1 and 1"),
    ],
)
def test_curves_refuse(shape, labels, threshold, message):
    with pytest.raises(ValueError, match=message):
        curves(np.zeros(shape), labels, threshold, model="a")


def test_one_bend_by_hand():
    # 0.1 an epoch up to epoch 8, then 0.01 an epoch: 0.8 at the bend, 0.92 at the end.
    curve = np.interp(np.arange(21), [0, 8, 20], [0, 0.8, 0.92])
    (row,) = transitions(curve).itertuples()
    assert row.onset == pytest.approx(8, abs=0.01)
    assert row.proportion_memorised == pytest.approx(0.12, abs=1e-3)
    assert row.slope_before == pytest.approx(0.1, abs=1e-3)
    assert row.slope_after == pytest.approx(0.01, abs=1e-3)


def test_a_second_transition():
    # Fast, slow, fast, slow: the bend at 24 where the slope rises again is no transition.
    curve = np.interp(np.arange(65), [0, 8, 24, 40, 64], [0, 0.6, 0.7, 0.95, 1])
    curve = curve + np.random.default_rng(0).normal(0, 0.004, 65)
    frame = transitions(curve)
    assert frame.onset.tolist() == pytest.approx([8, 40], abs=0.8)
    assert frame.proportion_memorised.tolist() == pytest.approx([0.4, 0.05], abs=0.03)


@pytest.mark.parametrize(
    "curve",
    [np.linspace(0, 1, 20), np.full(20, 0.3), np.interp(np.arange(20), [0, 10, 19], [0, 0.1, 1]), [0, 0.9, 1, 1, 1]],
    ids=["straight", "flat", "only rising slope", "too short"],
)
def test_no_transition(curve):
    frame = transitions(curve)
    assert frame.empty
    assert list(frame) == ["onset", "proportion_memorised", "slope_before", "slope_after"]


@settings(max_examples=10, deadline=None)
@given(st.integers(6, 24), st.floats(0.3, 0.9))
def test_finds_the_bend_wherever_it_is(bend, height):
    curve = np.interp(np.arange(31), [0, bend, 30], [0, height, height + 0.05])
    frame = transitions(curve)
    assert len(frame) == 1
    assert frame.onset[0] == pytest.approx(bend, abs=0.05)
    assert frame.proportion_memorised[0] == pytest.approx(0.05, abs=2e-3)


def test_epochs_set_the_unit():
    curve = np.interp(np.arange(21), [0, 8, 20], [0, 0.8, 0.92])
    frame = transitions(curve, epochs=np.arange(21) * 2 + 1)
    assert frame.onset[0] == pytest.approx(17, abs=0.02)
    assert frame.slope_before[0] == pytest.approx(0.05, abs=1e-3)


def test_the_same_every_time():
    curve = np.sort(np.random.default_rng(1).random(30))
    assert transitions(curve).equals(transitions(curve))


@pytest.mark.parametrize(
    ("curve", "epochs", "message"),
    [
        ([0.5], None, "at least two finite shares"),
        ([0.1, np.nan, 0.3], None, "at least two finite shares"),
        (np.zeros((2, 3)), None, "at least two finite shares"),
        ([0.1, 0.2], [0, 1, 2], "expected 2 increasing numbers"),
        ([0.1, 0.2], [1, 1], "expected 2 increasing numbers"),
    ],
)
def test_transitions_refuse(curve, epochs, message):
    with pytest.raises(ValueError, match=message):
        transitions(curve, epochs)
