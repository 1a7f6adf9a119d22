"""Sentences of the book that state results: written from an edition's tables, so that they say what it found.

Which of a statement's sentences is said (`statements`) follows from the claim's verdict (`claims.judge`), and its
number from the same table. A page asks for its sentences with marks such as ``<!-- answer -->``.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from kd_lib import _files
from kd_lib.book.claims import CANNOT_TELL, FAILS, HOLDS, OWN, THESIS, Claim, Edition, Finding, judge, read_edition
from kd_lib.book.scorecard import NO_EDITION, WORDS, cell, number, page, quantity, table, titles, verdict_cell
from kd_lib.book.statements import ANSWER, ANSWER_BESIDE_MAPS, CONCLUSIONS, FAIR_GAIN, VIEWS_USED, Statement


def write_pages(folder: Path, claims: Sequence[Claim], editions: Sequence[Edition]) -> None:
    """Replace the marks in the pages of a folder, in place, by what the editions found.

    Parameters
    ----------
    folder : Path
        Holds ``introduction.md``, ``conclusions.md`` and ``editions.md``.
    claims : sequence of Claim
    editions : sequence of Edition
    """
    found = [_Found(claims, edition) for edition in editions]
    for name, marks in PAGES.items():
        path = folder / f"{name}.md"
        text = path.read_text(encoding="utf-8")
        for mark, write in marks.items():
            text = text.replace(f"<!-- {mark} -->", write(found))
        _files.write_text(path, text)


class _Found:
    """What an edition says of every claim, by the claim's id."""

    def __init__(self, claims: Sequence[Claim], edition: Edition):
        self.edition = edition
        self.of: dict[str, tuple[Claim, Finding]] = {claim.id: (claim, judge(claim, edition)) for claim in claims}

    def number(self, name: str) -> str:
        """Write a quantity with its interval; empty where it is not known."""
        return quantity(*self.of[name]) if name in self.of else ""

    def verdict(self, name: str) -> str:
        return self.of[name][1].verdict if name in self.of else CANNOT_TELL

    def reason(self, name: str) -> str:
        return self.of[name][1].reason if name in self.of else "no such claim"

    @property
    def heading(self) -> str:
        return f"{cell(self.edition.name)}: {cell(self.edition.title)}"


# ---- sentences -------------------------------------------------------------------------------------------------------


def sentences(statements: Sequence[Statement], found: _Found) -> list[str]:
    """Say what an edition found: a sentence a statement and verdict, then what it does not know, and why.

    Parameters
    ----------
    statements : sequence of Statement
    found
        What an edition says of every claim.

    Returns
    -------
    list of str
        Sentences with their full stop.
    """
    said, lacking = [], {}
    for statement in statements:
        known = {where: name for where, name in statement.ids.items() if found.number(name)}
        if not known:
            reasons = dict.fromkeys(found.reason(name) for name in statement.ids.values())
            lacking.setdefault("; ".join(reasons), []).append(statement.about)
        texts = {HOLDS: statement.holds, FAILS: statement.fails, CANNOT_TELL: statement.unknown}
        for verdict in dict.fromkeys(found.verdict(name) for name in known.values()):
            places = {where: name for where, name in known.items() if found.verdict(name) == verdict}
            said.append(_sentence(texts[verdict], places, found))
    return said + [f"Not known here: {'; '.join(about)} ({reason})." for reason, about in lacking.items()]


def _sentence(text: str, places: Mapping[str, str], found: _Found) -> str:
    claim, _ = found.of[next(iter(places.values()))]
    bounds = {"above": number(claim.above, claim.unit), "below": number(claim.below, claim.unit)}
    numbers = []
    for where, name in places.items():
        finding = found.of[name][1]
        which = f"{finding.which}, ".replace("class class", "class") if finding.which else ""  # a class may be so named
        reason = f" – {finding.reason}" if finding.reason else ""
        numbers.append(" ".join(filter(None, [f"{which}{found.number(name)}{reason}", where])))
    return f"{text.format(number=claim.number, **bounds)}: {_and(numbers)}."


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


# ---- the answer ------------------------------------------------------------------------------------------------------


def answer(found: Sequence[_Found]) -> str:
    """Give the answer to the book's question, a box an edition."""
    boxes = []
    for one in found:
        maps = " ".join([f"**{short_answer(one)}**", *sentences(ANSWER, one)])
        beside = " ".join(sentences(ANSWER_BESIDE_MAPS, one))
        boxes.append(f":::{{admonition}} Edition {one.heading}\n:class: tip\n\n{maps}\n\n{beside}\n:::")
    return "\n\n".join(boxes) or NO_EDITION


