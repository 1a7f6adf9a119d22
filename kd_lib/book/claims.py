"""What is claimed, and what an edition of this book found: both as they are read, before any verdict (`verdicts`).

An *edition* is a run, or what is kept of one: its ``run.json`` and the result tables that claims refer to. The claims,
and the sentences that say what became of them, are data (`claims.yaml`); nothing here knows any of them.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from kd_lib import _files
from kd_lib.study.run import Run, read_results

CLAIMS = Path(__file__).with_name("claims.yaml")
THESIS, OWN = "thesis", "own"
PARTS = (THESIS, OWN)
# How a quantity is shown: factor, digits, what follows.
UNITS = {"%": (100, 1, " %"), "points": (100, 1, " points"), "of training": (100, 0, " % of training"), "": (1, 3, "")}
SHOWN = ("accuracy_by_network", "rq3_levels")  # tables that the page beside the thesis shows, and no claim refers to
# Tables of shares above T_c, or of when maps reach it.
BY_THRESHOLD = frozenset(
    ("rq1_constant_rate", "rq1_mean_onsets", "rq1_second_by_class", "rq1_transitions", "rq2_differ")
    + ("rq3_share_gaps", "rq3_shares")
)
REGIME = ("data_set", "arch", "components", "epochs", "train_size")  # what tells editions apart
# Entries of run.json that say how a run was made, and nothing of the machine that it lies on.
MADE: tuple[str, ...] = ("data_title", "dataset_fingerprint", "created", "commit", "versions", "hardware", "threads")
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
        Heading on the page; where in the thesis; the sentence of the scorecard.
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
    margin : float
        A difference inside ±margin is none worth the name, in the table's unit; 0: any is.
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
    against : bool
        Whether it says what the multi-view theory does not lead one to expect.
    holds, fails, unknown : str
        The sentence of the prose for each verdict, without a full stop; numbers follow it. ``{number}``, ``{above}``
        and ``{below}`` in it stand for what the thesis gives and for the region's bounds; that there is no difference
        worth the name is said of `says`. A claim that the prose says
        has the last two; where `holds` is empty, it says `says`.
    about : str
        What they are about, to say that an edition does not know it; after "whether" or a noun.
    where, said_with : str
        Where among claims that have their sentences in common, such as 'on target', and the id of the one of them that
        has the sentences; empty: it has its own, or none.
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
    margin: float = 0.0
    unit: str = ""
    needs: Mapping[str, Any] = field(default_factory=dict)
    lacking: str = ""
    headline: bool = False
    against: bool = False
    holds: str = ""
    fails: str = ""
    unknown: str = ""
    about: str = ""
    where: str = ""
    said_with: str = ""


@dataclass(frozen=True)
class Edition:
    """A run, or what is kept of one; `made` says how it was made, as far as that is recorded, by the keys `MADE`."""

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
            found = self.parameters.get(key, "unknown")
            if key != "class" and found != wanted:
                found = self.made.get("data_title", found) if key == "data_set" else found
                return f"the thesis's number is of {key.replace('_', ' ')} {wanted}; here it is {found}"
        return ""


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read the claims: a YAML file of part, chapter and claim.

    ``near: [value, margin]`` in the file stands for the region between value - margin and value + margin.

    Raises
    ------
    ValueError
        If a claim lacks something, has something unknown, claims no region, its id is taken, or it is said with one
        that has no sentences; names the claim.
    """
    parts = yaml.safe_load(path.read_text(encoding="utf-8"))
    chapters = [(part, *chapter) for part, of_part in parts.items() for chapter in of_part.items()]
    claims = [_claim(dict(entry), part, chapter) for part, chapter, entries in chapters for entry in entries]
    names = Counter(claim.id for claim in claims)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"{path.name}: two claims have the id {repeated[0]!r}; rename one")
    said = {claim.id for claim in claims if claim.fails}
    if lost := [claim for claim in claims if claim.said_with and claim.said_with not in said]:
        raise ValueError(f"claim {lost[0].id}: said with {lost[0].said_with!r}, which has no sentences")
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
    if claim.margin and 0 not in (claim.above, claim.below):
        raise ValueError(f"claim {name}: a margin is of a difference, which is claimed to be above or below 0")
    if len({bool(text) for text in (claim.fails, claim.unknown, claim.about)}) > 1:
        raise ValueError(f"claim {name}: of fails, unknown and about it has some; give it all or none")
    return claim


def read_edition(folder: Path) -> Edition:
    """Read a run folder, or what `editions.keep` kept of one.

    Raises
    ------
    FileNotFoundError
        If there is no ``run.json`` in it.
    ValueError
        If its tables were computed with more than one T_c, or a file is damaged; names them.
    """
    if not _files.is_there(folder / "run.json"):
        raise FileNotFoundError(f"{folder / 'run.json'} is missing: expected the folder of a run or of an edition")
    run, tables, by_threshold = Run(folder.resolve()), {}, {}
    entries = run.entries()
    for name in sorted({*SHOWN, *(claim.table for claim in read_claims())}):
        if (content := _files.read_bytes(folder / "results" / f"{name}.csv")) is None:
            continue
        made_with = run.made_with(name, content)
        if content.strip():
            tables[name] = read_results(content)
            by_threshold.setdefault(made_with.get("T_c"), []).append(name)
    by_threshold.pop(None, None)
    if len(by_threshold) > 1:
        told = "; ".join(f"{t_c}: {', '.join(names)}" for t_c, names in by_threshold.items())
        raise ValueError(
            f"{folder / 'results'} has tables of more than one T_c ({told}): run the other notebooks again"
        )
    made = {key: entries[key] for key in MADE if entries.get(key) is not None}
    return Edition(folder.resolve().name, entries["parameters"], tuple(entries.get("class_names", ())), tables, made)
