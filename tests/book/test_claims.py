"""Claims, the one rule that judges them, and what it says where there is nothing to judge."""

import dataclasses
import json
import math

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kd_lib.book import claims, verdicts
from kd_lib.study.run import Run

INFINITE = math.inf
finite = st.floats(-10, 10)


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "expected"),
    [
        (0.1, 0.2, 0, INFINITE, "holds"),
        (-0.2, -0.1, 0, INFINITE, "fails"),
        (-0.1, 0.1, 0, INFINITE, "cannot tell"),
        (0.0, 0.1, 0, INFINITE, "cannot tell"),  # an interval that touches 0 does not exclude it
        (-0.1, 0.0, 0, INFINITE, "cannot tell"),
        (0.02, 0.07, -INFINITE, 0.08, "holds"),
        (0.07, 0.08, -INFINITE, 0.08, "cannot tell"),
        (0.08, 0.09, -INFINITE, 0.08, "cannot tell"),
        (0.081, 0.09, -INFINITE, 0.08, "fails"),
        (0.48, 0.60, 0.43, 0.63, "holds"),
        (0.40, 0.70, 0.43, 0.63, "cannot tell"),  # too wide to say anything
        (0.60, 0.70, 0.43, 0.63, "cannot tell"),
        (0.64, 0.70, 0.43, 0.63, "fails"),
        (0.10, 0.20, 0.43, 0.63, "fails"),
        (1.0, 1.0, -INFINITE, 0.92, "fails"),  # every image says the same
        (math.nan, 0.2, 0, INFINITE, "cannot tell"),
        (0.1, math.nan, 0, INFINITE, "cannot tell"),
    ],
)
def test_the_rule(low, high, above, below, expected):
    assert verdicts.verdict(low, high, above=above, below=below) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.02, 0.02, "no difference"),
        (0.01, 0.04, "no difference"),  # known to be there, and not worth the name
        (-0.02, 0.06, "cannot tell"),
        (0.01, 0.06, "holds"),
        (-0.05, 0.02, "cannot tell"),  # an interval that touches the margin is not inside it
        (-0.2, -0.1, "fails"),
        (math.nan, 0.0, "cannot tell"),
    ],
)
def test_a_difference_may_be_none_worth_the_name(low, high, expected):
    assert verdicts.verdict(low, high, above=0, margin=0.05) == expected
    mirrored = {"holds": "fails", "fails": "holds"}.get(expected, expected)
    assert verdicts.verdict(-high, -low, above=0, margin=0.05) == mirrored


@given(finite, finite, finite)
def test_a_claim_and_its_opposite_are_judged_oppositely(a, b, bound):
    low, high = sorted((a, b))
    opposite = {"holds": "fails", "fails": "holds", "cannot tell": "cannot tell"}
    assert verdicts.verdict(low, high, below=bound) == opposite[verdicts.verdict(low, high, above=bound)]


@given(finite, finite, finite, st.floats(0.01, 5), st.floats(0, 5))
def test_less_certainty_never_gives_a_verdict(a, b, value, margin, slack):
    low, high = sorted((a, b))
    bounds = {"above": value - margin, "below": value + margin}
    sharp, blurred = verdicts.verdict(low, high, **bounds), verdicts.verdict(low - slack, high + slack, **bounds)
    assert blurred in (sharp, "cannot tell")
    assume(slack > 0)
    assert verdicts.verdict(low - 100, high + 100, **bounds) == "cannot tell"


def claim(**changes):
    entry = {
        "id": "x",
        "part": "thesis",
        "chapter": "c",
        "says": "s",
        "table": "gaps",
        "rows": {"what": "a"},
        "above": 0,
    }
    return claims.Claim(**entry | changes)


def edition(frame=None, **parameters):
    tables = {} if frame is None else {"gaps": pd.DataFrame(frame)}
    return claims.Edition("quick", {"data_set": "multiview", "epochs": 8} | parameters, ("class 0", "cat"), tables)


