"""What people said about pairs of maps, merged. Every answer in here is made by a rule."""

import numpy as np
import pytest

from kd_lib.measures.threshold import merge_labels
from kd_lib.people import answers, tasks
from kd_lib.people.answers import COLUMNS, read_pairs
from kd_lib.people.log import Session


def say(asked, annotator, said):
    session = Session(list(said), asked.pair_log(annotator))
    for item, answer in said.items():
        session.answer(item, answer)


def test_nobody_said_anything(asked):
    said = answers.labels(asked)
    assert said.answers.empty
    assert said.pairs.empty


def test_the_majority_counts_and_what_is_left_out_is_counted(asked, pairs):
    one, two, three, four = "3/1/a/b", "4/1/a/b", "5/1/b/distilled", "6/1/a/b"
    say(asked, "rule A", {one: "same", two: "same", three: "different", four: "cannot tell", f"{one}#2": "different"})
    say(asked, "rule B", {one: "same", two: "different", three: "cannot tell"})
    say(asked, "rule C", {one: "different"})
    said = answers.labels(asked)
    assert said.pairs[[*answers.PAIR, "same", "annotators"]].to_numpy().tolist() == [
        [3, 1, "a", "b", True, 3],
        [5, 1, "b", "distilled", False, 1],
    ]
    assert (said.ties, said.cannot_tell) == (1, 2)
    text = "3 people, 2 pairs (3 of annotations/pairs - NAME.csv); left out: 1 ties and 2 answers 'cannot tell'"
    assert str(said) == text
    labelled = merge_labels(pairs, said.pairs)
    rows = pairs.set_index(answers.PAIR)["pearson"]
    assert labelled["pearson"].tolist() == [rows[3, 1, "a", "b"], rows[5, 1, "b", "distilled"]]


def test_a_table_made_by_hand_is_another_source(asked):
    say(asked, "rule A", {"3/1/a/b": "same"})
    path = asked.folder / "pairs.csv"
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,0,rule D\n7,2,distilled,a,1,rule D\n")
    said = answers.labels(asked)
    assert said.ties == 1
    assert said.pairs[answers.PAIR].to_numpy().tolist() == [[7, 2, "a", "distilled"]]
    assert str(said).startswith("2 people, 1 pairs (annotations/pairs.csv and 1 of annotations/pairs - NAME.csv)")
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,0,rule A\n")
    with pytest.raises(ValueError, match=r"'rule A' said something about the pair 3/1/a/b in .*pairs - rule A.csv and"):
        answers.labels(asked)


def test_an_item_that_the_run_no_longer_has_is_named(asked):
    say(asked, "rule A", {"3/1/a/b": "same"})
    path = asked.folder / "pairs - rule A.csv"
    path.write_text(path.read_text().replace("3/1/a/b", "3/1/a/z"))
    with pytest.raises(ValueError, match=r"pairs - rule A.csv, line 2: network 'z' is not in this run \(a, b, dist"):
        answers.labels(asked)


def test_thresholds_by_annotator_and_of_all(asked, pairs):
    drawn = [tasks.pair_of(item) for item in tasks.draw_pairs(pairs, number=120, repeats=0.2)]
    table, rng = pairs.set_index(answers.PAIR)["pearson"], np.random.default_rng(0)

    def rule(pair):
        near = table[pair.image, pair.target, pair.model_a, pair.model_b] + rng.normal(0, 0.15)
        return "same" if near > 0.5 else "different"

    for name in ("rule A", "rule B"):
        say(asked, name, {str(pair): rule(pair) for pair in drawn})
    say(asked, "rule C", {str(drawn[0]): "cannot tell", str(drawn[1]): "same"})
    said = answers.labels(asked)
    result = answers.by_annotator(said, pairs, measure="pearson", loss="log")
    assert list(result.index) == ["rule A", "rule B", "rule C", "all"]
    for name in ("rule A", "rule B", "all"):
        assert result.loc[name, "low"] < 0.5 < result.loc[name, "high"]
    assert result.loc["rule A", "pairs"] == 120
    assert result.loc["rule A", "repeated"] == 24
    assert 0.5 < result.loc["rule A", "self_agreement"] < 1
    assert np.isnan(result.loc["rule C", "T_c"])
    assert result.loc["rule C", "remark"].startswith("all 1 labels are 'same'")
    assert result.loc["rule C", "cannot_tell"] == 1


HEADER = ",".join(COLUMNS)


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
    assert list(table) == list(COLUMNS)
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
