"""A small store of occluded logits, and the networks that it explains."""

import numpy as np
import torch
from torch import nn

from kd_lib.maps import fill as explaining
from kd_lib.maps.store import MapStore

STATES = [("a", 0), ("a", 1), ("a model with a long name", 1)]
SETTINGS = {
    "labels": np.arange(10) % 3,
    "index": np.arange(10) * 7,
    "class_names": ["x", "y", "z"],
    "image_size": (6, 7),
    "patch": 3,
    "stride": 2,
    "block": 4,
}
IMAGES = torch.randn(10, 2, 6, 7, generator=torch.Generator().manual_seed(0))
WINDOWS = 1 + 3 * 3


def network(model, epoch):
    """Give the network of a state."""
    torch.manual_seed(len(model) * 100 + epoch)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 5, 3))


def create(path, states=STATES, **changes):
    """Create the store, or make room in it."""
    return MapStore.create(path, states=states, **SETTINGS | changes)


def fill(path, load_model=network, **options):
    """Compute what the store lacks; returns the number of blocks."""
    return explaining.fill(MapStore(path), load_model, IMAGES, progress=False, **options)


def chunks(path):
    """List the files of the blocks, those at work included."""
    return sorted(file for file in (path / "logits" / "c").rglob("*") if file.is_file())
