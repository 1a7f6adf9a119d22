import errno
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from torch import nn

from kd_lib.maps import fill
from kd_lib.maps.occlusion import occluded_logits
from kd_lib.maps.store import MapStore, open_logits
from tests import stores
from tests.stores import IMAGES, STATES, WINDOWS

# A child process that fills a store slowly, to be killed on the way.
SLOW = """
import pathlib, sys, time
from tests import stores
from kd_lib.maps import fill
from kd_lib.maps.occlusion import occluded_logits
from kd_lib.maps.store import MapStore

def slow(*arguments, **settings):
    time.sleep(0.2)
    logits = occluded_logits(*arguments, **settings)
    print("computed", flush=True)
    return logits

def slow_write(*arguments):
    time.sleep(0.15)
    write(*arguments)

path = pathlib.Path(sys.argv[1])
stores.create(path)
fill.occluded_logits = slow
write, MapStore.write = MapStore.write, slow_write
stores.fill(path, batch_size=2)
"""

# Peak memory in MB that a store of 55 MB adds, after a small one has warmed everything up.
HUNGRY = """
import pathlib, re, sys
import numpy as np, torch
from kd_lib.maps import fill as explaining
from kd_lib.maps.store import MapStore

def fill(name, count, states):
    settings = dict(class_names=[str(k) for k in range(100)], image_size=(16, 16), patch=4, stride=1, block=10)
    path = pathlib.Path(sys.argv[1]) / name
    store = MapStore.create(path, states=states, labels=np.zeros(count), index=np.arange(count), **settings)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 100))
    images = torch.zeros(count, 1, 16, 16, dtype=torch.uint8)
    explaining.fill(store, lambda *_: net, images, normalise=torch.Tensor.float, progress=False)
    status = pathlib.Path("/proc/self/status").read_text()  # getrusage would begin at the parent's memory
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1000

small = fill("small", 20, [("a", 0)])
states = [("a", epoch) for epoch in range(4)]
fill("large", 200, states)
print(fill("large", 200, states) - small)  # checked, too
"""


def child(script, *arguments):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_states_are_added_and_nothing_is_computed_twice(filled):
    loaded = []

    def load(model, epoch):
        loaded.append((model, epoch))
        return stores.network(model, epoch)

    before = MapStore(filled).logits("a", 1)
    stores.create(filled, [("b", 0), ("a", 1), ("b", 0)])
    with pytest.raises(ValueError, match=r"model 'b', epoch 0, images 0 to 3 is not computed yet"):
        MapStore(filled).logits("b", 0)
    assert stores.fill(filled, load) == 3
    assert loaded == [("b", 0)]
    np.testing.assert_array_equal(MapStore(filled).logits("a", 1), before)
    assert open_logits(filled).sizes["state"] == 4


def test_a_killed_fill_goes_on_where_it_was(path, tmp_path, monkeypatch):
    process = child(SLOW, path)
    deadline = time.monotonic() + 60
    while len(stores.chunks(path)) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.25))  # another moment every time
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = stores.create(path)
    todo = kept.missing()
    assert 0 < len(todo) < 9
    assert output.count("computed") - (9 - len(todo)) <= 1  # no more than one finished block is lost
    assert kept.damaged() == []
    explained = []

    def counting(net, images, **settings):
        explained.append(len(images))
        return occluded_logits(net, images, **settings)

    monkeypatch.setattr(fill, "occluded_logits", counting)
    assert stores.fill(path, batch_size=2) == len(todo)
    assert explained == [min(4, 10 - 4 * block) for _, block in todo]
    whole = tmp_path / "whole.zarr"
    stores.create(whole)
    stores.fill(whole, batch_size=2)
    for state in STATES:
        np.testing.assert_array_equal(kept.logits(*state), MapStore(whole).logits(*state))


