import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.weightstats import DescrStatsW

from kd_lib.measures import piecewise
from kd_lib.measures.learning import (
    arrival_curves,
    arrivals,
    crossing_times,
    crossing_times_by_threshold,
    first_crossing,
    lasting_crossing,
    mean_onsets,
    onsets,
    over_networks,
)
from kd_lib.measures.statistics import interval

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
@pytest.mark.parametrize("crossing", [first_crossing, lasting_crossing])
def test_threshold_outside_its_range(crossing, threshold):
    with pytest.raises(ValueError, match="between -1 and 1"):
        crossing([0.1, 0.2], threshold)


@pytest.mark.parametrize("similarity", [[], 0.3, np.zeros((0, 4))])
@pytest.mark.parametrize("crossing", [first_crossing, lasting_crossing])
def test_no_epochs(crossing, similarity):
    with pytest.raises(ValueError, match="at least one epoch"):
        crossing(similarity, 0.5)


def test_lasting_crossing_by_hand():
    similarity = np.array(
        [[0.9, 0.6, 0.1, np.nan], [0.5, 0.2, 0.4, 0.9], [0.9, 1.0, np.nan, 0.9], [1.0, 1.0, 0.4, 1.0]]
    )
    np.testing.assert_array_equal(lasting_crossing(similarity, 0.5), [0, 2, np.nan, 1])
    np.testing.assert_array_equal(lasting_crossing(similarity, 0.95), [3, 2, np.nan, 3])
    assert lasting_crossing([0.1, 0.9], 0.5) == 1


@given(similarities, st.floats(-1, 1))
def test_lasting_crossing_is_the_start_of_the_last_run(similarity, threshold):
    lasting, first = lasting_crossing(similarity, threshold), first_crossing(similarity, threshold)
    assert (np.isnan(lasting) | (lasting >= first)).all()
    for values, epoch in zip(similarity.T, lasting, strict=True):
        if np.isnan(epoch):
            assert not values[-1] >= threshold
        else:
            assert (values[int(epoch) :] >= threshold).all()
            assert epoch == 0 or not values[int(epoch) - 1] >= threshold


@given(similarities, st.floats(-1, 1), st.floats(-1, 1))
def test_a_higher_threshold_never_lasts_from_sooner(similarity, one, other):
    low, high = sorted((one, other))
    late = np.nan_to_num(lasting_crossing(similarity, high), nan=99)
    assert (np.nan_to_num(lasting_crossing(similarity, low), nan=99) <= late).all()


SIMILARITY = np.zeros((3, 2, 2))  # two images of classes 0 and 1
SIMILARITY[-1] = 1
SIMILARITY[1:, 0, 0] = 1  # on target, at epoch 1
SIMILARITY[0, 1, 0] = 1  # class 0 off target: at epoch 0, but it falls back
SIMILARITY[:, 1, 1] = np.nan  # a constant map


def test_arrivals_by_hand():
    frame = arrivals({"a": SIMILARITY, "b": SIMILARITY[1:]}, [0, 1], 0.5)
    a = frame[frame.model == "a"]
    assert a[["image", "target", "on_target"]].to_numpy().tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 1, 1]]
    np.testing.assert_array_equal(a["first"], [1, 2, 0, np.nan])
    np.testing.assert_array_equal(a["lasting"], [1, 2, 2, np.nan])
    assert a["undefined"].tolist() == [False, False, False, True]
    assert frame.groupby("model")["epochs"].first().to_dict() == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("shape", "labels", "threshold", "message"),
    [
        ((3, 2), [0, 1], 0.5, "expected .E, N, K."),
        ((3, 2, 2), [0], 0.5, "one for each of the 2 images"),
        ((3, 2, 2), [0, 2], 0.5, "from 0 to 1"),
        ((3, 2, 2), [0, 1], 5, "between -1 and 1"),
    ],
)
def test_arrivals_refuse(shape, labels, threshold, message):
    with pytest.raises(ValueError, match=message):
        arrivals({"a": np.zeros(shape)}, labels, threshold)


