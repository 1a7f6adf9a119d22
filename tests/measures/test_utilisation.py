import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd_lib.measures import utilisation as features
from kd_lib.measures.similarity import pearson
from kd_lib.measures.utilisation import FEATURES, cosine_matrix, pairs_of_components, read_utilisation, utilisation

DOG = FEATURES["dog"]
SHOWN_HEADER = ",".join(("image", "model", *DOG))
VISIBLE_HEADER = ",".join(("image", *DOG))
VISIBLE = ("5,1,1,1,1,1,1,1,1", "6,1,1,0,0,0,0,0,0")


def test_features_are_eight_each():
    assert [len(set(names)) for names in FEATURES.values()] == [8, 8]


def test_pairs_of_components():
    maps = np.random.default_rng(0).normal(size=(3, 2, 4, 5, 5))
    frame = pairs_of_components(maps, [1, 3], models="abc", index=[9, 4])
    assert list(frame) == ["model_a", "model_b", "image", "target", "label", "on_target", "pearson", "cosine"]
    assert len(frame) == 3 * 2 * 4
    assert list(zip(frame.model_a, frame.model_b, strict=True))[::8] == [("a", "b"), ("a", "c"), ("b", "c")]
    row = frame.query("model_a == 'b' and model_b == 'c' and image == 4 and target == 3").iloc[0]
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


@pytest.fixture
def folder(tmp_path):
    """Ticks made by a rule for these tests; no person looked at a map."""

    def write(shown, visible=VISIBLE, encoding="utf-8", end="\n", header=SHOWN_HEADER):
        for name, lines in (("rq2 - dogs", (header, *shown)), ("rq2 - dogs - visible", (VISIBLE_HEADER, *visible))):
            (tmp_path / f"{name}.csv").write_text(end.join(lines) + end, encoding=encoding, newline="")
        return tmp_path

    return write


GOOD = ("5,a,1,0,0,0,0,0,0,1", "6,a,1,1,0,0,0,0,0,0", "5,b,0,1,0,0,0,0,0,0")


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_read_utilisation(folder, encoding, end):
    shown, visible = read_utilisation(folder(GOOD, encoding=encoding, end=end), "dogs")
    assert list(shown) == ["image", "model", *DOG]
    assert list(visible) == ["image", *DOG]
    assert shown.model.tolist() == ["a", "a", "b"]
    assert shown.body.tolist() == [True, True, False]
    assert visible["tail"].tolist() == [True, False]
    share = utilisation(shown, visible)
    assert share.loc["a", "body"] == 1  # visible in both images, shown by both maps
    assert share.loc["a", "nose"] == 0.5
    assert share.loc["a", "tail"] == 1  # visible in image 5 alone
    assert share.loc["b", "nose"] == 1  # only image 5 was looked at for b
    assert share.loc["b", "ears"] == 0
    assert list(share.index) == ["a", "b"]
    assert list(share.columns) == list(DOG)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ((*GOOD, GOOD[0]), "line 5: duplicate of line 2 .image 5, model a."),
        (("5,a,1,0,0,0,0,0,0,2",), "line 2: tail is '2'; expected 1 or 0"),
        (("5,a,1,0,0,0,0,0,0,yes",), "line 2: tail is 'yes'"),
        (("5,a,1,0,0,0,,0,0,1",), "line 2: 'eyes' is empty"),
        (("five,a,1,0,0,0,0,0,0,1",), "line 2: image is 'five'"),
        (("7,a,1,0,0,0,0,0,0,1",), "line 2: image 7 has no row in rq2 - dogs - visible.csv"),
        ((GOOD[0], "6,a,1,0,1,0,0,0,0,0"), "line 3: the map shows 'ears', not visible in image 6"),
        ((), "no rows"),
    ],
)
def test_read_utilisation_refuses(folder, shown, message):
    with pytest.raises(ValueError, match=f"rq2 - dogs.csv.*{message}") as error:
        read_utilisation(folder(shown), "dogs")
    assert "\n" not in str(error.value)


