"""Choices as they are spelled, refused, carried out, and carried on after an interruption."""

import numpy as np
import pytest
import torch

from kd_lib.maps import fill, occlusion
from kd_lib.maps.store import MapStore
from kd_lib.networks import training
from kd_lib.study import choices, reading, rq3
from kd_lib.study.run import Run
from tests.trained_run import NAMES, make


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


def carry_out(name, here):
    (choice,) = choices.read([name], here)
    return choices.carry_out(choice, here)


def content(here):
    """Name and time of every file of a run but those of its choices."""
    files = [path for path in here.run.folder.rglob("*") if path.is_file() and choices.FOLDER not in path.parts]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_choice_is_spelled_as_parameters(here):
    found = choices.read(["patch=16 stride=4", "baseline=blur", "output=probs", "temperature=1 optimiser=adam"], here)
    assert [(c.output, c.maps, c.training) for c in found] == [
        ({}, {"patch": 16, "stride": 4}, {}),
        ({}, {"baseline": "blur"}, {}),
        ({"output": "probs"}, {}, {}),
        ({}, {}, {"temperature": 1, "optimiser": "adam"}),
    ]
    assert choices.read(["patch=16", "patch=16"], here) == choices.read(["patch=16"], here)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pach=2", r"choice 'pach=2': 'pach' cannot be chosen \(did you mean 'patch'\?\); what can is output, patch"),
        ("patch", "choice 'patch': expected parameter=value, such as 'patch=2'"),
        ("", "choice '': expected parameter=value"),
        (2, "choice '2': expected parameter=value"),
        ({}, "choice '{}': expected parameter=value"),
        ("arch=../x", "choice 'arch=../x': expected parameter=value"),
        ("data_set=cifar10", "'data_set' cannot be chosen"),
        ("patch=64", "choice 'patch=64': patch 64 does not fit the 32x32 image"),
        ("stride=9", "choice 'stride=9': stride 9 with patch 8"),
        ("baseline=median", "choice 'baseline=median': unknown baseline 'median'"),
        ("output=odds", "choice 'output=odds': unknown output 'odds': expected 'logits', 'centred', "),
        ("optimiser=sdg", "choice 'optimiser=sdg': unknown optimiser 'sdg'"),
        ("temperature=hot", "choice 'temperature=hot': temperature is 'hot': expected the like of 4.0"),
        ("epochs=0", "choice 'epochs=0': epochs is 0: expected a whole number, at least 1"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_is_computed(here, name, message):
    with pytest.raises(ValueError, match=message) as error:
        choices.read(["patch=16", name], here)
    assert "\n" not in str(error.value)
    assert not (here.run.folder / choices.FOLDER / "patch=2").exists()


def test_networks_that_somebody_brought_cannot_be_trained_otherwise(here, monkeypatch):
    brought = {name: here.parameters[name] for name in ("data_set", "seed", "ensemble_output", "single_view")}
    monkeypatch.setattr(here, "parameters", brought)
    assert choices.read(["patch=16", "output=probs"], here)
    with pytest.raises(ValueError, match="'seed' cannot be chosen"):
        choices.read(["seed=1"], here)


@pytest.mark.parametrize("name", ["probs", "log-probs"])
def test_maps_of_another_output_are_of_the_same_ensemble(here, name):
    chosen = carry_out(f"output={name}", here)
    assert not (here.run.folder / choices.FOLDER / f"output={name}").exists()
    outputs = chosen.outputs("a")
    np.testing.assert_array_equal(outputs, here.outputs("a"))
    expected = occlusion.saliency_maps(outputs, image_size=(32, 32), patch=8, stride=8, output=name)
    np.testing.assert_array_equal(chosen.maps("a"), expected)


def test_an_ensemble_of_probabilities_has_maps_of_log_probabilities_and_no_logits(here, monkeypatch):
    settings = here.parameters | {"ensemble_output": "probs"}
    logits = here.store.logits("a")
    entries = here.run.entries() | {"parameters": settings}
    monkeypatch.setattr(Run, "entries", lambda _: entries)
    here = reading.open(here.run)
    for name in ("probs", "log-probs"):
        expected = occlusion.saliency_maps(logits, image_size=(32, 32), patch=8, stride=8, output=name)
        np.testing.assert_allclose(carry_out(f"output={name}", here).maps("a"), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="an ensemble that averages probabilities has no logits"):
        choices.read(["output=logits"], here)


def test_other_windows_are_explained_into_a_store_of_their_own(here):
    before = content(here)
    chosen = carry_out("patch=16 stride=16 baseline=mean", here)
    assert content(here) == before
    settings = chosen.store.settings
    assert (settings["patch"], settings["stride"], settings["baseline"]) == (16, 16, "mean")
    explained = [("a", 0), ("a", 1), ("b", 1), ("distilled", 1), ("mixup", 1)]  # and no controls
    assert chosen.store.states == explained
    dataset = here.dataset
    expected = occlusion.occluded_logits(
        here.network("b"), dataset.normalise(dataset.probe.images), patch=16, stride=16, baseline="mean"
    )
    np.testing.assert_allclose(chosen.store.logits("b"), expected, rtol=0, atol=1e-4)
    assert chosen.explained_at_every_epoch == ["a"]
    assert rq3.to_ensemble(chosen)["model"].unique().tolist() == [*NAMES, "mixup"]


def test_windows_that_are_stored_already_are_not_computed_again(here, monkeypatch):
    finer = carry_out("patch=16 stride=8", here)
    monkeypatch.setattr(fill, "occluded_logits", None)
    coarser = carry_out("stride=16", finer)
    taken = [0, 1, 3, 7, 9]  # clean, and the corners of three by three windows
    np.testing.assert_array_equal(coarser.store.logits("b"), finer.store.logits("b")[:, taken])


def test_an_interrupted_choice_goes_on(here, monkeypatch):
    computed = []

    def killed_at_the_third(*arguments, **settings):
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    monkeypatch.setattr(fill, "occluded_logits", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        carry_out("patch=32", here)
    monkeypatch.undo()
    stored = MapStore(here.run.folder / "choices/patch=32/occlusion.zarr").stored()
    assert 1 <= len(stored) <= 2

    def counting(*arguments, **settings):
        computed.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    computed.clear()
    monkeypatch.setattr(fill, "occluded_logits", counting)
    carry_out("patch=32", here)
    assert len(computed) == 5 - len(stored)


def test_an_interrupted_training_goes_on_and_is_a_run_of_its_own(here, monkeypatch):
    trained, train = [], training.train

    def killed_at_the_second(name, *arguments, **options):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(name)
        return train(name, *arguments, **options)

    before = content(here)
    monkeypatch.setattr(training, "train", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        carry_out("single_view=0.5", here)
    monkeypatch.undo()
    kept = (here.run.folder / "choices/single_view=0.5/checkpoints/a/epoch-001.safetensors").stat().st_mtime_ns
    chosen = carry_out("single_view=0.5", here)
    assert content(here) == before
    assert chosen.run.checkpoints.path("a", 1).stat().st_mtime_ns == kept
    assert chosen.parameters == here.parameters | {"single_view": 0.5, "controls": False}
    assert chosen.networks == NAMES
    assert chosen.controls == []
    assert chosen.dataset.fingerprint != here.dataset.fingerprint
    assert torch.equal(chosen.dataset.probe.images, here.dataset.probe.images)
    assert not torch.equal(*(next(r.network("a", 1).parameters()) for r in (here, chosen)))
    assert chosen.run.results.joinpath("view_logits.npz").is_file()
    assert rq3.to_ensemble(chosen)["model"].unique().tolist() == NAMES


def test_what_only_the_student_feels_trains_only_the_student(here, monkeypatch):
    epochs = []
    epoch = training._epoch
    monkeypatch.setattr(training, "_epoch", lambda *arguments: epochs.append(1) or epoch(*arguments))
    explained = []

    def counting(*arguments, **settings):
        explained.append(arguments)
        return occlusion.occluded_logits(*arguments, **settings)

    monkeypatch.setattr(fill, "occluded_logits", counting)
    chosen = carry_out("temperature=1", here)
    assert (len(epochs), len(explained)) == (1, 1)
    for state in (("a", 0), ("a", 1), ("b", 1)):
        ours, theirs = (r.store.logits(*state) for r in (here, chosen))
        np.testing.assert_array_equal(ours, theirs)
    for name, same in (("a", True), ("b", True), ("distilled", False)):
        ours, theirs = (torch.cat([p.flatten() for p in r.network(name, 1).parameters()]) for r in (here, chosen))
        assert torch.equal(ours, theirs) == same


def test_training_and_windows_may_change_together(here):
    chosen = carry_out("hard_weight=0.5 patch=16 output=probs", here)
    assert chosen.store.settings["patch"] == 16
    assert chosen.parameters["hard_weight"] == 0.5
    assert chosen.maps("distilled").shape == (20, 10, 32, 32)
