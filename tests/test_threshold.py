import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit, minimize
from scipy.special import expit

from kd_lib.threshold import PAIRS, PUBLISHED, fit, read_pairs, view_labels


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
    found = fit(x, y, loss=loss)
    assert found.low < 0.4 < found.high
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.4, abs=0.04)
    assert found.slope == pytest.approx(8, abs=1)
    assert found.n == 4000
    assert found.error == pytest.approx(np.mean((x >= found.value) != y))
    assert found.probability([found.value, 1.0])[0] == pytest.approx(0.5)
    assert found.probability(1.0) > 0.99


def test_by_hand_symmetric():
    # Mirror images about 0.5 (labels by a rule), so the curve crosses 1/2 there; two of eight lie on the wrong side.
    x = np.array([0.2, 0.3, 0.4, 0.45, 0.55, 0.6, 0.7, 0.8] * 5)
    y = np.array([0, 0, 0, 1, 0, 1, 1, 1] * 5)
    for loss in ("log", "mse"):
        found = fit(x, y, loss=loss)
        assert found.value == pytest.approx(0.5, abs=1e-4)
        assert found.error == pytest.approx(0.25)


def test_log_loss_is_the_maximum_likelihood():
    x, y = pairs(300, seed=1)

    def loss(line):
        margin = (line[0] + line[1] * x) * np.where(y, 1, -1)
        return np.logaddexp(0, -margin).mean()

    intercept, slope = minimize(loss, [0, 1], tol=1e-12).x
    found = fit(x, y)
    assert found.value == pytest.approx(-intercept / slope, abs=1e-4)
    assert found.slope == pytest.approx(slope, rel=1e-3)


def test_mse_is_the_least_squares():
    x, y = pairs(300, seed=2)
    (value, slope), _ = curve_fit(lambda x, t, s: expit(s * (x - t)), x, y.astype(float), p0=[0, 5])
    found = fit(x, y, loss="mse")
    assert found.value == pytest.approx(value, abs=1e-5)
    assert found.slope == pytest.approx(slope, rel=1e-4)
    assert found.value != pytest.approx(fit(x, y).value, abs=1e-4)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_the_order_of_pairs_does_not_move_the_value(seed):
    x, y = pairs(100)
    order = np.random.default_rng(seed).permutation(100)
    assert fit(x[order], y[order]).value == pytest.approx(fit(x, y).value, abs=1e-6)


def test_swapping_signs_and_labels_mirrors_the_value():
    x, y = pairs(200)
    assert fit(-x, ~y).value == pytest.approx(-fit(x, y).value, abs=1e-6)


def test_repeated_pairs_of_an_image_tell_nothing_new():
    x, y = pairs(100)
    once = fit(x, y)
    repeated = fit(np.repeat(x, 4), np.repeat(y, 4), clusters=np.repeat(np.arange(100), 4))
    assert repeated.low == pytest.approx(once.low, abs=1e-5)
    assert repeated.high == pytest.approx(once.high, abs=1e-5)
    naive = fit(np.repeat(x, 4), np.repeat(y, 4))
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_same_seed_same_interval():
    x, y = pairs(80)
    assert fit(x, y) == fit(x, y)
    assert fit(x, y).low != fit(x, y, seed=1).low


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
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], "does not rise"),
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
        fit(x, y, loss=loss)
    assert "\n" not in str(error.value)


def test_too_few_pairs_for_an_interval():
    with pytest.raises(ValueError, match="5 pairs fix no threshold"):
        fit([-0.5, 0.0, 0.2, 0.1, 0.6], [0, 0, 1, 0, 0])


def test_unknown_loss():
    with pytest.raises(ValueError, match="expected 'log' or 'mse'"):
        fit([0.0], [0], loss="hinge")


def test_no_warnings(recwarn):
    fit(*pairs(60, slope=30.0))
    fit(*pairs(60, slope=30.0), loss="mse")
    assert not recwarn.list


HEADER = ",".join(PAIRS)


@pytest.fixture
def csv(tmp_path):
    def write(*rows, header=HEADER, end="\n"):
        path = tmp_path / "pairs.csv"
        path.write_text(end.join([header, *rows]) + end, encoding="utf-8", newline="")
        return path

    return write


@pytest.mark.parametrize(("header", "end"), [(HEADER, "\n"), ("\ufeff" + HEADER, "\r\n")])
def test_read_pairs(csv, header, end):
    table = read_pairs(csv("12,3,a,b,1,jo", "12,3,a,c,FALSE,jo", "12,3,b,a,0,kim", header=header, end=end))
    assert list(table) == list(PAIRS)
    assert table.image.tolist() == [12, 12, 12]
    assert table.same.tolist() == [True, False, False]
    assert table.same.dtype == bool
    assert table.annotator.tolist() == ["jo", "jo", "kim"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["12,3,a,b,1,jo", "12,3,a,b,0,jo"], "line 3: duplicate of line 2"),
        (["12,3,a,b,1,jo", "12,3,b,a,1,jo"], "line 3: duplicate of line 2"),
        (["12,3,a,a,1,jo"], "line 2: model_a and model_b are both 'a'"),
        (["12,3,a,b,maybe,jo"], "line 2: same is 'maybe'; expected 1 or 0 or true or false"),
        (["12,cat,a,b,1,jo"], "line 2: target is 'cat'"),
        (["x.png,3,a,b,1,jo"], "line 2: image is 'x.png'"),
        (["12,3,a,b,,jo"], "line 2: 'same' is empty"),
        (["12,3,a,b,1"], "line 2: 'annotator' is empty"),
        ([], "no rows"),
    ],
)
def test_read_pairs_refuses(csv, rows, message):
    with pytest.raises(ValueError, match=f"pairs.csv.*{message}"):
        read_pairs(csv(*rows))


def test_read_pairs_missing(tmp_path, csv):
    with pytest.raises(ValueError, match="missing columns same, annotator"):
        read_pairs(csv("1,2,a,b", header="image,target,model_a,model_b"))
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_pairs(tmp_path / "none.csv")


def test_view_labels():
    a = np.array([[[1, 1, 0], [0, 0, 0]]])
    b = np.array([[[1, 1, 0], [0, 0, 1]]])
    assert view_labels(a, b).tolist() == [[True, False]]
    assert view_labels(a, a).all()
    with pytest.raises(ValueError, match=r"expected the same \(N, K, V\)"):
        view_labels(a, b[..., :2])
