"""Choices as they are spelled, refused, carried out, and carried on after an interruption."""

from functools import partial

import numpy as np
import pytest
import torch

from kd_lib.maps import fill, occlusion, store
from kd_lib.networks import training
from kd_lib.study import choices, reading
from tests.trained_run import NAMES, make


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


def carry_out(name, run):
    (choice,) = choices.read([name], run)
    return choices.carry_out(choice, run)


def content(run):
    """Name and time of every file of a run but those of its choices."""
    files = [path for path in run.folder.rglob("*") if path.is_file() and choices.FOLDER not in path.parts]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_choice_is_spelled_as_parameters(run):
    found = choices.read(["patch=16 stride=4", "baseline=blur", "output=probs", "temperature=1 optimiser=adam"], run)
    assert [(c.output, c.maps, c.training) for c in found] == [
        ({}, {"patch": 16, "stride": 4}, {}),
        ({}, {"baseline": "blur"}, {}),
        ({"output": "probs"}, {}, {}),
        ({}, {}, {"temperature": 1, "optimiser": "adam"}),
    ]
    assert choices.read(["patch=16", "patch=16"], run) == choices.read(["patch=16"], run)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pach=2", r"choice 'pach=2': 'pach' cannot be chosen \(did you mean 'patch'\?\); what can is output, patch"),
        ("patch", "choice 'patch': expected parameter=value, such as 'patch=2'"),
        ("", "choice '': expected parameter=value"),
        (2, "choice 2: expected parameter=value"),
        ("arch=../x", "choice 'arch=../x': expected parameter=value"),
        ("data_set=cifar10", "'data_set' cannot be chosen"),
        ("patch=64", "choice 'patch=64': patch 64 does not fit the 32x32 image"),
        ("stride=9", "choice 'stride=9': stride 9 with patch 8"),
        ("baseline=median", "choice 'baseline=median': unknown baseline 'median'"),
        ("output=odds", "choice 'output=odds': unknown output 'odds': expected 'logits', 'probs', 'log-probs'"),
        ("optimiser=sdg", "choice 'optimiser=sdg': unknown optimiser 'sdg'"),
        ("temperature=hot", "choice 'temperature=hot': temperature is 'hot': expected the like of 4.0"),
        ("epochs=0", "choice 'epochs=0': epochs is 0: expected a whole number, at least 1"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_is_computed(run, name, message):
    with pytest.raises(ValueError, match=message) as error:
        choices.read(["patch=16", name], run)
    assert "\n" not in str(error.value)
    assert not (run.folder / choices.FOLDER / "patch=2").exists()


def test_networks_that_somebody_brought_cannot_be_trained_otherwise(run, monkeypatch):
    brought = {name: run.parameters[name] for name in ("data_set", "seed", "ensemble_output", "single_view")}
    monkeypatch.setattr(type(run), "parameters", brought)
    assert choices.read(["patch=16", "output=probs"], run)
    with pytest.raises(ValueError, match="'seed' cannot be chosen"):
        choices.read(["seed=1"], run)


@pytest.mark.parametrize("name", ["probs", "log-probs"])
def test_maps_of_another_output_are_of_the_same_ensemble(run, name):
    chosen = carry_out(f"output={name}", run)
    assert not (run.folder / choices.FOLDER / f"output={name}").exists()
    outputs = reading.occluded_outputs(chosen, "a")
    np.testing.assert_array_equal(outputs, reading.occluded_outputs(run, "a"))
    expected = occlusion.saliency_maps(outputs, image_size=(32, 32), patch=8, stride=8, output=name)
    np.testing.assert_array_equal(reading.maps(chosen, "a"), expected)


def test_an_ensemble_of_probabilities_has_maps_of_log_probabilities_and_no_logits(run, monkeypatch):
    settings = run.parameters | {"ensemble_output": "probs"}
    logits = store.MapStore(run.occlusion).logits("a")
    monkeypatch.setattr(choices.store.Run, "parameters", settings)
    for name in ("probs", "log-probs"):
        expected = occlusion.saliency_maps(logits, image_size=(32, 32), patch=8, stride=8, output=name)
        np.testing.assert_allclose(reading.maps(carry_out(f"output={name}", run), "a"), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="an ensemble that averages probabilities has no logits"):
        choices.read(["output=logits"], run)


def test_other_windows_are_explained_into_a_store_of_their_own(run):
    before = content(run)
    chosen = carry_out("patch=16 stride=16 baseline=mean", run)
    assert content(run) == before
    kept = store.MapStore(chosen.occlusion)
    assert kept.settings == {"patch": 16, "stride": 16, "baseline": "mean", "precision": "float32"}
    explained = [("a", 0), ("a", 1), ("b", 1), ("distilled", 1), ("mixup", 1)]  # and no controls
    assert kept.states == explained
    dataset = reading.load_data(run)
    expected = occlusion.occluded_logits(
        reading.network(run, "b"), dataset.normalise(dataset.probe.images), patch=16, stride=16, baseline="mean"
    )
    np.testing.assert_allclose(kept.logits("b"), expected, rtol=0, atol=1e-4)
    assert reading.explained_at_every_epoch(chosen) == ["a"]
    assert reading.to_ensemble(chosen)["model"].unique().tolist() == [*NAMES, "mixup"]


def test_an_interrupted_choice_goes_on(run, monkeypatch):
    computed = []

    def killed_at_the_third(*arguments, **settings):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    monkeypatch.setattr(fill, "occluded_logits", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        carry_out("patch=32", run)
    monkeypatch.undo()
    stored = store.MapStore(run.folder / "choices/patch=32/occlusion.zarr").stored()
    assert 1 <= len(stored) <= 2

    def counting(*arguments, **settings):
        computed.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    computed.clear()
    monkeypatch.setattr(fill, "occluded_logits", counting)
    carry_out("patch=32", run)
    assert len(computed) == 5 - len(stored)


def test_an_interrupted_training_goes_on_and_is_a_run_of_its_own(run, monkeypatch):
    trained, train = [], training.train

    def killed_at_the_second(name, *arguments, **options):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(name)
        return train(name, *arguments, **options)

    before = content(run)
    monkeypatch.setattr(training, "train", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        carry_out("single_view=0.5", run)
    monkeypatch.undo()
    kept = (run.folder / "choices/single_view=0.5/checkpoints/a/epoch-001.safetensors").stat().st_mtime_ns
    chosen = carry_out("single_view=0.5", run)
    assert content(run) == before
    assert chosen.checkpoints.path("a", 1).stat().st_mtime_ns == kept
    assert chosen.parameters == run.parameters | {"single_view": 0.5, "controls": False}
    assert reading.networks(chosen) == NAMES
    assert reading.controls(chosen) == []
    assert reading.load_data(chosen).fingerprint != reading.load_data(run).fingerprint
    assert torch.equal(reading.load_data(chosen).probe.images, reading.load_data(run).probe.images)
    assert not torch.equal(*(next(reading.network(r, "a", 1).parameters()) for r in (run, chosen)))
    assert chosen.results.joinpath("view_logits.npz").is_file()
    assert reading.to_ensemble(chosen)["model"].unique().tolist() == NAMES


def test_what_only_the_student_feels_trains_only_the_student(run, monkeypatch):
    epochs = []
    epoch = training._epoch
    monkeypatch.setattr(training, "_epoch", lambda *arguments: epochs.append(1) or epoch(*arguments))
    explained = []

    def counting(*arguments, **settings):
        explained.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    monkeypatch.setattr(fill, "occluded_logits", counting)
    chosen = carry_out("temperature=1", run)
    assert (len(epochs), len(explained)) == (1, 1)
    for state in (("a", 0), ("a", 1), ("b", 1)):
        ours, theirs = (store.MapStore(r.occlusion).logits(*state) for r in (run, chosen))
        np.testing.assert_array_equal(ours, theirs)
    of = partial(reading.network, epoch=1)
    for name, same in (("a", True), ("b", True), ("distilled", False)):
        ours, theirs = (torch.cat([p.flatten() for p in of(r, name).parameters()]) for r in (run, chosen))
        assert torch.equal(ours, theirs) == same


def test_training_and_windows_may_change_together(run):
    chosen = carry_out("hard_weight=0.5 patch=16 output=probs", run)
    assert store.MapStore(chosen.occlusion).settings["patch"] == 16
    assert chosen.parameters["hard_weight"] == 0.5
    assert reading.maps(chosen, "distilled").shape == (20, 10, 32, 32)