ROW = {"what": ["a", "b"], "difference": [0.2, -0.2], "low": [0.1, -0.3], "high": [0.3, -0.1]}


def test_a_claim_finds_its_row():
    assert verdicts.judge(claim(), edition(ROW)) == ("holds", "", 0.2, 0.1, 0.3, "")
    assert verdicts.judge(claim(rows={"what": "b"}), edition(ROW)).verdict == "fails"


def test_epochs_are_shares_of_the_training():
    found = verdicts.judge(claim(over="epochs", above=-INFINITE, below=0.03), edition(ROW))
    assert (found.verdict, found.estimate, found.high) == ("cannot tell", 0.2 / 8, 0.3 / 8)
    found = verdicts.judge(claim(over="epochs"), edition(ROW, epochs=None))
    assert (found.verdict, found.reason) == ("cannot tell", "parameter epochs of the run is unknown")


@pytest.mark.parametrize(
    ("frame", "changes", "reason"),
    [
        (None, {}, "this edition did not compute it: no table gaps"),
        (ROW, {"rows": {"what": "c"}}, "this edition did not compute it: table gaps has no row with what c"),
        (ROW, {"rows": {"less": "c"}}, "table gaps has no column 'less'"),
        (ROW, {"high": "most"}, "table gaps has no column 'most'"),
        (ROW, {"rows": {}}, "table gaps has 2 rows with "),
        (ROW | {"difference": [math.nan] * 2}, {}, "the quantity is not defined here"),
        (ROW | {"low": [math.nan] * 2}, {}, "no interval is known"),
        (ROW | {"difference": ["much", "less"]}, {}, "the quantity is not defined here"),
        (ROW, {"needs": {"class": "ship"}}, "no class 'ship' here"),
        (ROW, {"needs": {"data_set": "cifar10"}}, "the thesis's number is of data set cifar10; here it is multiview"),
        (ROW, {"needs": {"arch": "resnet18"}}, "the thesis's number is of arch resnet18; here it is unknown"),
        (None, {"needs": {"class": "ship"}}, "no class 'ship' here"),
    ],
)
def test_where_nothing_can_be_judged_the_reason_is_given(frame, changes, reason):
    found = verdicts.judge(claim(**changes), edition(frame))
    assert (found.verdict, found.reason) == ("cannot tell", reason)


def test_a_number_that_is_not_comparable_is_still_shown():
    found = verdicts.judge(claim(needs={"data_set": "cifar10"}), edition(ROW))
    assert (found.estimate, found.low, found.high) == (0.2, 0.1, 0.3)
    assert verdicts.judge(claim(needs={"class": "cat", "data_set": "multiview"}), edition(ROW)).verdict == "holds"


def test_a_claim_about_every_row_is_as_sure_as_its_least_sure_row():
    every = claim(rows={}, every=("what",), above=-INFINITE, below=1)
    found = verdicts.judge(every, edition(ROW))
    assert (found.verdict, found.which, found.estimate) == ("holds", "what a", 0.2)  # the one nearest to the bound
    unsure = verdicts.judge(every, edition(ROW | {"high": [1.5, -0.1]}))
    assert (unsure.verdict, unsure.which) == ("cannot tell", "what a")
    failing = verdicts.judge(every, edition(ROW | {"low": [0.1, 2.0], "high": [1.5, 3.0]}))
    assert (failing.verdict, failing.which) == ("fails", "what b")
    above = verdicts.judge(claim(rows={}, every=("what",), above=-1), edition(ROW))
    assert (above.verdict, above.which) == ("holds", "what b")


def test_the_title_says_what_was_run():
    run = edition(arch="resnet10", components=4, train_size=2500)
    assert run.title == "4 resnet10, 8 epochs, 2500 images of multiview"
    assert edition().title == "given networks, multiview"
    assert dataclasses.replace(run, made={"data_title": "our dogs"}).title.endswith("2500 images of our dogs")


