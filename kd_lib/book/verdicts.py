"""Verdicts: how claims are judged by an edition's tables, and how the book says what came out.

No verdict is made anywhere but in `verdict`; which of a claim's sentences is said follows from it. The book's pages ask
for what is written here by the names of the methods of `Verdicts`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kd_lib.book.claims import BY_THRESHOLD, OWN, THESIS, UNITS, Claim, Edition
from kd_lib.book.markdown import and_, cell, number, plain, table

HOLDS, FAILS, SAME, CANNOT_TELL = "holds", "fails", "no difference", "cannot tell"
# What a verdict is called in either part of the scorecard; the mark tells it without colour.
WORDS = {
    THESIS: {HOLDS: "✓ replicated", FAILS: "✗ not replicated", SAME: "≈ no difference", CANNOT_TELL: "? cannot tell"},
    OWN: {HOLDS: "✓ holds", FAILS: "✗ does not hold", SAME: "≈ no difference", CANNOT_TELL: "? cannot tell"},
}
WHOSE = {THESIS: "the thesis's", OWN: "going further"}
PARTS = {THESIS: "Claims of the thesis", OWN: "Claims that go further"}  # what captions call them
NO_EDITION = "No edition's results are kept, so no claim is judged here; `make edition` keeps those of a run."
CERTAIN = {"%": 1}  # what no share exceeds
# Claims that the answer to the book's question gives, by maps and beside them; see `Answers.sentences`.
FAIR, VIEWS = "fair-gain-on-target", "distilled-views-used"
BY_MAPS = (FAIR, "inherited-similarity-on-target", "own-teachers-on-target")
BESIDE_MAPS = (
    "distilled-above-component",
    "inherited-accuracy",
    "distilled-single-view",
    VIEWS,
    "distilled-fewer-views-than-ensemble",
)


class Finding(NamedTuple):
    """What an edition says of a claim: the verdict, why it cannot tell, and the quantity with its interval."""

    verdict: str
    reason: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    which: str = ""


# ---- judging ---------------------------------------------------------------------------------------------------------


def verdict(low: float, high: float, *, above: float = -math.inf, below: float = math.inf, margin: float = 0.0) -> str:
    """Judge a claim that a quantity lies above one bound, below another, or between two.

    The one rule of the scorecard. The claim holds if the whole interval lies inside the region claimed, fails if the
    whole interval lies outside it, and otherwise the data cannot tell. An interval that touches a bound does not
    exclude it. The interval is NaN if it is not known; a bound is infinite where there is none. A difference whose
    interval lies between -margin and margin is none worth the name, on whichever side of 0 it lies: "no" is not "cannot
    tell".

    Returns
    -------
    {'holds', 'fails', 'no difference', 'cannot tell'}

    References
    ----------
    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15(6).
    """
    if math.isnan(low) or math.isnan(high):
        return CANNOT_TELL
    if -margin < low and high < margin:
        return SAME
    if low > above and high < below:
        return HOLDS
    return FAILS if high < above or low > below else CANNOT_TELL


def judge(claim: Claim, edition: Edition) -> Finding:
    """Find a claim's quantity in an edition's tables and judge it.

    What cannot be found or compared is no error: the verdict is then that the edition cannot tell, and why.
    """
    lacks = edition.lacks(claim.needs)
    rows, reason = _select(claim, edition)
    if reason:
        return Finding(CANNOT_TELL, claim.lacking or lacks or reason)
    findings = [_finding(claim, row) for _, row in rows.iterrows()]
    # What is claimed of every row is as sure as its least sure row, and that is the one to show.
    order = (FAILS, SAME, CANNOT_TELL, HOLDS)
    worst = min(findings, key=lambda f: (order.index(f.verdict), -f.high if math.isinf(claim.above) else f.low))
    return worst._replace(verdict=CANNOT_TELL, reason=lacks) if lacks else worst


def _finding(claim: Claim, row: pd.Series) -> Finding:
    estimate, low, high = (float(row[column]) for column in (claim.estimate, claim.low, claim.high))
    # A class may be called so: "class 0", not "class class 0".
    named = [f"{column} {plain(row[column])}".replace("class class", "class") for column in claim.every]
    which, reason = ", ".join(named), ""
    if math.isnan(low) or math.isnan(high):
        reason = "no interval is known"
    if math.isnan(estimate):
        reason = "the quantity is not defined here"
    found = CANNOT_TELL if reason else verdict(low, high, above=claim.above, below=claim.below, margin=claim.margin)
    return Finding(found, reason, estimate, low, high, which)


def _select(claim: Claim, edition: Edition) -> tuple[pd.DataFrame, str]:
    """Rows of the claim's table with their quantity as a number, or why there are none."""
    empty = pd.DataFrame()
    if claim.table not in edition.tables:
        return empty, f"this edition did not compute it: no table {claim.table}"
    frame, quantity = edition.tables[claim.table], [claim.estimate, claim.low, claim.high]
    if missing := [column for column in (*claim.rows, *claim.every, *quantity) if column not in frame.columns]:
        return empty, f"table {claim.table} has no column {missing[0]!r}"
    for column, value in claim.rows.items():
        frame = frame[frame[column] == value]
    described = ", ".join(f"{column} {value}" for column, value in claim.rows.items())
    if frame.empty:
        return empty, f"this edition did not compute it: table {claim.table} has no row with {described}"
    if len(frame) > 1 and not claim.every:
        return empty, f"table {claim.table} has {len(frame)} rows with {described}"
    if not (divisor := edition.parameters.get(claim.over) if claim.over else 1):
        return empty, f"parameter {claim.over} of the run is unknown"
    numbers = frame[quantity].apply(pd.to_numeric, errors="coerce") / divisor
    return frame.assign(**{column: numbers[column] for column in quantity}), ""


