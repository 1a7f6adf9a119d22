"""A run of two components, their student, the controls and a technique, barely trained, with maps and views removed."""

from dataclasses import asdict
from pathlib import Path

from kd_lib.networks.regime import Regime
from kd_lib.study import pipeline, truth
from kd_lib.study.reading import Study, images

REGIME = Regime(epochs=1, batch_size=30)
SETTINGS = asdict(REGIME) | {
    "data_set": "multiview",
    "train_size": 60,
    "test_size": 60,
    "probe_per_class": 2,
    "image_size": 32,
    "mean": None,
    "std": None,
    "single_view": 0.2,
    "seed": 0,
    "components": 2,
    "ensemble_output": "logits",
    "temperature": 4.0,
    "hard_weight": 0.0,
    "controls": True,
    "techniques": ["mixup"],
}
NAMES = ["a", "b", "distilled"]


def make(folder: Path) -> Study:
    """Train for an epoch and explain a few images coarsely."""
    here = pipeline.begin(folder, SETTINGS, images(SETTINGS))
    pipeline.train(here, verbose=False)
    states = pipeline.states(here, 1)
    pipeline.explain(here, states, {"patch": 8, "stride": 8, "baseline": 0.0, "precision": "float32"}, progress=False)
    truth.remove_views(here, states)
    return here
