"""The one heavy artefact: occluded logits of every stored network, in one zarr group that xarray opens.

`logits[state, image, window, class]` is float32; a chunk is one block of images of one state, compressed, with a
checksum. A chunk's file is there whole or not at all, so what is missing is what has no file. The group is a folder, or
lies in an object store.
"""

import itertools
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor
from upath import UPath

from kd_lib import _files
from kd_lib._workers import in_threads
from kd_lib.maps.group import (
    COORDINATE,
    DAMAGE,
    ROOT,
    create_group,
    exists,
    keep_copy,
    open_group,
    put_back,
    say,
    seal,
    zarr_store,
)
from kd_lib.maps.occlusion import PRECISIONS, check_baseline, saliency_maps, windows

BLOCK, BLOCK_OF_GPU = 100, 1000  # images a chunk: some seconds of work on a processor, less than one on a GPU
METADATA_BYTES = 10_000  # of an empty store, roughly
SETTINGS = ("patch", "stride", "baseline", "precision")  # of the occlusion


class MapStore:
    """The store of occluded logits at a path, opened once: its states are those of then.

    Blocks are looked for anew each time: other processes may write some. A process that is sent the store opens it when
    it needs it, once for all times that the same one comes.

    Parameters
    ----------
    path : Path or UPath
        Folder of the zarr group, here or in an object store.

    Raises
    ------
    FileNotFoundError
        If there is no store.
    ValueError
        If something else is in its place.
    """

    def __init__(self, path: Path | UPath):
        self.path, self._token = path, uuid.uuid4()
        _ = self._opened

    @classmethod
    def create(
        cls,
        path: Path | UPath,
        *,
        states: Sequence[tuple[str, int]],
        labels: np.ndarray,
        index: np.ndarray,
        class_names: Sequence[str],
        image_size: tuple[int, int],
        patch: int,
        stride: int,
        baseline: float | Sequence[float] | str = 0.0,
        precision: str = "float32",
        block: int | None = None,
        weights: Mapping[tuple[str, int], str] | None = None,
    ) -> "MapStore":
        """Create the store, or open it and make room for the states that it does not hold yet.

        Parameters
        ----------
        path, class_names, image_size, patch, stride, baseline, precision
            See `MapStore`.
        states : sequence of (model, epoch)
            What is to be stored; states that the store holds and are not named stay.
        labels, index : array of int, shape (N,)
            True class and identifier of each image.
        block : int, optional
            Images a chunk; by default as many as suit this machine.
        weights : mapping of (model, epoch) to str, optional
            Digest of the weights of each state. What is stored of a state that had others counts as missing.

        Raises
        ------
        ValueError
            If the store at `path` was made for other images or another occlusion, or the arguments make no sense.
            Nothing is written.
        OSError
            If the device is full: no half-made store is left.
        """
        rows, cols = windows(image_size, patch, stride)
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
        if block is None:
            block = BLOCK_OF_GPU if torch.cuda.is_available() else BLOCK
        images = {"label": np.asarray(labels, dtype=np.int64), "index": np.asarray(index, dtype=np.int64)}
        if not len(states) or not len(labels) or len(labels) != len(index) or block < 1:
            raise ValueError(
                f"{len(states)} states, {len(labels)} labels, {len(index)} indices, block {block}: "
                "expected at least one of each, and a label and an index for every image"
            )
        baseline = check_baseline(baseline) if isinstance(baseline, str) else np.asarray(baseline, dtype=float).tolist()
        settings = dict(zip(SETTINGS, (patch, stride, baseline, precision), strict=True))
        attributes = settings | {"image_size": list(image_size), "class_names": list(class_names)}
        put_back(path)
        if not exists(path):
            create_group(path, attributes, images, 1 + len(rows) * len(cols), block)
        store = cls(path)
        different = _files.differences({key: store._group.attrs[key] for key in attributes}, attributes)
        different += [f"{n} of the images" for n in images if not np.array_equal(store._group[n][:], images[n])]
        if different:
            raise ValueError(
                f"{path} holds another occlusion ({'; '.join(d[:120] for d in different)}): "
                "give another run folder, or delete this store"
            )
        store._append(states)
        store = cls(path)
        store._belong(weights or {})
        keep_copy(path)
        return store

    def __getstate__(self) -> dict:
        """Send the path and what this opening is told by."""
        return {"path": self.path, "_token": self._token}

    @cached_property
    def _opened(self) -> tuple[zarr.Group, zarr.Array, list[tuple[str, int]]]:
        return open_group(self.path, self._token)

    _group = property(lambda self: self._opened[0])
    _array = property(lambda self: self._opened[1])

    @property
    def states(self) -> list[tuple[str, int]]:
        """(model, epoch) of every state that there is room for, in the order of the store."""
        return self._opened[2]

    @property
    def settings(self) -> dict:
        """Patch, stride, baseline and precision of the occlusion, see `occlusion.occluded_logits`."""
        return {name: self._group.attrs[name] for name in SETTINGS}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return tuple(self._group.attrs["image_size"])

    @property
    def class_names(self) -> list[str]:
        """Names of the K classes."""
        return list(self._group.attrs["class_names"])

    @cached_property
    def labels(self) -> np.ndarray:
        """True class of each image, int64 of shape (N,)."""
        return self._group["label"][:]

    @cached_property
    def index(self) -> np.ndarray:
        """Identifier of each image, int64 of shape (N,)."""
        return self._group["index"][:]

    def epochs(self, model: str) -> list[int]:
        """Epochs of a model that the store has room for, in order."""
        return sorted(epoch for name, epoch in self.states if name == model)

    def logits(self, model: str, epoch: int | None = None) -> np.ndarray:
        """Read the occluded logits of one state.

        Parameters
        ----------
        model : str
        epoch : int, optional
            The last one stored by default.

        Returns
        -------
        ndarray, float32, shape (N, 1 + W, K)

        Raises
        ------
        ValueError
            If the state is not stored, not complete or damaged; names the model, the epoch and the images.
        """
        epoch = max(self.epochs(model), default=None) if epoch is None else epoch
        if (model, epoch) not in self.states:
            what = f"occluded logits of {model!r} at epoch {epoch}"
            raise ValueError(f"{self.path} holds no {what}: run generate_saliency_maps")
        state = self.states.index((model, epoch))
        for block in self._blocks:
            if not _files.is_there(self._file(state, block)):
                raise ValueError(f"{self.name(state, block)} is not computed yet: run generate_saliency_maps")
        logits = np.empty(self._array.shape[1:], self._array.dtype)
        for block in self._blocks:
            logits[self.rows(block)] = self._read(state, block)
        return logits

    def maps(self, outputs: np.ndarray | Tensor, output: str = "logits") -> np.ndarray:
        """Saliency maps (..., K, H, W) of occluded outputs (..., 1 + W, K), see `occlusion.saliency_maps`."""
        patch, stride = self.settings["patch"], self.settings["stride"]
        return saliency_maps(outputs, image_size=self.image_size, patch=patch, stride=stride, output=output).numpy()

    def missing(self) -> list[tuple[int, int]]:
        """List the (state, block) of every chunk that is not stored, ordered by state."""
        there = set(self.stored())
        return [chunk for chunk in self._every() if chunk not in there]

    def stored(self) -> list[tuple[int, int]]:
        """List the (state, block) of every chunk that is stored, damaged or not, ordered by state."""
        there = set(_files.names_in(self.path / "logits"))
        return [chunk for chunk in self._every() if self._key(*chunk) in there]

    def damaged(self) -> list[tuple[int, int]]:
        """(state, block) of every stored chunk whose content does not match its checksum; reads the whole store."""
        chunks = self.stored()
        sound = in_threads(lambda chunk: self.is_sound(*chunk), chunks)
        return [chunk for chunk, whole in zip(chunks, sound, strict=True) if not whole]

    def is_sound(self, state: int, block: int) -> bool:
        """Read a stored chunk, and say whether its content matches its checksum."""
        try:
            self._read(state, block)
        except ValueError:
            return False
        return True

    def discard(self, state: int, block: int) -> None:
        """Remove a chunk, so that it counts as missing."""
        _files.delete(self._file(state, block))

    def rows(self, block: int) -> slice:
        """Images of a block."""
        images, size = self._array.shape[1], self._array.chunks[1]
        return slice(block * size, min(images, (block + 1) * size))

    def write(self, state: int, block: int, logits: np.ndarray) -> None:
        """Write one chunk, whole or not at all.

        Raises
        ------
        OSError
            If the device is full; names the file and its size, and leaves nothing behind.
        """
        with _space_for(self._file(state, block), logits.nbytes):
            self._array[state, self.rows(block)] = logits

    def _append(self, wanted: Sequence[tuple[str, int]]) -> None:
        """Make room for the states that the store lacks. `logits` grows last: a call killed halfway is put right."""
        every = list(dict.fromkeys([*self.states, *wanted]))
        arrays = {name: self._group[name] for name in ("model", "epoch")}
        if every == self.states and all(array.shape == (len(every),) for array in arrays.values()):
            return
        models, epochs = zip(*every, strict=True)
        with _space_for(self.path, METADATA_BYTES):
            for array, values in zip(arrays.values(), (np.array(models, dtype=object), np.array(epochs)), strict=True):
                array.resize(values.shape)
                array[:] = values
            self._array.resize((len(every), *self._array.shape[1:]))

    def _belong(self, weights: Mapping[tuple[str, int], str]) -> None:
        """Note whose weights each state has; blocks of a state that had others are removed."""
        if not _files.is_there(self.path / "weights" / ROOT):
            self._group.create_array("weights", shape=(0,), chunks=(4096,), dtype=str, **COORDINATE)
            seal(self._group["weights"])
        array = self._group["weights"]
        known = list(array[:])
        wanted = [weights.get(state, "") for state in self.states]
        for state, (own, new) in enumerate(zip(known, wanted, strict=False)):
            wanted[state] = new or own
            for block in self._blocks if own and own != wanted[state] else ():
                self.discard(state, block)
        if known != wanted:
            with _space_for(self.path, METADATA_BYTES):
                array.resize((len(wanted),))
                array[:] = np.array(wanted, dtype=object)

    @property
    def _blocks(self) -> range:
        return range(math.ceil(self._array.shape[1] / self._array.chunks[1]))

    def _every(self) -> Iterator[tuple[int, int]]:
        """(state, block) of every chunk, stored or not, ordered by state."""
        return itertools.product(range(len(self.states)), self._blocks)

    def _key(self, state: int, block: int) -> str:
        return self._array.metadata.encode_chunk_key((state, block, 0, 0))

    def _file(self, state: int, block: int) -> Path | UPath:
        return self.path / "logits" / self._key(state, block)

    def _read(self, state: int, block: int) -> np.ndarray:
        """One chunk; a ValueError that names it if it is damaged."""
        try:
            return self._array[state, self.rows(block)]
        except DAMAGE as error:
            damaged = f"{self.name(state, block)} is damaged ({say(error)})"
            raise ValueError(f"{damaged}: run generate_saliency_maps again") from None

    def name(self, state: int, block: int) -> str:
        """Say which file a chunk is, and of what."""
        (model, epoch), rows = self.states[state], self.rows(block)
        where = f"model {model!r}, epoch {epoch}, images {rows.start} to {rows.stop - 1}"
        return f"{self._file(state, block)}: the block of {where}"


def open_logits(path: Path | UPath) -> xr.DataArray:
    """Open the occluded logits, lazily.

    Returns
    -------
    DataArray, float32, dims (state, image, window, class)
        With the coordinates model and epoch (of a state), label and index (of an image); the settings of the occlusion
        are its attributes.
    """
    MapStore(path)  # its errors
    data = xr.open_zarr(zarr_store(path, read_only=True), consolidated=False, chunks=None)
    return data["logits"].assign_attrs(data.attrs)


@contextmanager
def _space_for(path: Path | UPath, needed: int):
    """Make the error of a full device name `path` and the bytes needed."""
    try:
        yield
    except OSError as error:
        raise _files.refused(error, path, needed) from error
