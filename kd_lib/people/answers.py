"""What people said about the pairs of maps of a run: their answers read from `annotations/`, and merged."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from upath import UPath

from kd_lib import _files
from kd_lib.measures import threshold
from kd_lib.people import agreement, tables, tasks
from kd_lib.people.annotations import Annotations
from kd_lib.people.tasks import CANNOT_TELL, DIFFERENT, SAME

PAIR = ["image", "target", "model_a", "model_b"]
COLUMNS = (*PAIR, "same", "annotator")  # of pairs.csv
CODES = {"1": True, "0": False, "true": True, "false": False}


@dataclass(frozen=True)
class Labels:
    """What people said about pairs of maps.

    Attributes
    ----------
    answers : DataFrame
        A row an answer: annotator, image, target, model_a, model_b (in the order of their names), answer, again
        (whether the pair was asked a second time), unit (name of the pair).
    pairs : DataFrame
        A row a pair on which a majority of those who could tell agrees: image, target, model_a, model_b, same (bool),
        annotators (how many could tell).
    ties : int
        Pairs left out because as many said same as different.
    cannot_tell : int
        Answers left out because the annotator could not tell.
    sources : tuple of str
        Names of the files.
    """

    answers: pd.DataFrame
    pairs: pd.DataFrame
    ties: int
    cannot_tell: int
    sources: tuple[str, ...]

    def __str__(self) -> str:
        """Say whose labels these are, in one line."""
        logs = sum(name != "pairs.csv" for name in self.sources)
        where = ["annotations/pairs.csv"] if "pairs.csv" in self.sources else []
        where += [f"{logs} of annotations/pairs - NAME.csv"] if logs else []
        left = [f"{self.ties} ties"] if self.ties else []
        left += [f"{self.cannot_tell} answers 'cannot tell'"] if self.cannot_tell else []
        out = f"; left out: {' and '.join(left)}" if left else ""
        return f"{self.answers['annotator'].nunique()} people, {len(self.pairs)} pairs ({' and '.join(where)}){out}"


def labels(annotations: Annotations) -> Labels:
    """Read and merge what people said about the pairs of maps of a run.

    Each pair gets the answer of the majority of the annotators who could tell. Ties and answers 'cannot tell' are
    dropped and counted; what was asked a second time counts only for self-agreement. The sources are the files that
    `annotate_pairs` writes, and `pairs.csv`, a table made by hand.

    Returns
    -------
    Labels
        Empty where nobody said anything.

    Raises
    ------
    ValueError
        If a file has a mistake, or one annotator said something about a pair in two files. Names file, line and value.
    """
    given = [
        (session.log.annotator, tasks.pair_of(item), answer, session.log.path.name)
        for session in annotations.pair_sessions()
        for item, answer in session.answers.items()
    ]
    by_hand = annotations.folder / "pairs.csv"
    for row in read_pairs(by_hand).itertuples() if _files.is_there(by_hand) else ():
        pair = tasks.Pair(row.image, row.target, row.model_a, row.model_b)
        given.append((row.annotator, pair, SAME if row.same else DIFFERENT, by_hand.name))
    rows = [
        (who, pair.image, pair.target, *sorted([pair.model_a, pair.model_b]), pair.again, answer, file)
        for who, pair, answer, file in given
    ]
    answers = pd.DataFrame(rows, columns=["annotator", *PAIR, "again", "answer", "file"]).astype({"again": bool})
    answers["unit"] = [str(tasks.Pair(*key)) for key in answers[PAIR].itertuples(index=False)]
    double = answers[answers.duplicated(["annotator", "unit", "again"], keep=False)]
    if len(double):
        row, where = double.iloc[0], " and in ".join(double["file"][:2])
        raise ValueError(
            f"{row['annotator']!r} said something about the pair {row['unit']} in {where} of {annotations.folder}: "
            "remove one of the two lines"
        )
    return _merged(answers.drop(columns="file"), tuple(answers["file"].unique()))


def _merged(answers: pd.DataFrame, sources: tuple[str, ...]) -> Labels:
    """Give each pair the answer of most of those who could tell."""
    said = answers[~answers["again"]]
    known = said[said["answer"] != CANNOT_TELL]
    votes = agreement.majority(known)
    tied = votes["answer"].isna()
    keys = known.drop_duplicates("unit").set_index("unit")[PAIR]
    pairs = keys.join(votes)[~tied.reindex(keys.index).astype(bool)].reset_index(drop=True)
    pairs = pairs.assign(same=pairs.pop("answer") == SAME).sort_values(PAIR, ignore_index=True)
    pairs[["image", "target"]] = pairs[["image", "target"]].astype("int64")
    return Labels(answers, pairs, int(tied.sum()), int((said["answer"] == CANNOT_TELL).sum()), sources)


def read_pairs(path: Path | UPath) -> pd.DataFrame:
    """Read pairs of maps that people labelled as showing the same features or different ones.

    Columns are image (number of the probe image) and target (number of the class), int64; model_a, model_b (names of
    two models) and annotator (who labelled it), str; same, bool, of 1 or 0, true or false in the file.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `tables.read_table`; also if a cell has a bad value, a model is paired with itself, or an annotator
        labelled a pair twice (in either order).
    """
    table = tables.read_table(path, COLUMNS)
    table["image"] = tables.whole_numbers(table, "image", path)
    table["target"] = tables.whole_numbers(table, "target", path)
    table["same"] = tables.coded(table, "same", CODES, path)
    itself = table.index[table.model_a == table.model_b]
    if len(itself):
        name = table.model_a.loc[itself[0]]
        raise ValueError(f"{path}, line {itself[0]}: model_a and model_b are both {name!r}; a pair needs two models")
    key = table[[*PAIR, "annotator"]].copy()
    swapped = key.model_a > key.model_b
    key.loc[swapped, ["model_a", "model_b"]] = key.loc[swapped, ["model_b", "model_a"]].to_numpy()
    tables.check_unique(key, path)
    return table.reset_index(drop=True)


def by_annotator(said: Labels, pairs: pd.DataFrame, *, measure: str, loss: str, seed: int = 0) -> pd.DataFrame:
    """Fit T_c to each annotator's own answers, and to those of all, beside how well they agree with themselves.

    Parameters
    ----------
    said : Labels
    pairs : DataFrame
        What `similarity.pairs_of_components` returns for the run.
    measure, loss : str
        As `threshold.choose` takes them.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        Index annotator, 'all' last; columns T_c, low, high, error, pairs, same (share), cannot_tell, repeated,
        self_agreement, remark (why there is no T_c).
    """
    first, again = (said.answers[said.answers["again"] == asked] for asked in (False, True))
    own = agreement.with_oneself(first, again)
    rows = []
    for name in [*own.index, "all"]:
        mine = first if name == "all" else first[first["annotator"] == name]
        told = mine[mine["answer"] != CANNOT_TELL]
        told = said.pairs if name == "all" else told.assign(same=told["answer"] == SAME)
        row = {"annotator": name, "pairs": len(told), "same": told["same"].mean() if len(told) else float("nan")}
        row |= {"cannot_tell": int((mine["answer"] == CANNOT_TELL).sum()), "remark": ""}
        row |= {} if name == "all" else own.loc[name].to_dict()
        try:
            merged = threshold.merge_labels(pairs, told[[*PAIR, "same"]])
            fit = threshold.fit_threshold(
                merged[measure], merged["same"], loss=loss, clusters=merged["image"], seed=seed
            )
            row |= {"T_c": fit.value, "low": fit.low, "high": fit.high, "error": fit.error}
        except ValueError as error:
            row["remark"] = str(error)
        rows.append(row)
    columns = ["T_c", "low", "high", "error", "pairs", "same", "cannot_tell", "repeated", "self_agreement", "remark"]
    return pd.DataFrame(rows).set_index("annotator").reindex(columns=columns)