def test_read_utilisation_refuses_columns(folder):
    with pytest.raises(ValueError, match="missing columns tail"):
        read_utilisation(folder(("5,a,1,0,0,0,0,0,0",), header=SHOWN_HEADER.removesuffix(",tail")), "dogs")
    with pytest.raises(ValueError, match="unknown columns wings"):
        read_utilisation(folder(("5,a,1,0,0,0,0,0,0,1,1",), header=SHOWN_HEADER + ",wings"), "dogs")


def test_read_utilisation_refuses_the_second_file(folder):
    with pytest.raises(ValueError, match="rq2 - dogs - visible.csv, line 3: duplicate of line 2"):
        read_utilisation(folder(GOOD, visible=("5,1,1,1,1,1,1,1,1",) * 2), "dogs")
    path = folder(GOOD)
    (path / "rq2 - dogs - visible.csv").unlink()
    with pytest.raises(FileNotFoundError, match="rq2 - dogs - visible.csv"):
        read_utilisation(path, "dogs")


def test_a_class_without_tables_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="rq2 - cats - visible.csv: no such file"):
        read_utilisation(tmp_path, "cats")


def test_any_class_has_the_features_that_its_tables_name(tmp_path):
    (tmp_path / "rq2 - class 3.csv").write_text("image,model,view 2,view 1\n4,a,1,0\n")
    (tmp_path / "rq2 - class 3 - visible.csv").write_text("image,view 1,view 2\n4,1,1\n")
    shown, visible = read_utilisation(tmp_path, "class 3")
    assert list(shown) == ["image", "model", "view 1", "view 2"]
    assert utilisation(shown, visible).loc["a"].tolist() == [0, 1]
    assert features.tables(tmp_path) == ["class 3"]
    assert [features.table_of(name) for name in ("dog", "frog", "class 3")] == ["dogs", "frogs", "class 3"]
    (tmp_path / "rq2 - class 3.csv").write_text("image,model,view 1,view 3\n4,a,1,0\n")
    with pytest.raises(ValueError, match="rq2 - class 3.csv, line 1: missing columns view 2"):
        read_utilisation(tmp_path, "class 3")
    (tmp_path / "rq2 - class 3 - visible.csv").write_text("image,,view 2\n4,1,1\n")
    with pytest.raises(ValueError, match="visible.csv, line 1: column 2 has no name"):
        read_utilisation(tmp_path, "class 3")


def test_never_visible_is_nan():
    shown = pd.DataFrame({"image": [0], "model": ["a"], "eyes": [False], "nose": [True]})
    visible = pd.DataFrame({"image": [0], "eyes": [False], "nose": [True]})
    share = utilisation(shown, visible)
    assert np.isnan(share.loc["a", "eyes"])
    assert share.loc["a", "nose"] == 1


def test_cosine_matrix_by_hand():
    share = pd.DataFrame([[1.0, 0.0, 0.3], [0.6, 0.8, np.nan], [0.0, 0.0, 0.5]], index=["a", "b", "c"])
    matrix = cosine_matrix(share)  # the third feature is unknown for b, and left out for all
    assert matrix.loc["a", "b"] == pytest.approx(0.6)
    assert matrix.loc["b", "b"] == pytest.approx(1)
    assert matrix["c"].isna().all()
    assert matrix.loc["c"].isna().all()
    assert list(matrix.index) == list(matrix.columns) == ["a", "b", "c"]
    assert cosine_matrix(share[[2]]).isna().all(axis=None)


@given(arrays(np.float64, (3, 4), elements=st.integers(1, 9).map(float)))
def test_cosine_matrix_is_symmetric_and_ignores_scale(values):
    matrix = cosine_matrix(pd.DataFrame(values)).to_numpy()
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, cosine_matrix(pd.DataFrame(values * [[1], [2], [3]])), atol=1e-12)
