"""Features that people ticked, and their tables. Every tick in here is made by a rule; no person looked at a map."""

import pandas as pd
import pytest

from kd_lib.measures.utilisation import utilisation
from kd_lib.people import features
from kd_lib.people.features import FEATURES, read_utilisation
from kd_lib.people.log import Session

EYES = ("eyes", "tail", "spots")
DOG = FEATURES["dog"]
SHOWN_HEADER = ",".join(("image", "model", *DOG))
VISIBLE_HEADER = ",".join(("image", *DOG))
VISIBLE = ("5,1,1,1,1,1,1,1,1", "6,1,1,0,0,0,0,0,0")


def tick(asked, annotator, said, names=EYES):
    session = Session(list(said), asked.feature_log("class 3", annotator, names))
    for item, answer in said.items():
        session.answer(item, answer)


def test_ticks_become_the_tables_that_are_read(asked):
    first, second, *_ = asked.images_of("class 3")
    tick(asked, "rule A", {f"visible/{first}": "eyes|tail", f"shown/{first}/a": "eyes", f"shown/{first}/b": "none"})
    tick(asked, "rule B", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes|spots", f"visible/{second}": "tail"})
    tick(asked, "rule C", {f"visible/{first}": "eyes|tail", f"shown/{second}/a": "tail"})
    features.write_tables(asked, "class 3", EYES)
    text = (asked.folder / "rq2 - class 3 - visible.csv").read_text()
    assert text == f"image,eyes,tail,spots\n{first},1,1,0\n{second},0,1,0\n"
    text = (asked.folder / "rq2 - class 3.csv").read_text()
    assert text == f"image,model,eyes,tail,spots\n{first},a,1,0,0\n{first},b,0,0,0\n{second},a,0,1,0\n"
    assert utilisation(*features.read_tables(asked.folder)["class 3"]).loc["a", "eyes"] == 1
    said = features.feature_answers(asked, "class 3", EYES)
    assert set(said["annotator"]) == {"rule A", "rule B", "rule C"}
    found = features.feature_agreement(asked)["class 3"]
    assert found["annotators"] == 3
    # A and B ticked 6 features in common (image and map of a), 2 of them not alike; alpha counts C's as well.
    assert found["kappas"].iloc[0][["common", "equal"]].tolist() == [6, pytest.approx(4 / 6)]
    assert 0 < found["alpha"] < 1


def test_what_is_undone_leaves_the_table_again(asked):
    first, second, *_ = asked.images_of("class 3")
    tick(asked, "rule A", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes", f"shown/{first}/b": "eyes"})
    features.write_tables(asked, "class 3", EYES)
    Session([], asked.feature_log("class 3", "rule A", EYES)).undo()
    features.write_tables(asked, "class 3", EYES)
    shown, _ = read_utilisation(asked.folder, "class 3")
    assert shown["model"].tolist() == ["a"]


def test_rows_made_by_hand_stay_and_are_never_overwritten(asked):
    first, second, *_ = asked.images_of("class 3")
    asked.folder.mkdir(exist_ok=True)
    shown, visible = (asked.folder / f"rq2 - class 3{end}.csv" for end in ("", " - visible"))
    visible.write_text(by_hand := f"spots,image,eyes,tail\n1,{second},1,1\n")
    shown.write_text(f"image,model,eyes,tail,spots\n{second},a,0,1,0\n")
    features.write_tables(asked, "class 3", EYES)  # nobody has said anything yet
    assert visible.read_text() == by_hand
    tick(asked, "rule A", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes"})
    features.write_tables(asked, "class 3", EYES)
    assert len(pd.read_csv(shown)) == len(pd.read_csv(visible)) == 2
    tick(asked, "rule B", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes"})
    features.write_tables(asked, "class 3", EYES)
    edited = shown.read_text().replace(f"{first},a,1,0,0", f"{first},a,0,0,1")
    shown.write_text(edited)
    with pytest.raises(ValueError, match=r"rq2 - class 3.csv, line \d: 'eyes' is not what the annotators ticked"):
        features.write_tables(asked, "class 3", EYES)
    assert shown.read_text() == edited


def test_mistakes_in_a_log_of_features_name_the_line(asked):
    first, *_ = asked.images_of("class 3")
    tick(asked, "rule A", {f"visible/{first}": "eyes"})
    path = asked.folder / "features - class 3 - rule A.csv"
    path.write_text(path.read_text().replace("answer,eyes", "answer,wings"))
    with pytest.raises(ValueError, match=r"rule A.csv, line 2: feature is 'wings'; expected eyes, tail, spots"):
        features.write_tables(asked, "class 3", EYES)
    with pytest.raises(ValueError, match="class 'cat': expected one of class 0"):
        asked.feature_log("cat", "rule A", EYES)


def test_features_are_eight_each():
    assert [len(set(names)) for names in FEATURES.values()] == [8, 8]


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
    assert list(features.read_tables(tmp_path)) == ["class 3"]
    assert [features.table_of(name) for name in ("dog", "frog", "class 3")] == ["dogs", "frogs", "class 3"]
    (tmp_path / "rq2 - class 3.csv").write_text("image,model,view 1,view 3\n4,a,1,0\n")
    with pytest.raises(ValueError, match="rq2 - class 3.csv, line 1: missing columns view 2"):
        read_utilisation(tmp_path, "class 3")
    (tmp_path / "rq2 - class 3 - visible.csv").write_text("image,,view 2\n4,1,1\n")
    with pytest.raises(ValueError, match="visible.csv, line 1: column 2 has no name"):
        read_utilisation(tmp_path, "class 3")
