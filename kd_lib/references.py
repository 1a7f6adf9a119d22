"""Floors and ceilings: how alike maps are that should share nothing, or nearly everything.

A similarity means little by itself. Maps of two images have the same grid and often the same layout, and an untrained
network has maps too; between what these give and what two epochs of one network give, a similarity can be read.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib.similarity import compare

OTHER_IMAGE, OTHER_CLASS = "same network, another image of the class", "same network and image, next class"
UNTRAINED, LAST_TWO = "untrained and trained network", "last two epochs of a network"


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

    Parameters
    ----------
    maps : mapping of int to array_like, shape (N, K, H, W)
        By epoch; the first (0), the last and the one before are used.
    labels : array_like of int, shape (N,)
        True class of each image.
    model : str
        Name of the network.

    Returns
    -------
    DataFrame
        As of `floors`.
    """
    epochs = sorted(maps)
    final = maps[epochs[-1]]
    frames = [
        compare(maps[epochs[0]], final, labels, kind=UNTRAINED, model=model),
        compare(maps[epochs[-2]], final, labels, kind=LAST_TWO, model=model),
    ]
    return pd.concat(frames, ignore_index=True)