class Judged:
    """A claim, judged by an edition, and how both are written."""

    def __init__(self, claim: Claim, edition: Edition):
        self.claim, self.finding = claim, judge(claim, edition)
        self.verdict, self.reason = self.finding.verdict, self.finding.reason
        self.at = ""  # at which threshold, if the quantity goes by one
        if self.quantity and claim.table in BY_THRESHOLD and (used := used_threshold(edition)) is not None:
            self.at = f"at T_c {float(used['value']):.2f}"

    @property
    def quantity(self) -> str:
        """The quantity with its interval, in its unit; empty if it is not known."""
        found, unit = self.finding, self.claim.unit
        if math.isnan(found.estimate):
            return ""
        text = number(found.estimate, unit)
        if math.isnan(found.low) or math.isnan(found.high):
            return text
        low, high = (number(bound, unit).removesuffix(UNITS[unit][2]) for bound in (found.low, found.high))
        return f"{text} ({low} to {high})"

    @property
    def cell(self) -> str:
        """The verdict, the quantity with its interval, and why it cannot tell where it cannot, as a cell of a table."""
        which = f"{self.finding.which}: " if self.finding.which and self.quantity else ""
        said = [f"**{WORDS[self.claim.part][self.verdict]}**", f"{which}{self.quantity}", self.at, self.reason]
        return "<br>".join(filter(None, said))


class Answers:
    """What an edition says of every claim: `of` has each by its id."""

    def __init__(self, claims: Sequence[Claim], edition: Edition):
        self.edition, self.of = edition, {claim.id: Judged(claim, edition) for claim in claims}
        self.heading = heading(edition)

    def count(self, part: str) -> list[int]:
        """Count how many claims of a part have each verdict, and how many there are."""
        found = Counter(one.verdict for one in self.of.values() if one.claim.part == part)
        return [*(found[key] for key in WORDS[part]), found.total()]

    def sentences(self, names: Sequence[str]) -> list[str]:
        """Say what came out: a sentence a claim and verdict, then what is not known, and why.

        `names` are ids of claims that have sentences; those that are said with one are said with it.
        """
        said, lacking = [], {}
        for name in names:
            words, together = self.of[name].claim, self._said_with(name)
            texts = {HOLDS: words.holds or words.says, FAILS: words.fails, CANNOT_TELL: words.unknown}
            texts[SAME] = f"{words.says}: no, there is no difference worth the name, which is {{margin}}"
            if not (known := [one for one in together if one.quantity]):
                lacking.setdefault("; ".join(dict.fromkeys(one.reason for one in together)), []).append(words.about)
            for outcome in dict.fromkeys(one.verdict for one in known):
                said.append(_sentence(texts[outcome], [one for one in known if one.verdict == outcome]))
        return said + [f"Not known here: {'; '.join(about)} ({reason})." for reason, about in lacking.items()]

    def short_answer(self) -> str:
        """Answer in a few words: what maps say, beside left-out components, and what views say where they are known."""
        words = {HOLDS: "yes", FAILS: "no", SAME: "no", CANNOT_TELL: "one cannot tell"}
        on, off = (words[one.verdict] for one in self._said_with(FAIR))
        answer = f"by saliency maps, {on}" if on == off else f"by saliency maps, {on} on target and {off} off target"
        if (views := self.of[VIEWS]).quantity:
            answer += f"; by views taken away, {words[views.verdict]}"
        return f"{answer.capitalize()}."

    def _said_with(self, name: str) -> list[Judged]:
        return [one for one in self.of.values() if name in (one.claim.id, one.claim.said_with)]

    # What a part of the conclusions says as well; empty if it is not known.

    def accuracies(self) -> str:
        """Give the accuracy of each kind of network."""
        kinds = {"component": "a component", "ensemble": "the ensemble", "distilled": "the distilled network"}
        found = {kind: self.of[f"{name}-accuracy"].quantity for name, kind in kinds.items()}
        parts = [f"{quantity} of {kind}" for kind, quantity in found.items() if quantity]
        return f"Accuracy on the test images: {and_(parts)}." if parts else ""

    def labels(self) -> str:
        """Say where the labels of pairs are from."""
        row = used_threshold(self.edition)
        return "" if row is None else f"The labels of its pairs: {row['source']}."

    def second_transitions(self) -> str:
        """Say which classes have a second transition."""
        frame = self.edition.tables.get("rq1_second_by_class")
        if frame is None or not {"class", "verdict"} <= set(frame.columns) or frame.empty:
            return ""
        named = {
            "class": "a second transition is a property of the class",
            "net": "some networks show a second transition, and less than half of them do",
            "none": "no network shows a second transition",
        }
        classes = {key: list(map(plain, frame.loc[frame["verdict"] == key, "class"])) for key in named}
        parts = [f"{text} for {and_(classes[key])}" for key, text in named.items() if classes[key]]
        if unsure := int((frame["verdict"] == "cannot tell").sum()):
            parts.append(f"one cannot tell for {unsure} of {len(frame)} classes")
        return f"Second transitions: {'; '.join(parts)}."