def short_answer(found: _Found) -> str:
    """Answer in a few words: what maps say, beside left-out components, and where views are known what views say."""
    words = {HOLDS: "yes", FAILS: "no", CANNOT_TELL: "one cannot tell"}
    on, off = (words[found.verdict(name)] for name in FAIR_GAIN.ids.values())
    maps = f"by saliency maps, {on}" if on == off else f"by saliency maps, {on} on target and {off} off target"
    views = [found.verdict(name) for name in VIEWS_USED.ids.values() if found.number(name)]
    answers = [maps, *(f"by views taken away, {words[verdict]}" for verdict in views)]
    return f"{'; '.join(answers).capitalize()}."


def _accuracies(found: _Found) -> str:
    names = {"a component": "component-accuracy", "the ensemble": "ensemble-accuracy"}
    names |= {"the distilled network": "distilled-accuracy"}
    parts = [f"{number} of {kind}" for kind, name in names.items() if (number := found.number(name))]
    return f"Accuracy on the test images: {_and(parts)}." if parts else ""


# ---- conclusions -----------------------------------------------------------------------------------------------------


def conclusions(mark: str) -> Callable[[Sequence[_Found]], str]:
    """Give what writes one part of the conclusions, a list an edition, named where there are several."""

    def write(found: Sequence[_Found]) -> str:
        blocks = []
        for one in found:
            said = sentences(CONCLUSIONS[mark], one)
            said += [extra for extra in MORE.get(mark, lambda _: [])(one) if extra]
            heading = [f"**{one.heading}**\n"] if len(found) > 1 else []
            blocks.append("\n".join([*heading, *(f"- {sentence}" for sentence in said)]))
        return "\n\n".join(blocks) or NO_EDITION

    return write


def counts(found: Sequence[_Found]) -> str:
    """Count the verdicts of every edition, the thesis's claims and our own."""
    rows, words_of_parts = [], [list(words.values()) for words in WORDS.values()]
    for one in found:
        for part, words in WORDS.items():
            verdicts = [finding.verdict for claim, finding in one.of.values() if claim.part == part]
            who = {THESIS: "the thesis's", OWN: "going further"}[part]
            rows.append([one.edition.name, who, *(verdicts.count(verdict) for verdict in words), len(verdicts)])
    header = [
        "edition",
        "claims",
        *(" / ".join(dict.fromkeys(own)) for own in zip(*words_of_parts, strict=True)),
        "all",
    ]
    counted = table(header, rows, "Verdicts by edition.")
    return f"{titles([one.edition for one in found])}\n\n{counted}" if rows else NO_EDITION


def differences(found: Sequence[_Found]) -> str:
    """Show the claims of the thesis that an edition did not replicate, beside what the other editions say of them."""
    if not found:
        return NO_EDITION
    rows = []
    for name, (claim, _) in found[0].of.items():
        if claim.part == THESIS and any(one.verdict(name) == FAILS for one in found):
            rows.append([claim.says, claim.number, *(verdict_cell(*one.of[name]) for one in found)])
    if not rows:
        return "No claim of the thesis that could be judged failed to replicate."
    return table(["claim", "thesis", *(one.edition.name for one in found)], rows, "What an edition did not replicate.")


def _second_transitions(found: _Found) -> list[str]:
    frame = found.edition.tables.get("rq1_second_by_class")
    if frame is None or not {"class", "verdict"} <= set(frame.columns) or frame.empty:
        return []
    named = {
        "class": "a second transition is a property of the class",
        "net": "some networks show a second transition, and less than half of them do",
        "none": "no network shows a second transition",
    }
    parts = [
        f"{text} for {_and(list(frame.loc[frame['verdict'] == key, 'class']))}"
        for key, text in named.items()
        if (frame["verdict"] == key).any()
    ]
    if unsure := int((frame["verdict"] == "cannot tell").sum()):
        parts.append(f"one cannot tell for {unsure} of {len(frame)} classes")
    return [f"Second transitions: {'; '.join(parts)}."]


def _labels(found: _Found) -> list[str]:
    row = _used_threshold(found.edition)
    return [] if row is None else [f"The labels of its pairs: {row['source']}."]


def _used_threshold(edition: Edition):
    frame = edition.tables.get("threshold")
    if frame is None or not {"used", "source"} <= set(frame.columns):
        return None
    used = frame[frame["used"].astype(bool)]
    return None if used.empty else used.iloc[0]


MORE = {"accuracy": lambda found: [_accuracies(found)], "threshold": _labels, "rq1": _second_transitions}


