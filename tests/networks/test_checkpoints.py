"""Trainings that are interrupted, killed, damaged or asked for in another way."""

import multiprocessing
import random
import signal
import time

import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from kd_lib import _files
from kd_lib.networks import architectures
from kd_lib.networks.checkpoints import Checkpoints
from tests.trainings import DROPOUT, EPOCHS, KILLED, coloured, files_in, net, train, train_in_child, weights


def test_checkpoints_come_back_bit_by_bit(tmp_path):
    stored = Checkpoints(tmp_path)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    module(torch.randn(2, 3, 8, 8))  # moves the running statistics
    assert stored.epochs("a") == []
    for epoch in (10, 0, 2):
        stored.save("a", epoch, module)
    assert stored.epochs("a") == [0, 2, 10]
    assert stored.last_epoch("a") == 10
    with pytest.raises(FileNotFoundError, match="no checkpoint of model 'b'"):
        stored.last_epoch("b")
    fresh = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert stored.load("a", 0, fresh) is fresh
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in module.state_dict().items())


def test_of_a_finished_training_the_last_weights_and_the_history_can_be_kept_alone(tmp_path):
    train(tmp_path)
    last = weights(tmp_path)["epoch-002.safetensors"]
    Checkpoints(tmp_path).keep_last("a")
    assert weights(tmp_path) == {"epoch-002.safetensors": last}
    assert {path.name for path in files_in(tmp_path)} == {"epoch-002.safetensors", "history.csv"}
    Checkpoints(tmp_path).keep_last("a")
    assert len(weights(tmp_path)) == 1