def test_curves_by_hand():
    frame = arrivals({"a": SIMILARITY}, [0, 1], 0.5)
    first = arrival_curves(frame, by=["model", "on_target"])
    assert list(first) == ["model", "on_target", "crossing", "epoch", "share", "low", "high", "maps"]
    assert first[first.on_target].share.tolist() == [0, 0.5, 0.5]
    assert first[~first.on_target].share.tolist() == [0.5, 0.5, 1]
    lasting = arrival_curves(frame, by=["model", "on_target"], crossing="lasting")
    assert lasting[~lasting.on_target].share.tolist() == [0, 0, 1]
    each = arrival_curves(frame, by=["model", "target", "on_target"])
    assert each[(each.target == 0) & each.on_target].share.tolist() == [0, 1, 1]
    assert (each.maps == 1).all()
    assert each["low"].isna().all()  # one image says nothing of the spread


@pytest.fixture(scope="module")
def random():
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 10)
    similarity = {name: rng.uniform(-1, 1, (6, 40, 4)) for name in "abc"}
    for values in similarity.values():
        values[-1] = 1
    return similarity, labels, arrivals(similarity, labels, 0.3)


def test_curves_are_cumulative_with_an_interval_by_image(random):
    similarity, labels, frame = random
    found = arrival_curves(frame, by=["model", "on_target"])
    off = found[~found.on_target & (found.model == "b")]
    first = first_crossing(similarity["b"], 0.3)[labels[:, None] != np.arange(4)]
    np.testing.assert_allclose(off.share, [(first <= epoch).mean() for epoch in range(6)])
    assert ((found.low <= found.share) & (found.share <= found.high)).all()
    assert (off.maps == 120).all()
    peer = interval(first[:, None] <= np.arange(6), np.nonzero(labels[:, None] != np.arange(4))[0])
    np.testing.assert_allclose([off.low, off.high], [peer.low, peer.high], atol=0.01)


def test_a_class_without_images_has_no_curve_on_target():
    frame = arrivals({"a": np.ones((2, 3, 3))}, [0, 0, 1], 0.5)
    each = arrival_curves(frame, by=["model", "target", "on_target"])
    assert set(each[each.on_target].target) == {0, 1}
    assert set(each[~each.on_target].target) == {0, 1, 2}


