"""What people call the images themselves: how many gave each image the name of each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from upath import UPath

from kd_lib.people import tables


def read_counts(path: Path | UPath, class_names: Sequence[str], images: Sequence[str]) -> np.ndarray:
    """Read how many people called each image by each class.

    Parameters
    ----------
    path : Path or UPath
        A CSV: path, such as ``test/cat/0000.jpg``, whose suffix does not matter, and a column for each class.
    class_names : sequence of str
    images : sequence of N str
        Paths of the images that are asked about, without their suffixes, see `data.Split`.

    Returns
    -------
    ndarray of int64, shape (N, K)
        0 where the table has no such image. Rows about other images are left out.

    Raises
    ------
    FileNotFoundError, ValueError
        As of `tables.read_table`; also if a count is no whole number, a row has none at all, an image has two rows, two
        images the same path, or no row is about one of the images.
    """
    table = tables.read_table(path, ("path", *class_names))
    table["path"] = [os.path.splitext(own)[0] for own in table["path"]]
    tables.check_unique(table[["path"]], path)
    counts = pd.DataFrame({name: tables.whole_numbers(table, name, path) for name in class_names})
    if (nobody := counts.index[counts.sum(axis=1) == 0]).size:
        raise ValueError(f"{path}, line {nobody[0]}: all counts are 0; expected at least one, or remove the row")
    if (twice := pd.Series(images, dtype=str).duplicated()).any():
        raise ValueError(f"{images[int(twice.argmax())]!r} is the path of two images, but for the suffix; rename one")
    if not table["path"].isin(images).any():
        raise ValueError(
            f"{path}: no path is that of a test image; {table['path'].iloc[0]!r} is the first, "
            f"expected such as {images[0]!r}, with any suffix"
        )
    return counts.set_index(table["path"]).reindex(images, fill_value=0).to_numpy()
