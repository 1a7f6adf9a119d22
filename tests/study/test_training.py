"""Every network of a run learns what its role asks, here and on workers."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from kd_lib import _workers, data
from kd_lib.data import multiview
from kd_lib.networks import architectures, techniques
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.training import accuracy, predict, train
from kd_lib.study import pipeline, training
from kd_lib.study.reading import images
from tests.trained_run import REGIME, SETTINGS

TECHNIQUES = ["mixup", "self-distillation"]


def begun(folder, **changes):
    """Begin a run of two components with everything there is, and train nothing."""
    settings = SETTINGS | {"techniques": TECHNIQUES} | changes
    return pipeline.begin(folder, settings, images(settings))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    here = begun(tmp_path_factory.mktemp("whole"))
    return here, pipeline.train(here, verbose=False)


def weights(checkpoints, name):
    return load_file(checkpoints.path(name, REGIME.epochs))


def assert_same(ours, theirs, name):
    ours, theirs = weights(ours, name), weights(theirs, name)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_histories_come_in_the_order_of_the_record(whole):
    _, history = whole
    order = ["a", "b", "distilled", *architectures.CONTROLS, *TECHNIQUES]
    assert list(dict.fromkeys(history["model"])) == order
    assert (history.groupby("model").size() == REGIME.epochs + 1).all()


def test_every_role_has_its_labels_and_its_teacher(whole, tmp_path):
    here, _ = whole
    dataset, other = here.dataset, Checkpoints(tmp_path)
    options = {"checkpoints": other, "seed": 0, "verbose": False}
    train("b", dataset, REGIME, **options)
    train("distilled", dataset, REGIME, teacher=here.network("ensemble"), **options)
    train(architectures.SHUFFLED, data.with_shuffled_labels(dataset, seed=0), REGIME, **options)
    for name, half in zip(architectures.HALF_TAUGHT, (["a"], ["b"]), strict=True):
        train(name, dataset, REGIME, teacher=here.ensemble_of(half), **options)
    for name in TECHNIQUES:
        techniques.train_technique(name, dataset, REGIME, component=here.network("a"), **options)
    for name in ("b", "distilled", *architectures.CONTROLS, *TECHNIQUES):
        assert_same(here.run.checkpoints, other, name)


def test_workers_train_the_same_networks(whole, tmp_path):
    threads = torch.get_num_threads()
    other = begun(tmp_path)
    with _workers.local_workers(2, threads=threads) as client:
        history = pipeline.train(other, executor=client, verbose=False)
    assert history["model"].tolist() == whole[1]["model"].tolist()
    for name in other.roles:
        assert_same(whole[0].run.checkpoints, other.run.checkpoints, name)


def test_a_student_of_one_component_learns_from_it(tmp_path):
    other = begun(tmp_path / "run", components=1, techniques=[])
    assert other.controls == []
    pipeline.train(other, verbose=False)
    alone = Checkpoints(tmp_path / "alone")
    train("distilled", other.dataset, REGIME, checkpoints=alone, seed=0, verbose=False)
    taught = weights(other.run.checkpoints, "distilled")
    assert any(not torch.equal(value, weights(alone, "distilled")[key]) for key, value in taught.items())


def test_answers_come_from_the_networks(whole):
    here, history = whole
    dataset, found = here.dataset, training.right_answers(here, device="cpu")
    assert dict(zip(found["model"], found["kind"], strict=True)) == {
        "a": "component",
        "b": "component",
        "distilled": "distilled",
        "ensemble": "ensemble",
    }
    own, last = found.groupby("model")["right"].mean(), history.groupby("model")["test_accuracy"].last()
    names = ["a", "b", "distilled"]
    assert own[names].tolist() == pytest.approx(last[names].tolist())
    measured = training.accuracies(here, device="cpu").groupby("model")["test_accuracy"].last()
    assert measured[names].tolist() == pytest.approx(last[names].tolist())
    together = predict(here.network("ensemble", device="cpu"), dataset, dataset.test)
    assert own["ensemble"] == pytest.approx(accuracy(together, dataset.test.labels))
    assert set(found["image"]) == set(dataset.test.index.tolist())


def test_the_optimiser_that_comes_nearer_to_the_published_accuracy_is_the_likelier_reading():
    columns = ["network", "accuracy (%)", "Gardner (2022) (%)"]
    rows = [("components, mean", 85.6, 84.37), ("adam", 10.0, math.nan)]
    assert training.which_optimiser(pd.DataFrame(rows, columns=columns), "sgd", 0.4) == (
        "At a peak learning rate of 0.4, SGD reaches 85.6 % (mean of the components) and Adam 10.0 % (one network); "
        "Gardner (2022) has 84.4 %, so that SGD is the likelier reading."
    )
    rows[1] = ("adam", 84.0, math.nan)
    assert training.which_optimiser(pd.DataFrame(rows, columns=columns), "sgd", 0.4).endswith(
        "Adam is the likelier reading."
    )
    assert training.which_optimiser(pd.DataFrame(rows[:1], columns=columns), "sgd", 0.4) is None
    assert training.which_optimiser(pd.DataFrame(rows, columns=columns), "adam", 0.4) is None


def test_accuracies_on_images_of_one_view_and_of_several():
    _, _, views = multiview.draw(8, single_view=0.5, seed=3)
    split = SimpleNamespace(views=views, index=torch.arange(100, 108))
    here = SimpleNamespace(dataset=SimpleNamespace(test=split, train=split))
    single = views.single.numpy()
    right = pd.DataFrame({"kind": "component", "image": np.arange(100, 108), "right": single})
    found = training.by_views(here, pd.concat([right, right.assign(kind="ensemble", right=True)], ignore_index=True))
    assert found.loc["component"].tolist() == [100, 0]
    assert found.loc["ensemble"].tolist() == [100, 100]
    assert found.loc["share of the test images", "one view"] == 100 * single.mean()
    nothing = SimpleNamespace(dataset=SimpleNamespace(test=SimpleNamespace(views=None)))
    assert training.by_views(nothing, right).empty
