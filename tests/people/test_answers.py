"""What people said of a run, merged and written as tables. Every answer in here is made by a rule."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import utilisation
from kd_lib.people import answers, tasks
from kd_lib.people.log import Session
from kd_lib.study import reading, truth
from tests.little_run import NAMES, make

EYES = ("eyes", "tail", "spots")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(made):
    yield made
    for path in made.annotations.glob("*"):
        path.unlink()


@pytest.fixture(scope="module")
def pairs(made):
    return utilisation.pairs_of_components([reading.maps(made, n) for n in NAMES], reading.labels(made), models=NAMES)


def say(run, annotator, said):
    session = Session(list(said), answers.pair_log(run, annotator))
    for item, answer in said.items():
        session.answer(item, answer)


def tick(run, annotator, said, names=EYES):
    log = answers.feature_log(run, "class 3", annotator, names)
    session = Session(list(said), log)
    for item, answer in said.items():
        session.answer(item, answer)


def images_of(run, k):
    return np.flatnonzero(reading.labels(run) == k).tolist()


def test_nobody_said_anything(run):
    said = answers.labels(run)
    assert said.answers.empty
    assert said.pairs.empty


def test_the_majority_counts_and_what_is_left_out_is_counted(run, pairs):
    one, two, three, four = "3/1/a/b", "4/1/a/b", "5/1/b/distilled", "6/1/a/b"
    say(run, "rule A", {one: "same", two: "same", three: "different", four: "cannot tell", f"{one}#2": "different"})
    say(run, "rule B", {one: "same", two: "different", three: "cannot tell"})
    say(run, "rule C", {one: "different"})
    said = answers.labels(run)
    assert said.pairs[[*answers.PAIR, "same", "annotators"]].to_numpy().tolist() == [
        [3, 1, "a", "b", True, 3],
        [5, 1, "b", "distilled", False, 1],
    ]
    assert (said.ties, said.cannot_tell) == (1, 2)
    text = "3 people, 2 pairs (3 of annotations/pairs - NAME.csv); left out: 1 ties and 2 answers 'cannot tell'"
    assert str(said) == text
    labelled, source = truth.labelled_pairs(run, pairs, view_share=0.5)
    assert source == text
    rows = pairs.set_index(answers.PAIR)["pearson"]
    assert labelled["pearson"].tolist() == [rows[3, 1, "a", "b"], rows[5, 1, "b", "distilled"]]


def test_a_table_made_by_hand_is_another_source(run):
    say(run, "rule A", {"3/1/a/b": "same"})
    path = run.annotations / "pairs.csv"
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,0,rule D\n7,2,distilled,a,1,rule D\n")
    said = answers.labels(run)
    assert said.ties == 1
    assert said.pairs[answers.PAIR].to_numpy().tolist() == [[7, 2, "a", "distilled"]]
    assert str(said).startswith("2 people, 1 pairs (annotations/pairs.csv and 1 of annotations/pairs - NAME.csv)")
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,0,rule A\n")
    with pytest.raises(ValueError, match=r"'rule A' said something about the pair 3/1/a/b in .*pairs - rule A.csv and"):
        answers.labels(run)


def test_an_item_that_the_run_no_longer_has_is_named(run):
    say(run, "rule A", {"3/1/a/b": "same"})
    path = run.annotations / "pairs - rule A.csv"
    path.write_text(path.read_text().replace("3/1/a/b", "3/1/a/z"))
    with pytest.raises(ValueError, match=r"pairs - rule A.csv, line 2: network 'z' is not in this run \(a, b, dist"):
        answers.labels(run)


def test_thresholds_by_annotator_and_of_all(run, pairs):
    drawn = [tasks.pair_of(item) for item in tasks.draw_pairs(pairs, number=120, repeats=0.2)]
    table, rng = pairs.set_index(answers.PAIR)["pearson"], np.random.default_rng(0)

    def rule(pair):
        near = table[pair.image, pair.target, pair.model_a, pair.model_b] + rng.normal(0, 0.15)
        return "same" if near > 0.5 else "different"

    for name in ("rule A", "rule B"):
        say(run, name, {str(pair): rule(pair) for pair in drawn})
    say(run, "rule C", {str(drawn[0]): "cannot tell", str(drawn[1]): "same"})
    said = answers.labels(run)
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


def test_ticks_become_the_tables_that_are_read(run):
    first, second = images_of(run, 3)
    tick(run, "rule A", {f"visible/{first}": "eyes|tail", f"shown/{first}/a": "eyes", f"shown/{first}/b": "none"})
    tick(run, "rule B", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes|spots", f"visible/{second}": "tail"})
    tick(run, "rule C", {f"visible/{first}": "eyes|tail", f"shown/{second}/a": "tail"})
    answers.write_tables(run, "class 3", EYES)
    text = (run.annotations / "rq2 - class 3 - visible.csv").read_text()
    assert text == f"image,eyes,tail,spots\n{first},1,1,0\n{second},0,1,0\n"
    text = (run.annotations / "rq2 - class 3.csv").read_text()
    assert text == f"image,model,eyes,tail,spots\n{first},a,1,0,0\n{first},b,0,0,0\n{second},a,0,1,0\n"
    found, source = truth.utilisation(run, NAMES)
    assert source == "ticked by people"
    assert found["class 3"].loc["a", "eyes"] == 1
    said = answers.feature_answers(run, "class 3", EYES)
    assert set(said["annotator"]) == {"rule A", "rule B", "rule C"}
    found = answers.feature_agreement(run)["class 3"]
    assert found["annotators"] == 3
    # A and B ticked 6 features in common (image and map of a), 2 of them not alike; alpha counts C's as well.
    assert found["kappas"].iloc[0][["common", "equal"]].tolist() == [6, pytest.approx(4 / 6)]
    assert 0 < found["alpha"] < 1


def test_what_is_undone_leaves_the_table_again(run):
    first, second = images_of(run, 3)
    tick(run, "rule A", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes", f"shown/{first}/b": "eyes"})
    answers.write_tables(run, "class 3", EYES)
    Session([], answers.feature_log(run, "class 3", "rule A", EYES)).undo()
    answers.write_tables(run, "class 3", EYES)
    shown, _ = utilisation.read_utilisation(run.annotations, "class 3")
    assert shown["model"].tolist() == ["a"]


def test_rows_made_by_hand_stay_and_are_never_overwritten(run):
    first, second = images_of(run, 3)
    run.annotations.mkdir(exist_ok=True)
    shown, visible = (run.annotations / f"rq2 - class 3{end}.csv" for end in ("", " - visible"))
    visible.write_text(f"image,eyes,tail,spots\n{second},1,1,1\n")
    shown.write_text(f"image,model,eyes,tail,spots\n{second},a,0,1,0\n")
    tick(run, "rule A", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes"})
    answers.write_tables(run, "class 3", EYES)
    assert len(pd.read_csv(shown)) == len(pd.read_csv(visible)) == 2
    tick(run, "rule B", {f"visible/{first}": "eyes", f"shown/{first}/a": "eyes"})
    answers.write_tables(run, "class 3", EYES)
    edited = shown.read_text().replace(f"{first},a,1,0,0", f"{first},a,0,0,1")
    shown.write_text(edited)
    with pytest.raises(ValueError, match=r"rq2 - class 3.csv, line \d: 'eyes' is not what the annotators ticked"):
        answers.write_tables(run, "class 3", EYES)
    assert shown.read_text() == edited


def test_mistakes_in_a_log_of_features_name_the_line(run):
    first, _ = images_of(run, 3)
    tick(run, "rule A", {f"visible/{first}": "eyes"})
    path = run.annotations / "features - class 3 - rule A.csv"
    path.write_text(path.read_text().replace("answer,eyes", "answer,wings"))
    with pytest.raises(ValueError, match=r"rule A.csv, line 2: feature is 'wings'; expected eyes, tail, spots"):
        answers.write_tables(run, "class 3", EYES)
    with pytest.raises(ValueError, match="class 'cat': expected one of class 0"):
        answers.feature_log(run, "cat", "rule A", EYES)
