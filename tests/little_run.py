"""A run small enough to be annotated in a test: two networks and a student, untrained, whose maps differ."""

import sys
from pathlib import Path

import torch
from torch import nn

from kd_lib.maps.fill import fill
from kd_lib.maps.store import MapStore
from kd_lib.study import pipeline
from kd_lib.study.reading import Study, images

NAMES = ["a", "b", "distilled"]
SETTINGS = {
    "data_set": "multiview",
    "train_size": 40,
    "test_size": 60,
    "probe_per_class": 2,
    "image_size": 32,
    "mean": None,
    "std": None,
    "single_view": 0.2,
    "seed": 0,
    "components": 2,
    "arch": "resnet10",
    "epochs": 1,
    "ensemble_output": "logits",
}


def make(folder: Path) -> Study:
    """Make a run whose probe images are explained by networks of one random layer."""
    here = pipeline.begin(folder, SETTINGS, images(SETTINGS), networks=pipeline.recipes(SETTINGS, 10))
    dataset = here.dataset
    probe = dataset.probe
    here.store = MapStore.create(
        here.occlusion,
        states=[(name, 1) for name in NAMES],
        labels=probe.labels,
        index=probe.index,
        class_names=dataset.class_names,
        image_size=(32, 32),
        patch=8,
        stride=4,
    )
    fill(here.store, network, dataset.normalise(probe.images), progress=False)
    return here


def network(name: str, epoch: int) -> nn.Module:
    """Give each name a network of its own; all share half of their weights, so that some maps are alike."""
    torch.manual_seed(0)
    shared = nn.Linear(3 * 32 * 32, 10)
    torch.manual_seed(1 + NAMES.index(name))
    own = nn.Linear(3 * 32 * 32, 10)
    with torch.no_grad():
        shared.weight.add_(own.weight)
    return nn.Sequential(nn.Flatten(), shared).eval()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
