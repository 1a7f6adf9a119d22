"""A run in an object store: moto's S3 server, spoken to over HTTP, holds what a folder would, byte for byte."""

import io
import os
import pickle
import sys

import fsspec.config
import numpy as np
import pandas as pd
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from torch import nn

from kd_lib import _files, data
from kd_lib.maps.store import MapStore, open_logits
from kd_lib.networks import training
from kd_lib.study import truth
from kd_lib.study.reading import Study
from kd_lib.study.run import Run
from tests import stores
from tests.stores import STATES


@pytest.fixture(scope="module")
def bucket():
    """Name of an empty bucket; the server's address reaches fsspec through the environment, as a user's would."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("no_proxy", host)
        patch.setenv("FSSPEC_S3_KEY", "somebody")
        patch.setenv("FSSPEC_S3_SECRET", "secret")
        patch.setitem(fsspec.config.conf, "s3", {})
        fsspec.config.set_conf_env(fsspec.config.conf, os.environ)
        s3fs.S3FileSystem().mkdir("study")
        yield "study"
    server.stop()


@pytest.fixture
def run(bucket, request):
    return Run(f"s3://{bucket}/{request.node.originalname}")


def contents(folder):
    return {name: _files.read_bytes(folder / name) for name in _files.names_in(folder)}


def test_parameters_and_tables_come_back(run):
    run.claim({"epochs": 8}, dataset_fingerprint="abc")
    run.record("seconds", 1.5)
    elsewhere = Run(str(run.folder) + "/")
    elsewhere.claim({"epochs": 8}, dataset_fingerprint="abc")
    assert elsewhere.entry("seconds") == 1.5
    with pytest.raises(ValueError, match=r"run folder s3://study/.* belongs to other parameters .*8 there, 9 given"):
        elsewhere.claim({"epochs": 9}, dataset_fingerprint="abc")
    frame = pd.DataFrame({"model": ["a", "b"], "accuracy": [0.1, 1 / 3]})
    with pytest.raises(FileNotFoundError, match=r"s3://study/.*/results/accuracy.csv is missing: run rq1 first"):
        run.read_csv("accuracy", made_by="rq1")
    run.write_csv(frame, "accuracy")
    pd.testing.assert_frame_equal(elsewhere.read_csv("accuracy"), frame)
    dataset = data.load("multiview", train_size=40, test_size=30, probe_per_class=1)
    here = Study(run)
    here.dataset, here.network = dataset, lambda *_, **__: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    truth.remove_views(here, [("a", 1)])
    kept = np.load(io.BytesIO(_files.read_bytes(elsewhere.results / "view_logits.npz")), allow_pickle=False)
    assert kept["a/1"].shape == (len(kept["row"]), 10)
    assert _files.names_in(run.folder) == ["results/accuracy.csv", "results/view_logits.npz", "run.json"]
    assert pickle.loads(pickle.dumps(run)).entry("seconds") == 1.5  # as workers get it


def test_training_goes_on_and_ends_in_the_bits_of_a_local_one(run, tmp_path, monkeypatch):
    dataset = data.load("multiview", train_size=40, test_size=30, probe_per_class=1)
    regime = training.Regime(arch="shufflenet_v2_x0_5", epochs=2, batch_size=20)
    options = {"seed": 0, "device": "cpu", "verbose": False}
    local, remote = Run(tmp_path).checkpoints, run.checkpoints
    training.train("a", dataset, regime, checkpoints=local, **options)
    write_bytes = _files.write_bytes

    def stop_in_epoch_2(path, content):
        if path.name == "epoch-002.safetensors":
            raise KeyboardInterrupt
        write_bytes(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(_files, "write_bytes", stop_in_epoch_2)
        with pytest.raises(KeyboardInterrupt):
            training.train("a", dataset, regime, checkpoints=remote, **options)
    assert remote.epochs("a") == [0, 1]
    history = training.train("a", dataset, regime, checkpoints=remote, **options)
    assert remote.last_epoch("a") == 2
    for epoch in (0, 1, 2):
        assert _files.read_bytes(remote.path("a", epoch)) == local.path("a", epoch).read_bytes()
    pd.testing.assert_frame_equal(training.train("a", dataset, regime, checkpoints=remote, **options), history)

    with pytest.raises(ValueError, match="max_lr: 0.1 there, 0.2 given"):
        training.train("a", dataset, training.Regime(**vars(regime) | {"max_lr": 0.2}), checkpoints=remote, **options)
    _files.delete(remote.path("a", 1))
    with pytest.raises(ValueError, match=r"checkpoint s3://study/.*epoch-001.safetensors is missing"):
        training.train("a", dataset, regime, checkpoints=remote, **options)
    with pytest.raises(FileNotFoundError, match=r"s3://study/.*epoch-001.safetensors is missing: run train_models"):
        remote.load("a", 1, nn.Linear(2, 2))


def test_occluded_logits_go_on_and_end_in_the_bytes_of_a_local_store(run, tmp_path, monkeypatch):
    local, remote = tmp_path / "occlusion.zarr", run.occlusion
    for path in (local, remote):
        stores.create(path, STATES[:1])
        stores.create(path)
    assert stores.fill(local) == 9
    write, written = MapStore.write, []

    def stop_at_the_fifth(*arguments):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(arguments)
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(MapStore, "write", stop_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            stores.fill(remote)
    explained = stores.create(remote)
    assert explained.missing() == [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    with pytest.raises(ValueError, match=r"s3://study/.*/logits/c/1/1/0/0: .* is not computed yet"):
        explained.logits("a", 1)
    victim = remote / "logits" / "c" / "0" / "1" / "0" / "0"
    _files.write_bytes(victim, _files.read_bytes(victim)[:-5])
    with pytest.raises(ValueError, match=r"s3://study/.*/logits/c/0/1/0/0: .* is damaged"):
        explained.logits("a", 0)
    assert stores.fill(remote) == 6
    assert contents(remote) == contents(local)
    assert explained.damaged() == []
    assert open_logits(remote).identical(open_logits(local))
    np.testing.assert_array_equal(explained.logits(*STATES[2]), MapStore(local).logits(*STATES[2]))


def test_a_store_half_made_is_made_anew(run, monkeypatch):
    put, names = _files._put, []

    def stop_before_the_last(path, content):
        names.append(path.name)
        if len(names) == 6:
            raise KeyboardInterrupt
        put(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(_files, "_put", stop_before_the_last)
        with pytest.raises(KeyboardInterrupt):
            stores.create(run.occlusion)
    with pytest.raises(FileNotFoundError, match=r"s3://study/.*occlusion.zarr is missing"):
        MapStore(run.occlusion)
    stores.create(run.occlusion)
    assert MapStore(run.occlusion).epochs("a") == [0, 1]


def test_a_store_that_cannot_be_reached_is_not_taken_for_an_empty_one(run, monkeypatch):
    run.claim({"epochs": 8}, dataset_fingerprint="abc")
    stores.create(run.occlusion)
    before = contents(run.folder)

    async def unreachable(*_, **__):
        raise ConnectionError("no answer")

    dataset = data.load("multiview", train_size=40, test_size=30, probe_per_class=1)
    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_call_s3", unreachable)
        for attempt in (
            lambda: run.claim({"epochs": 9}, dataset_fingerprint="abc"),
            lambda: run.checkpoints.epochs("a"),
            lambda: run.read_csv("accuracy"),
            lambda: stores.create(run.occlusion),
            lambda: stores.fill(run.occlusion),
            lambda: training.train("a", dataset, training.Regime(), checkpoints=run.checkpoints, seed=0, device="cpu"),
        ):
            with pytest.raises(ConnectionError, match="no answer"):
                attempt()
    assert contents(run.folder) == before


def test_a_bucket_that_is_not_there_is_named(bucket):
    run = Run("s3://nowhere/run")
    with pytest.raises(FileNotFoundError, match=r"s3://nowhere/run/run.json cannot be written .*bucket does not exist"):
        run.claim({"epochs": 8}, dataset_fingerprint="abc")
    with pytest.raises(FileNotFoundError, match=r"s3://nowhere/.*occlusion.zarr.* cannot be written .*make the bucket"):
        stores.create(run.occlusion)
    with pytest.raises(FileNotFoundError, match=r"s3://nowhere/run/run.json is missing: run train_models first"):
        _ = run.parameters
    assert run.checkpoints.epochs("a") == []


def test_a_missing_package_and_an_unknown_scheme_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ImportError, match=r"run folder gs://bucket/run needs a package more: .*gcsfs"):
        Run("gs://bucket/run")
    with pytest.raises(ValueError, match=r"run folder foo://x: .*'foo'; expected a folder, or a URL such as s3://"):
        Run("foo://x")


def test_a_url_of_this_machine_is_a_folder(tmp_path):
    assert Run(f"file://{tmp_path}/run").folder == tmp_path / "run"
