"""RQ2: which features the networks use, and whether they differ between seeds."""

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics.pairwise import cosine_similarity
from upath import UPath

from kd_lib import _files
from kd_lib._workers import in_threads
from kd_lib.measures.similarity import compare
from kd_lib.people.tables import check_unique, coded, read_header, read_table, whole_numbers

# The features that people looked for, Gardner (2022).
FEATURES = {
    "dog": ("body", "nose", "ears", "spots", "eyes", "front-leg", "back-leg", "tail"),
    "frog": ("eyes", "back-legs", "back", "feet", "grass", "cheeks", "front-legs", "throat"),
}
TICKS = {"1": True, "0": False}
PAIRS = dict.fromkeys(("model_a", "model_b"), str) | dict.fromkeys(("image", "target", "label"), int)
PAIRS |= {"on_target": bool, "pearson": float, "cosine": float}  # columns of `pairs_of_components`


def pairs_of_components(
    maps: Sequence[ArrayLike], labels: ArrayLike, *, models: Sequence[str], index: ArrayLike | None = None
) -> pd.DataFrame:
    """Similarity of every pair of components, map by map.

    Parameters
    ----------
    maps : sequence of M array_like, each of shape (N, K, H, W)
        Maps of each component.
    labels : array_like of int, shape (N,)
        True class of each image.
    models : sequence of M str
        Names of the components.
    index : array_like of int, shape (N,), optional
        Identifier of each image; its position by default.

    Returns
    -------
    DataFrame
        Columns model_a, model_b, image, target, label, on_target, pearson, cosine. No rows for fewer than two.

    Raises
    ------
    ValueError
        If names and maps do not match.
    """
    if len(maps) != len(models):
        raise ValueError(f"{len(maps)} components and {len(models)} names: expected one name each")
    if len(maps) < 2:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PAIRS.items()})

    def compared(pair: tuple[tuple[str, ArrayLike], tuple[str, ArrayLike]]) -> pd.DataFrame:
        (a, of_a), (b, of_b) = pair
        return compare(of_a, of_b, labels, index=index, model_a=a, model_b=b)

    pairs = combinations(zip(models, maps, strict=True), 2)
    return pd.concat(in_threads(compared, pairs), ignore_index=True)


def table_of(class_name: str) -> str:
    """Name by which the tables of a class go: the thesis writes those of dog and frog in the plural."""
    return f"{class_name}s" if class_name in FEATURES else class_name


def shown_path(folder: str | Path | UPath, table: str) -> Path | UPath:
    """Return where it is said which features the maps of a class show."""
    return _folder(folder) / f"rq2 - {table}.csv"


def visible_path(folder: str | Path | UPath, table: str) -> Path | UPath:
    """Return where it is said which features the images of a class show."""
    return _folder(folder) / f"rq2 - {table} - visible.csv"


def tables(folder: str | Path | UPath) -> list[str]:
    """Names of the tables in a folder, such as dogs and frogs."""
    found = [re.fullmatch(r"rq2 - (.+)\.csv", name) for name in _files.names_in(_folder(folder))]
    return [name[1] for name in found if name and not name[1].endswith(" - visible")]


def feature_names(folder: str | Path | UPath, table: str) -> tuple[str, ...]:
    """Features that a class was looked at for: the columns of its table of what is visible.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it is no table of features.
    """
    path = visible_path(folder, table)
    names = tuple(name for name in read_header(path) if name != "image")
    if not names:
        raise ValueError(f"{path}, line 1: no feature; expected the column image and one for each feature")
    return names


def read_utilisation(folder: str | Path | UPath, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read which features people saw in the maps, and in the images.

    Parameters
    ----------
    folder : str, Path or UPath
        Folder with ``rq2 - TABLE.csv`` (columns image, model and one a feature: 1 where the map shows it, else 0) and
        ``rq2 - TABLE - visible.csv`` (columns image and one a feature: 1 where the image shows it, else 0).
    table : str
        'dogs', 'frogs', or the name of another class.

    Returns
    -------
    shown, visible : DataFrame
        The two tables; image int64, model str, features bool.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a column is missing or unknown (the features are the columns of the second file), a row double, a cell empty
        or other than 0 or 1; or a map is of an image, or shows a feature, that the other file lacks. Names file and
        line.
    """
    shown_file, visible_file = shown_path(folder, table), visible_path(folder, table)
    names = feature_names(folder, table)
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


def read_ticks(path: Path | UPath, ids: tuple[str, ...], names: tuple[str, ...]) -> pd.DataFrame:
    """Read a table with the columns `ids` (image, or image and model) and a 1 or 0 for each of the features `names`.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read_utilisation`.
    """
    table = read_table(path, (*ids, *names))
    table["image"] = whole_numbers(table, "image", path)
    for name in names:
        table[name] = coded(table, name, TICKS, path)
    check_unique(table[list(ids)], path)
    return table


def utilisation(shown: pd.DataFrame, visible: pd.DataFrame) -> pd.DataFrame:
    """Share of the images in which a feature is visible whose map shows it.

    Parameters
    ----------
    shown : DataFrame
        Columns image, model and one bool a feature: whether the model's map shows it.
    visible : DataFrame
        Columns image and the same features: whether the image does.

    Returns
    -------
    DataFrame of float64
        Models by features, in the order of `shown` and `visible`; NaN where a feature is visible in none of the images
        whose maps of that model were looked at.
    """
    names = [name for name in visible.columns if name != "image"]
    seen = visible.set_index("image").loc[shown.image, names].set_axis(shown.index)
    model = shown.model
    maps = (shown[names] & seen).groupby(model, sort=False).sum()
    return maps / seen.groupby(model, sort=False).sum().replace(0, np.nan)


def cosine_matrix(utilisation: pd.DataFrame) -> pd.DataFrame:
    """Cosine similarity of the utilisation vectors of every two models.

    Parameters
    ----------
    utilisation : DataFrame
        Models by features. A feature that is NaN for a model is left out for all.

    Returns
    -------
    DataFrame of float64
        Models by models, in [0, 1]; NaN for a model that shows no feature.
    """
    known = utilisation.dropna(axis="columns")
    models = utilisation.index
    matrix = cosine_similarity(known) if known.shape[1] else np.full((len(models), len(models)), np.nan)
    frame = pd.DataFrame(matrix, index=models, columns=models.rename(None))
    blank = (known == 0).all(axis="columns")
    frame.loc[blank, :] = np.nan
    frame.loc[:, blank.to_numpy()] = np.nan
    return frame


def _folder(folder: str | Path | UPath) -> Path | UPath:
    return Path(folder) if isinstance(folder, str) else folder
