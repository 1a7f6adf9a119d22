import errno
import os
import pickle

import numpy as np
import pytest
import xarray as xr
import zarr

from kd_lib.maps.group import open_group
from kd_lib.maps.occlusion import occluded_logits, saliency_maps
from kd_lib.maps.store import MapStore, open_logits
from tests import stores
from tests.stores import IMAGES, SETTINGS, STATES, WINDOWS


def test_what_is_filled_is_read_back(filled):
    kept = MapStore(filled)
    for state in STATES:
        expected = occluded_logits(stores.network(*state), IMAGES, patch=3, stride=2).numpy()
        np.testing.assert_allclose(kept.logits(*state), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(kept.logits("a"), kept.logits("a", 1))  # the last epoch by default
    assert stores.fill(filled) == 0


def test_a_store_is_sent_as_its_path_and_opened_once_where_it_is_needed(filled, tmp_path):
    sent = pickle.dumps(MapStore(filled))
    open_group.cache_clear()  # as in another process
    filled.rename(tmp_path / "out of sight")  # as for a scheduler, which only passes it on
    first, second = pickle.loads(sent), pickle.loads(sent)
    (tmp_path / "out of sight").rename(filled)
    assert first.states == STATES
    assert first.states is second.states
    assert stores.create(filled, [("b", 2)]).states == [*STATES, ("b", 2)]
    assert pickle.loads(pickle.dumps(MapStore(filled))).epochs("b") == [2]
    maps = saliency_maps(first.logits("a"), image_size=(6, 7), patch=3, stride=2, output="probs")
    np.testing.assert_array_equal(first.maps(first.logits("a"), "probs"), maps)


def test_xarray_reads_it_lazily(filled):
    logits = open_logits(filled)
    assert logits.dims == ("state", "image", "window", "class")
    assert logits.shape == (3, 10, WINDOWS, 3)
    assert not logits.variable._in_memory
    assert list(zip(logits.model.values.tolist(), logits.epoch.values.tolist(), strict=True)) == STATES
    assert logits.label.values.tolist() == SETTINGS["labels"].tolist()
    assert logits["index"].values.tolist() == SETTINGS["index"].tolist()
    assert (logits.attrs["patch"], logits.attrs["stride"], logits.attrs["image_size"]) == (3, 2, [6, 7])
    picked = logits.isel(state=logits.model.values == "a", image=[3, 9])
    np.testing.assert_array_equal(picked[1], MapStore(filled).logits("a", 1)[[3, 9]])
    assert xr.open_zarr(filled, chunks=None, consolidated=False)["logits"].shape == logits.shape  # without our help


@pytest.mark.parametrize("grown", [["model"], ["model", "epoch"]])
def test_a_kill_while_states_are_added_is_put_right(filled, grown):
    group = zarr.open_group(filled)
    for name in grown:
        group[name].resize((5,))
    assert MapStore(filled).logits("a", 0).shape == (10, WINDOWS, 3)
    stores.create(filled, [*STATES, ("b", 2)])
    assert stores.fill(filled) == 3
    logits = open_logits(filled)
    assert list(zip(logits.model.values.tolist(), logits.epoch.values.tolist(), strict=True)) == [*STATES, ("b", 2)]


def test_a_full_device_leaves_no_half_made_store(path, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(OSError, match=r"no space left to write .*occlusion.zarr"):
        stores.create(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": 2}, "patch: 3 there, 2 given"),
        ({"stride": 1}, "stride: 2 there, 1 given"),
        ({"baseline": "blur"}, "baseline: 0.0 there, 'blur' given"),
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
        stores.create(filled, [("new", 0)], **change)
    assert "\n" not in str(error.value)
    assert open_logits(filled).sizes["state"] == 3


def test_an_unknown_baseline_is_refused(filled):
    with pytest.raises(ValueError, match="unknown baseline 'median': expected a number, .* or 'mean' or 'blur'"):
        stores.create(filled, [("new", 0)], baseline="median")
    assert open_logits(filled).sizes["state"] == 3


@pytest.mark.parametrize(
    "wrong",
    [{"patch": 7}, {"stride": 0}, {"precision": "half"}, {"labels": np.arange(9)}, {"block": 0}, {"states": []}],
)
def test_bad_settings_write_nothing(path, wrong):
    with pytest.raises(ValueError, match=r"patch 7|stride 0|precision 'half'|9 labels|block 0|0 states"):
        MapStore.create(path, **{"states": STATES} | SETTINGS | wrong)
    assert not path.parent.exists()


def test_what_is_not_there_is_named(filled, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.zarr is missing: run generate_saliency_maps first"):
        open_logits(tmp_path / "none.zarr")
    with pytest.raises(ValueError, match="no occluded logits of 'b'"):
        MapStore(filled).logits("b")
    with pytest.raises(ValueError, match="'a' at epoch 7"):
        MapStore(filled).logits("a", 7)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="other is no whole store of occluded logits"):
        MapStore(tmp_path / "other")


@pytest.mark.parametrize("damage", ["gone", "flipped", "cut"])
@pytest.mark.parametrize("name", ["model", "epoch", "label", "index"])
def test_a_coordinate_that_is_damaged_or_gone_is_told(filled, name, damage):
    (chunk,) = (file for file in (filled / name / "c").rglob("*") if file.is_file())
    whole = bytearray(chunk.read_bytes())
    whole[len(whole) // 2] ^= 1
    chunk.unlink() if damage == "gone" else chunk.write_bytes(whole if damage == "flipped" else whole[:-1])
    with pytest.raises(ValueError, match="no whole store of occluded logits .*: run generate_saliency_maps, which"):
        MapStore(filled)


def test_maps_belong_to_weights(path):
    def create(**digests):
        return MapStore.create(path, states=STATES, **SETTINGS, weights={(*STATES[0],): digests.get("first", "")})

    create(first="1")
    assert stores.fill(path) == 9
    assert not create(first="1").missing()
    assert not create().missing()  # not known: nothing is said against them
    kept = create(first="2")
    assert {state for state, _ in kept.missing()} == {0}
    assert stores.fill(path) == 3
    assert not create(first="2").missing()
