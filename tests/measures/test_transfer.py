import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd_lib.measures.similarity import pearson
from kd_lib.measures.transfer import (
    BESIDE_OTHERS,
    STRANGERS,
    TEACHERS,
    contrasts,
    gain,
    gain_by_scale,
    leave_one_out,
    own_part,
    shares_above,
    shares_by_threshold,
    to_ensemble,
    to_halves,
)


def test_leave_one_out_by_hand():
    np.testing.assert_array_equal(leave_one_out([[1.0, 0.0], [2.0, 3.0], [6.0, 9.0]]), [[4, 6], [3.5, 4.5], [1.5, 1.5]])
    np.testing.assert_array_equal(leave_one_out([1, 2]), [2, 1])


@given(arrays(np.float32, (4, 3), elements=st.floats(-100, 100, width=32)))
def test_leave_one_out_sums(logits):
    others = leave_one_out(logits)
    assert others.dtype == np.float32
    np.testing.assert_allclose(others.mean(0), logits.mean(0), atol=1e-4)  # the mean of the ensembles is the ensemble
    for left_out in range(4):
        np.testing.assert_allclose(others[left_out], np.delete(logits, left_out, 0).mean(0), atol=1e-4)


@pytest.mark.parametrize("logits", [[[1.0, 2.0]], [], 3.0])
def test_leave_one_out_of_one(logits):
    with pytest.raises(ValueError, match="at least two components"):
        leave_one_out(logits)


def as_maps(outputs):
    """Fall of each class's output at each of 2 x 3 windows."""
    return np.moveaxis(outputs[:, :1] - outputs[:, 1:], 1, -1).reshape(len(outputs), -1, 2, 3)


def compared(components, labels, *outsiders):
    """Compare components by name, a, b and so on, and kinds and outputs of outsiders, with the ensemble."""
    outside = [(kind, name, as_maps(outputs), *(left_out or [None])) for kind, name, outputs, *left_out in outsiders]
    own, rests = (
        dict(zip("abcd", map(as_maps, each), strict=False)) for each in (components, leave_one_out(components))
    )
    return to_ensemble(own, as_maps(components.mean(0)), rests, labels, outsiders=outside)


def test_to_ensemble():
    rng = np.random.default_rng(0)
    components, distilled = rng.normal(size=(3, 2, 7, 4)), rng.normal(size=(2, 7, 4))
    outsiders = [(kind, kind, distilled) for kind in ("distilled", "ricap")]
    frame = compared(components, [3, 0], *outsiders, ("other", "x", distilled), ("self", "y", distilled, "b"))
    assert list(frame) == ["kind", "model", "image", "target", "label", "on_target", "pearson", "cosine"]
    counts = frame.groupby("kind").size()
    assert counts.to_dict() == {"component": 24, "leave-one-out": 24, "distilled": 8, "ricap": 8, "other": 8, "self": 8}
    ensemble = as_maps(components.mean(0))

    def score(kind, model):
        return frame[(frame.kind == kind) & (frame.model == model)].pearson.to_numpy().reshape(2, 4)

    np.testing.assert_allclose(score("component", "b"), pearson(as_maps(components[1]), ensemble))
    rest = as_maps(components[[0, 2]].mean(0))
    np.testing.assert_allclose(score("leave-one-out", "b"), pearson(as_maps(components[1]), rest))
    np.testing.assert_allclose(score("distilled", "distilled"), pearson(as_maps(distilled), ensemble))
    np.testing.assert_allclose(score("self", "y"), pearson(as_maps(distilled), rest))  # taught by b alone
    assert frame.groupby("kind").on_target.mean().tolist() == [0.25] * 6
    for kind, model in (("ricap", "ricap"), ("other", "x")):
        np.testing.assert_array_equal(score(kind, model), score("distilled", "distilled"))


def test_independent_components_look_alike_only_through_themselves():
    rng = np.random.default_rng(1)
    components = rng.normal(size=(4, 50, 7, 4))
    frame = compared(components, rng.integers(0, 4, 50), ("distilled", "distilled", components.mean(0)))
    means = frame.groupby("kind").pearson.mean()
    assert means["component"] > 0.4
    assert abs(means["leave-one-out"]) < 0.1
    assert means["distilled"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("names", "rests", "ensemble", "message"),
    [
        ("ab", "ab", (2, 4, 2, 2), "expected the same .N, K, H, W. twice"),
        ("ab", "ab", (2, 3, 2), "expected the same .N, K, H, W. twice"),
        ("ab", "abc", (2, 3, 2, 2), "components a, b and ensembles without a, b, c: names differ"),
        ("a", "a", (2, 3, 2, 2), "at least two components"),
    ],
)
def test_to_ensemble_refuses(names, rests, ensemble, message):
    maps = np.zeros((2, 3, 2, 2))
    with pytest.raises(ValueError, match=message):
        to_ensemble(dict.fromkeys(names, maps), np.zeros(ensemble), dict.fromkeys(rests, maps), [0, 1])


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "kind": ["x", "x", "x", "x", "b", "b"],
            "on_target": [True, True, False, False, True, True],
            "image": [0, 1, 0, 1, 0, 1],
            "pearson": [0.9, 0.53, 0.1, np.nan, 0.6, 0.7],
            "cosine": [0.1] * 6,
        }
    )


