import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from kd_lib import occlusion_store
from kd_lib.occlusion import occluded_logits

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

# A child process that fills a store slowly, to be killed on the way.
SLOW = """
import pathlib, sys, time
import test_occlusion_store as t
from kd_lib import occlusion_store

def slow(*arguments, **settings):
    time.sleep(0.4)
    return t.occluded_logits(*arguments, **settings)

path = pathlib.Path(sys.argv[1])
occlusion_store.create_or_open(path, states=t.STATES, **t.SETTINGS)
occlusion_store.occluded_logits = slow
occlusion_store.fill(path, t.network, t.IMAGES, batch_size=2, progress=False)
"""

# Peak memory in MB that a store of 55 MB adds, after a small one has warmed everything up.
HUNGRY = """
import pathlib, resource, sys
import numpy as np, torch
from kd_lib import occlusion_store

def fill(name, count, states):
    settings = dict(class_names=[str(k) for k in range(100)], image_size=(16, 16), patch=4, stride=1, block=10)
    path = pathlib.Path(sys.argv[1]) / name
    occlusion_store.create_or_open(path, states=states, labels=np.zeros(count), index=np.arange(count), **settings)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 100))
    occlusion_store.fill(path, lambda *_: net, torch.randn(count, 1, 16, 16), progress=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small = fill("small", 20, [("a", 0)])
print(fill("large", 200, [("a", epoch) for epoch in range(4)]) - small)
"""


def network(model, epoch):
    torch.manual_seed(len(model) * 100 + epoch)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 5, 3))


def chunks(path):
    return sorted(file for file in (path / "logits" / "c").rglob("*") if file.is_file())


def child(script, *arguments):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path]),
    }
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "occlusion.zarr"


@pytest.fixture
def filled(path):
    occlusion_store.create_or_open(path, states=STATES, **SETTINGS)
    assert occlusion_store.fill(path, network, IMAGES, progress=False) == 9
    return path


def refill(path, **options):
    return occlusion_store.fill(path, network, IMAGES, progress=False, **options)


def test_what_is_filled_is_read_back(filled):
    for state in STATES:
        expected = occluded_logits(network(*state), IMAGES, patch=3, stride=2).numpy()
        np.testing.assert_allclose(occlusion_store.logits_of(filled, *state), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        occlusion_store.logits_of(filled, "a"), occlusion_store.logits_of(filled, "a", 1)
    )  # the last epoch by default
    assert refill(filled) == 0


def test_xarray_reads_it_lazily(filled):
    logits = occlusion_store.open_logits(filled)
    assert logits.dims == ("state", "image", "window", "class")
    assert logits.shape == (3, 10, WINDOWS, 3)
    assert not logits.variable._in_memory
    assert list(zip(logits.model.values.tolist(), logits.epoch.values.tolist(), strict=True)) == STATES
    assert logits.label.values.tolist() == SETTINGS["labels"].tolist()
    assert logits["index"].values.tolist() == SETTINGS["index"].tolist()
    assert (logits.attrs["patch"], logits.attrs["stride"], logits.attrs["image_size"]) == (3, 2, [6, 7])
    picked = logits.isel(state=logits.model.values == "a", image=[3, 9])
    np.testing.assert_array_equal(picked[1], occlusion_store.logits_of(filled, "a", 1)[[3, 9]])
    assert xr.open_zarr(filled, chunks=None, consolidated=False)["logits"].shape == logits.shape  # without our help


def test_states_are_added_and_nothing_is_computed_twice(filled):
    loaded = []

    def load(model, epoch):
        loaded.append((model, epoch))
        return network(model, epoch)

    before = occlusion_store.logits_of(filled, "a", 1)
    occlusion_store.create_or_open(filled, states=[("b", 0), ("a", 1), ("b", 0)], **SETTINGS)
    with pytest.raises(ValueError, match=r"model 'b', epoch 0, images 0 to 3 is not computed yet"):
        occlusion_store.logits_of(filled, "b", 0)
    assert occlusion_store.fill(filled, load, IMAGES, progress=False) == 3
    assert loaded == [("b", 0)]
    np.testing.assert_array_equal(occlusion_store.logits_of(filled, "a", 1), before)
    assert occlusion_store.open_logits(filled).sizes["state"] == 4


