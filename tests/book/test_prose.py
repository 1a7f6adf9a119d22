"""Sentences that state results follow the results: positive, negative, unknown, missing, of several editions."""

import math
import shutil
from pathlib import Path

import pandas as pd
import pytest

from kd_lib.book import claims, prose, statements
from kd_lib.book.build import UNFINISHED

BOOK = Path(__file__).resolve().parents[2] / "book"
CLAIMS = claims.read_claims()
YES, NO, UNSURE = (0.2, 0.1, 0.3), (-0.2, -0.3, -0.1), (0.0, -0.1, 0.1)


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
    for page in prose.PAGES:
        shutil.copy(BOOK / f"{page}.md", tmp_path)
    prose.write_pages(tmp_path, CLAIMS, editions)
    return {page: (tmp_path / f"{page}.md").read_text(encoding="utf-8") for page in prose.PAGES}


@pytest.mark.parametrize(
    ("on", "off", "views", "short"),
    [
        (YES, YES, None, "**By saliency maps, yes.**"),
        (NO, NO, None, "**By saliency maps, no.**"),
        (UNSURE, UNSURE, None, "**By saliency maps, one cannot tell.**"),
        (NO, YES, None, "**By saliency maps, no on target and yes off target.**"),
        (YES, UNSURE, None, "**By saliency maps, yes on target and one cannot tell off target.**"),
        (YES, YES, UNSURE, "**By saliency maps, yes; by views taken away, one cannot tell.**"),
        (YES, YES, NO, "**By saliency maps, yes; by views taken away, no.**"),
        (None, None, None, "**By saliency maps, one cannot tell.**"),
    ],
)
def test_the_short_answer_follows_the_verdicts(tmp_path, on, off, views, short):
    assert short in written(tmp_path, edition(on=on, off=off, views=views))["introduction"]


def test_a_positive_result_is_said_with_its_numbers(tmp_path):
    page = written(tmp_path, edition(on=YES, off=YES))["conclusions"]
    assert (
        "- More of the distilled network's maps are like the ensemble's than of a component's that is left out of it: "
        "20.0 points (10.0 to 30.0) on target and 20.0 points (10.0 to 30.0) off target."
    ) in page


def test_a_negative_result_is_said_as_one(tmp_path):
    pages = written(tmp_path, edition(on=NO, off=YES, views=NO))
    for page in (pages["introduction"], pages["conclusions"]):
        assert "Fewer of the distilled network's maps are like the ensemble's" in page
        assert "−20.0 points (−30.0 to −10.0) on target." in page
        assert "20.0 points (10.0 to 30.0) off target." in page
        assert "the distilled network uses fewer views of an image than a component does: −0.200" in page


def test_an_unknown_outcome_is_no_finding(tmp_path):
    page = written(tmp_path, edition(on=UNSURE, off=UNSURE))["introduction"]
    assert "one cannot tell whether more of the distilled network's maps are like the ensemble's" in page
    assert "0.0 points (−10.0 to 10.0) on target and 0.0 points (−10.0 to 10.0) off target." in page
    assert "More of the distilled network's maps are like" not in page


def test_what_an_edition_lacks_is_named_with_the_reason(tmp_path):
    pages = written(tmp_path, edition())
    assert "Not known here: how the distilled network compares with a left-out component" in pages["introduction"]
    assert "(no table rq3_share_gaps here)." in pages["introduction"]
    photographs = claims.Edition("photographs", {"data_set": "cifar10", "components": 10}, (), {})
    page = written(tmp_path, photographs)["conclusions"]
    assert "(which views an image has is known of drawn images only)." in page


def test_a_number_without_an_interval_says_so(tmp_path):
    nothing = float("nan")
    page = written(tmp_path, edition(on=(0.2, nothing, nothing), off=YES))["introduction"]
    assert "one cannot tell whether" in page
    assert "20.0 points – no interval is known on target." in page


def test_bounds_come_from_the_claims(tmp_path):
    share = pd.DataFrame({"target": ["on target", "off target"], "share": [0.95, 0.5], "low": [0.94, 0.4]})
    page = written(tmp_path, edition(rq2_shares=share.assign(high=[0.96, 0.6])))["conclusions"]
    assert "at least 92.0 % of their maps are alike: 95.0 % (94.0 to 96.0) on target." in page
    assert "fewer than 92.0 % of their maps are alike: 50.0 % (40.0 to 60.0) off target." in page