def test_claims_of_the_book_are_well_formed():
    found = claims.read_claims()
    assert sum(c.part == "thesis" for c in found) >= 15
    assert {c.part for c in found} == {"thesis", "own"}
    for c in found:
        assert c.says
        assert c.chapter
        assert c.above < c.below
        assert bool(c.source) == (c.part == "thesis")
        for text in (c.source, c.says, c.number, c.lacking, c.about):
            assert not [word for word in ("replicated", "holds", "fails", "cannot tell") if word in text.lower()]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{id: a, says: s, table: t, rows: {}}", "claim a: claims nothing; give it above, below or near"),
        ("{id: a, says: s, rows: {}, above: 0}", "claim a: missing 1 required positional argument: 'table'"),
        ("{id: a, says: s, table: t, rows: {}, abvoe: 0}", "claim a: got an unexpected keyword argument 'abvoe'"),
        ("{id: a, says: s, table: t, rows: {}, near: [1, 2], margin: 1}", "claim a: a margin is of a difference"),
        ("{id: a, says: s, table: t, rows: {}, above: 0, unit: m}", "claim a: unit 'm'; expected one of '%', "),
        (
            "{id: a, says: s, table: t, rows: {}, near: [1, 2]}, {id: a, says: s, table: t, rows: {}, above: 0}",
            "two claims",
        ),
        (
            "{id: a, says: s, table: t, rows: {}, above: 0, said_with: b}",
            "claim a: said with 'b', which has no sentences",
        ),
        (
            "{id: a, says: s, table: t, rows: {}, above: 0, fails: f}",
            "claim a: of fails, unknown and about it has some",
        ),
    ],
)
def test_a_malformed_claim_is_named(tmp_path, entry, message):
    (tmp_path / "claims.yaml").write_text(f"thesis:\n  chapter: [{entry}]\n")
    with pytest.raises(ValueError, match="claim") as error:
        claims.read_claims(tmp_path / "claims.yaml")
    assert message in str(error.value)


@pytest.fixture
def run(tmp_path):
    place = Run(tmp_path / "quick")
    place.claim({"data_set": "multiview", "epochs": 8}, dataset_fingerprint="f")
    place.record("class_names", ["class 0"])
    place.record("root", "/somewhere/private")
    place.record("seconds_training", 60)
    place.write_csv(pd.DataFrame({"kind": ["component"], "accuracy": [0.8], "low": [0.7], "high": [0.9]}), "accuracies")
    place.write_csv(pd.DataFrame(), "rq2_shares")
    place.write_csv(pd.DataFrame({"x": [1]}), "something_else")
    return place


def test_what_it_means_that_there_is_no_such_quantity_is_said_instead_of_what_the_table_lacks():
    told = claim(rows={"what": "nothing"}, lacking="nobody labelled pairs", needs={"class": "cat"})
    assert verdicts.judge(told, edition(ROW)).reason == "nobody labelled pairs"
    assert verdicts.judge(claim(lacking="nobody labelled pairs"), edition(ROW)).reason == ""


def test_a_runs_tables_are_read_as_far_as_claims_refer_to_them_and_some_are_there(run):
    edition = claims.read_edition(run.folder)
    assert set(edition.tables) == {"accuracies"}
    assert edition.made["seconds_training"] == 60
    assert "root" not in edition.made


def test_tables_of_more_than_one_threshold_are_not_mixed(run):
    frame = pd.DataFrame({"kind": ["component"], "share": [0.8]})
    for name, t_c in (("rq3_shares", 0.53), ("rq1_transitions", 0.53), ("rq3_bias", 0.5)):
        run.write_csv(frame, name)
        (run.results / f"{name}.json").write_text(json.dumps({"T_c": t_c}))
    with pytest.raises(ValueError, match=r"more than one T_c \(0.53: rq1_transitions, rq3_shares; 0.5: rq3_bias\)"):
        claims.read_edition(run.folder)
    (run.results / "rq3_bias.json").write_text(json.dumps({"T_c": 0.53}))
    assert "rq3_bias" in claims.read_edition(run.folder).tables


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run.json is missing: expected the folder of a run or of an edition"):
        claims.read_edition(tmp_path)
