"""The one heavy artefact: occluded logits of every stored network, in one zarr group that xarray opens.

`logits[state, image, window, class]` is float32; a chunk is one block of images of one state, compressed, with a
checksum. A chunk's file is there whole or not at all, so what is missing is what has no file. The group is a folder, or
lies in an object store.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from upath import UPath
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from kd_lib import _files
from kd_lib._workers import in_threads
from kd_lib.maps.occlusion import PRECISIONS, check_baseline, windows

BLOCK, BLOCK_OF_GPU = 100, 1000  # images a chunk: some seconds of work on a processor, less than one on a GPU
METADATA_BYTES = 10_000  # of an empty store, roughly
ROOT = "zarr.json"  # metadata of the group


def create_or_open(
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
) -> zarr.Group:
    """Create the store, or open it and make room for the states that it does not hold yet.

    Parameters
    ----------
    path : Path or UPath
        Folder of the zarr group, here or in an object store.
    states : sequence of (model, epoch)
        What is to be stored; states that the store holds and are not named stay.
    labels, index : array of int, shape (N,)
        True class and identifier of each image.
    class_names : sequence of K str
    image_size : (int, int)
        Height and width in pixels.
    patch, stride, baseline, precision
        Of the occlusion, see `occlusion.occluded_logits`.
    block : int, optional
        Images a chunk; by default as many as suit this machine.

    Returns
    -------
    zarr.Group

    Raises
    ------
    ValueError
        If the store at `path` was made for other images or another occlusion, or the arguments make no sense. Nothing
        is written.
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
    attributes = {
        "patch": patch,
        "stride": stride,
        "baseline": check_baseline(baseline)
        if isinstance(baseline, str)
        else np.asarray(baseline, dtype=float).tolist(),
        "precision": precision,
        "image_size": list(image_size),
        "class_names": list(class_names),
    }
    if not _exists(path):
        _create(path, attributes, images, 1 + len(rows) * len(cols), block)
    group = open_group(path, mode="r+")
    different = _files.differences({key: group.attrs[key] for key in attributes}, attributes)
    different += [f"{name} of the images" for name in images if not np.array_equal(group[name][:], images[name])]
    if different:
        raise ValueError(
            f"{path} holds another occlusion ({'; '.join(d[:120] for d in different)}): "
            "give another run folder, or delete this store"
        )
    _append(group, states)
    return group


def open_group(path: Path | UPath, *, mode: str = "r") -> zarr.Group:
    """Open the store; FileNotFoundError if there is none, ValueError if something else is in its place."""
    if not _exists(path):
        raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
    try:
        group = zarr.open_group(_zarr_store(path), mode=mode)
        group["logits"]
    except (FileNotFoundError, KeyError, ValueError):
        raise ValueError(f"{path} is no store of occluded logits: delete it, run generate_saliency_maps") from None
    return group


def open_logits(path: Path | UPath) -> xr.DataArray:
    """Open the occluded logits, lazily.

    Returns
    -------
    DataArray, float32, dims (state, image, window, class)
        With the coordinates model and epoch (of a state), label and index (of an image); the settings of the occlusion
        are its attributes.
    """
    open_group(path)
    data = xr.open_zarr(_zarr_store(path, read_only=True), consolidated=False, chunks=None)
    return data["logits"].assign_attrs(data.attrs)