def test_second_transitions_are_counted_by_verdict(tmp_path):
    verdicts = {"class": ["class 0", "class 1", "class 2"], "verdict": ["class", "net", "cannot tell"]}
    page = written(tmp_path, edition(rq1_second_by_class=pd.DataFrame(verdicts)))["conclusions"]
    assert "a property of the class for class 0; some networks show" in page
    assert "for class 1; one cannot tell for 1 of 3 classes." in page


def test_without_an_edition_no_mark_is_left_and_nothing_is_claimed(tmp_path):
    for page in written(tmp_path).values():
        assert "<!--" not in page
        assert prose.NO_EDITION in page


def test_every_edition_has_its_own_answer(tmp_path):
    pages = written(tmp_path, edition("first", on=YES, off=YES), edition("second", on=NO, off=NO))
    assert "<!--" not in "".join(pages.values())
    first, second = pages["introduction"].split("{admonition}")[1:]
    assert "Edition first: 4 resnet10" in first
    assert "**By saliency maps, yes.**" in first
    assert "**By saliency maps, no.**" in second
    assert pages["conclusions"].count("**second: 4 resnet10") == len(statements.CONCLUSIONS)


def test_claims_that_did_not_replicate_are_shown_with_their_numbers(tmp_path):
    share = pd.DataFrame({"target": ["off target"], "share": [0.95], "low": [0.94], "high": [0.96]})
    failed, unknown = edition("failed", rq2_shares=share), edition("unknown")
    page = written(tmp_path, failed, unknown)["conclusions"]
    assert "use different features, off target | – | **✗ not replicated**<br>95.0 % (94.0 to 96.0) | **? cannot" in page
    assert "No claim of the thesis that could be judged failed" in written(tmp_path, unknown)["conclusions"]


def test_verdicts_are_counted_by_edition(tmp_path):
    page = written(tmp_path, edition(on=YES, off=NO))["conclusions"]
    own = sum(claim.part == "own" for claim in CLAIMS)
    assert f"| tiny | going further | 1 | 1 | {own - 2} | {own} |" in page


def test_every_statement_is_about_claims_that_exist():
    known = {claim.id for claim in CLAIMS}
    for statement in [
        *statements.ANSWER,
        *statements.ANSWER_BESIDE_MAPS,
        *(s for part in statements.CONCLUSIONS.values() for s in part),
    ]:
        assert set(statement.ids.values()) <= known


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "less than a second"), (59.6, "1 min"), (252, "4 min 12 s"), (3600, "1 h"), (90061, "25 h 1 min")],
)
def test_durations(seconds, text):
    assert prose.duration(seconds) == text


def test_the_optimiser_that_comes_nearer_to_the_published_accuracy_is_the_likelier_reading():
    columns = ["network", "accuracy (%)", "Gardner (2022) (%)"]
    rows = [("components, mean", 85.6, 84.37), ("adam", 10.0, math.nan)]
    assert prose.which_optimiser(pd.DataFrame(rows, columns=columns), "sgd", 0.4) == (
        "At a peak learning rate of 0.4, SGD reaches 85.6 % (mean of the components) and Adam 10.0 % (one network); "
        "Gardner (2022) has 84.4 %, so that SGD is the likelier reading."
    )
    rows[1] = ("adam", 84.0, math.nan)
    assert prose.which_optimiser(pd.DataFrame(rows, columns=columns), "sgd", 0.4).endswith(
        "Adam is the likelier reading."
    )
    assert prose.which_optimiser(pd.DataFrame(rows[:1], columns=columns), "sgd", 0.4) is None
    assert prose.which_optimiser(pd.DataFrame(rows, columns=columns), "adam", 0.4) is None


def test_the_run_at_full_size_says_what_its_tables_say():
    template = (BOOK / "full_size.md").read_text(encoding="utf-8")
    text = prose.unfinished(template, CLAIMS, UNFINISHED)
    assert "<!--" not in text
    gaps = pd.read_csv(UNFINISHED / "results" / "rq3_share_gaps.csv").set_index(["what", "less", "target"])
    for target in ("on target", "off target"):
        row = gaps.loc[("distilled", "leave-one-out", target)] * 100
        assert f"{row.difference:.1f} points ({row.low:.1f} to {row.high:.1f})" in text
    assert "rq1" not in text.partition("Commit of the code")[0]
