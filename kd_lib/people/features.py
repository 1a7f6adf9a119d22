"""Which features people saw in images and in maps of them, ticked one by one, and written as the thesis's tables."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import pandas as pd
from upath import UPath

from kd_lib import _files
from kd_lib.data import multiview
from kd_lib.people import agreement, tables, tasks
from kd_lib.people.annotations import Annotations

# The features that people looked for, Gardner (2022).
FEATURES = {
    "dog": ("body", "nose", "ears", "spots", "eyes", "front-leg", "back-leg", "tail"),
    "frog": ("eyes", "back-legs", "back", "feet", "grass", "cheeks", "front-legs", "throat"),
}
OURS = ".tables.json"  # digests of the tables that this program wrote last, by file: others are somebody's
WRITING = Lock()  # two pages of one kernel may have the same tables due


def default_features(annotations: Annotations, class_name: str) -> tuple[str, ...] | None:
    """List what to look for in a class: what its tables have, else the thesis's list, else the drawn views."""
    _, visible = table_paths(annotations.folder, table_of(class_name))
    if _files.is_there(visible):
        return feature_names(visible)
    if annotations.drawn:
        return tuple(multiview.view_names(annotations.class_number(class_name)))
    return FEATURES.get(class_name)


def features_to_ask(annotations: Annotations, class_name: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """Take the features given, else the default ones; ValueError if there are none, or not those of the tables."""
    annotations.class_number(class_name)
    known = default_features(annotations, class_name)
    if (wanted := known if given is None else given) is None:
        raise ValueError(f"no list of features for class {class_name!r}: give one, such as features=['eyes', 'tail']")
    names = tasks.check_features(wanted)
    _, path = table_paths(annotations.folder, table_of(class_name))
    if _files.is_there(path) and set(names) != set(known):
        raise ValueError(f"features {', '.join(names)}: {path} has {', '.join(known)}; give those, or move it away")
    return names


def feature_answers(annotations: Annotations, class_name: str, names: Sequence[str]) -> pd.DataFrame:
    """Read what people ticked for a class: a row an annotator, image, network (None: the image itself) and feature.

    Columns are annotator, image, model, feature, unit (name of item and feature), answer (bool). Errors are those of
    `Annotations.feature_sessions`.
    """
    rows = [
        (session.log.annotator, *tasks.feature_of(item), name, f"{item}/{name}", name in tasks.ticked(answer))
        for session in annotations.feature_sessions(class_name, names)
        for item, answer in session.answers.items()
        for name in names
    ]
    return pd.DataFrame(rows, columns=["annotator", "image", "model", "feature", "unit", "answer"])


def feature_agreement(annotations: Annotations) -> dict[str, dict]:
    """How far annotators agree on features, for every class that at least one has looked at.

    Returns
    -------
    dict of str to dict
        For each class name: annotators (number of them), alpha (Krippendorff's, over every feature of every item),
        kappas (what `agreement.kappas` returns).
    """
    found = {}
    for class_name in annotations.class_names:
        _, visible = table_paths(annotations.folder, table_of(class_name))
        if not _files.is_there(visible):
            continue
        said = feature_answers(annotations, class_name, feature_names(visible))
        if len(said):
            numbers = {"annotators": said["annotator"].nunique(), "alpha": agreement.alpha(said)}
            found[class_name] = numbers | {"kappas": agreement.kappas(said)}
    return found


def write_tables(annotations: Annotations, class_name: str, names: Sequence[str]) -> None:
    """Write ``rq2 - CLASS.csv`` and ``rq2 - CLASS - visible.csv`` from what people ticked.

    A feature counts where more than half of the annotators ticked it, and in a map only where it also counts as
    visible in the image. Rows of a table made by hand of which no annotator said anything stay.

    Parameters
    ----------
    annotations : Annotations
    class_name : str
    names : sequence of str
        Features that people were asked for.

    Raises
    ------
    ValueError
        If a table holds something else about a map or an image than the annotators say: it is not overwritten.
    """
    with WRITING:
        sessions = annotations.feature_sessions(class_name, names)
        about = {tasks.feature_of(item) for session in sessions for item in session.mentioned}
        if not about:
            return
        said: dict[tuple, list[tuple[str, ...]]] = {}
        for session in sessions:
            for item, answer in session.answers.items():
                said.setdefault(tasks.feature_of(item), []).append(tasks.ticked(answer))
        ticked = {
            key: [int(2 * sum(name in own for own in ticks) > len(ticks)) for name in names]
            for key, ticks in said.items()
        }
        visible = {key[:1]: row for key, row in ticked.items() if key[1] is None}
        shown = {
            key: [a & b for a, b in zip(row, visible[key[:1]], strict=True)]
            for key, row in ticked.items()
            if key[1] is not None and key[:1] in visible
        }
        of_maps, of_images = table_paths(annotations.folder, table_of(class_name))
        _write_table(of_images, ("image",), names, visible, {key[:1] for key in about if key[1] is None})
        _write_table(of_maps, ("image", "model"), names, shown, {key for key in about if key[1] is not None})


def _write_table(path: Path | UPath, ids: tuple[str, ...], names: Sequence[str], rows: dict, about: set) -> None:
    """Write rows of ticks, by what they are `about`, and keep those of the file that are about something else."""
    try:
        digests = json.loads(_files.read_bytes(path.parent / OURS) or b"{}")
    except ValueError:
        digests = {}
    rows = dict(rows)
    if (old := _files.read_bytes(path)) is not None:
        ours, table = hashlib.sha256(old).hexdigest() in digests.get(path.name, []), read_ticks(path, ids, tuple(names))
        for line, values in zip(table.index, table.itertuples(index=False), strict=True):
            key, ticks = tuple(values[: len(ids)]), [int(v) for v in values[len(ids) :]]
            if key not in about:
                rows[key] = ticks
            elif not ours and rows.get(key, ticks) != ticks:
                name = next(n for n, a, b in zip(names, ticks, rows[key], strict=True) if a != b)
                raise ValueError(
                    f"{path}, line {line}: {name!r} is not what the annotators ticked for "
                    f"{', '.join(map(str, key))}; the table is left as it is. Move the line, or the file, away"
                )
    table = pd.DataFrame([[*key, *rows[key]] for key in sorted(rows)], columns=[*ids, *names])
    data = table.to_csv(index=False, lineterminator="\n").encode()
    if rows and data != old:
        last = digests.get(path.name, [])[-1:]  # a crash may come between the two files
        _files.write_json(path.parent / OURS, digests | {path.name: [*last, hashlib.sha256(data).hexdigest()]})
        _files.write_bytes(path, data)


# ---- the tables ------------------------------------------------------------------------------------------------------


def table_of(class_name: str) -> str:
    """Name by which the tables of a class go: the thesis writes those of dog and frog in the plural."""
    return f"{class_name}s" if class_name in FEATURES else class_name


def table_paths(folder: Path | UPath, table: str) -> tuple[Path | UPath, Path | UPath]:
    """Return where it is said which features the maps of a class show, and where which of them its images show."""
    return folder / f"rq2 - {table}.csv", folder / f"rq2 - {table} - visible.csv"


def feature_names(path: Path | UPath) -> tuple[str, ...]:
    """Features that a class was looked at for: the columns of its table of what is visible."""
    names = tuple(name for name in tables.read_header(path) if name != "image")
    if not names:
        raise ValueError(f"{path}, line 1: no feature; expected the column image and one for each feature")
    return names


def read_utilisation(folder: Path | UPath, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read which features people saw in the maps of a class, and in its images: image int64, model str, features bool.

    The files are ``rq2 - TABLE.csv`` (columns image, model and one a feature: 1 where the map shows it, else 0) and
    ``rq2 - TABLE - visible.csv`` (columns image and one a feature: 1 where the image shows it, else 0).

    Raises
    ------
    FileNotFoundError, ValueError
        As of `tables.read_table` (the features are the columns of the second file); also if a row is double, a cell
        other than 0 or 1, or a map is of an image, or shows a feature, that the second file lacks.
    """
    shown_file, visible_file = table_paths(folder, table)
    names = feature_names(visible_file)
    shown = read_ticks(shown_file, ("image", "model"), names)
    visible = read_ticks(visible_file, ("image",), names)
    unseen = shown.image[~shown.image.isin(visible.image)]
    if len(unseen):
        image, line = unseen.iloc[0], unseen.index[0]
        raise ValueError(f"{shown_file}, line {line}: image {image} has no row in {visible_file.name}; add one there")
    in_image = visible.set_index("image").loc[shown.image, list(names)].set_axis(shown.index)
    absent = (shown[list(names)] & ~in_image).stack()
    if absent.any():
        line, name = absent.index[absent][0]
        raise ValueError(
            f"{shown_file}, line {line}: the map shows {name!r}, not visible in image {shown.image[line]} by "
            f"{visible_file.name}; correct one of the two"
        )
    return shown.reset_index(drop=True), visible.reset_index(drop=True)


def read_tables(folder: Path | UPath) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """Read all tables of features in a folder, by their names, such as dogs and frogs; see `read_utilisation`."""
    found = [re.fullmatch(r"rq2 - (.+)\.csv", name) for name in _files.names_in(folder)]
    names = [name[1] for name in found if name and not name[1].endswith(" - visible")]
    return {name: read_utilisation(folder, name) for name in names}


def read_ticks(path: Path | UPath, ids: tuple[str, ...], names: tuple[str, ...]) -> pd.DataFrame:
    """Read a table with the columns `ids` (image, or image and model) and a 1 or 0 for each of the features `names`."""
    table = tables.read_table(path, (*ids, *names))
    table["image"] = tables.whole_numbers(table, "image", path)
    for name in names:
        table[name] = tables.coded(table, name, {"1": True, "0": False}, path)
    tables.check_unique(table[list(ids)], path)
    return table