def test_a_killed_fill_goes_on_where_it_was(path, tmp_path, monkeypatch):
    process = child(SLOW, path)
    deadline = time.monotonic() + 60
    while len(chunks(path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    group = occlusion_store.create_or_open(path, states=STATES, **SETTINGS)
    todo = occlusion_store.missing(group)
    assert 0 < len(todo) < 9
    assert occlusion_store.damaged(group) == []
    explained = []

    def counting(net, images, **settings):
        explained.append(len(images))
        return occluded_logits(net, images, **settings)

    monkeypatch.setattr(occlusion_store, "occluded_logits", counting)
    assert occlusion_store.fill(path, network, IMAGES, batch_size=2, progress=False) == len(todo)
    assert explained == [min(4, 10 - 4 * block) for _, block in todo]
    whole = tmp_path / "whole.zarr"
    occlusion_store.create_or_open(whole, states=STATES, **SETTINGS)
    refill(whole, batch_size=2)
    for state in STATES:
        np.testing.assert_array_equal(occlusion_store.logits_of(path, *state), occlusion_store.logits_of(whole, *state))


@pytest.mark.parametrize("grown", [["model"], ["model", "epoch"]])
def test_a_kill_while_states_are_added_is_put_right(filled, grown):
    group = occlusion_store.open_group(filled, mode="r+")
    for name in grown:
        group[name].resize((5,))
    assert occlusion_store.logits_of(filled, "a", 0).shape == (10, WINDOWS, 3)
    occlusion_store.create_or_open(filled, states=[*STATES, ("b", 2)], **SETTINGS)
    assert refill(filled) == 3
    logits = occlusion_store.open_logits(filled)
    assert list(zip(logits.model.values.tolist(), logits.epoch.values.tolist(), strict=True)) == [*STATES, ("b", 2)]


def test_a_half_written_file_does_not_count(filled):
    victim = chunks(filled)[4]
    os.rename(victim, f"{victim}.0123456789abcdef.partial")  # what a kill within zarr's write leaves
    assert occlusion_store.missing(occlusion_store.open_group(filled)) == [(1, 1)]
    assert refill(filled) == 1


def test_memory_does_not_grow_with_images_or_states(tmp_path):
    output, _ = child(HUNGRY, tmp_path).communicate(timeout=100)
    assert float(output) < 15


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-5], lambda data: data[:2], lambda data: b""])
def test_a_damaged_chunk_is_named_and_computed_again_on_request(filled, damage):
    before = occlusion_store.logits_of(filled, "a", 1)
    victim = chunks(filled)[5]
    victim.write_bytes(damage(victim.read_bytes()))
    with pytest.raises(ValueError, match=r"model 'a', epoch 1, images 8 to 9\b.* damaged .*recompute=True") as error:
        occlusion_store.logits_of(filled, "a", 1)
    assert "\n" not in str(error.value)
    assert str(victim) in str(error.value)
    assert occlusion_store.logits_of(filled, "a", 0).shape == (10, WINDOWS, 3)  # the others can be read
    assert occlusion_store.damaged(occlusion_store.open_group(filled)) == [(1, 2)]
    assert refill(filled) == 0  # reading everything is for the asking
    assert refill(filled, recompute=True) == 1
    np.testing.assert_allclose(occlusion_store.logits_of(filled, "a", 1), before, rtol=0, atol=1e-6)


def test_a_network_that_diverged_is_stored_too(path):
    occlusion_store.create_or_open(path, states=[("a", 0)], **SETTINGS)

    def diverged(model, epoch):
        net = network(model, epoch)
        nn.init.constant_(net[-1].bias, float("nan"))
        return net

    assert occlusion_store.fill(path, diverged, IMAGES, progress=False) == 3
    assert occlusion_store.fill(path, diverged, IMAGES, progress=False) == 0
    assert np.isnan(occlusion_store.logits_of(path, "a", 0)).all()


def test_a_full_device_leaves_whole_blocks_only(path, monkeypatch):
    occlusion_store.create_or_open(path, states=STATES, **SETTINGS)
    replace = os.replace

    def full_after_two(source, target):
        if len(chunks(path)) > 2:  # two whole, one at hand
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_after_two)
    with pytest.raises(OSError, match=r"no space left to write .*occlusion.zarr/logits/c/0/2/0/0 \(0.0 MB needed\)"):
        refill(path)
    monkeypatch.undo()
    assert len(chunks(path)) == 2
    assert refill(path) == 7


def test_a_full_device_leaves_no_half_made_store(path, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(OSError, match=r"no space left to write .*occlusion.zarr"):
        occlusion_store.create_or_open(path, states=STATES, **SETTINGS)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 2}, "patch: 3 there, 2 given"),
        ({"stride": 1}, "stride: 2 there, 1 given"),
        ({"baseline": [0.0, 1.0]}, r"baseline: 0.0 there, \[0.0, 1.0\] given"),
        ({"precision": "bfloat16"}, "precision: 'float32' there, 'bfloat16' given"),
        ({"image_size": (7, 7)}, r"image_size: \[6, 7\] there, \[7, 7\] given"),
        ({"class_names": ["x", "y"]}, "class_names"),
        ({"index": np.arange(10)}, "index"),
        ({"labels": np.zeros(10, int)}, "label"),
    ],
)
def test_other_settings_are_refused(filled, change, message):
    with pytest.raises(ValueError, match=f"{message}.*give another run folder, or delete") as error:
        occlusion_store.create_or_open(filled, states=[("new", 0)], **SETTINGS | change)
    assert "\n" not in str(error.value)
    assert occlusion_store.open_logits(filled).sizes["state"] == 3


@pytest.mark.parametrize(
    "wrong",
    [{"patch": 7}, {"stride": 0}, {"precision": "half"}, {"labels": np.arange(9)}, {"block": 0}, {"states": []}],
)
def test_bad_settings_write_nothing(path, wrong):
    with pytest.raises(ValueError, match=r"patch 7|stride 0|precision 'half'|9 labels|block 0|0 states"):
        occlusion_store.create_or_open(path, **{"states": STATES} | SETTINGS | wrong)
    assert not path.parent.exists()


def test_what_is_not_there_is_named(filled, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.zarr is missing: run generate_saliency_maps first"):
        occlusion_store.open_logits(tmp_path / "none.zarr")
    with pytest.raises(ValueError, match="no occluded logits of 'b'"):
        occlusion_store.logits_of(filled, "b")
    with pytest.raises(ValueError, match="'a' at epoch 7"):
        occlusion_store.logits_of(filled, "a", 7)
    with pytest.raises(
        ValueError, match=r"images have shape \(9, 2, 6, 7\): .* was made for \(N, H, W\) = \(10, 6, 7\)"
    ):
        occlusion_store.fill(filled, network, IMAGES[:9])
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="other is no store of occluded logits"):
        occlusion_store.open_group(tmp_path / "other")
