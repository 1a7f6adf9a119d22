"""What the thesis claims, what an edition of this book found, and a verdict that follows by rule.

An *edition* is a run, or what is kept of one: its ``run.json`` and the result tables that claims refer to. The claims
are data (`claims.yaml`); nothing here knows any of them, and no verdict is made anywhere but in `verdict`.
"""

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from kd_lib import _files

CLAIMS = Path(__file__).with_name("claims.yaml")
HOLDS, FAILS, CANNOT_TELL = "holds", "fails", "cannot tell"
THESIS, OWN = "thesis", "own"
PARTS = (THESIS, OWN)
# How a quantity is shown: factor, digits, what follows.
UNITS = {"%": (100, 1, " %"), "points": (100, 1, " points"), "of training": (100, 0, " % of training"), "": (1, 3, "")}
REGIME = ("data_set", "arch", "components", "epochs", "train_size")  # what tells editions apart
# Entries of run.json that say how a run was made, and nothing of the machine that it lies on.
MADE = ("data_title", "dataset_fingerprint", "created", "commit", "versions", "hardware", "threads")
MADE += ("seconds_training", "seconds_occlusion", "occlusion")


@dataclass(frozen=True)
class Claim:
    """One statement that can be checked: a quantity lies in a region.

    Attributes
    ----------
    id : str
    part : {'thesis', 'own'}
        Who says so: Gardner (2022), or this book, going further.
    chapter, source, says : str
        Heading on the page; where in the thesis; the sentence.
    table : str
        Result table (``results/TABLE.csv``) that holds the quantity.
    rows : mapping
        Column: value, which select its row.
    every : tuple of str
        Columns in which the selected rows may differ; the claim is then about every one of them. Empty: one row.
    estimate, low, high : str
        Columns of the quantity and its 95 % interval.
    over : str
        Parameter of the run that the quantity is divided by, such as epochs; empty: none.
    above, below : float
        The region claimed, in the table's unit (after division).
    unit : str
        A key of `UNITS`: how the quantity is shown.
    number : str
        What the thesis gives.
    needs : mapping
        Parameters that a run must have for its number to be comparable; ``class``: a class that it must have.
    lacking : str
        What it means for an edition that its tables have no such quantity; empty: what the table lacks is said.
    headline : bool
        Whether the README shows it.
    """

    id: str
    part: str
    chapter: str
    says: str
    table: str
    rows: Mapping[str, Any]
    source: str = ""
    number: str = "–"
    every: tuple[str, ...] = ()
    estimate: str = "difference"
    low: str = "low"
    high: str = "high"
    over: str = ""
    above: float = -math.inf
    below: float = math.inf
    unit: str = ""
    needs: Mapping[str, Any] = field(default_factory=dict)
    lacking: str = ""
    headline: bool = False


class Finding(NamedTuple):
    """What an edition says of a claim: the verdict, why it cannot tell, and the quantity with its interval."""

    verdict: str
    reason: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    which: str = ""


