"""What people said of a run: their answers read from `annotations/`, merged, and written as the thesis's tables."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pandas as pd
from upath import UPath

from kd_lib import _files
from kd_lib.maps import store
from kd_lib.measures import threshold, utilisation
from kd_lib.people import agreement, tasks
from kd_lib.people.log import Check, Log, Session, check_name
from kd_lib.people.tasks import CANNOT_TELL, SAME
from kd_lib.study.run import Run

PAIR = ["image", "target", "model_a", "model_b"]
OURS = ".tables.json"  # which bytes of the tables this program wrote: others are somebody's
WRITING = Lock()  # two pages of one kernel may have the same tables due


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
        people = self.answers["annotator"].nunique()
        return f"{people} people, {len(self.pairs)} pairs ({' and '.join(where)}){out}"


def pair_log(run: Run, annotator: str) -> Log:
    """Open one annotator's file of answers about pairs."""
    annotator = check_name(annotator)
    return Log(run.annotations / f"pairs - {annotator}.csv", annotator, _pair_check(run))


def labels(run: Run) -> Labels:
    """Read and merge what people said about the pairs of maps of a run.

    Each pair gets the answer of the majority of the annotators who could tell. Ties and answers 'cannot tell' are
    dropped and counted; what was asked a second time counts only for self-agreement. The sources are the files that
    `annotation.annotate_pairs` writes, and `pairs.csv`, a table made by hand.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Labels
        Empty where nobody said anything.

    Raises
    ------
    ValueError
        If a file has a mistake, or one annotator said something about a pair in two files. Names file, line and value.
    """
    parts, sources = [], []
    for path in _logs(run, "pairs - "):
        session = Session([], Log(path, path.stem.removeprefix("pairs - "), _pair_check(run)))
        rows = [(session.log.annotator, *_of(item), answer) for item, answer in session.answers.items()]
        if rows:
            parts.append(pd.DataFrame(rows, columns=["annotator", *PAIR, "again", "answer"]).assign(file=path.name))
    if _files.is_there(run.annotations / "pairs.csv"):
        table = threshold.read_pairs(run.annotations / "pairs.csv")
        answer = table["same"].map({True: SAME, False: tasks.DIFFERENT})
        parts.append(table.drop(columns="same").assign(again=False, answer=answer, file="pairs.csv"))
    if not parts:
        parts = [pd.DataFrame(columns=["annotator", *PAIR, "again", "answer", "file"])]
    answers = pd.concat(parts, ignore_index=True)
    sources = tuple(answers["file"].unique())
    ordered = [sorted(pair) for pair in zip(answers["model_a"], answers["model_b"], strict=True)]
    answers[["model_a", "model_b"]] = pd.DataFrame(ordered, columns=["model_a", "model_b"], index=answers.index)
    answers["again"] = answers["again"].astype(bool)
    answers["unit"] = [str(tasks.Pair(*key)) for key in answers[PAIR].itertuples(index=False)]
    double = answers[answers.duplicated(["annotator", "unit", "again"], keep=False)]
    if len(double):
        row, where = double.iloc[0], " and in ".join(double["file"][:2])
        raise ValueError(
            f"{row['annotator']!r} said something about the pair {row['unit']} in {where} of {run.annotations}: remove "
            "one of the two lines"
        )
    return _merged(answers.drop(columns="file"), sources)


def _merged(answers: pd.DataFrame, sources: tuple[str, ...]) -> Labels:
    said = answers[~answers["again"]]
    known = said[said["answer"] != CANNOT_TELL]
    votes = agreement.majority(known)
    tied = votes["answer"].isna()
    keys = known.drop_duplicates("unit").set_index("unit")[PAIR]
    pairs = keys.join(votes)[~tied.reindex(keys.index).astype(bool)].reset_index(drop=True)
    pairs = pairs.assign(same=pairs.pop("answer") == SAME).sort_values(PAIR, ignore_index=True)
    pairs[["image", "target"]] = pairs[["image", "target"]].astype("int64")
    return Labels(answers, pairs, int(tied.sum()), int((said["answer"] == CANNOT_TELL).sum()), sources)


