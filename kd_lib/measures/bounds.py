"""Floors and ceilings: how alike maps are that should share nothing, or nearly everything.

A similarity means little by itself. Maps of two images have the same grid and often the same layout, and an untrained
network has maps too; between what these give and what two epochs of one network give, a similarity can be read.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib.measures.similarity import compare

OTHER_IMAGE, OTHER_CLASS = "same network, another image of the class", "same network and image, next class"
SHUFFLED_LABELS = "network trained on shuffled labels and on the true ones"
UNTRAINED, LAST_TWO = "untrained and trained network", "last two epochs of a network"
FLOORS = (OTHER_IMAGE, OTHER_CLASS, UNTRAINED, SHUFFLED_LABELS)


def floors(maps: ArrayLike, labels: ArrayLike, *, model: str) -> pd.DataFrame:
    """Similarity of one network's maps to its own of another image, and of another class.

    Parameters
    ----------
    maps : array_like, shape (N, K, H, W)
    labels : array_like of int, shape (N,)
        True class of each image.
    model : str
        Name of the network.

    Returns
    -------
    DataFrame
        What `similarity.compare` gives, with the columns kind and model. The other image is the next one of the same
        true class; a class of one image has none. The other class is the next one, the first after the last.
    """
    maps, labels = np.asarray(maps), np.asarray(labels)
    following = np.arange(len(labels))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        following[own] = np.roll(own, -1)
    paired = np.flatnonzero(following != np.arange(len(labels)))
    frames = [
        compare(maps[paired], maps[following[paired]], labels[paired], index=paired, kind=OTHER_IMAGE, model=model),
        compare(maps, np.roll(maps, -1, axis=1), labels, kind=OTHER_CLASS, model=model),
    ]
    return pd.concat(frames, ignore_index=True)


def over_training(maps: Mapping[int, ArrayLike], labels: ArrayLike, *, model: str) -> pd.DataFrame:
    """Similarity of one network's final maps to those before training and one epoch earlier.

    `maps` are (N, K, H, W) by epoch; the first (0), the last and the one before are used. The rest, and the result, are
    as of `floors`.
    """
    epochs = sorted(maps)
    pairs = {UNTRAINED: epochs[0], LAST_TWO: epochs[-2]}
    frames = [compare(maps[epoch], maps[epochs[-1]], labels, kind=kind, model=model) for kind, epoch in pairs.items()]
    return pd.concat(frames, ignore_index=True)


def band_of(kinds: pd.Series) -> pd.Series:
    """Say of each kind of comparison whether it is a 'floor' or a 'ceiling'."""
    return kinds.isin(FLOORS).map({True: "floor", False: "ceiling"}).rename("band")


def bands(frame: pd.DataFrame, *, by: str = "target", similarity: str = "pearson") -> pd.DataFrame:
    """Range of similarity that a figure shows as a band: the middle half of the floors, and of the ceiling.

    `frame` has rows of the other functions, `by` tells a figure's panels apart, and `similarity` is 'pearson' or
    'cosine'. Gives the columns `by`, band ('floor': of all `FLOORS`, each counting the same; 'ceiling': `LAST_TWO`),
    low and high (first and third quartile).
    """
    known = frame.dropna(subset=[similarity])
    if known.empty:
        return pd.DataFrame(columns=[by, "band", "low", "high"])
    each = known.groupby([by, band_of(known["kind"]), "kind"], sort=False)[similarity].quantile([0.25, 0.75]).unstack()
    found = each.groupby(level=[0, 1], sort=False).mean().set_axis(["low", "high"], axis=1)
    return found.rename_axis([by, "band"]).reset_index()