def test_shares_by_hand(frame):
    found = shares_above(frame, 0.53, by=["kind", "on_target"])
    assert list(found) == ["kind", "on_target", "share", "low", "high", "maps", "images", "undefined"]
    assert found.kind.tolist() == ["x", "x", "b"]
    assert found.share.tolist() == [1, 0, 1]
    assert found.undefined.tolist() == [0, 1, 0]
    assert found.maps.tolist() == found.images.tolist() == [2, 2, 2]
    few = 0.025 ** (1 / 2)  # two images, all or none of which reach it
    assert found.low.tolist() == pytest.approx([few, 0, few])
    assert found.high.tolist() == pytest.approx([1, 1 - few, 1])
    assert shares_above(frame, 0.65, by="kind").share.tolist() == [0.25, 0.5]
    assert shares_above(frame, 0.05, by="kind", similarity="cosine").share.tolist() == [1, 1]


def test_shares_draw_whole_images():
    rng = np.random.default_rng(2)
    high = np.repeat(rng.random(100) < 0.5, 9)  # the nine maps of an image agree
    rows = pd.DataFrame({"kind": "x", "image": np.repeat(np.arange(100), 9), "pearson": high.astype(float)})
    by_image = shares_above(rows, 0.5, by="kind").iloc[0]
    by_row = shares_above(rows.assign(image=np.arange(900)), 0.5, by="kind").iloc[0]
    assert by_image.high - by_image.low > 2.5 * (by_row.high - by_row.low)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_higher_threshold_never_gives_a_higher_share(one, other):
    low, high = sorted((one, other))
    rows = pd.DataFrame({"kind": "x", "image": range(20), "pearson": np.linspace(-1, 1, 20)})
    assert shares_above(rows, low, by="kind").share[0] >= shares_above(rows, high, by="kind").share[0]


@pytest.mark.parametrize(
    ("threshold", "by", "message"),
    [
        (1.5, "kind", "between -1 and 1"),
        (np.nan, "kind", "between -1 and 1"),
        (0.5, "model", "columns model are missing"),
        (0.5, [], "by is empty: expected at least one column"),
    ],
)
def test_shares_refuse(frame, threshold, by, message):
    with pytest.raises(ValueError, match=message):
        shares_above(frame, threshold, by=by)


def test_shares_of_nothing(frame):
    none = shares_above(frame[:0], 0.5, by="kind")
    assert len(none) == 0
    assert list(none) == list(shares_above(frame, 0.5, by="kind"))


def test_without_a_distilled_network_there_is_no_gain():
    without = compared(np.random.default_rng(0).normal(size=(2, 3, 7, 4)), np.zeros(3, int))
    assert set(without.kind) == {"component", "leave-one-out"}
    assert gain(without.assign(target="all")).empty


def test_gain_by_hand():
    rows = [("component", "a", 0.5), ("component", "b", 0.7), ("leave-one-out", "a", 0.4), ("leave-one-out", "b", 0.4)]
    rows += [("distilled", "distilled", 0.9), (BESIDE_OTHERS, "distilled", 0.7), (BESIDE_OTHERS, "distilled", 0.9)]
    frame = pd.DataFrame(
        [(kind, model, image, value + image / 10) for kind, model, value in rows for image in (0, 1)],
        columns=["kind", "model", "image", "pearson"],
    ).assign(target="own class")
    found = gain(frame).set_index("distilled less")
    assert found.difference.to_dict() == pytest.approx({"component": 0.3, "leave-one-out": 0.4})
    assert found.low.to_numpy() == pytest.approx([0.3, 0.4])  # the same difference in both images
    assert found.images.tolist() == [2, 2]
    assert found["p"].tolist() == [1 / 2, 1 / 2]  # two images: both differences up, or both down, of four ways
    assert found["p (Holm)"].tolist() == [1, 1]
    undefined = frame.assign(pearson=frame.pearson.where((frame.model != "distilled") | (frame.image == 0)))
    assert gain(undefined).images.tolist() == [1, 1]


def test_a_sweep_counts_at_every_threshold():
    frame = pd.DataFrame({"kind": "x", "target": "y", "pearson": [0.0, 0.5, 0.5, 0.96, np.nan]})
    found = shares_by_threshold(frame, by=["kind", "target"]).set_index("threshold")["share"]
    assert found[[0.0, 0.05, 0.5, 0.55, 0.95]].tolist() == [0.8, 0.6, 0.6, 0.2, 0.2]
    assert len(found) == 20
    at = shares_above(frame.assign(image=range(5)), 0.5, by=["kind"])
    assert found[0.5] == at["share"].item()
    assert list(shares_by_threshold(frame[:0], by=["kind", "target"])) == ["kind", "target", "threshold", "share"]


