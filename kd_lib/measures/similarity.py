"""How alike two saliency maps are."""

from collections.abc import Callable, Sequence
from itertools import combinations
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib._workers import in_threads

# Pixels worked on at once: the float64 copies of a block stay in the processor's cache.
BLOCK = 2**16
PAIRS: dict[str, type] = dict.fromkeys(("model_a", "model_b"), str) | dict.fromkeys(("image", "target", "label"), int)
PAIRS |= {"on_target": bool, "pearson": float, "cosine": float}  # columns of `pairs_of_components`


def pearson(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Pearson correlation of maps over their last two axes.

    Parameters
    ----------
    a, b : array_like, shape (..., H, W)
        Maps; the leading axes broadcast. Sums are accumulated in float64.

    Returns
    -------
    ndarray of float64, the broadcast leading shape
        Values in [-1, 1]; NaN where a map is constant or holds a value that is not finite.

    Raises
    ------
    ValueError
        If a map has fewer than two axes, or the shapes do not match.
    """
    return _blockwise(_pearson, a, b)


def cosine(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Cosine similarity of maps over their last two axes.

    Parameters, result and errors are those of `pearson`, but that a constant map has a similarity unless it is zero.
    """
    return _blockwise(_cosine, a, b)


def spearman(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Spearman rank correlation of maps over their last two axes: `pearson` of the ranks, ties sharing theirs.

    Parameters, result and errors are those of `pearson`.
    """
    return pearson(_ranks(a), _ranks(b))


def ssim(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Structural similarity of maps over their last two axes.

    Each map is first divided by its largest absolute value, since maps of two networks differ in scale.

    Parameters
    ----------
    a, b : array_like, shape (..., H, W)
        Maps of the same shape, at least 7 x 7, the window of the mean.

    Returns
    -------
    ndarray of float64, shape (...)
        Values in [-1, 1]; NaN where a map is zero everywhere or holds a value that is not finite.

    Raises
    ------
    ValueError
        If the shapes differ or a map is smaller than 7 x 7.

    References
    ----------
    Wang et al. (2004), "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE Transactions on
    Image Processing 13(4), as in `skimage.metrics.structural_similarity`.
    """
    from skimage.metrics import structural_similarity  # takes a second, and few need it

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim < 2 or min(a.shape[-2:]) < 7:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape}: expected the same (..., H, W), at least 7 x 7")
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = [(m / np.abs(m).max((-2, -1), keepdims=True)).reshape(-1, *a.shape[-2:]) for m in (a, b)]
    found = [
        structural_similarity(one, other, data_range=2.0) if np.isfinite([one, other]).all() else np.nan
        for one, other in zip(*pairs, strict=True)
    ]
    return np.reshape(found, a.shape[:-2])


def _ranks(maps: ArrayLike) -> np.ndarray:
    from scipy.stats import rankdata  # takes seconds, and those who train or explain networks do without

    maps = np.asarray(maps, dtype=np.float64)
    if maps.ndim < 2:
        raise ValueError(f"maps of shape {maps.shape}: expected (..., H, W)")
    flat = maps.reshape(*maps.shape[:-2], -1)
    ranks = rankdata(flat, axis=-1).reshape(maps.shape)
    return np.where(np.isfinite(flat).all(-1)[..., None, None], ranks, np.nan)


def compare(
    maps_a: ArrayLike, maps_b: ArrayLike, labels: ArrayLike, *, index: ArrayLike | None = None, **ids: object
) -> pd.DataFrame:
    """Similarity of each map to its counterpart, one row a map.

    Parameters
    ----------
    maps_a, maps_b : array_like, shape (N, K, H, W)
        Maps of N images for K target classes.
    labels : array_like of int, shape (N,)
        True class of each image, 0 to K - 1.
    index : array_like of int, shape (N,), optional
        Identifier of each image; its position by default.
    **ids
        Constant leading columns that say what is compared, such as ``model="a", epoch=3``.

    Returns
    -------
    DataFrame
        N * K rows, image by image: the columns of `ids`, then image, target, label, on_target, pearson, cosine.

    Raises
    ------
    ValueError
        If the shapes do not match or a label is no class.
    """
    maps_a, maps_b, labels = np.asarray(maps_a), np.asarray(maps_b), np.asarray(labels)
    if maps_a.ndim != 4 or maps_a.shape != maps_b.shape:
        raise ValueError(f"maps of shapes {maps_a.shape} and {maps_b.shape}: expected the same (N, K, H, W) twice")
    images, classes = maps_a.shape[:2]
    labels = check_labels(labels, images, classes)
    index = np.arange(images) if index is None else np.asarray(index)
    if index.shape != (images,):
        raise ValueError(f"index of shape {index.shape}: expected one identifier for each of the {images} images")
    target = np.tile(np.arange(classes), images)
    label = np.repeat(labels, classes)
    columns = {
        "image": np.repeat(index, classes),
        "target": target,
        "label": label,
        "on_target": target == label,
        "pearson": pearson(maps_a, maps_b).ravel(),
        "cosine": cosine(maps_a, maps_b).ravel(),
    }
    return pd.DataFrame(ids | columns)


def pairs_of_components(maps: Sequence[ArrayLike], labels: ArrayLike, *, models: Sequence[str]) -> pd.DataFrame:
    """Similarity of every pair of components, map by map.

    `maps` are those of M components, each (N, K, H, W), `labels` (N,) the true classes, and `models` the M names. Gives
    the columns model_a, model_b, then those of `compare`; no rows for fewer than two components. A ValueError if names
    and maps do not match.
    """
    if len(maps) != len(models):
        raise ValueError(f"{len(maps)} components and {len(models)} names: expected one name each")
    if len(maps) < 2:
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PAIRS.items()})

    def compared(pair: tuple[tuple[str, ArrayLike], tuple[str, ArrayLike]]) -> pd.DataFrame:
        (a, of_a), (b, of_b) = pair
        return compare(of_a, of_b, labels, model_a=a, model_b=b)

    pairs = combinations(zip(models, maps, strict=True), 2)
    return pd.concat(in_threads(compared, pairs), ignore_index=True)


