import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit, minimize
from scipy.special import expit

from kd_lib.measures import threshold
from kd_lib.measures.threshold import (
    PUBLISHED,
    binned,
    choose,
    fit_all,
    fit_threshold,
    merge_labels,
    view_labels,
)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch):
    monkeypatch.setattr(threshold, "RESAMPLES", 100)


def pairs(n=400, value=0.4, slope=8.0, seed=0):
    """Labels made by a rule: drawn from a logistic curve of known threshold, no person looked at a map."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    return x, rng.random(n) < expit(slope * (x - value))


def test_published_value():
    assert PUBLISHED == 0.53


@pytest.mark.parametrize("loss", ["log", "mse"])
def test_finds_the_rule_that_made_the_labels(loss):
    x, y = pairs(4000)
    found = fit_threshold(x, y, loss=loss)
    assert found.low < 0.4 < found.high
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.4, abs=0.04)
    assert found.slope == pytest.approx(8, abs=1)
    assert found.n == 4000
    assert found.error == pytest.approx(np.mean((x >= found.value) != y))
    assert found.probability([found.value, 1.0])[0] == pytest.approx(0.5)
    assert found.probability(1.0) > 0.98


def test_by_hand_symmetric():
    # Mirror images about 0.5 (labels by a rule), so the curve crosses 1/2 there; two of eight lie on the wrong side.
    x = np.array([0.2, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7, 0.8] * 5)
    y = np.array([0, 0, 0, 1, 0, 1, 1, 1] * 5)
    for loss in ("log", "mse"):
        found = fit_threshold(x, y, loss=loss)
        assert found.value == pytest.approx(0.5, abs=1e-4)
        assert found.error == pytest.approx(0.25)


def test_log_loss_is_the_maximum_likelihood():
    x, y = pairs(300, seed=1)

    def loss(line):
        margin = (line[0] + line[1] * x) * np.where(y, 1, -1)
        return np.logaddexp(0, -margin).mean()

    intercept, slope = minimize(loss, [0, 1], tol=1e-12).x
    found = fit_threshold(x, y)
    assert found.value == pytest.approx(-intercept / slope, abs=1e-4)
    assert found.slope == pytest.approx(slope, rel=1e-3)


def test_mse_is_the_least_squares():
    x, y = pairs(300, seed=2)
    (value, slope), _ = curve_fit(lambda x, t, s: expit(s * (x - t)), x, y.astype(float), p0=[0, 5])
    found = fit_threshold(x, y, loss="mse")
    assert found.value == pytest.approx(value, abs=1e-5)
    assert found.slope == pytest.approx(slope, rel=1e-4)
    assert found.value != pytest.approx(fit_threshold(x, y).value, abs=1e-4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_pairs_does_not_move_the_value(seed):
    x, y = pairs(100)
    order = np.random.default_rng(seed).permutation(100)
    assert fit_threshold(x[order], y[order]).value == pytest.approx(fit_threshold(x, y).value, abs=1e-6)


@pytest.mark.parametrize("loss", ["log", "mse"])
def test_a_weight_is_a_repetition(loss):
    x, y = pairs(100, seed=3)
    weights = np.random.default_rng(0).integers(1, 5, 100)
    weighted = threshold._curve(x, y, weights.astype(float), loss)
    repeated = threshold._curve(np.repeat(x, weights), np.repeat(y, weights), np.ones(weights.sum()), loss)
    assert weighted == pytest.approx(repeated, rel=1e-4)


def test_swapping_signs_and_labels_mirrors_the_value():
    x, y = pairs(200)
    assert fit_threshold(-x, ~y).value == pytest.approx(-fit_threshold(x, y).value, abs=1e-6)


def test_repeated_pairs_of_an_image_tell_nothing_new():
    x, y = pairs(100)
    once = fit_threshold(x, y)
    repeated = fit_threshold(np.repeat(x, 4), np.repeat(y, 4), clusters=np.repeat(np.arange(100), 4))
    assert repeated.low == pytest.approx(once.low, abs=1e-5)
    assert repeated.high == pytest.approx(once.high, abs=1e-5)
    naive = fit_threshold(np.repeat(x, 4), np.repeat(y, 4))
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_the_interval_covers_at_its_nominal_rate():
    """Labels made by a rule: every image has a threshold of its own around 0.3, which its pairs share."""
    rng, trials, images, each = np.random.default_rng(8), 40, 50, 6
    image, covered = np.repeat(np.arange(images), each), 0
    for trial in range(trials):
        own = rng.normal(0.3, 0.3, images)[image]
        x = rng.uniform(-0.4, 1.0, images * each)
        found = fit_threshold(x, rng.random(len(x)) < expit(20 * (x - own)), clusters=image, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert covered / trials > 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)


def test_same_seed_same_interval():
    x, y = pairs(80)
    assert fit_threshold(x, y) == fit_threshold(x, y)
    assert fit_threshold(x, y).low != fit_threshold(x, y, seed=1).low


@pytest.mark.parametrize("loss", ["log", "mse"])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], "separable: every similarity up to 0.2 .* from 0.8"),
        ([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1], "separable"),
        ([0.1, 0.5, 0.9], [1, 1, 1], "all 3 labels are 'same'"),
        ([0.1, 0.5, 0.9], [0, 0, 0], "all 3 labels are 'different'"),
        ([], [], "no labels"),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], "does not rise"),
        ([0.1, 0.2, 0.8, 0.9], [1, 0, 1, 0], "does not rise"),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], "all 4 similarities are 0.5"),
        ([0.8, 0.85, 0.9, 0.95, 1.0, 0.9], [0, 0, 0, 1, 0, 0], r"crosses 1/2 at .*outside \[-1, 1\]"),
        ([0.1, np.nan, 0.9], [0, 1, 1], "1 of 3 similarities are NaN"),
        ([0.1, 1.2, 0.9], [0, 1, 1], "similarity 1.2"),
        ([0.1, 0.3, 0.9], [0, 2, 1], "label 2"),
        ([0.1, 0.3, 0.9], [0.0, np.nan, 1.0], "label nan"),
        ([0.1, 0.3], [0, 1, 1], "expected"),
        ([[0.1, 0.3]], [[0, 1]], "expected"),
    ],
)
def test_labels_that_fix_no_threshold(loss, x, y, message):
    with pytest.raises(ValueError, match=message) as error:
        fit_threshold(x, y, loss=loss)
    assert "\n" not in str(error.value)


def test_too_few_pairs_for_an_interval():
    # Three of five labels are 'same': 9 % of the samples of five hold one kind alone.
    with pytest.raises(ValueError, match="5 pairs fix no threshold"):
        fit_threshold([-0.5, 0.1, 0.2, 0.3, 0.6], [0, 1, 0, 1, 1])


def test_unknown_loss():
    with pytest.raises(ValueError, match="expected 'log' or 'mse'"):
        fit_threshold([0.0], [0], loss="hinge")


def test_no_warnings(recwarn):
    fit_threshold(*pairs(60, slope=30.0))
    fit_threshold(*pairs(60, slope=30.0), loss="mse")
    assert not recwarn.list


def test_view_labels():
    a = np.array([[[1, 1, 0], [0, 0, 0]]])
    b = np.array([[[1, 1, 0], [0, 0, 1]]])
    assert view_labels(a, b).tolist() == [[True, False]]
    assert view_labels(a, a).all()
    with pytest.raises(ValueError, match=r"expected the same \(N, K, V\)"):
        view_labels(a, b[..., :2])


def labelled():
    """Pairs labelled by a rule on their Pearson similarity; cosine says nothing about the label."""
    x, y = pairs(300)
    cosine = np.random.default_rng(9).uniform(-1, 1, 300)
    return pd.DataFrame({"image": np.arange(300) // 3, "pearson": x, "cosine": cosine, "same": y})


def test_fit_all_fits_both_measures_by_both_losses():
    frame = labelled()
    table, curves = fit_all(frame, seed=4)
    assert list(zip(table.measure, table.loss, strict=True)) == [
        (measure, loss) for measure in ("pearson", "cosine") for loss in ("log", "mse")
    ]
    expected = fit_threshold(frame.pearson, frame.same, clusters=frame.image, seed=4)
    assert table.loc[0, ["value", "low", "high", "error"]].tolist() == [
        expected.value,
        expected.low,
        expected.high,
        expected.error,
    ]
    assert table.baseline.tolist() == pytest.approx([min(frame.same.mean(), 1 - frame.same.mean())] * 4)
    curve = curves[(curves.measure == "pearson") & (curves.loss == "log")]
    assert np.interp(expected.value, curve.similarity, curve.same) == pytest.approx(0.5, abs=0.01)


def test_fit_all_keeps_the_reason_for_no_threshold():
    frame = labelled().assign(same=lambda f: f.pearson > 0.2)
    table, curves = fit_all(frame)
    assert table.remark[:2].str.contains("separable").all()
    assert table.value[:2].isna().all()
    assert curves.empty or set(curves.measure) == {"cosine"}
    assert fit_all(None)[0].empty
    assert fit_all(None)[1].empty


def test_choose_takes_the_fit_asked_for_or_else_the_published_value():
    table = pd.DataFrame(
        {"measure": ["pearson"] * 2, "loss": ["log", "mse"], "value": [0.4, np.nan], "remark": ["", "separable"]}
    )
    found = choose(table, measure="pearson", loss="log", source="jo")
    assert found.value[found.used].tolist() == [0.4]
    assert found.source[found.used].tolist() == ["jo"]
    fallback = choose(table, measure="pearson", loss="mse", source="jo")
    assert fallback.value[fallback.used].tolist() == [PUBLISHED]
    assert fallback.source[fallback.used].str.contains("published").all()
    empty = choose(fit_all(None)[0], measure="pearson", loss="log", source="none")
    assert empty.used.tolist() == [True]
    for wrong in ({"measure": "spearman", "loss": "log"}, {"measure": "pearson", "loss": "hinge"}):
        with pytest.raises(ValueError, match="expected"):
            choose(table, source="jo", **wrong)


def test_binned_by_hand():
    frame = pd.DataFrame(
        {"pearson": [-1.0, -0.9, 0.2, 0.3, 1.0], "cosine": [0.1] * 5, "same": [False, True, True, True, False]}
    )
    found = binned(frame, bins=2)
    rows = found[found.measure == "pearson"].sort_values("similarity")
    assert rows.similarity.tolist() == [-0.5, 0.5]
    assert rows.same.tolist() == pytest.approx([1 / 2, 2 / 3])
    assert rows.pairs.tolist() == [2, 3]
    assert found[found.measure == "cosine"].pairs.sum() == 5


def test_merge_labels_in_either_order():
    measured = pd.DataFrame(
        {"model_a": ["a", "a"], "model_b": ["b", "c"], "image": [4, 4], "target": [1, 1], "pearson": [0.2, 0.7]}
    ).assign(cosine=0.5)
    people = pd.DataFrame(
        {"image": [4, 4], "target": [1, 1], "model_a": ["c", "a"], "model_b": ["a", "b"], "same": [True, False]}
    ).assign(annotator="jo")
    found = merge_labels(measured, people)
    assert found.pearson.tolist() == [0.7, 0.2]
    assert found.same.tolist() == [True, False]
    with pytest.raises(ValueError, match="does not have .image 5, target 1, model_a c, model_b a."):
        merge_labels(measured, people.assign(image=5))


def test_examples_are_the_clear_pairs_and_the_deceptive_ones():
    # Labels by a rule: the third and the fifth pair are not what their similarity says.
    labelled = pd.DataFrame(
        {
            "image": range(6),
            "on_target": [True] * 5 + [False],
            "pearson": [0.9, 0.8, 0.1, 0.2, 0.7, 0.99],
            "same": [True, True, True, False, False, False],
        },
        index=[3] * 6,  # as pairs of several networks come: not unique
    )
    found = threshold.examples(labelled).set_index("what")["image"].to_dict()
    assert found == {
        "same, and alike": 0,
        "different, and unlike": 3,
        "same, though unlike": 2,
        "different, though alike": 4,
    }
    assert threshold.examples(labelled.iloc[:1])["what"].tolist() == ["same, and alike"]
    assert threshold.examples(labelled.iloc[:0]).empty
    assert threshold.examples(labelled.iloc[5:])["image"].tolist() == [5]


def test_parts_are_fitted_by_themselves_and_error_is_held_against_a_constant_answer():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image": np.arange(400) % 50, "pearson": rng.uniform(-1, 1, 400)})
    frame["cosine"], frame["same"] = frame["pearson"], rng.random(400) < expit(8 * (frame["pearson"] - 0.3))
    one = frame[frame["image"] < 25]
    found = threshold.by_part({"all": frame, "one": one, "none": one.assign(same=True)}, measure="pearson", loss="log")
    found = found.set_index("pairs")
    own = fit_threshold(one["pearson"], one["same"], clusters=one["image"])
    assert found.loc["one", ["value", "low", "high", "error"]].tolist() == [own.value, own.low, own.high, own.error]
    assert "label pairs of both kinds" in found.loc["none", "remark"]
    row = threshold.fit_all(frame)[0].iloc[0]
    assert row["less baseline"] == pytest.approx(row["error"] - min(frame["same"].mean(), 1 - frame["same"].mean()))
    assert row["less low"] < row["less baseline"] < row["less high"] < 0
