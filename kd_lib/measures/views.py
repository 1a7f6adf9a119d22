"""Multi-view images, where the truth is known: which views a network uses, and whether its maps show them.

A view can be taken out of an image, so what a network uses is known by intervention: how far its logit falls. A map can
then be held to it: whether it points at the views that count, and whether networks with like maps use the same ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from kd_lib.measures.statistics import bootstrap_weights, cluster_of

# A map shows a view that holds more than this many times its share, by area, of the positive attribution.
SHOWN = 2.0
# A network uses a view whose removal changes the logit by this share of what the view that matters most does.
USED = 0.5


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

    A view is used when removing it changes the class's logit by at least `share`, in (0, 1], of what removing the view
    that matters most in that image changes it. This is relative, as a map is, which shows each place beside the
    strongest one.

    Of `importance` (N, K, V) gives int8 of the same shape: 1 where the view is used for the class, -1 against it, 0
    where it is not used. A ValueError if the share or the shape is wrong.
    """
    importance = np.asarray(importance)
    if importance.ndim != 3:
        raise ValueError(f"importance {importance.shape}: expected (N, K, V)")
    if not 0 < share <= 1:
        raise ValueError(f"view share {share}: expected a share above 0 and up to 1, such as 0.5")
    size = np.abs(importance)
    strong = (size >= share * size.max(-1, keepdims=True)) & (size > 0)
    return (np.sign(importance) * strong).astype(np.int8)


def used_by_size(importance: ArrayLike, clean: ArrayLike, *, share: float = USED) -> np.ndarray:
    """Which views a network uses, as `used`, but by an absolute size: `share` of the standard deviation of the logit.

    `clean` (N, K) are the logits of the images as they are, whose deviation over images is taken class by class.
    """
    importance, least = np.asarray(importance), share * np.asarray(clean).std(0)[:, None]
    return (np.sign(importance) * (np.abs(importance) >= np.maximum(least, np.finfo(float).tiny))).astype(np.int8)


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

    `shown` says for each model which views its maps show, and `present` which views the images have, both bool (N, V);
    `names` are those of the V views. Gives the tables shown and visible that `utilisation` takes; a ValueError if the
    shapes do not match.
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


def pointing(maps: ArrayLike, masks: ArrayLike, used: ArrayLike) -> pd.DataFrame:
    """Whether maps point at the views that a network uses.

    Parameters
    ----------
    maps : array_like, shape (N, H, W)
        A map of each image.
    masks : array_like of bool, shape (N, V, H, W)
        Pixels of each view.
    used : array_like of bool, shape (N, V)
        Which views the network uses for the class that the map explains.

    Returns
    -------
    DataFrame
        A row an image in which the network uses a view and whose map has positive attribution: image (its position),
        hit (1.0 where the map's maximum lies in a view that is used, else 0.0; the pointing game), mass (share of the
        positive attribution that lies in views that are used), area (share of the pixels that lie there: what a map of
        noise would get of both) and any view (that share of the pixels of all views that the image shows: what a map
        would get that points at views, whichever).

    Raises
    ------
    ValueError
        If the shapes do not match.

    References
    ----------
    Zhang et al. (2016), "Top-down Neural Attention by Excitation Backprop", arXiv:1608.00507.
    """
    maps, masks, used = np.asarray(maps), np.asarray(masks, dtype=bool), np.asarray(used, dtype=bool)
    if maps.ndim != 3 or used.shape != masks.shape[:2] or masks.shape != (len(maps), used.shape[-1], *maps.shape[1:]):
        raise ValueError(
            f"maps {maps.shape}, masks {masks.shape} and used {used.shape}: expected (N, H, W), (N, V, H, W) and (N, V)"
        )
    where = (masks & used[..., None, None]).any(1).reshape(len(maps), -1)
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    positive = np.maximum(flat, 0)
    total = positive.sum(1)
    frame = pd.DataFrame(
        {
            "image": np.arange(len(maps)),
            "hit": where[np.arange(len(maps)), flat.argmax(1)].astype(np.float64),
            "mass": (positive * where).sum(1) / np.where(total > 0, total, np.nan),
            "area": where.mean(1),
            "any view": where.sum(1) / np.maximum(masks.any(1).sum((-2, -1)), 1),
        }
    )
    return frame[where.any(1) & (total > 0)].reset_index(drop=True)


def settled(used: ArrayLike) -> np.ndarray:
    """Epoch from which on a network uses the views that it uses in the end.

    `used` (E, N, V) says which views the network uses in each image, epoch by epoch from 0. Gives int64 (N,), positions
    along the first axis; E - 1 where the last epoch still changed something. A ValueError if the shape is wrong.
    """
    used = np.asarray(used)
    if used.ndim != 3 or not len(used):
        raise ValueError(f"used of shape {used.shape}: expected (E, N, V) with at least one epoch")
    as_in_the_end = (used == used[-1]).all(-1)
    return len(used) - np.logical_and.accumulate(as_in_the_end[::-1]).sum(0)


def confusion(same: ArrayLike, above: ArrayLike) -> pd.Series:
    """Count how often two networks whose maps are alike use the same views.

    Of n pairs, `same` says whether the two use the same views, and `above` whether the similarity of their maps reaches
    the threshold. Gives the four counts, such as 'same, above'; then precision (share of the pairs above that use the
    same views), recall (share of the pairs that use the same views that are above), accuracy (share of all pairs where
    the two agree) and baseline (accuracy of always giving the commoner answer). NaN where there is nothing to take a
    share of.
    """
    same, above = np.asarray(same, dtype=bool), np.asarray(above, dtype=bool)
    counts = {
        "same, above": np.sum(same & above),
        "same, below": np.sum(same & ~above),
        "different, above": np.sum(~same & above),
        "different, below": np.sum(~same & ~above),
    }

    def share(chosen: np.ndarray, of: np.ndarray) -> float:
        return float(chosen[of].mean()) if of.any() else float("nan")

    every = np.ones(len(same), dtype=bool)
    commoner = max(share(same, every), share(~same, every))
    shares = {"precision": share(same, above), "recall": share(above, same), "accuracy": share(same == above, every)}
    return pd.Series(counts | shares | {"baseline": commoner}, dtype=object)


def views_known(right: ArrayLike, view: ArrayLike, *, seed: int = 0) -> np.ndarray:
    """Share of the views that networks know, of all images and of bootstrap samples of them.

    A network knows a view if it is right on more than half of the images that show it alone. `right` (n, M) says
    whether each of M networks is right on each image, and `view` (n,) which view the image shows. Gives float64 (1 + R,
    M): all images, then R bootstrap samples.
    """
    right = np.asarray(right, dtype=np.float64)
    group, count = cluster_of(view, len(right))
    weights = np.vstack([np.ones(len(right)), bootstrap_weights(len(right), seed=seed)])
    member = csr_array((np.ones(len(right)), (np.arange(len(right)), group)), shape=(len(right), count))
    sizes = weights @ member
    known = [(weights @ (member * own[:, None]) > sizes / 2).mean(1) for own in right.T]
    return np.stack(known, axis=1)