@dataclass(frozen=True)
class Edition:
    """A run, or what is kept of one.

    Attributes
    ----------
    name : str
    parameters : mapping
        Those of the run.
    class_names : tuple of str
    tables : mapping of str to DataFrame
    made : mapping
        How it was made, as far as that is recorded; keys of `MADE`.
    """

    name: str
    parameters: Mapping[str, Any]
    class_names: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame]
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was run, such as ``4 resnet10, 8 epochs, 2500 images of multiview``."""
        known = {key: self.parameters.get(key) for key in REGIME}
        images_of = self.made.get("data_title", self.parameters.get("data_set"))
        if known["arch"] is None:
            return f"given networks, {images_of}"
        images = f"{known['train_size']} images" if known["train_size"] else "all images"
        return f"{known['components']} {known['arch']}, {known['epochs']} epochs, {images} of {images_of}"

    def lacks(self, needs: Mapping[str, Any]) -> str:
        """Say what this edition lacks for its number to be comparable; empty if nothing."""
        for key, wanted in needs.items():
            if key == "class" and wanted not in self.class_names:
                return f"no class {wanted!r} here"
            if key != "class" and self.parameters.get(key) != wanted:
                return f"comparable only where {key} is {wanted}, here {self.parameters.get(key, 'unknown')}"
        return ""


def verdict(low: float, high: float, *, above: float = -math.inf, below: float = math.inf) -> str:
    """Judge a claim that a quantity lies above one bound, below another, or between two.

    The one rule of the scorecard. The claim holds if the whole interval lies inside the region claimed, fails if the
    whole interval lies outside it, and otherwise the data cannot tell. An interval that touches a bound does not
    exclude it.

    Parameters
    ----------
    low, high : float
        95 % interval of the quantity; NaN if it is not known.
    above, below : float
        Bounds of the region, infinite where there is none.

    Returns
    -------
    {'holds', 'fails', 'cannot tell'}

    References
    ----------
    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15(6).
    """
    if math.isnan(low) or math.isnan(high):
        return CANNOT_TELL
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
    findings = []
    for _, row in rows.iterrows():
        numbers = [float(row[column]) for column in (claim.estimate, claim.low, claim.high)]
        which = ", ".join(f"{column} {row[column]}" for column in claim.every)
        findings.append(_finding(claim, *numbers, which=which))
    # What is claimed of every row is as sure as its least sure row, and that is the one to show.
    order = (FAILS, CANNOT_TELL, HOLDS)
    worst = min(findings, key=lambda f: (order.index(f.verdict), -f.high if math.isinf(claim.above) else f.low))
    return worst._replace(verdict=CANNOT_TELL, reason=lacks) if lacks else worst


def _finding(claim: Claim, estimate: float, low: float, high: float, *, which: str) -> Finding:
    reason = ""
    if math.isnan(low) or math.isnan(high):
        reason = "no interval is known"
    if math.isnan(estimate):
        reason = "the quantity is not defined here"
    found = CANNOT_TELL if reason else verdict(low, high, above=claim.above, below=claim.below)
    return Finding(found, reason, estimate, low, high, which)


def _select(claim: Claim, edition: Edition) -> tuple[pd.DataFrame, str]:
    """Rows of the claim's table with their quantity as a number, or why there are none."""
    empty = pd.DataFrame()
    if claim.table not in edition.tables:
        return empty, f"no table {claim.table} here"
    frame, quantity = edition.tables[claim.table], [claim.estimate, claim.low, claim.high]
    if missing := [column for column in (*claim.rows, *claim.every, *quantity) if column not in frame.columns]:
        return empty, f"table {claim.table} has no column {missing[0]!r}"
    for column, value in claim.rows.items():
        frame = frame[frame[column] == value]
    described = ", ".join(f"{column} {value}" for column, value in claim.rows.items())
    if frame.empty:
        return empty, f"table {claim.table} has no row with {described}"
    if len(frame) > 1 and not claim.every:
        return empty, f"table {claim.table} has {len(frame)} rows with {described}"
    if not (divisor := edition.parameters.get(claim.over) if claim.over else 1):
        return empty, f"parameter {claim.over} of the run is unknown"
    numbers = frame[quantity].apply(pd.to_numeric, errors="coerce") / divisor
    return frame.assign(**{column: numbers[column] for column in quantity}), ""


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read the claims: a YAML file of part, chapter and claim.

    ``near: [value, margin]`` in the file stands for the region between value - margin and value + margin.

    Raises
    ------
    ValueError
        If a claim lacks something, has something unknown, claims no region, or its id is taken; names the claim.
    """
    claims = []
    for part, chapters in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for chapter, entries in chapters.items():
            for entry in entries:
                claims.append(_claim(dict(entry), part, chapter))
    names = Counter(claim.id for claim in claims)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{path.name}: two claims have the id {repeated[0]!r}; rename one")
    return claims


def _claim(entry: dict[str, Any], part: str, chapter: str) -> Claim:
    name = entry.get("id", "without an id")
    if "near" in entry:
        value, margin = entry.pop("near")
        entry |= {"above": value - margin, "below": value + margin}
    try:
        claim = Claim(part=part, chapter=chapter, **entry | {"every": tuple(entry.get("every", ()))})
    except TypeError as error:
        raise ValueError(f"claim {name}: {str(error).removeprefix('Claim.__init__() ')}") from None
    for what, value, known in (("part", part, PARTS), ("unit", claim.unit, UNITS)):
        if value not in known:
            raise ValueError(f"claim {name}: {what} {value!r}; expected one of {', '.join(map(repr, known))}")
    if math.isinf(claim.above) and math.isinf(claim.below):
        raise ValueError(f"claim {name}: claims nothing; give it above, below or near")
    return claim


def read_edition(folder: Path) -> Edition:
    """Read a run folder, or what `editions.keep` kept of one.

    Raises
    ------
    FileNotFoundError
        If there is no ``run.json`` in it.
    """
    if (data := _files.read_bytes(folder / "run.json")) is None:
        raise FileNotFoundError(f"{folder / 'run.json'} is missing: expected the folder of a run or of an edition")
    entries, tables = json.loads(data), {}
    for name in sorted({claim.table for claim in read_claims()}):
        content = _files.read_bytes(folder / "results" / f"{name}.csv")
        if content and content.strip():
            tables[name] = pd.read_csv(io.BytesIO(content))
    made = {key: entries[key] for key in MADE if entries.get(key) is not None}
    return Edition(folder.resolve().name, entries["parameters"], tuple(entries.get("class_names", ())), tables, made)
