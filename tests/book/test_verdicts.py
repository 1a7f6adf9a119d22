"""Sentences that state results follow the results: positive, negative, unknown, missing, of several editions."""

import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from kd_lib.book import build, claims, thesis, verdicts
from kd_lib.study.reading import TARGETS

BOOK = Path(__file__).resolve().parents[2] / "book"
PAGES = ("introduction", "conclusions", "editions", "thesis")
CLAIMS = claims.read_claims()
YES, NO, UNSURE, NONE = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.0, -0.1, 0.1), (0.001, -0.02, 0.02)


def edition(name="tiny", on=None, off=None, views=None, **tables):
    """Make an edition whose gains over left-out components, and in views used, have the given numbers."""
    gaps = [
        ("distilled", "leave-one-out", where, *numbers)
        for where, numbers in (("on target", on), ("off target", off))
        if numbers
    ]
    if gaps:
        tables["rq3_share_gaps"] = pd.DataFrame(gaps, columns=["what", "less", "target", "difference", "low", "high"])
    if views:
        row = ("distilled", "component", "used", *views)
        tables["rq2_view_gaps"] = pd.DataFrame([row], columns=["what", "less", "target", "difference", "low", "high"])
    parameters = {"data_set": "multiview", "arch": "resnet10", "components": 4, "epochs": 8, "train_size": 2500}
    return claims.Edition(name, parameters | {"seed": 0}, ("class 0", "class 1"), tables)