def test_contrasts_pair_by_image_and_leave_out_what_one_side_lacks():
    rows = [("x", 0, 0.9), ("x", 1, 0.7), ("x", 2, 0.8), ("y", 0, 0.5), ("y", 1, 0.5), ("z", 0, 0.1)]
    frame = pd.DataFrame(rows, columns=["what it is", "image", "pearson"]).assign(target="own class")
    found = contrasts(frame, [("x", "y"), ("x", "z"), ("y", "nobody")], column="what it is").set_index("less")
    assert found.difference.to_dict() == pytest.approx({"y": 0.3, "z": 0.8})
    assert found.images.to_dict() == {"y": 2, "z": 1}
    assert np.isnan(found.p["z"])


def test_a_half_taught_network_is_beside_its_teachers_and_strangers():
    rng = np.random.default_rng(2)
    a, b, c, d, student, other = rng.normal(size=(6, 2, 7, 4))
    taught, strange = as_maps((a + b) / 2), as_maps((c + d) / 2)
    teachers, strangers = ({"a": as_maps(a), "b": as_maps(b)}, {"c": as_maps(c), "d": as_maps(d)})
    half_taught = {"half-taught": as_maps(student), "half-taught-2": as_maps(other)}
    frame = to_halves(half_taught, [(taught, teachers), (strange, strangers)], [3, 0])

    def score(ensemble, model):
        return frame[(frame.ensemble == ensemble) & (frame.model == model)].pearson.to_numpy().reshape(2, 4)

    np.testing.assert_allclose(score(TEACHERS, "half-taught"), pearson(as_maps(student), taught))
    np.testing.assert_allclose(score(STRANGERS, "half-taught"), pearson(as_maps(student), strange))
    np.testing.assert_allclose(score(STRANGERS, "a"), pearson(as_maps(a), strange))
    np.testing.assert_allclose(score(STRANGERS, "d"), pearson(as_maps(d), taught))
    np.testing.assert_allclose(score(TEACHERS, "half-taught-2"), pearson(as_maps(other), strange))
    np.testing.assert_allclose(score(STRANGERS, "half-taught-2"), pearson(as_maps(other), taught))
    assert len(frame) == 8 * 2 * 4
    half_taught.pop("half-taught-2")
    assert len(to_halves(half_taught, [(taught, teachers), (strange, strangers)], [3, 0])) == 6 * 2 * 4
    assert set(frame[frame.ensemble == TEACHERS].kind) == {"half-taught"}


def test_own_part_is_one_over_m_for_twins_and_one_for_strangers():
    one = np.random.default_rng(3).normal(size=(2, 3, 4, 4))
    assert own_part([one] * 4, [0, 1])["own part"].to_numpy() == pytest.approx(1 / 4)
    waves = np.eye(16)[:5].reshape(5, 1, 1, 4, 4)  # no two have anything in common but their mean
    waves = waves - waves.mean((-2, -1), keepdims=True)
    waves = np.linalg.qr(waves.reshape(5, 16).T)[0].T.reshape(5, 1, 1, 4, 4)
    found = own_part([np.concatenate([w, w], axis=1) for w in waves], [0]).set_index("on_target")["own part"]
    assert found.to_numpy() == pytest.approx(1)


@given(arrays(np.float64, (3, 1, 2, 3, 3), elements=st.floats(-1, 1)))
def test_own_part_follows_from_leave_one_out(maps):
    """The covariance with the ensemble is 1/M of one's own variance and (M - 1)/M of that with the others' mean."""
    centred = maps - maps.mean((-2, -1), keepdims=True)
    rests = leave_one_out(centred)
    own = (centred[:, 0, 0] ** 2).sum() / 3
    others = (centred[:, 0, 0] * rests[:, 0, 0]).sum() * 2 / 3
    if own + others > 1e-6:
        assert own_part(list(maps), [0])["own part"][0] == pytest.approx(own / (own + others))


def test_a_gain_on_three_scales_by_hand():
    rows = [
        ("leave-one-out", "on target", 0.9),
        (BESIDE_OTHERS, "on target", 0.95),
        ("leave-one-out", "off target", 0.5),
        (BESIDE_OTHERS, "off target", 0.6),
    ]
    frame = pd.concat([pd.DataFrame(rows, columns=["kind", "target", "pearson"]).assign(image=i) for i in range(3)])
    found = gain_by_scale(frame).set_index(["scale", "target"])["difference"]
    assert found["similarity"].tolist() == pytest.approx([0.05, 0.1, 0.05])
    assert found["headroom"].tolist() == pytest.approx([0.5, 0.2, -0.3])
    z = np.arctanh([0.95, 0.9, 0.6, 0.5])
    assert found["Fisher's z"].tolist() == pytest.approx([z[0] - z[1], z[2] - z[3], z[2] - z[3] - z[0] + z[1]])
    assert gain_by_scale(frame[frame["kind"] == "leave-one-out"]).empty
