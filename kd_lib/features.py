"""RQ2: which features the networks use, and whether they differ between seeds."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics.pairwise import cosine_similarity
from upath import UPath

from kd_lib import files
from kd_lib.similarity import compare
from kd_lib.tables import check_unique, coded, read_header, read_table, whole_numbers

# The features that people looked for, Gardner (2022).
FEATURES = {
    "dog": ("body", "nose", "ears", "spots", "eyes", "front-leg", "back-leg", "tail"),
    "frog": ("eyes", "back-legs", "back", "feet", "grass", "cheeks", "front-legs", "throat"),
}
TICKS = {"1": True, "0": False}
# A map shows a view that holds more than this many times its share, by area, of the positive attribution.
SHOWN = 2.0
# A network uses a view whose removal changes the logit by this share of what the view that matters most does.
USED = 0.5


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
        Columns model_a, model_b, image, target, label, on_target, pearson, cosine.

    Raises
    ------
    ValueError
        If there are fewer than two components, or names and maps do not match.
    """
    if len(maps) < 2 or len(maps) != len(models):
        raise ValueError(f"{len(maps)} components and {len(models)} names: expected at least two, one name each")
    pairs = combinations(zip(models, maps, strict=True), 2)
    return pd.concat(
        [compare(of_a, of_b, labels, index=index, model_a=a, model_b=b) for (a, of_a), (b, of_b) in pairs],
        ignore_index=True,
    )


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
    found = [re.fullmatch(r"rq2 - (.+)\.csv", name) for name in files.names_in(_folder(folder))]
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


def views_shown(maps: ArrayLike, masks: ArrayLike, present: ArrayLike) -> np.ndarray:
    """Which views of its own class a map of a multi-view image shows.

    A map shows a view when the positive attribution is, on average, more than `SHOWN` (2) times as high inside the
    view's mask as over the whole image: the view draws more than twice what an even spread would give it.

    Parameters
    ----------
    maps : array_like, shape (N, H, W)
        Maps of each image for its own class.
    masks : array_like of bool, shape (N, V, H, W)
        Pixels of each of the class's views.
    present : array_like of bool, shape (N, V)
        Whether the image has the view.

    Returns
    -------
    ndarray of bool, shape (N, V)
        Never true for an absent view, nor for a map without positive attribution.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    maps, masks, present = np.asarray(maps), np.asarray(masks, dtype=bool), np.asarray(present, dtype=bool)
    if maps.ndim != 3 or masks.shape != (len(maps), *masks.shape[1:2], *maps.shape[1:]) or masks.ndim != 4:
        raise ValueError(f"maps {maps.shape} and masks {masks.shape}: expected (N, H, W) and (N, V, H, W)")
    if present.shape != masks.shape[:2]:
        raise ValueError(f"present of shape {present.shape}: expected {masks.shape[:2]}, one for each mask")
    positive = np.maximum(maps, 0).astype(np.float64)
    pixels = masks.sum((-2, -1))
    inside = np.einsum("nhw,nvhw->nv", positive, masks) / np.maximum(pixels, 1)
    return present & (inside > SHOWN * positive.mean((-2, -1))[:, None])


def view_tables(
    shown: Mapping[str, ArrayLike], present: ArrayLike, *, names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put views into the same two tables as the features that people ticked.

    Parameters
    ----------
    shown : mapping of str to array_like of bool, shape (N, V)
        For each model, which views its maps show.
    present : array_like of bool, shape (N, V)
        Which views the images have.
    names : sequence of V str
        Names of the views.

    Returns
    -------
    shown, visible : DataFrame
        What `utilisation` takes.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    present = np.asarray(present, dtype=bool)
    wrong = [np.shape(ticks) for ticks in shown.values() if np.shape(ticks) != present.shape]
    if wrong or present.ndim != 2 or present.shape[1] != len(names):
        raise ValueError(f"views of shape {(wrong or [present.shape])[0]}: expected (N, {len(names)})")
    image = pd.DataFrame({"image": np.arange(len(present))})
    visible = image.join(pd.DataFrame(present, columns=list(names)))
    rows = [
        image.assign(model=model).join(pd.DataFrame(np.asarray(ticks, dtype=bool), columns=list(names)))
        for model, ticks in shown.items()
    ]
    return pd.concat(rows, ignore_index=True), visible


def importance(clean: ArrayLike, without: ArrayLike) -> np.ndarray:
    """How much each class's logit falls when a view is removed from the image.

    Parameters
    ----------
    clean : array_like, shape (N, K)
        Logits of the images.
    without : array_like, shape (N, K, V)
        Logits of the images drawn again without each of V views, of whatever class.

    Returns
    -------
    ndarray, shape (N, K, V)
        f_k(x) - f_k(x without view v), in logits; 0 where the image lacks the view. Negative where the view speaks
        against the class.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    clean, without = np.asarray(clean), np.asarray(without)
    if without.ndim != 3 or clean.shape != without.shape[:2]:
        raise ValueError(f"logits {clean.shape} and {without.shape}: expected (N, K) and (N, K, V)")
    return clean[..., None] - without


def used(importance: ArrayLike, *, share: float = USED) -> np.ndarray:
    """Which views a network uses for or against a class in an image, by intervention.

    A view is used when removing it changes the class's logit by at least `share` of what removing the view that matters
    most in that image changes it. This is relative, as a map is, which shows each place beside the strongest one.

    Parameters
    ----------
    importance : array_like, shape (N, K, V)
        What `importance` returns.
    share : float
        In (0, 1]: half by default.

    Returns
    -------
    ndarray of int8, shape (N, K, V)
        1 where the view is used for the class, -1 against it, 0 where it is not used.

    Raises
    ------
    ValueError
        If the share is not in (0, 1] or the shape is wrong.
    """
    importance = np.asarray(importance)
    if importance.ndim != 3:
        raise ValueError(f"importance {importance.shape}: expected (N, K, V)")
    if not 0 < share <= 1:
        raise ValueError(f"view share {share}: expected a share above 0 and up to 1, such as 0.5")
    size = np.abs(importance)
    strong = (size >= share * size.max(-1, keepdims=True)) & (size > 0)
    return (np.sign(importance) * strong).astype(np.int8)


def _folder(folder: str | Path | UPath) -> Path | UPath:
    return Path(folder) if isinstance(folder, str) else folder