def by_annotator(said: Labels, pairs: pd.DataFrame, *, measure: str, loss: str, seed: int = 0) -> pd.DataFrame:
    """Fit T_c to each annotator's own answers, and to those of all, beside how well they agree with themselves.

    Parameters
    ----------
    said : Labels
    pairs : DataFrame
        What `features.pairs_of_components` returns for the run.
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
            fit = threshold.fit(merged[measure], merged["same"], loss=loss, clusters=merged["image"], seed=seed)
            row |= {"T_c": fit.value, "low": fit.low, "high": fit.high, "error": fit.error}
        except ValueError as error:
            row["remark"] = str(error)
        rows.append(row)
    columns = ["T_c", "low", "high", "error", "pairs", "same", "cannot_tell", "repeated", "self_agreement", "remark"]
    return pd.DataFrame(rows).set_index("annotator").reindex(columns=columns)


# ---- features --------------------------------------------------------------------------------------------------------


def feature_log(run: Run, class_name: str, annotator: str, names: Sequence[str]) -> Log:
    """Open one annotator's file of answers about the features of a class."""
    annotator = check_name(annotator)
    path = run.annotations / f"features - {class_name} - {annotator}.csv"
    return Log(path, annotator, _feature_check(run, class_name, names))


def feature_answers(run: Run, class_name: str, names: Sequence[str]) -> pd.DataFrame:
    """Read what people ticked for a class: a row an annotator, image, network (None: the image itself) and feature.

    Returns
    -------
    DataFrame
        Columns annotator, image, model, feature, unit (name of item and feature), answer (bool).

    Raises
    ------
    ValueError
        If a file has a mistake; names file, line and value.
    """
    rows = []
    for session in _feature_sessions(run, class_name, names):
        for item, answer in session.answers.items():
            ticked = tasks.ticked(answer)
            rows += [
                (session.log.annotator, *tasks.feature_of(item), name, f"{item}/{name}", name in ticked)
                for name in names
            ]
    return pd.DataFrame(rows, columns=["annotator", "image", "model", "feature", "unit", "answer"])


def feature_agreement(run: Run) -> dict[str, dict]:
    """How far annotators agree on features, for every class that at least one has looked at.

    Returns
    -------
    dict of str to dict
        For each class name: annotators (number of them), alpha (Krippendorff's, over every feature of every item),
        kappas (what `agreement.kappas` returns).
    """
    found = {}
    for class_name in _known(run)[0]:
        table = utilisation.table_of(class_name)
        if not _files.is_there(utilisation.visible_path(run.annotations, table)):
            continue
        said = feature_answers(run, class_name, utilisation.feature_names(run.annotations, table))
        if len(said):
            numbers = {"annotators": said["annotator"].nunique(), "alpha": agreement.alpha(said)}
            found[class_name] = numbers | {"kappas": agreement.kappas(said)}
    return found


def write_tables(run: Run, class_name: str, names: Sequence[str]) -> None:
    """Write ``rq2 - CLASS.csv`` and ``rq2 - CLASS - visible.csv`` from what people ticked.

    A feature counts where more than half of the annotators ticked it, and in a map only where it also counts as
    visible in the image. Rows of a table made by hand of which no annotator said anything stay.

    Raises
    ------
    ValueError
        If a table holds something else about a map or an image than the annotators say: it is not overwritten.
    """
    with WRITING:
        _write_tables(run, class_name, names)


