"""Every network of a run learns what its role asks, here and on workers."""

import pytest
import torch
from safetensors.torch import load_file

from kd_lib import _workers, data
from kd_lib.networks import architectures, techniques, training
from kd_lib.study import reading
from kd_lib.study import training as trainings
from kd_lib.study.run import Run
from tests.trained_run import REGIME, SETTINGS

TECHNIQUES = ["mixup", "self-distillation"]


def claimed(folder):
    """Record a run of two components with everything there is, and nothing trained."""
    run = Run(folder)
    dataset = data.load("multiview", train_size=60, test_size=60, probe_per_class=2)
    run.claim(SETTINGS, dataset_fingerprint=dataset.fingerprint)
    run.record("class_names", list(dataset.class_names))
    run.record("root", None)
    run.record(
        "networks", reading.recipes("ab", "resnet10", 10, controls=architectures.CONTROLS, techniques=TECHNIQUES)
    )
    return run, dataset


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run, dataset = claimed(tmp_path_factory.mktemp("whole"))
    return run, dataset, trainings.train_all(run, dataset, REGIME, seed=0, verbose=False)


def weights(run, name):
    return load_file(run.checkpoints.path(name, REGIME.epochs))


def assert_same(run, other, name):
    ours, theirs = weights(run, name), weights(other, name)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_histories_come_in_the_order_of_the_record(whole):
    _, _, history = whole
    order = ["a", "b", "distilled", *architectures.CONTROLS, *TECHNIQUES]
    assert list(dict.fromkeys(history["model"])) == order
    assert (history.groupby("model").size() == REGIME.epochs + 1).all()


def test_every_role_has_its_labels_and_its_teacher(whole, tmp_path):
    run, dataset, _ = whole
    other = Run(tmp_path)
    options = {"checkpoints": other.checkpoints, "seed": 0, "verbose": False}
    training.train("b", dataset, REGIME, **options)
    training.train("distilled", dataset, REGIME, teacher=reading.ensemble(run), **options)
    training.train(architectures.SHUFFLED, data.with_shuffled_labels(dataset, seed=0), REGIME, **options)
    training.train(architectures.HALF_TAUGHT, dataset, REGIME, teacher=reading.ensemble_of(run, ["a"]), **options)
    for name in TECHNIQUES:
        techniques.train_technique(name, dataset, REGIME, component=reading.network(run, "a"), **options)
    for name in ("b", "distilled", *architectures.CONTROLS, *TECHNIQUES):
        assert_same(run, other, name)


def test_workers_train_the_same_networks(whole, tmp_path):
    threads = torch.get_num_threads()
    other, dataset = claimed(tmp_path)
    with _workers.local_workers(2, threads=threads) as client:
        history = trainings.train_all(other, dataset, REGIME, client=client, seed=0, verbose=False)
    assert history["model"].tolist() == whole[2]["model"].tolist()
    for name in reading.roles(other):
        assert_same(whole[0], other, name)


def test_a_student_of_one_component_learns_from_it(whole, tmp_path):
    run, dataset, _ = whole
    other = Run(tmp_path)
    other.claim(SETTINGS, dataset_fingerprint=dataset.fingerprint)
    other.record("networks", reading.recipes("a", "resnet10", 10))
    trainings.train_all(other, dataset, REGIME, seed=0, verbose=False)
    alone = Run(tmp_path / "alone")
    training.train("distilled", dataset, REGIME, checkpoints=alone.checkpoints, seed=0, verbose=False)
    assert any(
        not torch.equal(value, weights(alone, "distilled")[key]) for key, value in weights(other, "distilled").items()
    )
