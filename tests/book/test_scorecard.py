"""The page of verdicts and the README's table, made of claims and editions."""

import math
from pathlib import Path

import pandas as pd
import pytest

from kd_lib.book import claims, scorecard

TEMPLATE = (Path(__file__).resolve().parents[2] / "book" / "scorecard.md").read_text(encoding="utf-8")
FRAME = {"what": ["a", "b", "c"], "difference": [0.2, -0.2, 0.0], "low": [0.1, -0.3, -0.1], "high": [0.3, -0.1, 0.1]}


def claim(what, part="thesis", **changes):
    entry = {"id": f"{part} {what}", "part": part, "chapter": "Chapter", "says": f"{what} is large", "table": "gaps"}
    return claims.Claim(**entry | {"rows": {"what": what}, "above": 0, "unit": "points", "source": "Table 9"} | changes)


def edition(name, frame):
    return claims.Edition(name, {"data_set": "multiview"}, (), {"gaps": pd.DataFrame(frame)})


def cells(page, start):
    lines = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_claim_has_a_verdict_in_words_and_the_verdicts_are_counted():
    listed = [claim("a"), claim("b"), claim("c"), claim("d"), claim("a", "own", number="–"), claim("b", "own")]
    editions = [edition("quick", FRAME), edition("large", FRAME | {"low": [0.1, -0.3, math.nan]})]
    page = scorecard.page(TEMPLATE, listed, editions)
    assert "<!--" not in page
    assert cells(page, "quick")[0] == ["quick", "1", "1", "2", "4"]
    assert cells(page, "quick")[1] == ["quick", "1", "1", "0", "2"]
    assert [row[2] for row in (cells(page, f"{what} is large")[0] for what in "abcd")] == [
        "**✓ replicated**<br>20.0 points (10.0 to 30.0)",
        "**✗ not replicated**<br>−20.0 points (−30.0 to −10.0)",
        "**? cannot tell**<br>0.0 points (−10.0 to 10.0)",
        "**? cannot tell**<br>table gaps has no row with what d",
    ]
    assert cells(page, "c is large")[0][3] == "**? cannot tell**<br>0.0 points<br>no interval is known"
    assert cells(page, "a is large")[1][1] == "**✓ holds**<br>20.0 points (10.0 to 30.0)"
    assert cells(page, "b is large")[1][1].startswith("**✗ does not hold**")


def test_the_page_says_where_a_number_comes_from_and_what_would_replicate_it():
    listed = [
        claim("a"),
        claim("b", above=-math.inf, below=0.08, unit="%", needs={"class": "ship"}),
        claim("c", above=0.43, below=0.63, unit="", every=("model",)),
    ]
    page = scorecard.page(TEMPLATE, listed, [])
    assert "| above 0.0 points | `gaps`: difference; what = a |" in page
    assert "| below 8.0 %<br>of class ship | `gaps`: difference; what = b |" in page
    assert "| between 0.430 and 0.630 | `gaps`: difference; what = c; every model |" in page


def test_without_an_edition_the_page_lists_the_claims_and_says_so():
    found = claims.read_claims()
    page = scorecard.page(TEMPLATE, found, [])
    assert scorecard.NO_EDITION in page
    assert all(f"| {c.says} |" in page for c in found)
    assert "✓" not in page


def test_the_row_that_decides_is_named():
    every = claim("a", rows={}, every=("what",))
    assert "**✗ not replicated**<br>what b: −20.0 points (−30.0 to −10.0)" in scorecard.page(
        TEMPLATE, [every], [edition("quick", FRAME)]
    )


def test_a_bar_in_a_name_does_not_break_the_table():
    page = scorecard.page(TEMPLATE, [claim("a")], [edition("my|run", FRAME)])
    assert "| claim | thesis | my\\|run |" in page


@pytest.mark.parametrize("unit", claims.UNITS)
def test_every_unit_is_shown(unit):
    page = scorecard.page(TEMPLATE, [claim("a", unit=unit)], [edition("quick", FRAME)])
    assert {"%": "20.0 % (10.0 to 30.0)", "points": "20.0 points (", "of training": "20 % of training (10 to 30)"}.get(
        unit, "0.200 (0.100 to 0.300)"
    ) in page


def test_the_readme_shows_the_headlines_of_every_edition():
    listed = [claim("a", headline=True, number="+1 point"), claim("b"), claim("d", headline=True)]
    editions = [edition("small", FRAME), edition("large", FRAME | {"difference": [0.25, 0, 0]})]
    table = scorecard.readme_table(listed, editions).splitlines()
    assert table[2:] == [
        "| a is large | +1 point | 20.0 points (10.0 to 30.0) ✓ | 25.0 points (10.0 to 30.0) ✓ |",
        "| d is large | – | – ? | – ? |",
    ]
    assert "| this study, small: given networks, multiview | this study, large: given" in table[0]