def _write_tables(run: Run, class_name: str, names: Sequence[str]) -> None:
    sessions = _feature_sessions(run, class_name, names)
    mentioned = {item for session in sessions for item in session.mentioned}
    if not mentioned:
        return
    said = feature_answers(run, class_name, names)
    share = said.groupby(["image", said["model"].fillna(""), "feature"])["answer"].mean()
    ticked = (share > 0.5).unstack("feature").reindex(columns=list(names))
    visible = ticked.xs("", level="model") if "" in ticked.index.get_level_values("model") else ticked.iloc[:0]
    shown = ticked.drop("", level="model", errors="ignore")
    seen = visible.reindex(shown.index.get_level_values("image"))
    complete = seen.notna().all(axis=1).to_numpy()
    shown = shown[complete] & seen[complete].astype(bool).to_numpy()
    keys, table_name = {tasks.feature_of(item) for item in mentioned}, utilisation.table_of(class_name)
    for path, ids, table, speaks in (
        (
            utilisation.visible_path(run.annotations, table_name),
            ["image"],
            visible.astype(bool),
            {k[:1] for k in keys if not k[1]},
        ),
        (utilisation.shown_path(run.annotations, table_name), ["image", "model"], shown, {k for k in keys if k[1]}),
    ):
        rows = {(*_tuple(key),): row for key, row in zip(table.index, table.astype(int).to_numpy(), strict=True)}
        _write_table(path, ids, names, rows, speaks)


def _write_table(path: Path, ids: list[str], names: Sequence[str], rows: dict, speaks: set) -> None:
    rows = {key: list(values) for key, values in rows.items()}
    marks = _marks(path.parent)
    if path.is_file():
        ours = _digest(path.read_bytes()) in marks.get(path.name, [])
        old = utilisation.read_ticks(path, tuple(ids), tuple(names))
        for line, values in zip(old.index, old.itertuples(index=False), strict=True):
            key, ticks = tuple(values[: len(ids)]), [int(v) for v in values[len(ids) :]]
            if key not in speaks:
                rows[key] = ticks
            elif not ours and rows.get(key, ticks) != ticks:
                name = next(n for n, a, b in zip(names, ticks, rows[key], strict=True) if a != b)
                raise ValueError(
                    f"{path}, line {line}: {name!r} is not what the annotators ticked for "
                    f"{', '.join(map(str, key))}; the table is left as it is. Move the line, or the file, away"
                )
    if not rows:
        return
    table = pd.DataFrame([[*key, *rows[key]] for key in sorted(rows)], columns=[*ids, *names])
    data = table.to_csv(index=False, lineterminator="\n").encode()
    if path.is_file() and path.read_bytes() == data:
        return
    last = marks.get(path.name, [])[-1:]  # a crash may come between the two files
    _files.write_json(path.parent / OURS, marks | {path.name: [*last, _digest(data)]})
    _files.write_bytes(path, data)


def _marks(folder: Path) -> dict:
    try:
        return json.loads((folder / OURS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tuple(key: object) -> tuple:
    return key if isinstance(key, tuple) else (key,)


def _feature_sessions(run: Run, class_name: str, names: Sequence[str]) -> list[Session]:
    start = f"features - {class_name} - "
    people = {path: path.stem.removeprefix(start) for path in _logs(run, start)}
    check = _feature_check(run, class_name, names)
    return [Session([], Log(path, name, check)) for path, name in people.items() if " - " not in name]


def _logs(run: Run, start: str) -> list[Path | UPath]:
    names = _files.names_in(run.annotations)
    return [run.annotations / name for name in names if name.startswith(start) and name.endswith(".csv")]


def _of(item: str) -> tuple:
    pair = tasks.pair_of(item)
    return pair.image, pair.target, pair.model_a, pair.model_b, pair.again


def _known(run: Run) -> tuple[list[str], list[int], list[str]]:
    """Class names, true class of each probe image, and networks of a run."""
    group = store.open_group(run.occlusion)
    models = dict.fromkeys(name for name, _ in store.states_of(group))
    return list(group.attrs["class_names"]), group["label"][:].tolist(), list(models)


def _pair_check(run: Run) -> Check:
    class_names, images, models = _known(run)
    return tasks.pair_check(len(images), len(class_names), models)


def _feature_check(run: Run, class_name: str, names: Sequence[str]) -> Check:
    class_names, images, models = _known(run)
    if class_name not in class_names:
        raise ValueError(f"class {class_name!r}: expected one of {', '.join(class_names)}")
    own = {image for image, k in enumerate(images) if class_names[k] == class_name}
    return tasks.feature_check(own, models, names)