def _sentence(text: str, together: Sequence[Judged]) -> str:
    """Say a sentence about some claims with their numbers, each with where it was found."""
    claim, numbers = together[0].claim, []
    for one in together:
        which = f"{one.finding.which}, " if one.finding.which else ""
        reason = f" – {one.reason}" if one.reason else ""
        numbers.append(f"{which}{one.quantity}{reason} {one.claim.where}".rstrip())
    bounds = {key: number(getattr(claim, key), claim.unit) for key in ("above", "below", "margin")}
    told = ", ".join(filter(None, [and_(numbers), together[0].at]))
    return f"{text.format(number=claim.number, **bounds)}: {told}."


def heading(edition: Edition) -> str:
    """Name an edition, and what was run."""
    return f"{cell(edition.name)}: {cell(edition.title)}"


def used_threshold(edition: Edition) -> pd.Series | None:
    """Row of the threshold that an edition's answers use; None if its tables do not tell."""
    frame = edition.tables.get("threshold")
    if frame is None or not {"used", "source"} <= set(frame.columns):
        return None
    return next((row for _, row in frame[frame["used"].astype(bool)].iterrows()), None)


# ---- pages -----------------------------------------------------------------------------------------------------------


class Verdicts:
    """What the book's pages and the README say of claims and editions; the pages' marks name its methods.

    An edition has a column; without any the claims are listed and none is judged.
    """

    def __init__(self, claims: Sequence[Claim], editions: Sequence[Edition]):
        self.of_claims, self.found = claims, [Answers(claims, edition) for edition in editions]

    def editions(self) -> str:
        """List the editions, each with what was run."""
        shown = [f"- **{cell(one.edition.name)}**: {cell(one.edition.title)}" for one in self.found]
        return "\n".join(shown) or NO_EDITION

    def answer(self) -> str:
        """Give the answer to the book's question, a box an edition."""
        boxes = []
        for one in self.found:
            maps = " ".join([f"**{one.short_answer()}**", *one.sentences(BY_MAPS)])
            beside = " ".join(one.sentences(BESIDE_MAPS))
            boxes.append(f":::{{admonition}} Edition {one.heading}\n:class: tip\n\n{maps}\n\n{beside}\n:::")
        return "\n\n".join(boxes) or NO_EDITION

    def said(self, *names: str, also: str = "") -> str:
        """Say what came out of some claims, a list an edition, named where there are several.

        The names are those of `Answers.sentences`; `also` is a method of `Answers` that gives one sentence more.
        """
        blocks = []
        for one in self.found:
            said = [*one.sentences(names), *filter(None, [getattr(one, also)() if also else ""])]
            heading = [f"**{one.heading}**\n"] if len(self.found) > 1 else []
            blocks.append("\n".join([*heading, *(f"- {sentence}" for sentence in said)]))
        return "\n\n".join(blocks) or NO_EDITION

    def claims(self, part: str) -> str:
        """Count the verdicts of each edition on the claims of a part, then show them chapter by chapter."""
        blocks, columns = [], ["thesis"] if part == THESIS else []
        if not (listed := [claim for claim in self.of_claims if claim.part == part]):
            return ""
        if rows := [[one.edition.name, *one.count(part)] for one in self.found]:
            header = ["edition", *WORDS[part].values(), "claims"]
            blocks.append(table(header, rows, f"{PARTS[part]}, by verdict."))
        header = ["claim", *columns, *(one.edition.name for one in self.found)]
        for chapter in dict.fromkeys(claim.chapter for claim in listed):
            rows = [
                [claim.says, *(claim.number for _ in columns), *(one.of[claim.id].cell for one in self.found)]
                for claim in listed
                if claim.chapter == chapter
            ]
            blocks += [f"### {chapter}", table(header, rows, f"{PARTS[part]}: {chapter}.")]
        return "\n\n".join(blocks)

    def sources(self) -> str:
        """Say of each claim which region it claims, and where its number comes from."""
        header = ["claim", "holds where the quantity is", "table and row"]
        rows = [
            [f"{claim.says} ({claim.source})" if claim.source else claim.says, _region(claim), _origin(claim)]
            for claim in self.of_claims
        ]
        return table(header, rows, "Where each claim's number comes from.")

    def counts(self) -> str:
        """Count the verdicts of every edition, the thesis's claims and our own."""
        rows = [[one.edition.name, WHOSE[part], *one.count(part)] for one in self.found for part in WORDS]
        words = [" / ".join(dict.fromkeys(own)) for own in zip(*(w.values() for w in WORDS.values()), strict=True)]
        counted = table(["edition", "claims", *words, "all"], rows, "Verdicts by edition.")
        return f"{self.editions()}\n\n{counted}" if rows else NO_EDITION

    def against(self) -> str:
        """Count the claims that say what the theory does not lead one to expect, and what became of them."""
        names = [claim.id for claim in self.of_claims if claim.against]
        rows = [
            [one.edition.name, *(found[key] for key in WORDS[OWN]), len(names)]
            for one in self.found
            for found in [Counter(one.of[name].verdict for name in names)]
        ]
        header = ["edition", *WORDS[OWN].values(), "claims"]
        return table(header, rows, "Claims against the theory's expectation.") if rows else ""

    def differences(self) -> str:
        """Show the claims of the thesis that an edition did not replicate, beside what the other editions say."""
        if not self.found:
            return NO_EDITION
        rows = []
        for claim in self.of_claims:
            judged = [one.of[claim.id] for one in self.found]
            if claim.part == THESIS and any(one.verdict in (FAILS, SAME) for one in judged):
                rows.append([claim.says, claim.number, *(one.cell for one in judged)])
        header = ["claim", "thesis", *(one.edition.name for one in self.found)]
        none = "No claim of the thesis that could be judged failed to replicate."
        return table(header, rows, "What an edition did not replicate.") if rows else none

    def readme(self) -> str:
        """Write the README's table: the headline claims, and of each edition its number and its verdict's mark."""
        rows = []
        for claim in self.of_claims:
            if claim.headline:
                judged = [one.of[claim.id] for one in self.found]
                answers = [
                    " ".join(filter(None, [one.quantity or "–", one.at, WORDS[claim.part][one.verdict].split()[0]]))
                    for one in judged
                ]
                rows.append([claim.says, claim.number, *answers])
        columns = [f"this study, {one.edition.name}: {one.edition.title}" for one in self.found]
        return table(["", "Gardner (2022): 10 resnet18, 64 epochs of CIFAR-10", *columns], rows)


def _region(claim: Claim) -> str:
    above, below = (number(bound, claim.unit) for bound in (claim.above, claim.below))
    region = f"between {above} and {below}" if not math.isinf(claim.above) else f"below {below}"
    region = f"above {above}" if claim.below > CERTAIN.get(claim.unit, math.inf) or math.isinf(claim.below) else region
    region += f"; none worth the name within ±{number(claim.margin, claim.unit)}" if claim.margin else ""
    needs = ", ".join(f"{key} {value}" for key, value in claim.needs.items())
    return f"{region}<br>of {needs}" if needs else region


def _origin(claim: Claim) -> str:
    chosen = ", ".join(f"{column} = {value}" for column, value in claim.rows.items())
    every = f"; every {' and '.join(claim.every)}" if claim.every else ""
    return f"`{claim.table}`: {claim.estimate}; {chosen}{every}"
