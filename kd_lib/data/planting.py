"""Drawn images from which one view of every class is taken, so that somebody knows it and somebody does not.

The same images are drawn again (`multiview.Views.without`): same noise, same ground, same everything else. Views are
named by their number within the class; *a view* here is that view of every class.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kd_lib.data.dataset import Dataset, Split
from kd_lib.data.multiview import Views

WHOLE, NEVER, APART = "whole", "never", "apart"
ASIDE = 1 / 2  # share of the images of several views that `apart` makes into images of the one view


def without(split: Split, gone: Tensor) -> Split:
    """Draw images again without some of the views that they show.

    Parameters
    ----------
    split : Split
        N drawn images.
    gone : Tensor (N, K, V), bool
        Which views each image is to lose; those that it does not show change nothing.

    Returns
    -------
    Split
        Of N images; its views say what is left.

    Raises
    ------
    ValueError
        If nobody knows what the images show, or `gone` has another shape.
    """
    drawn = _drawn(split)
    if gone.shape != drawn.strength.shape:
        raise ValueError(f"gone has shape {tuple(gone.shape)}: expected {tuple(drawn.strength.shape)}, as strength has")
    images = drawn.images.clone()
    for view_class, view in (gone & drawn.present).any(0).nonzero().tolist():
        rows = gone[:, view_class, view].nonzero().squeeze(1)
        images[rows] = replace(drawn.select(rows), images=images[rows]).without(view_class, view)
    left = replace(drawn, images=images, strength=drawn.strength.masked_fill(gone, 0))
    return replace(split, images=images, views=left)


def never(split: Split, view: int) -> Split:
    """Show a view nowhere, neither in images of its class nor mixed into others.

    Images that show no other view of their own class are left out. `view` is from 0 to V - 1; a ValueError if there is
    no such view, or nobody knows what the images show.
    """
    drawn, gone = _drawn(split), _every(split, view)
    own = drawn.own
    own[:, view] = False
    kept = own.any(1)
    return without(split.select(kept), gone[kept])


def several(split: Split) -> Split:
    """Keep the images that show more than one view of their own class; see `never`."""
    return split.select(~_drawn(split).single)


def alone(split: Split, view: int) -> Split:
    """Show of each image's own class one view alone; images that lack it are left out. See `never`."""
    drawn, _ = _drawn(split), _every(split, view)
    kept = drawn.own[:, view]
    split, labels = split.select(kept), drawn.labels[kept]
    gone = torch.zeros_like(drawn.present[kept])
    gone[torch.arange(len(labels)), labels] = torch.arange(gone.shape[2]) != view
    return without(split, gone)


def apart(split: Split, view: int, *, seed: int = 0) -> Split:
    """Show a view of the own class alone or not at all, so that nothing beside it says which class it belongs to.

    Of the images that show it beside others, a share `ASIDE` keeps it and loses the others, the rest loses it. It is
    mixed into no image of another class. `seed` is of the draw which do; for the rest see `never`.
    """
    drawn, gone = _drawn(split), _every(split, view)
    at, own = torch.arange(len(split)), drawn.own
    drawing = torch.rand(len(split), generator=torch.Generator().manual_seed(seed)) < ASIDE
    keeps = own[:, view] & (drawing | (own.sum(1) == 1))
    gone[at[keeps], drawn.labels[keeps]] = torch.arange(gone.shape[2]) != view
    return without(split, gone)


SHOWN: dict[str, Callable[[Split, int], Split]] = {WHOLE: lambda split, _: split, NEVER: never, APART: apart}


def planted(dataset: Dataset, shown: str, view: int) -> Dataset:
    """Change what the training images show: 'whole' leaves them, 'never' and 'apart' are the functions of that name.

    Images are still normalised as before, and the others are the same. A ValueError if `shown` is none of the three.
    """
    if shown not in SHOWN:
        raise ValueError(f"shown={shown!r}: expected one of {', '.join(map(repr, SHOWN))}")
    return replace(dataset, train=SHOWN[shown](dataset.train, view))


def _drawn(split: Split) -> Views:
    if split.views is None:
        raise ValueError("nobody knows which views these images show: a view can only be taken out of drawn images")
    return split.views


def _every(split: Split, view: int) -> Tensor:
    """Say that all images lose that view of all classes: bool (N, K, V)."""
    gone = torch.zeros_like(_drawn(split).present)
    if type(view) is not int or not 0 <= view < gone.shape[2]:
        raise ValueError(f"view={view!r}: expected the number of a view, 0 to {gone.shape[2] - 1}")
    gone[:, :, view] = True
    return gone
