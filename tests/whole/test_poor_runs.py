"""Runs that lack something: each answer says what it cannot do, and the rest is still given."""

import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from kd_lib.book import __main__ as report
from kd_lib.maps import store
from kd_lib.study.run import Run
from tests import in_process
from tests.trained_run import make
from tests.whole.test_notebooks import PROJECT, STUDY

ANSWERS = ["threshold_determination", "rq1", "rq2", "rq3"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(whole, tmp_path):
    """A copy of a run, to take something from."""
    return Run(shutil.copytree(whole.run.folder, tmp_path / "run"))


def answer(run, capsys, notebooks=ANSWERS, **parameters):
    """Execute notebooks, by default those that answer, one after the other; what they print."""
    printed, parameters = {}, parameters | {"run": str(run.folder)}
    for name in notebooks:
        declared = report.parameters.declared(PROJECT / "notebooks" / f"{name}.py")
        in_process.execute(name, {key: value for key, value in parameters.items() if key in declared})
        printed[name] = capsys.readouterr().out
    return printed


def without(run, *names):
    """Forget networks."""
    run.record("networks", {name: recipe for name, recipe in run.entry("networks").items() if name not in names})


def rewrite(run, change, models=None):
    """Change stored occluded logits."""
    kept = store.MapStore(run.occlusion)
    for state, block in kept.stored():
        if models is None or kept.states[state][0] in models:
            kept.write(state, block, change(kept.logits(*kept.states[state])[kept.rows(block)]))


def test_a_whole_run_is_answered(run, capsys):
    printed = answer(run, capsys)
    assert "labels: no people; ground truth" in printed["threshold_determination"]
    assert {"rq1_curves.csv", "rq2_shares.csv", "rq3_gain.csv"} <= {path.name for path in run.results.iterdir()}


def test_one_component(run, capsys):
    without(run, "b", "shuffled", "half-taught", "half-taught-2")
    printed = answer(run, capsys)
    assert "No ensemble, which takes two components" in printed["rq3"]


def test_one_network_alone(run, capsys):
    without(run, "b", "distilled", "shuffled", "half-taught", "half-taught-2")
    answer(run, capsys)


def test_no_distilled_network(run, capsys):
    without(run, "distilled", "half-taught", "half-taught-2")
    answer(run, capsys)


def test_no_epochs(run, capsys):
    for path in run.checkpoints.folder.glob("*/epoch-000.safetensors"):
        path.unlink()
    printed = answer(run, capsys)
    assert "every epoch" in printed["rq1"]


@pytest.mark.parametrize("models", [["b"], None], ids=["of one network", "of all"])
def test_constant_maps(run, models, capsys):
    rewrite(run, lambda logits: np.broadcast_to(logits[:, :1], logits.shape).copy(), models)
    answer(run, capsys)


@pytest.mark.parametrize("models", [["b"], ["distilled"], None], ids=["of a component", "of the student", "of all"])
def test_logits_that_are_no_numbers(run, models, capsys):
    rewrite(run, lambda logits: np.full_like(logits, np.nan), models)
    answer(run, capsys)


def test_pictures_that_nobody_labelled(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, name in itertools.product(("train", "test"), ("this", "that")):
        (tmp_path / split / name).mkdir(parents=True)
        for number in range(7):
            picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
            picture.save(tmp_path / split / name / f"{number}.png")
    images = {"data_set": "imagefolder", "root": str(tmp_path), "train_size": 0, "test_size": 0, "probe_per_class": 3}
    regime = {"components": 2, "epochs": 2, "batch_size": 5, "executor": ""}
    printed = answer(Run(tmp_path / "run"), capsys, STUDY, patch=16, stride=8, **images, **regime)
    assert "the published T_c = 0.53 is used" in printed["threshold_determination"]
    assert "on target: the distilled network is closer" in printed["rq3"]
    assert "nobody can plant a feature in them" in printed["inheritance"]
    assert not list((tmp_path / "run").glob("**/inheritance*"))