def test_over_networks_is_a_t_interval(random):
    found = arrival_curves(random[2], by=["model", "on_target"])
    bands = over_networks(found, by=["on_target", "crossing"])
    row = bands[bands.on_target & (bands.epoch == 2)].iloc[0]
    shares = found[found.on_target & (found.epoch == 2)].share
    assert row[["low", "high"]].tolist() == pytest.approx(np.clip(DescrStatsW(shares).tconfint_mean(), 0, 1))
    assert (row.share, row.lowest, row.highest) == (shares.mean(), shares.min(), shares.max())
    assert row.networks == 3
    alone = over_networks(found[found.model == "a"], by=["on_target", "crossing"])
    assert alone[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("by", [["on_target"], ["model", "on_target"]])
def test_crossing_times_are_those_of_the_product_limit_estimator(random, by):
    # Networks watched for different times are censored at different ones.
    similarity, labels, _ = random
    similarity = similarity | {"c": similarity["c"][-3:]}
    frame = arrivals(similarity, labels, 0.8)
    found = crossing_times(frame, by=by, resamples=50)
    for row in found.to_dict("records"):
        group = frame[np.logical_and.reduce([frame[name] == row[name] for name in by])]
        last = group["epochs"] - 1
        arrived = group[row["crossing"]] < last
        peer = SurvfuncRight(np.where(arrived, group[row["crossing"]], last - 1), arrived).quantile(0.5)
        assert (np.isinf(row["median"]) and np.isnan(peer)) or row["median"] == peer
        assert row["censored"] == pytest.approx(1 - arrived.mean())
        assert row["share"] == pytest.approx((group[row["crossing"]] <= last // 2).mean())
        assert row["median_low"] <= row["median"] <= row["median_high"]
        assert row["censored_low"] <= row["censored"] <= row["censored_high"]


def test_a_map_that_arrives_with_the_last_epoch_is_censored():
    similarity = np.zeros((4, 5, 1))
    similarity[-1] = 1
    similarity[1:, :2] = 1
    row = crossing_times(arrivals({"a": similarity}, [0] * 5, 0.5), by=["model"]).iloc[0]
    assert row["censored"] == 0.6
    assert np.isinf(row["median"])
    assert row["undefined"] == 0
    similarity[1:, 2] = 1
    assert crossing_times(arrivals({"a": similarity}, [0] * 5, 0.5), by=["model"]).iloc[0]["median"] == 1
    constant = crossing_times(arrivals({"a": np.full((4, 5, 1), np.nan)}, [0] * 5, 0.5), by=["model"]).iloc[0]
    assert (constant["censored"], constant["undefined"], constant["share"]) == (1, 1, 0)


def test_the_interval_of_a_median_covers_it():
    rng, covered = np.random.default_rng(3), []
    true = 6  # the least epoch by which half of all maps have arrived, of P(T <= e) = 1 - exp(-(e + 1) / 9)
    for _ in range(60):
        time = np.floor(rng.exponential(9, 80))
        frame = pd.DataFrame({"model": "a", "image": np.arange(80), "first": time, "epochs": 30, "undefined": False})
        row = crossing_times(frame.assign(lasting=time), by=["model"], resamples=200).iloc[0]
        covered.append(row["median_low"] <= true <= row["median_high"])
    assert np.mean(covered) >= 0.9


def test_a_higher_threshold_lets_less_arrive(random):
    similarity, labels, _ = random
    frame = crossing_times_by_threshold(similarity, labels, [0.0, 0.3, 0.6, 0.9], resamples=20)
    for _, group in frame.groupby(["on_target", "crossing"]):
        assert group["share"].is_monotonic_decreasing
        assert group["median"].is_monotonic_increasing
        assert group["censored"].is_monotonic_increasing
    assert frame["threshold"].unique().tolist() == [0.0, 0.3, 0.6, 0.9]


def test_without_networks_every_frame_is_empty_and_has_its_columns():
    frame = arrivals({}, [], 0.5)
    assert list(arrival_curves(frame, by=["model"]))[:3] == ["model", "crossing", "epoch"]
    assert over_networks(arrival_curves(frame, by=["model"]), by=["crossing"]).empty
    assert "median" in crossing_times(frame, by=["model"])
    assert "censored" in crossing_times_by_threshold({}, [], [0.5])
    found, second = onsets(frame, by=["model"])
    assert "onset_low" in found
    assert "able" in second


def transitions(curve, epochs=None, *, images=10**6):
    return piecewise.transitions(np.asarray(curve)[None], images, epochs=epochs)[0][piecewise.TRANSITION]


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
    frame = transitions(curve, images=2000)
    assert frame.onset.tolist() == [8, 40]
    assert frame.proportion_memorised.tolist() == pytest.approx([0.4, 0.05])
    assert frame.distinct.tolist() == [False, True]


def test_a_gradual_bend_is_no_second_phase():
    frame = transitions(1 - np.exp(-np.arange(40) / 6))
    assert len(frame) > 1
    assert not frame.distinct.any()


def test_few_images_show_fewer_bends():
    curve = np.interp(np.arange(21), [0, 8, 20], [0, 0.6, 0.92])
    assert len(transitions(curve, images=1000)) == 1
    assert transitions(curve, images=5).empty


@pytest.mark.parametrize(
    "curve",
    [np.linspace(0, 1, 20), np.full(20, 0.3), np.interp(np.arange(20), [0, 10, 19], [0, 0.1, 1]), [0, 0.9, 1, 1, 1]],
    ids=["straight", "flat", "only rising slope", "too short"],
)
def test_no_transition(curve):
    frame = transitions(curve)
    assert frame.empty
    assert list(frame) == ["onset", "proportion_memorised", "slope_before", "slope_after", "distinct"]


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


def arriving(rng, images, epochs, knots, shares, *, model="a"):
    """Images of one class whose arrival times follow a piecewise-linear curve; those beyond the last epoch are late."""
    time = np.ceil(np.interp(rng.uniform(0, 1, images), shares, knots))
    return pd.DataFrame({"model": model, "image": np.arange(images), "first": time, "epochs": epochs})


def test_the_interval_of_an_onset_covers_the_true_one():
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        frame = arriving(rng, 150, 31, [0, 8, 40], [0, 0.8, 1])  # 0.0025 an epoch after the bend, 0.2 * 21 / 32 to come
        found.append(onsets(frame, by=["model"], resamples=100)[0].iloc[0])
    found = pd.DataFrame(found)
    assert ((found.onset_low <= 8) & (found.onset_high >= 8)).mean() >= 0.9
    truth = 0.2 * 21 / 32
    assert ((found.proportion_low <= truth) & (truth <= found.proportion_high)).mean() >= 0.8
    assert (found.support > 0.9).all()


def test_noise_is_rarely_taken_for_a_second_transition_and_a_clear_one_is_seen():
    rng = np.random.default_rng(1)
    alarms = [
        onsets(arriving(rng, 100, 65, [0, 12, 64], [0, 0.9, 1]), by=["model"], resamples=50)[1] for _ in range(30)
    ]
    assert pd.concat(alarms)["second"].mean() <= 0.1
    clear = arriving(rng, 200, 65, [0, 8, 24, 32, 64], [0, 0.5, 0.52, 0.95, 1])
    second = onsets(clear, by=["model"], resamples=50)[1].iloc[0]
    assert second["able"]
    assert second["second"]
    assert second["support"] > 0.9


def test_a_short_curve_is_not_able_to_show_a_second_transition():
    frame = arriving(np.random.default_rng(0), 50, 9, [0, 3, 9], [0, 0.8, 1])
    found, second = onsets(frame, by=["model"])
    assert second["able"].tolist() == [False]
    assert found["transition"].tolist() == list(range(1, len(found) + 1))
    assert onsets(frame.assign(epochs=2), by=["model"])[0].empty


def test_one_image_has_no_interval():
    frame = pd.DataFrame({"model": "a", "image": 0, "first": [0.0, 1, 1, 2, 9], "epochs": 12})
    found, second = onsets(frame, by=["model"])
    assert found[["onset_low", "support"]].isna().all(axis=None)
    assert second["support"].isna().all()


def test_the_bend_of_the_mean_curve_is_that_of_all_networks():
    rng = np.random.default_rng(0)
    similarity = {}
    for number, name in enumerate("abc"):  # most arrive by epoch 6, one network a little later; c has no bend
        early = rng.integers(0, 7 + number, size=300) if name != "c" else rng.integers(0, 24, size=300)
        first = np.where(rng.random(300) < 0.8, early, rng.integers(0, 24, size=300))
        similarity[name] = (np.arange(25)[:, None, None] >= first[None, :, None]).astype(float)
    frame = arrivals(similarity, np.zeros(300, dtype=int), 0.5).assign(**{"class": "one"})
    found = mean_onsets(frame, by=["class"]).iloc[0]
    assert found["networks"] == 3
    assert found["without"] == 1
    assert 5 <= found["onset"] <= 9
    assert found["onset_low"] <= found["onset"] <= found["onset_high"]
    alone = mean_onsets(frame[frame["model"] == "a"], by=["class"]).iloc[0]
    one = onsets(frame[frame["model"] == "a"], by=["class"])[0].iloc[0]
    assert alone[["onset", "onset_low", "onset_high"]].tolist() == one[["onset", "onset_low", "onset_high"]].tolist()
    none = mean_onsets(frame[frame["model"] == "c"], by=["class"]).iloc[0]
    assert np.isnan(none["onset"])
