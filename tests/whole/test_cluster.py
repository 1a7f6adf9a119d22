"""A real scheduler and real worker processes on loopback; one worker is killed at work, another joins late."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_lib import _workers, data
from kd_lib.maps import fill, store
from kd_lib.networks import training
from kd_lib.networks.checkpoints import Checkpoints
from tests.example_networks import of_state, refuse

PROJECT = Path(__file__).resolve().parents[2]
STATES = [("a", 0), ("a", 1), ("b", 1)]
IMAGES, BLOCK = 8, 2


@pytest.fixture
def one_thread():
    """As many threads as a worker has: rounding differs with their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def processes():
    started = []

    def start(*command):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
        started.append(subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=PROJECT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(processes, tmp_path):
    file = tmp_path / "scheduler.json"
    processes(
        "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0", "--no-dashboard", f"--scheduler-file={file}"
    )
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return file


def worker(processes, scheduler, threads=1):
    options = ["--host=127.0.0.1", f"--nthreads={threads}", "--no-nanny", "--no-dashboard"]
    return processes("distributed.cli.dask_worker", f"--scheduler-file={scheduler}", *options)


@pytest.fixture(scope="module")
def workers():
    with _workers.connect("local:2") as client:
        client.run(torch.set_num_threads, 1)
        yield client


def images():
    torch.manual_seed(0)
    return torch.randn(IMAGES, 3, 32, 32)


def make_store(folder):
    numbers = np.arange(IMAGES)
    names = [f"class {k}" for k in range(10)]
    where = {"image_size": (32, 32), "patch": 4, "stride": 2}
    path = folder / "occlusion.zarr"
    store.MapStore.create(
        path, states=STATES, labels=numbers % 10, index=numbers, class_names=names, block=BLOCK, **where
    )
    return path


def chunks(path):
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def address_of(scheduler):
    return json.loads(scheduler.read_text())["address"]


def test_a_killed_worker_and_a_late_one_leave_the_store_as_one_process_does(
    tmp_path, scheduler, processes, one_thread, monkeypatch
):
    alone, together = make_store(tmp_path / "alone"), make_store(tmp_path / "together")
    fill.fill(store.MapStore(alone), of_state, images(), progress=False)
    victim = worker(processes, scheduler)
    joined = []

    class Bar:
        """Sees the progress: after the first block the only worker dies, and another one comes."""

        def __init__(self, **_):
            self.seen = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, maps):
            self.seen += maps
            if not joined:
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                joined.append(worker(processes, scheduler))

    monkeypatch.setattr(fill, "tqdm", Bar)
    with _workers.connect(address_of(scheduler)) as client:
        fill.fill(store.MapStore(together), of_state, images(), client=client)
    assert joined
    assert chunks(together) == chunks(alone)
    assert not store.MapStore(together).damaged()


def test_workers_with_several_threads_are_refused(scheduler, processes):
    with _workers.connect(address_of(scheduler)) as client:
        worker(processes, scheduler, threads=2)
        client.wait_for_workers(1, timeout=60)
    with (
        pytest.raises(ValueError, match="has several threads: start workers with `dask worker --nthreads 1`"),
        _workers.connect(address_of(scheduler)),
    ):
        pass


def test_networks_trained_by_workers_are_those_trained_here(tmp_path, one_thread, capfd, workers):
    def setting(folder):
        return {"checkpoints": Checkpoints(tmp_path / folder), "seed": 0, "device": "cpu"}

    draw = partial(data.load, "multiview", train_size=40, test_size=30, probe_per_class=1)
    regime = training.Regime(epochs=1, batch_size=20)
    here = _workers.each(None, training.train, "ab", draw(), regime, **setting("here"))
    capfd.readouterr()
    there = _workers.each(workers, training.train, "ab", workers.submit(draw), regime, **setting("there"))
    deadline = time.monotonic() + 20
    printed = ""
    while printed.count("epoch 1/1") < 2 and time.monotonic() < deadline:  # the lines come on their own way
        printed += capfd.readouterr().out
        time.sleep(0.1)
    assert printed.count("epoch 1/1") == 2
    for mine, theirs in zip(here, there, strict=True):
        assert mine.drop(columns="images_per_second").equals(theirs.drop(columns="images_per_second"))
    for name in "ab":
        path = [Checkpoints(tmp_path / folder).path(name, 1).read_bytes() for folder in ("here", "there")]
        assert path[0] == path[1]


def done_after(item, folder, first):
    """Say what is done already of what had to be."""
    done = [name for name in first.get(item, ()) if (folder / name).exists()]
    (folder / item).touch()
    return done


def test_an_item_waits_for_those_that_it_needs_only(tmp_path, workers):
    first = {"c": "ab", "d": "c"}
    assert _workers.each(workers, done_after, "abcd", tmp_path, first, after=first) == [[], [], ["a", "b"], ["c"]]


def test_a_local_worker_keeps_freed_memory_for_the_next_tensor(workers):
    assert set(workers.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == {str(2**32)}


def test_each_local_worker_sees_one_gpu_even_after_a_restart(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")

    def seen(dask_worker):
        return dask_worker.name, os.environ["CUDA_VISIBLE_DEVICES"]

    with _workers.connect("local:3") as client:
        expected = {(0, "3"), (1, "GPU-5"), (2, "3")}
        assert set(client.run(seen).values()) == expected
        client.restart()
        assert set(client.run(seen).values()) == expected


def test_no_more_tasks_than_the_limit_are_under_way(monkeypatch, workers):
    monkeypatch.setattr(_workers, "IN_FLIGHT", 3)
    taken = []

    def tasks():
        for number in range(8):
            taken.append(number)
            yield (number,)

    found = _workers.completed(workers, abs, tasks())
    results = [next(found)]
    assert len(taken) == 4
    results += found
    assert sorted(results) == list(range(8))


def test_an_error_on_a_worker_is_raised_here(tmp_path, workers):
    path = make_store(tmp_path)

    with pytest.raises(RuntimeError, match="no such network"):
        fill.fill(store.MapStore(path), refuse, images(), client=workers, progress=False)
    assert len(store.MapStore(path).missing()) == len(STATES) * IMAGES // BLOCK


def die(*_):
    os._exit(1)


def test_work_that_kills_its_workers_is_named_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(_workers, "KILLS", 1)
    path = make_store(tmp_path)
    told = r"2 workers were killed at it, the last one \S+; most often memory ran out: have fewer workers at a time"
    with _workers.connect("local:1") as client:
        with pytest.raises(RuntimeError, match=f"^die 'a': {told}"):
            _workers.each(client, die, ["a"])
        with pytest.raises(RuntimeError, match=f"the block of model '.', epoch ., images . to .: {told}") as error:
            fill.fill(store.MapStore(path), die, images()[:IMAGES], client=client, progress=False)
    assert "\n" not in str(error.value)


def test_no_executor_is_this_process():
    with _workers.connect("") as client:
        assert client is None
    assert _workers.each(None, divmod, [7, 8], 3) == [(2, 1), (2, 2)]


@pytest.mark.parametrize("executor", ["local", "local:0", "local:two", "node7:8786", "slurm"])
def test_an_unknown_executor_is_refused(executor):
    with pytest.raises(ValueError, match=rf"executor '{executor}': expected .* 'local:N'"), _workers.connect(executor):
        pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(_workers, "CONNECT_SECONDS", 1)
    with (
        pytest.raises(OSError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 .*start one with"),
        _workers.connect("tcp://127.0.0.1:9"),
    ):
        pass
