"""A run of two components, their student, the controls and a technique, barely trained, with maps and views removed."""

from dataclasses import asdict
from pathlib import Path

from kd_lib import data
from kd_lib.maps import fill, store
from kd_lib.networks import architectures, training
from kd_lib.study import reading, truth
from kd_lib.study import training as trainings
from kd_lib.study.run import Run

REGIME = training.Regime(epochs=1, batch_size=30)
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
}
NAMES = ["a", "b", "distilled"]


def make(folder: Path) -> Run:
    """Train for an epoch and explain a few images coarsely."""
    run = Run(folder)
    dataset = data.load("multiview", train_size=60, test_size=60, probe_per_class=2)
    run.claim(SETTINGS, dataset_fingerprint=dataset.fingerprint)
    run.record("class_names", list(dataset.class_names))
    run.record("root", None)
    recipes = reading.recipes(NAMES[:2], "resnet10", 10, controls=architectures.CONTROLS, techniques=["mixup"])
    run.record("networks", recipes)
    history = trainings.train_all(run, dataset, REGIME, seed=0, verbose=False)
    run.write_csv(history, "history")
    probe, states = dataset.probe, reading.states(run, 1)
    explained = store.MapStore.create(
        run.occlusion,
        states=states,
        labels=probe.labels,
        index=probe.index,
        class_names=dataset.class_names,
        image_size=(32, 32),
        patch=8,
        stride=8,
    )

    def load(name, epoch):
        return reading.network(run, name, epoch)

    fill.fill(explained, load, dataset.normalise(probe.images), progress=False)
    truth.save_view_logits(run, dataset, states, load)
    return run