def written(tmp_path, *editions):
    """Write the book's pages for some editions: their texts by name."""
    for page in PAGES:
        shutil.copy(BOOK / f"{page}.md", tmp_path)
    build.fill_in(tmp_path, editions)
    return {page: (tmp_path / f"{page}.md").read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize(
    ("on", "off", "views", "short"),
    [
        (YES, YES, None, "**By saliency maps, yes.**"),
        (NO, NO, None, "**By saliency maps, no.**"),
        (UNSURE, UNSURE, None, "**By saliency maps, one cannot tell.**"),
        (NO, YES, None, "**By saliency maps, no on target and yes off target.**"),
        (YES, UNSURE, None, "**By saliency maps, yes on target and one cannot tell off target.**"),
        (YES, YES, UNSURE, "**By saliency maps, yes; by views taken away, one cannot tell.**"),
        (YES, YES, NONE, "**By saliency maps, yes; by views taken away, no.**"),
        (YES, YES, NO, "**By saliency maps, yes; by views taken away, no.**"),
        (None, None, None, "**By saliency maps, one cannot tell.**"),
    ],
)
def test_the_short_answer_follows_the_verdicts(tmp_path, on, off, views, short):
    assert short in written(tmp_path, edition(on=on, off=off, views=views))["introduction"]


def test_a_positive_result_is_said_with_its_numbers(tmp_path):
    page = written(tmp_path, edition(on=YES, off=YES))["conclusions"]
    assert (
        "- The distilled network's maps resemble the ensemble's more often than those of a component that is left out "
        "of it do: "
        "20.0 points (10.0 to 30.0) on target and 20.0 points (10.0 to 30.0) off target."
    ) in page


def test_a_negative_result_is_said_as_one(tmp_path):
    pages = written(tmp_path, edition(on=NO, off=YES, views=NO))
    for page in (pages["introduction"], pages["conclusions"]):
        assert "The distilled network's maps resemble the ensemble's less often than those of a component" in page
        assert "−20.0 points (−30.0 to −10.0) on target." in page
        assert "20.0 points (10.0 to 30.0) off target." in page
        assert "the distilled network uses fewer views of an image than a component does: −0.200" in page


def test_an_unknown_outcome_is_no_finding(tmp_path):
    page = written(tmp_path, edition(on=UNSURE, off=UNSURE))["introduction"]
    assert "one cannot tell whether the distilled network's maps resemble the ensemble's more often" in page
    assert "0.0 points (−10.0 to 10.0) on target and 0.0 points (−10.0 to 10.0) off target." in page
    assert "The distilled network's maps resemble" not in page


def test_what_an_edition_lacks_is_named_with_the_reason(tmp_path):
    pages = written(tmp_path, edition())
    assert "Not known here: how the distilled network compares with a left-out component" in pages["introduction"]
    assert "(this edition did not compute it: no table rq3_share_gaps)." in pages["introduction"]
    photographs = claims.Edition("photographs", {"data_set": "cifar10", "components": 10}, (), {})
    page = written(tmp_path, photographs)["conclusions"]
    assert "(which views an image has is known of drawn images only)." in page


def test_a_number_without_an_interval_says_so(tmp_path):
    nothing = float("nan")
    page = written(tmp_path, edition(on=(0.2, nothing, nothing), off=YES))["introduction"]
    assert "one cannot tell whether" in page
    assert "20.0 points – no interval is known on target." in page


def test_bounds_come_from_the_claims(tmp_path):
    people = {"used": True, "measure": "pearson", "labelled by": "people", "value": 0.5, "source": "two people"}
    page = written(tmp_path, edition(threshold=pd.DataFrame([people | {"low": 0.45, "high": 0.55}])))["conclusions"]
    assert "T_c lies close to the published 0.53, between 0.430 and 0.630: 0.500 (0.450 to 0.550)." in page
    machine = people | {"labelled by": "interventions", "low": 0.7, "high": 0.9, "value": 0.8}
    page = written(tmp_path, edition(threshold=pd.DataFrame([machine])))["conclusions"]
    assert "Not known here: T_c; how many pairs T_c misjudges (nobody was asked to label pairs of maps here)." in page
    assert "is not the one that people gave the thesis, between 0.430 and 0.630: 0.800 (0.700 to 0.900)." in page


def test_second_transitions_are_counted_by_verdict(tmp_path):
    verdicts = {"class": ["class 0", "class 1", "class 2"], "verdict": ["class", "net", "cannot tell"]}
    page = written(tmp_path, edition(rq1_second_by_class=pd.DataFrame(verdicts)))["conclusions"]
    assert "a property of the class for class 0; some networks show" in page
    assert "for class 1; one cannot tell for 1 of 3 classes." in page


def test_without_an_edition_no_mark_is_left_and_nothing_is_claimed(tmp_path):
    for name, page in written(tmp_path).items():
        assert "<%" not in page
        assert {"thesis": thesis.NO_EDITION}.get(name, verdicts.NO_EDITION) in page


def test_every_edition_has_its_own_answer(tmp_path):
    pages = written(tmp_path, edition("first", on=YES, off=YES), edition("second", on=NO, off=NO))
    assert "<%" not in "".join(pages.values())
    first, second = pages["introduction"].split("{admonition}")[1:]
    assert "Edition first: 4 resnet10" in first
    assert "**By saliency maps, yes.**" in first
    assert "**By saliency maps, no.**" in second
    assert pages["conclusions"].count("**second: 4 resnet10") == (BOOK / "conclusions.md").read_text().count(
        "verdicts.said("
    )


def test_claims_that_did_not_replicate_are_shown_with_their_numbers(tmp_path):
    alike = pd.DataFrame({"target": ["off target"], "difference": [0.05], "low": [0.04], "high": [0.06]})
    failed, unknown = edition("failed", rq2_differ=alike), edition("unknown")
    page = written(tmp_path, failed, unknown)["conclusions"]
    assert (
        "use different features, off target | – | **✗ not replicated**<br>5.0 points (4.0 to 6.0) | **? cannot" in page
    )
    assert "No claim of the thesis that could be judged failed" in written(tmp_path, unknown)["conclusions"]


def test_verdicts_are_counted_by_edition(tmp_path):
    page = written(tmp_path, edition(on=YES, off=NO))["conclusions"]
    own = sum(claim.part == "own" for claim in CLAIMS)
    assert f"| tiny | going further | 1 | 1 | 0 | {own - 2} | {own} |" in page


def test_a_mark_that_stands_for_nothing_is_an_error(tmp_path):
    for mark in ("anwser", "verdicts.anwser()", 'verdicts.said("no-such-claim")', "verdicts.said('hits', also='x')"):
        (tmp_path / "page.md").write_text(f"# Title\n\n<% {mark} %>\n")
        with pytest.raises(ValueError, match="a mark of page.md stands for nothing: .*(anwser|no-such-claim|x)"):
            build.fill_in(tmp_path, [edition()])


def test_how_an_edition_was_made(tmp_path):
    made = {
        "created": "2026-11-25T10:00:00+00:00",
        "commit": "0123456789abcdef",
        "versions": {"python": "3.11.2", "torch": "2.6.0"},
        "hardware": {"cpu": "A processor", "cores": 2, "gpu": None},
        "threads": 1,
        "seconds_training": 252.0,
    }
    one = claims.Edition("tiny", {"seed": 7, "epochs": 8}, (), {}, made)
    page = written(tmp_path, one)["editions"]
    for cells in (
        "| **Begun** | 2026-11-25 10:00:00 UTC |",
        "| **Commit of the code** | `0123456789ab` |",
        "| **Processor** | A processor, 2 cores |",
        "| **GPU** | none |",
        "| **Versions** | python 3.11.2, torch 2.6.0 |",
        "| **Seed** | 7 |",
        "| **Training took** | 4 min 12 s |",
        "| **Not recorded** | Images, Fingerprint of the images, Maps, Explaining took, T_c, Tables kept |",
        "| `epochs` | `8` |",
    ):
        assert cells in page


CLASSES = ("automobile", "bird", "deer", "ship")
BENDS = pd.DataFrame(
    [
        ("ship", "a", "on target", 1, 4.0, 2.0, 5.0, 0.35, 0.27, 0.56, False),
        ("ship", "a", "off target", 1, 9.0, 8.0, 10.0, 0.5, 0.4, 0.6, False),
        ("deer", "a", "on target", 1, 12.0, 7.0, 21.0, 0.28, 0.05, 0.55, False),
        ("deer", "a", "on target", 2, 30.0, 28.0, 33.0, 0.1, 0.0, 0.2, True),
    ],
    columns=["class", "model", "target", "transition"]
    + ["onset", "onset_low", "onset_high", "proportion_memorised", "proportion_low", "proportion_high", "distinct"],
)


def test_the_thesis_stands_beside_the_editions_of_its_classes(tmp_path):
    networks = pd.DataFrame({"model": ["a", "b", "distilled", "distilled-2"], "accuracy (%)": [84.0, 86.0, 86.5, 87.0]})
    kinds = [("component", 0.85, 0.84, 0.86, 2), ("ensemble", 0.88, 0.87, 0.89, 1), ("distilled", 0.865, 0.85, 0.88, 1)]
    kinds = pd.DataFrame(kinds, columns=["kind", "accuracy", "low", "high", "networks"])
    shares = [("Gardner (2022)", 0.53), ("this run", 0.53)]
    rows = [(*s, kind, on, 0.5) for s in shares for kind in ("component", "distilled") for on in TARGETS.values()]
    levels = pd.DataFrame(rows, columns=["setting", "T_c", "kind", "target", "share"])
    tables = {"rq1_transitions": BENDS, "accuracy_by_network": networks, "accuracies": kinds, "rq3_levels": levels}
    theirs = claims.Edition("photos", edition().parameters, CLASSES, tables)
    page = written(tmp_path, theirs, edition("of-squares"))["thesis"]
    for row in (
        "| a | – | 84.00 % |",
        "| **a component**, mean ± sd | 84.37 ± 0.32 % | 85.00 ± 1.41 % |",
        "| **ensemble** (interval over images) | 87.95 % | 88.00 % (87.0 to 89.0) |",
        "| distilled-2 | – | 87.00 % |",
        "| ship | a | epoch 10 of 64 | 4 (2 to 5) | 2 % | 35 % (27 to 56) | – | none |",
        "| deer | a | – | 12 (7 to 21) | – | 28 % (5 to 55) | epoch 32 of 64 | 30 (28 to 33) |",
        "| this run | 0.53 | 50.0 | 50.0 | 50.0 | 50.0 |",
    ):
        assert row in page
    assert "of-squares" not in page
    assert thesis.comparable([theirs, edition()], CLAIMS) == [theirs]


# ---- the scorecard and the README ------------------------------------------------------------------------------------

TEMPLATE = (BOOK / "scorecard.md").read_text(encoding="utf-8")
FRAME = {"what": ["a", "b", "c"], "difference": [0.2, -0.2, 0.0], "low": [0.1, -0.3, -0.1], "high": [0.3, -0.1, 0.1]}


def claim(what, part="thesis", **changes):
    entry = {"id": f"{part} {what}", "part": part, "chapter": "Chapter", "says": f"{what} is large", "table": "gaps"}
    return claims.Claim(**entry | {"rows": {"what": what}, "above": 0, "unit": "points", "source": "Table 9"} | changes)


def of_gaps(name, frame):
    return claims.Edition(name, {"data_set": "multiview"}, (), {"gaps": pd.DataFrame(frame)})


def scorecard(listed, editions):
    return build.fill(TEMPLATE, verdicts=verdicts.Verdicts(listed, editions))


def cells(page, start):
    lines = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_claim_has_a_verdict_in_words_and_the_verdicts_are_counted():
    listed = [claim("a"), claim("b"), claim("c"), claim("d"), claim("a", "own", number="–"), claim("b", "own")]
    editions = [of_gaps("quick", FRAME), of_gaps("large", FRAME | {"low": [0.1, -0.3, math.nan]})]
    page = scorecard(listed, editions)
    assert "<%" not in page
    assert cells(page, "quick")[0] == ["quick", "1", "1", "0", "2", "4"]
    assert cells(page, "quick")[1] == ["quick", "1", "1", "0", "0", "2"]
    assert [row[2] for row in (cells(page, f"{what} is large")[0] for what in "abcd")] == [
        "**✓ replicated**<br>20.0 points (10.0 to 30.0)",
        "**✗ not replicated**<br>−20.0 points (−30.0 to −10.0)",
        "**? cannot tell**<br>0.0 points (−10.0 to 10.0)",
        "**? cannot tell**<br>this edition did not compute it: table gaps has no row with what d",
    ]
    assert cells(page, "c is large")[0][3] == "**? cannot tell**<br>0.0 points<br>no interval is known"
    assert cells(page, "a is large")[1][1] == "**✓ holds**<br>20.0 points (10.0 to 30.0)"
    assert cells(page, "b is large")[1][1].startswith("**✗ does not hold**")


def test_no_difference_worth_the_name_is_a_finding():
    listed = [
        claim("c", margin=0.15),
        claim("a", margin=0.15),
        claim("c", "own", above=-math.inf, below=0, margin=0.15),
    ]
    page = scorecard(listed, [of_gaps("quick", FRAME)])
    assert cells(page, "c is large")[0][2] == "**≈ no difference**<br>0.0 points (−10.0 to 10.0)"
    assert cells(page, "a is large")[0][2].startswith("**✓ replicated**")
    assert cells(page, "c is large")[1][1].startswith("**≈ no difference**")
    assert "above 0.0 points; none worth the name within ±15.0 points" in page
    answers = verdicts.Answers([claim("c", margin=0.15, about="whether c is large")], of_gaps("quick", FRAME))
    assert answers.sentences(["thesis c"]) == [
        "c is large: no, there is no difference worth the name, which is 15.0 points: 0.0 points (−10.0 to 10.0)."
    ]


def test_the_page_says_where_a_number_comes_from_and_what_would_replicate_it():
    listed = [
        claim("a"),
        claim("b", above=-math.inf, below=0.08, unit="%", needs={"class": "ship"}),
        claim("c", above=0.43, below=0.63, unit="", every=("model",)),
    ]
    page = scorecard(listed, [])
    assert "| above 0.0 points | `gaps`: difference; what = a |" in page
    assert "| below 8.0 %<br>of class ship | `gaps`: difference; what = b |" in page
    assert "| between 0.430 and 0.630 | `gaps`: difference; what = c; every model |" in page


def test_without_an_edition_the_page_lists_the_claims_and_says_so():
    found = claims.read_claims()
    page = scorecard(found, [])
    assert verdicts.NO_EDITION in page
    assert all(f"| {c.says} |" in page for c in found)
    assert "✓" not in page


def test_the_row_that_decides_is_named():
    every = claim("a", rows={}, every=("what",))
    page = scorecard([every], [of_gaps("quick", FRAME)])
    assert "**✗ not replicated**<br>what b: −20.0 points (−30.0 to −10.0)" in page


def test_a_bar_in_a_name_does_not_break_the_table():
    page = scorecard([claim("a")], [of_gaps("my|run", FRAME)])
    assert "| claim | thesis | my\\|run |" in page


def test_a_share_above_a_threshold_names_it():
    shares = pd.DataFrame(FRAME | {"used": [True, False, False], "value": [0.53] * 3, "source": "published"})
    one = claims.Edition("quick", {}, (), {"rq3_shares": shares, "threshold": shares, "gaps": shares})
    listed = [claim("a", table="rq3_shares", headline=True, about="a", fails="no", unknown="?"), claim("b")]
    page = scorecard(listed, [one])
    assert cells(page, "a is large")[0][2] == "**✓ replicated**<br>20.0 points (10.0 to 30.0)<br>at T_c 0.53"
    assert "T_c" not in cells(page, "b is large")[0][2]
    found = verdicts.Verdicts(listed, [one])
    assert "20.0 points (10.0 to 30.0) at T_c 0.53 ✓" in found.readme()
    assert found.said("thesis a") == "- a is large: 20.0 points (10.0 to 30.0), at T_c 0.53."


def test_claims_against_the_theory_are_counted():
    listed = [claim("a", against=True), claim("b", "own", against=True), claim("c")]
    assert cells(scorecard(listed, [of_gaps("quick", FRAME)]), "quick")[-1] == ["quick", "1", "1", "0", "0", "2"]
    assert sum(one.against for one in CLAIMS) >= 12


@pytest.mark.parametrize("unit", claims.UNITS)
def test_every_unit_is_shown(unit):
    page = scorecard([claim("a", unit=unit)], [of_gaps("quick", FRAME)])
    assert {"%": "20.0 % (10.0 to 30.0)", "points": "20.0 points (", "of training": "20 % of training (10 to 30)"}.get(
        unit, "0.200 (0.100 to 0.300)"
    ) in page


def test_the_readme_shows_the_headlines_of_every_edition():
    listed = [claim("a", headline=True, number="+1 point"), claim("b"), claim("d", headline=True)]
    editions = [of_gaps("small", FRAME), of_gaps("large", FRAME | {"difference": [0.25, 0, 0]})]
    table = verdicts.Verdicts(listed, editions).readme().splitlines()
    assert table[2:] == [
        "| a is large | +1 point | 20.0 points (10.0 to 30.0) ✓ | 25.0 points (10.0 to 30.0) ✓ |",
        "| d is large | – | – ? | – ? |",
    ]
    assert "| this study, small: given networks, multiview | this study, large: given" in table[0]


@given(st.lists(st.text("aZ1 $\\`*_<>&[](){}~#+-.!^", min_size=1).map(lambda name: f"a{name}b"), min_size=1))
def test_pages_show_names_as_they_are(names):
    table = pd.DataFrame({"class": names, "verdict": "class"})
    said = verdicts.Verdicts(CLAIMS, [edition(rq1_second_by_class=table)]).found[0].second_transitions()
    paragraph = MarkdownIt("gfm-like", {"linkify": False}).use(dollarmath_plugin).parse(said)[1]
    assert {token.type for token in paragraph.children} <= {"text", "text_special"}
    shown = "".join(token.content for token in paragraph.children)
    assert shown.startswith("Second transitions: a second transition is a property of the class for ")
    assert all(name in shown for name in names)