def logits_of(path: Path | UPath, model: str, epoch: int | None = None) -> np.ndarray:
    """Read the occluded logits of one state.

    Parameters
    ----------
    path : Path or UPath
        The store.
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
    group = open_group(path)
    known, array = states_of(group), group["logits"]  # opened once: it takes as long as reading a small chunk
    epochs = sorted(number for name, number in known if name == model)
    epoch = epochs[-1] if epoch is None and epochs else epoch
    if epoch not in epochs:
        raise ValueError(f"{path} holds no occluded logits of {model!r} at epoch {epoch}: run generate_saliency_maps")
    state, place = known.index((model, epoch)), _place(group)
    blocks = range(_blocks(group))
    for block in blocks:
        if not _files.is_there(_chunk(place, array, state, block)):
            raise ValueError(f"{_name(group, state, block)} is not computed yet: run generate_saliency_maps")
    logits = np.empty(array.shape[1:], array.dtype)
    for block in blocks:
        logits[_rows(array, block)] = _read(group, array, state, block)
    return logits


def epochs_of(path: Path | UPath, model: str) -> list[int]:
    """Epochs of a model that the store has room for, in order."""
    return sorted(epoch for name, epoch in states_of(open_group(path)) if name == model)


def missing(group: zarr.Group) -> list[tuple[int, int]]:
    """List the (state, block) of every chunk that is not stored, ordered by state."""
    there = set(stored(group))
    return [chunk for chunk in _every(group) if chunk not in there]


def stored(group: zarr.Group) -> list[tuple[int, int]]:
    """List the (state, block) of every chunk that is stored, damaged or not, ordered by state."""
    there = set(_files.names_in(_place(group) / "logits"))
    key = group["logits"].metadata.encode_chunk_key
    return [chunk for chunk in _every(group) if key((*chunk, 0, 0)) in there]


def damaged(group: zarr.Group) -> list[tuple[int, int]]:
    """(state, block) of every stored chunk whose content does not match its checksum; reads the whole store."""
    chunks = stored(group)
    sound = in_threads(lambda chunk: is_sound(group, *chunk), chunks)
    return [chunk for chunk, whole in zip(chunks, sound, strict=True) if not whole]


def is_sound(group: zarr.Group, state: int, block: int) -> bool:
    """Read a stored chunk, and say whether its content matches its checksum."""
    try:
        _read(group, group["logits"], state, block)
    except ValueError:
        return False
    return True


def discard(group: zarr.Group, state: int, block: int) -> None:
    """Remove a chunk, so that it counts as missing."""
    _files.delete(_file(group, state, block))


def states_of(group: zarr.Group) -> list[tuple[str, int]]:
    """(model, epoch) of every state, in the order of the store."""
    count = group["logits"].shape[0]  # a kill while states are added can leave more names than states
    models, epochs = group["model"][:count], group["epoch"][:count]
    return [(str(name), int(epoch)) for name, epoch in zip(models, epochs, strict=True)]


def rows_of(group: zarr.Group, block: int) -> slice:
    """Images of a block."""
    return _rows(group["logits"], block)


def write_block(group: zarr.Group, state: int, block: int, logits: np.ndarray) -> None:
    """Write one chunk, whole or not at all.

    Raises
    ------
    OSError
        If the device is full; names the file and its size, and leaves nothing behind.
    """
    # zarr would drop a chunk of nothing but NaN, as a network that diverged gives: it would be missing for ever.
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = group["logits"]
    with _space_for(_file(group, state, block), logits.nbytes):
        array[state, rows_of(group, block)] = logits


def _create(path: Path | UPath, attributes: dict, images: dict[str, np.ndarray], count: int, block: int) -> None:
    """Make an empty store in memory, then write it: a store that can be seen is complete."""
    contents, number, classes = {}, len(images["index"]), len(attributes["class_names"])
    group = zarr.open_group(MemoryStore(contents), mode="w", attributes=attributes)
    group.create_array(
        "logits",
        shape=(0, number, count, classes),
        chunks=(1, min(block, number), count, classes),
        dtype="float32",
        fill_value=math.nan,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=("state", "image", "window", "class"),
        attributes={"coordinates": "model epoch label index"},  # where xarray looks for them
    )
    for name, values in images.items():
        group.create_array(name, data=values, chunks=values.shape, dimension_names=("image",))
    for name, kind in {"model": str, "epoch": "int64"}.items():
        group.create_array(name, shape=(0,), chunks=(4096,), dtype=kind, dimension_names=("state",))
    last = [name for name in contents if name != ROOT] + [ROOT]  # what makes it a store
    _files.write_folder(path, {name: contents[name].to_bytes() for name in last})


def _append(group: zarr.Group, wanted: Sequence[tuple[str, int]]) -> None:
    """Make room for the states that the store lacks. `logits` grows last: a call killed halfway is put right."""
    known = states_of(group)
    every = list(dict.fromkeys([*known, *wanted]))
    if every == known and group["model"].shape == group["epoch"].shape == (len(known),):
        return
    models, epochs = zip(*every, strict=True)
    with _space_for(_place(group), METADATA_BYTES):
        for name, values in {"model": np.array(models, dtype=object), "epoch": np.array(epochs)}.items():
            coordinate = group[name]
            coordinate.resize(values.shape)
            coordinate[:] = values
        group["logits"].resize((len(every), *group["logits"].shape[1:]))


@contextmanager
def _space_for(path: Path | UPath, needed: int):
    """Make the error of a full device name `path` and the bytes needed."""
    try:
        yield
    except OSError as error:
        raise _files.no_space(error, path, needed) from error


def _blocks(group: zarr.Group) -> int:
    return math.ceil(group["logits"].shape[1] / group["logits"].chunks[1])


def _every(group: zarr.Group) -> Iterator[tuple[int, int]]:
    """(state, block) of every chunk, stored or not, ordered by state."""
    return itertools.product(range(len(states_of(group))), range(_blocks(group)))


def _exists(path: Path | UPath) -> bool:
    """Say whether something is at the store's place: here any folder, in an object store what is written last."""
    return _files.is_there(path / ROOT) if _files.is_remote(path) else path.exists()


def _zarr_store(path: Path | UPath, **options) -> LocalStore | FsspecStore:
    if _files.is_remote(path):
        return FsspecStore.from_url(str(path), storage_options=dict(path.storage_options), **options)
    return LocalStore(path, **options)


def _place(group: zarr.Group) -> Path | UPath:
    """Where a group lies."""
    held = group.store
    if isinstance(held, LocalStore):
        return held.root
    return UPath(held.fs.unstrip_protocol(held.path), **held.fs.storage_options | {"asynchronous": False})


def _file(group: zarr.Group, state: int, block: int) -> Path | UPath:
    return _chunk(_place(group), group["logits"], state, block)


def _chunk(place: Path | UPath, array: zarr.Array, state: int, block: int) -> Path | UPath:
    """File of a chunk of the logits, an `array` of the group at a place."""
    return place / "logits" / array.metadata.encode_chunk_key((state, block, 0, 0))


def _rows(array: zarr.Array, block: int) -> slice:
    images, size = array.shape[1], array.chunks[1]
    return slice(block * size, min(images, (block + 1) * size))


def _read(group: zarr.Group, array: zarr.Array, state: int, block: int) -> np.ndarray:
    """One chunk of the group's logits, an `array`; a ValueError that names the chunk if it is damaged."""
    try:
        return array[state, _rows(array, block)]
    except (ValueError, RuntimeError) as error:  # of the checksum, of zstd
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"{_name(group, state, block)} is damaged ({reason}): run generate_saliency_maps again"
        ) from None


def _name(group: zarr.Group, state: int, block: int) -> str:
    model, epoch = states_of(group)[state]
    rows = rows_of(group, block)
    path = _file(group, state, block)
    return f"{path}: the block of model {model!r}, epoch {epoch}, images {rows.start} to {rows.stop - 1}"