def which_optimiser(accuracy: pd.DataFrame, optimiser: str, max_lr: float) -> str | None:
    """Say which optimiser gives the accuracy of Gardner (2022), whose Table 3.1 names Adam and SGD's momentum.

    Parameters
    ----------
    accuracy : DataFrame
        What `study.accuracy_table` returned.
    optimiser : {'sgd', 'adam'}
        Of the components.
    max_lr : float
        Peak of the learning rate.

    Returns
    -------
    str or None
        None unless the components were trained by SGD and a network beside them by Adam.
    """
    found = accuracy.set_index("network")
    if optimiser != "sgd" or "adam" not in found.index:
        return None
    published = found.at["components, mean", "Gardner (2022) (%)"]
    sgd, adam = found.at["components, mean", "accuracy (%)"], found.at["adam", "accuracy (%)"]
    nearer = "SGD" if abs(sgd - published) < abs(adam - published) else "Adam"
    return (
        f"At a peak learning rate of {max_lr:g}, SGD reaches {sgd:.1f} % (mean of the components) and Adam "
        f"{adam:.1f} % (one network); Gardner (2022) has {published:.1f} %, so that {nearer} is the likelier reading."
    )


# ---- how an edition was made -----------------------------------------------------------------------------------------


def made(found: Sequence[_Found]) -> str:
    """Say how each edition was made: hardware, versions, commit, seeds, run times, parameters and tables."""
    return "\n\n".join(_made(one.edition, one.heading) for one in found) or NO_EDITION


def _made(edition: Edition, heading: str) -> str:
    known, parameters = edition.made, edition.parameters
    hardware, versions = known.get("hardware", {}), known.get("versions", {})
    row = _used_threshold(edition)
    facts = {
        "Begun": str(known.get("created", "")).replace("T", " ").replace("+00:00", " UTC"),
        "Commit of the code": f"`{known['commit'][:12]}`" if "commit" in known else "",
        "Processor": f"{hardware.get('cpu')}, {hardware.get('cores')} cores" if hardware else "",
        "GPU": hardware.get("gpu") or ("none" if hardware else ""),
        "Threads of each process": known.get("threads", ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Seed": parameters.get("seed", ""),
        "Images": known.get("data_title", parameters.get("data_set", "")),
        "Fingerprint of the images": f"`{known['dataset_fingerprint'][:12]}`" if "dataset_fingerprint" in known else "",
        "Maps": ", ".join(f"{key} {value}" for key, value in known.get("occlusion", {}).items()),
        "Training took": duration(known["seconds_training"]) if "seconds_training" in known else "",
        "Explaining took": duration(known["seconds_occlusion"]) if "seconds_occlusion" in known else "",
        "T_c": "" if row is None else f"{row['value']:.2f}, from: {row['source']}",
        "Tables kept": ", ".join(f"`{name}`" for name in edition.tables),
    }
    rows = [[f"**{key}**", value] for key, value in facts.items() if value != ""]
    if unknown := [key for key, value in facts.items() if value == ""]:
        rows.append(["**Not recorded**", ", ".join(unknown)])
    settings = [[f"`{key}`", f"`{value}`"] for key, value in parameters.items()]
    return "\n\n".join(
        [
            f"## {heading}",
            table(["what", "in this edition"], rows, f"How it was made: {heading}."),
            "::::{dropdown} All parameters that decide what the run computes\n"
            + table(["parameter", "value"], settings, f"Its parameters: {heading}.")
            + "\n::::",
        ]
    )


def duration(seconds: float) -> str:
    """Write a duration in hours, minutes and seconds, such as 4 min 12 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2]) or "less than a second"


def unfinished(template: str, claims: Sequence[Claim], run: Path) -> str:
    """Write the page of a run of which some tables were kept, though it did not come to its end.

    Parameters
    ----------
    template : str
        The page's prose, with the marks of `scorecard.page`, ``<!-- optimiser -->`` and ``<!-- made -->``.
    claims : sequence of Claim
        Those are shown whose tables there are.
    run : Path
        Holds ``run.json`` and ``results/``, ``accuracy.csv`` among them.

    Returns
    -------
    str
        Markdown.
    """
    edition = read_edition(run)
    known = edition.parameters
    accuracy = pd.read_csv(run / "results" / "accuracy.csv")
    reading = which_optimiser(accuracy, known["optimiser"], known["max_lr"])
    template = template.replace("<!-- optimiser -->", reading or "No network was trained by the other optimiser.")
    template = template.replace("<!-- made -->", made([_Found(claims, edition)]))
    return page(template, [claim for claim in claims if claim.table in edition.tables], [edition])


PAGES = {
    "introduction": {"answer": answer},
    "conclusions": {"counts": counts, "differences": differences} | {mark: conclusions(mark) for mark in CONCLUSIONS},
    "editions": {"made": made},
}