def test_networks_are_read_and_blocks_written_while_others_are_computed(path, monkeypatch):
    read, begun, computed = threading.Semaphore(0), threading.Semaphore(0), threading.Semaphore(0)
    writes, whole_write = itertools.count(), MapStore.write

    def wait(semaphore, times):
        assert all(semaphore.acquire(timeout=60) for _ in range(times))

    def load(*state):
        read.release()
        wait(begun, 0 if state == STATES[0] else 1)  # the last state is at hand meanwhile
        return stores.network(*state)

    def compute(net, images, **settings):
        computed.release()
        if len(explained) % 3 == 0:  # the first block of a state: the next one is read meanwhile
            begun.release()
            wait(read, {0: 2, 3: 1, 6: 0}[len(explained)])
        explained.append(len(images))
        return occluded_logits(net, images, **settings)

    def write(*arguments):
        wait(computed, {0: 2, 8: 0}.get(next(writes), 1))  # the next block is at hand meanwhile
        whole_write(*arguments)

    explained = []
    monkeypatch.setattr(fill, "occluded_logits", compute)
    monkeypatch.setattr(MapStore, "write", write)
    stores.create(path)
    assert stores.fill(path, load) == 9
    assert explained == [4, 4, 2] * 3


def test_a_network_that_cannot_be_read_is_told_and_the_others_are_kept(path):
    def load(*state):
        if state == STATES[1]:
            raise ValueError("checkpoint epoch-001 is damaged")
        return stores.network(*state)

    stores.create(path)
    with pytest.raises(ValueError, match="checkpoint epoch-001 is damaged"):
        stores.fill(path, load)
    assert len(stores.chunks(path)) == 3
    assert stores.fill(path) == 6


def test_a_half_written_file_does_not_count(filled):
    victim = stores.chunks(filled)[4]
    os.rename(victim, f"{victim}.0123456789abcdef.partial")  # what a kill within zarr's write leaves
    assert MapStore(filled).missing() == [(1, 1)]
    assert stores.fill(filled) == 1


def test_memory_does_not_grow_with_images_or_states(tmp_path):
    output, _ = child(HUNGRY, tmp_path).communicate(timeout=100)
    assert float(output) < 15


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-5], lambda data: data[:2], lambda data: b""])
def test_a_damaged_block_is_named_and_computed_again(filled, damage):
    before = MapStore(filled).logits("a", 1)
    victim = stores.chunks(filled)[5]
    victim.write_bytes(damage(victim.read_bytes()))
    with pytest.raises(
        ValueError, match=r"model 'a', epoch 1, images 8 to 9\b.* damaged .*: run generate_saliency_maps again"
    ) as error:
        MapStore(filled).logits("a", 1)
    assert "\n" not in str(error.value)
    assert str(victim) in str(error.value)
    assert MapStore(filled).logits("a", 0).shape == (10, WINDOWS, 3)  # the others can be read
    assert MapStore(filled).damaged() == [(1, 2)]
    assert stores.fill(filled) == 1
    np.testing.assert_allclose(MapStore(filled).logits("a", 1), before, rtol=0, atol=1e-6)


def test_progress_is_in_maps_a_second_with_the_time_left(path, capfd):
    kept = stores.create(path)
    fill.fill(kept, stores.network, IMAGES)
    last = capfd.readouterr().err.split("\r")[-1]
    assert re.search(r"occlusion: 100%.*90\.0/90\.0 \[\d\d:\d\d<\d\d:\d\d, .*map/s\]", last)
    fill.fill(kept, stores.network, IMAGES)
    assert re.search(r"checking: 100%.*9/9 ", capfd.readouterr().err)


def test_a_network_that_diverged_is_stored_too(path):
    stores.create(path, [("a", 0)])

    def diverged(model, epoch):
        net = stores.network(model, epoch)
        nn.init.constant_(net[-1].bias, float("nan"))
        return net

    assert stores.fill(path, diverged) == 3
    assert stores.fill(path, diverged) == 0
    assert np.isnan(MapStore(path).logits("a", 0)).all()


def test_a_full_device_leaves_whole_blocks_only(path, monkeypatch):
    stores.create(path)
    replace = os.replace

    def full_after_two(source, target):
        if len(stores.chunks(path)) > 2:  # two whole, one at hand
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_after_two)
    with pytest.raises(OSError, match=r"no space left to write .*occlusion.zarr/logits/c/0/2/0/0 \(0.0 MB needed\)"):
        stores.fill(path)
    monkeypatch.undo()
    assert len(stores.chunks(path)) == 2
    assert stores.fill(path) == 7


def test_other_images_are_refused(filled):
    with pytest.raises(
        ValueError, match=r"images have shape \(9, 2, 6, 7\): .* was made for \(N, H, W\) = \(10, 6, 7\)"
    ):
        fill.fill(MapStore(filled), stores.network, IMAGES[:9])
