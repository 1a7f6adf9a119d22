"""The thesis and the editions of its classes side by side: Table 4.1, Table 4.2, and the shares of RQ3."""

from collections.abc import Iterator, Sequence

import pandas as pd

from kd_lib.book.claims import Claim, Edition
from kd_lib.book.markdown import plain, table
from kd_lib.book.verdicts import heading
from kd_lib.study import levels

ACCURACIES, ONSETS = "Table 4.1", "Table 4.2"
PAGE = "book/thesis"
UNKNOWN = "–"  # a number of the thesis that is not known here
NO_EDITION = "No edition is of the thesis's classes."


def comparable(editions: Sequence[Edition], claims: Sequence[Claim]) -> list[Edition]:
    """Editions whose images are of the classes that the thesis names."""
    named = {str(claim.rows["class"]) for claim in claims if claim.source == ONSETS}
    return [edition for edition in editions if named and named <= set(edition.class_names)]


def beside(editions: Sequence[Edition], claims: Sequence[Claim]) -> str:
    """Set the thesis's numbers beside those of every edition of its classes, in Markdown."""
    blocks = []
    for edition in comparable(editions, claims):
        blocks += [
            f"## {heading(edition)}",
            *_accuracies(edition, claims),
            *_onsets(edition, claims),
            *_levels(edition),
        ]
    return "\n\n".join(blocks) or NO_EDITION


def _accuracies(edition: Edition, claims: Sequence[Claim]) -> Iterator[str]:
    frame, kinds = edition.tables.get("accuracy_by_network"), edition.tables.get("accuracies")
    if frame is None or kinds is None:
        return
    found, kinds = frame.set_index("model")["accuracy (%)"], kinds.set_index("kind")
    own = found.iloc[: int(kinds.loc["component", "networks"])]
    given = {claim.rows.get("kind"): claim.number for claim in claims if claim.source == ACCURACIES}
    rows = [[plain(name), UNKNOWN, f"{value:.2f} %"] for name, value in own.items()]
    rows.append(["**a component**, mean ± sd", given["component"], f"{own.mean():.2f} ± {own.std():.2f} %"])
    for kind in filter(kinds.index.__contains__, ("ensemble", "distilled")):
        here = f"{100 * kinds.loc[kind, 'accuracy']:.2f} % ({_interval(100 * kinds.loc[kind], '', 1)})"
        rows.append([f"**{kind}** (interval over images)", given[kind], here])
    students = [name for name in found.index if str(name).startswith("distilled-")]
    rows += [[plain(name), UNKNOWN, f"{found[name]:.2f} %"] for name in students]
    yield table(["network", "Gardner (2022)", edition.name], rows, "Accuracy on the test images, beside Table 4.1.")


def _onsets(edition: Edition, claims: Sequence[Claim]) -> Iterator[str]:
    if (frame := edition.tables.get("rq1_transitions")) is None:
        return
    given = {
        (claim.rows["class"], "second" if "distinct" in claim.rows else claim.estimate): claim.number
        for claim in claims
        if claim.source == ONSETS
    }
    rows = []
    for (name, model), bends in frame[frame["target"] == "on target"].groupby(["class", "model"], sort=False):
        first, distinct = bends[bends["transition"] == 1].iloc[0], bends[bends["distinct"].astype(bool)]
        second = [f"{row['onset']:.0f} ({_interval(row, 'onset_')})" for _, row in distinct.iterrows()]
        shares = 100 * first[["proportion_memorised", "proportion_low", "proportion_high"]]
        memorised = f"{shares['proportion_memorised']:.0f} % ({_interval(shares, 'proportion_')})"
        theirs = [given.get((name, what), UNKNOWN) for what in ("onset", "proportion_memorised", "second")]
        ours = [f"{first['onset']:.0f} ({_interval(first, 'onset_')})", memorised, ", ".join(second) or "none"]
        pairs = [value for pair in zip(theirs, ours, strict=True) for value in pair]
        rows.append([plain(name), plain(model), *pairs])
    what = ["onset", "still to come", "second transition"]
    header = ["class", "network", *(f"{name}, {whose}" for name in what for whose in ("thesis", "here"))]
    yield table(header, rows, "When the maps of each class arrive, on target, beside Table 4.2.")


def _levels(edition: Edition) -> Iterator[str]:
    if (frame := edition.tables.get("rq3_levels")) is None or frame.empty:
        return
    wide = levels.table(frame)
    rows = [[*wide.index[row], *(f"{value:.1f}" for value in shares)] for row, shares in enumerate(wide.to_numpy())]
    header = ["setting", "T_c", *(f"{kind}, {target}" for kind, target in wide.columns)]
    yield table(header, rows, "Share of maps (%) that are like the ensemble's, by how it is computed.")
    yield levels.in_words(frame)


def _interval(row: pd.Series, prefix: str, digits: int = 0) -> str:
    return " to ".join(f"{row[prefix + bound]:.{digits}f}" for bound in ("low", "high"))