def test_bad_checkpoints_are_named(tmp_path):
    stored = Checkpoints(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"epoch-001.safetensors is missing: run train_models first"):
        stored.load("a", 1, nn.Linear(2, 2))
    stored.save("a", 1, nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"epoch-001.safetensors holds another network .*recompute=True") as error:
        stored.load("a", 1, nn.Linear(3, 2))
    assert "\n" not in str(error.value)
    whole = stored.path("a", 1).read_bytes()
    for damaged in (whole[:-3], whole[:10], b"", b"not a checkpoint at all"):
        stored.path("a", 1).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"epoch-001.safetensors is damaged .*recompute=True"):
            stored.load("a", 1, nn.Linear(2, 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flipped=st.integers(1, 255))
def test_a_byte_that_changes_is_noticed_or_changes_nothing(tmp_path, place, flipped):
    stored, module, device = Checkpoints(tmp_path), nn.Linear(3, 2), torch.device("cpu")
    state = {"history": [{"model": "a", "epoch": 1}], "setting": {}, "device": "cpu", "rng": torch.arange(9)}
    stored.save_state(module, state)

    def read(file):
        if file.suffix == ".pt":
            return stored.load_state("a", {}, device, 1)["rng"].tolist()
        return [value.tolist() for value in stored.load("a", 1, nn.Linear(3, 2)).state_dict().values()]

    for file in (stored.path("a", 1), tmp_path / "a" / "resume.pt"):
        expected, whole = read(file), bytearray(file.read_bytes())
        whole[int(place * len(whole))] ^= flipped
        file.write_bytes(whole)
        try:
            assert read(file) == expected
        except ValueError as error:
            assert file.name in str(error)  # noqa: PT017
        whole[int(place * len(whole))] ^= flipped
        file.write_bytes(whole)


def test_a_trained_network_is_only_read(tmp_path, capsys):
    first = train(tmp_path)
    times = {file: file.stat().st_mtime_ns for file in files_in(tmp_path)}
    capsys.readouterr()
    again = train(tmp_path, verbose=True)
    pd.testing.assert_frame_equal(again, first)
    assert {file: file.stat().st_mtime_ns for file in files_in(tmp_path)} == times
    assert "trained already" in capsys.readouterr().out


@pytest.mark.parametrize("write", ["epoch-002.safetensors", "history.csv", "resume.pt"])
def test_stopped_between_two_writes_ends_in_the_same_bits(tmp_path, monkeypatch, write):
    data, options = coloured(n=32), {"arch": DROPOUT, "epochs": 3, "flip": True, "optimiser": "adam", "max_lr": 0.01}
    whole = train(tmp_path / "whole", data=data, **options)
    write_bytes = _files.write_bytes

    def stop_in_epoch_2(path, content):
        if path.name == write and (path.parent / "epoch-001.safetensors").exists() and len(written) >= 6:
            raise KeyboardInterrupt
        written.append(path.name)
        write_bytes(path, content)

    written = []
    with monkeypatch.context() as patch:
        patch.setattr(_files, "write_bytes", stop_in_epoch_2)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", data=data, **options)
    leftover = tmp_path / "stopped" / "a" / ".epoch-002.safetensors.1.partial"
    leftover.write_bytes(b"half")
    resumed = train(tmp_path / "stopped", data=data, **options)
    assert weights(tmp_path / "stopped") == weights(tmp_path / "whole")
    pd.testing.assert_frame_equal(resumed.drop(columns="images_per_second"), whole.drop(columns="images_per_second"))
    assert not leftover.exists()


@pytest.fixture(scope="module")
def start_child():
    context = multiprocessing.get_context("forkserver")  # imports once, forks before torch has started a thread
    context.set_forkserver_preload(["kd_lib.networks.training", "torchvision"])

    def start(*arguments):
        child = context.Process(target=train_in_child, args=arguments)
        child.start()
        return child

    return start


@pytest.mark.parametrize("case", KILLED)
def test_killed_training_ends_in_the_same_bits(tmp_path, start_child, case):
    name = KILLED[case]["name"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    child = start_child(whole, case)
    child.join()
    assert child.exitcode == 0
    history = pd.read_csv(whole / name / "history.csv")
    epoch_seconds = (64 / history["images_per_second"]).median()

    stored, moments = Checkpoints(killed), random.Random()  # other moments every time
    for epoch in (0, 1, 3, 4):
        child = start_child(killed, case)
        while not stored.path(name, epoch).exists():
            assert child.is_alive()
            time.sleep(0.001)
        time.sleep(moments.random() * epoch_seconds)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert stored.epochs(name)[-1] < EPOCHS
    child = start_child(killed, case)
    child.join()
    assert child.exitcode == 0

    assert len(weights(whole, name)) == EPOCHS + 1
    assert weights(killed, name) == weights(whole, name)
    resumed = pd.read_csv(killed / name / "history.csv")
    pd.testing.assert_frame_equal(resumed.drop(columns="images_per_second"), history.drop(columns="images_per_second"))


@pytest.mark.parametrize("name", ["epoch-001.safetensors", "resume.pt"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_a_damaged_file_is_named_and_recomputed_on_request(tmp_path, name, damage):
    train(tmp_path)
    before = weights(tmp_path)
    file = tmp_path / "a" / name
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        file.unlink()
    with pytest.raises(ValueError, match=rf"{name}.*recompute=True") as error:
        train(tmp_path)
    assert "\n" not in str(error.value)
    train(tmp_path, recompute=True)
    assert weights(tmp_path) == before


def test_recompute_deletes_the_epochs_of_a_longer_training(tmp_path):
    train(tmp_path, epochs=2)
    history = train(tmp_path, epochs=1, recompute=True)
    assert len(history) == 2
    assert Checkpoints(tmp_path).epochs("a") == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "epochs: 2 there, 3 given"),
        ({"seed": 1}, "seed: 0 there, 1 given"),
        ({"data": coloured(seed=1)}, "data: "),
        ({"teacher": net(1)}, "teacher: absent there"),
    ],
)
def test_a_network_trained_in_another_way_is_refused(tmp_path, changes, message):
    train(tmp_path)
    before = {file: file.read_bytes() for file in files_in(tmp_path)}
    with pytest.raises(ValueError, match=message):
        train(tmp_path, **changes)
    assert {file: file.read_bytes() for file in files_in(tmp_path)} == before


def test_another_teacher_is_refused(tmp_path):
    members = [net(1), net(2)]
    train(tmp_path, "distilled", teacher=architectures.Ensemble(members), epochs=1)
    train(tmp_path, "distilled", teacher=architectures.Ensemble(members), epochs=1)
    for other in (architectures.Ensemble(members, output="probs"), architectures.Ensemble([net(1), net(3)])):
        with pytest.raises(ValueError, match="teacher: .* there, .* given"):
            train(tmp_path, "distilled", teacher=other, epochs=1)