def check_labels(labels: ArrayLike, images: int, classes: int) -> np.ndarray:
    """Labels (N,) as an array, once they are known to be one class, 0 to `classes` - 1, for each of N `images`."""
    labels = np.asarray(labels)
    if labels.shape != (images,):
        raise ValueError(f"labels of shape {labels.shape}: expected one for each of the {images} images")
    if labels.dtype.kind not in "iu" or (images and (labels.min() < 0 or labels.max() >= classes)):
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, the classes that have maps")
    return labels


def check_threshold(threshold: float) -> float:
    """Return a threshold on similarity, once it is known to be a number in [-1, 1]."""
    if not isinstance(threshold, Real) or not -1 <= threshold <= 1:
        raise ValueError(f"threshold {threshold!r}: expected a similarity between -1 and 1, such as 0.53")
    return float(threshold)


def _blockwise(score: Callable, a: ArrayLike, b: ArrayLike) -> np.ndarray:
    a, b = np.asarray(a), np.asarray(b)
    if min(a.ndim, b.ndim) < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape}: expected (..., H, W) with the same H and W")
    try:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"maps of shapes {a.shape} and {b.shape}: their leading axes do not broadcast") from None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _split(score, a, b, lead)


def _split(score: Callable, a: np.ndarray, b: np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    pixels = a.shape[-2] * a.shape[-1]
    if not lead or np.prod(lead) * pixels <= BLOCK:
        return score(a.astype(np.float64), b.astype(np.float64))
    rows = max(1, BLOCK // (pixels * int(np.prod(lead[1:]))))
    out = np.empty(lead)
    for start in range(0, lead[0], rows):
        rest = lead[1:] if rows == 1 else (min(rows, lead[0] - start), *lead[1:])
        part = start if rows == 1 else slice(start, start + rows)
        out[part] = _split(score, *(_rows(m, part, len(lead)) for m in (a, b)), rest)
    return out


def _rows(maps: np.ndarray, part: int | slice, axes: int) -> np.ndarray:
    """Rows of the first broadcast axis; a map that lacks the axis, or has one row there, serves all of them."""
    if maps.ndim - 2 < axes:
        return maps
    if maps.shape[0] == 1:
        return maps[0] if isinstance(part, int) else maps
    return maps[part]


def _pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Rounding leaves a constant map's deviations near but not at zero, so constancy is tested on the values.
    constant = _constant(a) | _constant(b)
    a = a - a.mean((-2, -1), keepdims=True)
    b = b - b.mean((-2, -1), keepdims=True)
    return np.where(constant, np.nan, _cosine(a, b))


def _constant(maps: np.ndarray) -> np.ndarray:
    return maps.max((-2, -1)) == maps.min((-2, -1))


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (m.reshape(*m.shape[:-2], m.shape[-2] * m.shape[-1]) for m in (a, b))
    norms = np.sqrt(np.vecdot(a, a)) * np.sqrt(np.vecdot(b, b))
    return np.clip(np.vecdot(a, b) / norms, -1, 1)
