"""The scorecard: the book's page of claims and verdicts, and the README's table of the headlines."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from kd_lib.book.claims import CANNOT_TELL, FAILS, HOLDS, OWN, THESIS, UNITS, Claim, Edition, Finding, judge

# What a verdict is called in either part of the page; the mark tells it without colour.
WORDS = {
    THESIS: {HOLDS: "✓ replicated", FAILS: "✗ not replicated", CANNOT_TELL: "? cannot tell"},
    OWN: {HOLDS: "✓ holds", FAILS: "✗ does not hold", CANNOT_TELL: "? cannot tell"},
}
PARTS = {THESIS: "Claims of the thesis", OWN: "Claims that go further"}  # what captions call them
NO_EDITION = "No edition's results are kept, so no claim is judged here; `make edition` keeps those of a run."


def page(template: str, claims: Sequence[Claim], editions: Sequence[Edition]) -> str:
    """Write the book's page: counts of verdicts, then the claims chapter by chapter, then where numbers come from.

    Parameters
    ----------
    template : str
        The page's prose, with the marks ``<!-- editions -->``, ``<!-- thesis -->``, ``<!-- own -->`` and
        ``<!-- sources -->`` where the tables go.
    claims : sequence of Claim
    editions : sequence of Edition
        A column each; without any the claims are listed and none is judged.

    Returns
    -------
    str
        Markdown.
    """
    origins = [[_sourced(claim), _region(claim) + _needs(claim), _origin(claim)] for claim in claims]
    header = ["claim", "holds where the quantity is", "table and row"]
    parts = {
        "editions": titles(editions) or NO_EDITION,
        "sources": table(header, origins, "Where each claim's number comes from."),
    }
    parts |= {part: _part([claim for claim in claims if claim.part == part], editions) for part in WORDS}
    for mark, text in parts.items():
        template = template.replace(f"<!-- {mark} -->", text)
    return template


def _part(claims: Sequence[Claim], editions: Sequence[Edition]) -> str:
    """Count the verdicts of each edition, then show them chapter by chapter."""
    found = {(claim.id, edition.name): judge(claim, edition) for claim in claims for edition in editions}
    words = WORDS[claims[0].part] if claims else {}
    counts = {edition.name: Counter(found[claim.id, edition.name].verdict for claim in claims) for edition in editions}
    rows = [[name, *(count[key] for key in words), len(claims)] for name, count in counts.items()]
    caption = f"{PARTS[claims[0].part]}, by verdict." if claims else ""
    blocks = [table(["edition", *words.values(), "claims"], rows, caption)] if rows else []
    for chapter in dict.fromkeys(claim.chapter for claim in claims):
        of_chapter = [claim for claim in claims if claim.chapter == chapter]
        columns = {"claim": [claim.says for claim in of_chapter]}
        if claims[0].part == THESIS:
            columns["thesis"] = [claim.number for claim in of_chapter]
        for edition in editions:
            columns[edition.name] = [verdict_cell(claim, found[claim.id, edition.name]) for claim in of_chapter]
        shown = table(list(columns), list(zip(*columns.values(), strict=True)), f"{PARTS[claims[0].part]}: {chapter}.")
        blocks += [f"### {chapter}", shown]
    return "\n\n".join(blocks)


def titles(editions: Sequence[Edition]) -> str:
    """List the editions in Markdown, each with what was run; empty without any."""
    return "\n".join(f"- **{cell(edition.name)}**: {cell(edition.title)}" for edition in editions)


def readme_table(claims: Sequence[Claim], editions: Sequence[Edition]) -> str:
    """Write the README's table: the headline claims, and of each edition its number and the mark of its verdict."""
    rows = []
    for claim in claims:
        if claim.headline:
            found = [judge(claim, edition) for edition in editions]
            marks = [WORDS[claim.part][one.verdict].split()[0] for one in found]
            answers = [f"{quantity(claim, one) or '–'} {mark}" for one, mark in zip(found, marks, strict=True)]
            rows.append([claim.says, claim.number, *answers])
    columns = [f"this study, {edition.name}: {edition.title}" for edition in editions]
    return table(["", "Gardner (2022): 10 resnet18, 64 epochs of CIFAR-10", *columns], rows)


def verdict_cell(claim: Claim, found: Finding) -> str:
    """Write a cell of a table: the verdict, the quantity with its interval, and why it cannot tell where it cannot."""
    which = f"{found.which}: " if found.which and not math.isnan(found.estimate) else ""
    below = [f"{which}{quantity(claim, found)}", found.reason]
    return "<br>".join([f"**{WORDS[claim.part][found.verdict]}**", *filter(None, below)])


def quantity(claim: Claim, found: Finding) -> str:
    """Write a claim's quantity with its interval, in its unit; empty if it is not known."""
    if math.isnan(found.estimate):
        return ""
    text = number(found.estimate, claim.unit)
    if math.isnan(found.low) or math.isnan(found.high):
        return text
    scale, digits, _ = UNITS[claim.unit]
    low, high = (f"{bound * scale:.{digits}f}".replace("-", "−") for bound in (found.low, found.high))
    return f"{text} ({low} to {high})"


def number(value: float, unit: str) -> str:
    """Write a number in a unit, a key of `claims.UNITS`."""
    scale, digits, suffix = UNITS[unit]
    return f"{value * scale:.{digits}f}{suffix}".replace("-", "−")


def _region(claim: Claim) -> str:
    above, below = (number(bound, claim.unit) for bound in (claim.above, claim.below))
    if math.isinf(claim.below):
        return f"above {above}"
    return f"below {below}" if math.isinf(claim.above) else f"between {above} and {below}"


def _origin(claim: Claim) -> str:
    chosen = ", ".join(f"{column} = {value}" for column, value in claim.rows.items())
    every = f"; every {' and '.join(claim.every)}" if claim.every else ""
    return f"`{claim.table}`: {claim.estimate}; {chosen}{every}"


def _sourced(claim: Claim) -> str:
    return f"{claim.says} ({claim.source})" if claim.source else claim.says


def _needs(claim: Claim) -> str:
    return "<br>of " + ", ".join(f"{key} {value}" for key, value in claim.needs.items()) if claim.needs else ""


def table(header: Sequence, rows: Iterable[Sequence], caption: str = "") -> str:
    """Write a table in Markdown; with a caption, which the book numbers, in MyST's."""
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)
    return f":::{{table}} {caption}\n\n{text}\n:::" if caption else text


def cell(value: Any) -> str:
    """Write a value so that it breaks no table."""
    return str(value).replace("|", "\\|").replace("\n", " ")
