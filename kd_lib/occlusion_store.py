"""The one heavy artefact: occluded logits of every stored network, in one zarr group that xarray opens.

`logits[state, image, window, class]` is float32; a chunk is one block of images of one state, compressed, with a
checksum. A chunk's file is there whole or not at all, so what is missing is what has no file.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from torch import Tensor, nn
from tqdm import tqdm
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from kd_lib import store
from kd_lib.occlusion import occluded_logits, windows

BLOCK = 100  # images a chunk
COORDINATES = ("model", "epoch", "label", "index")


def create_or_open(
    path: Path,
    *,
    states: Sequence[tuple[str, int]],
    labels: np.ndarray,
    index: np.ndarray,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    patch: int,
    stride: int,
    baseline: float | Sequence[float] = 0.0,
    precision: str = "float32",
    block: int = BLOCK,
) -> zarr.Group:
    """Create the store, or open it and make room for the states that it does not hold yet.

    Parameters
    ----------
    path : Path
        Folder of the zarr group.
    states : sequence of (model, epoch)
        What is to be stored; states that the store holds and are not named stay.
    labels, index : array of int, shape (N,)
        True class and identifier of each image.
    class_names : sequence of K str
    image_size : (int, int)
        Height and width in pixels.
    patch, stride, baseline, precision
        Of the occlusion, see `occlusion.occluded_logits`.
    block : int
        Images a chunk.

    Returns
    -------
    zarr.Group

    Raises
    ------
    ValueError
        If the store at `path` was made for other images or another occlusion.
    """
    rows, cols = windows(image_size, patch, stride)
    attributes = {
        "patch": patch,
        "stride": stride,
        "baseline": baseline if isinstance(baseline, int | float) else list(baseline),
        "precision": precision,
        "image_size": list(image_size),
        "class_names": list(class_names),
    }
    if not path.exists():
        _create(path, attributes, np.asarray(labels), np.asarray(index), 1 + len(rows) * len(cols), block)
    group = open_group(path, mode="r+")
    known = {key: group.attrs[key] for key in attributes} | {"images": group["index"][:].tolist()}
    if different := store.differences(known, attributes | {"images": np.asarray(index).tolist()}):
        raise ValueError(
            f"{path} holds another occlusion ({'; '.join(d[:120] for d in different)}): "
            "give another run folder, or delete this store"
        )
    _append(group, [state for state in states if state not in states_of(group)])
    return group


def open_group(path: Path, *, mode: str = "r") -> zarr.Group:
    """Open the store; FileNotFoundError if there is none."""
    if not (Path(path) / "zarr.json").is_file():
        raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
    return zarr.open_group(LocalStore(path), mode=mode)


def open_logits(path: Path) -> xr.DataArray:
    """Open the occluded logits, lazily.

    Returns
    -------
    DataArray, float32, dims (state, image, window, class)
        With the coordinates model and epoch (of a state), label and index (of an image); the settings of the occlusion
        are its attributes.
    """
    open_group(path)
    data = xr.open_zarr(str(path), consolidated=False, chunks=None)
    return data["logits"].assign_coords({name: data[name] for name in COORDINATES}).assign_attrs(data.attrs)


def logits_of(path: Path, model: str, epoch: int | None = None) -> np.ndarray:
    """Read the occluded logits of one state.

    Parameters
    ----------
    path : Path
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
    epochs = epochs_of(path, model)
    epoch = epochs[-1] if epoch is None and epochs else epoch
    if epoch not in epochs:
        raise ValueError(f"{path} holds no occluded logits of {model!r} at epoch {epoch}: run generate_saliency_maps")
    state = states_of(group).index((model, epoch))
    for block in range(_blocks(group)):
        if not _file(group, state, block).is_file():
            raise ValueError(f"{_name(group, state, block)} is not computed yet: run generate_saliency_maps")
    return np.concatenate([_read(group, state, block) for block in range(_blocks(group))])


def epochs_of(path: Path, model: str) -> list[int]:
    """Epochs of a model that the store has room for, in order."""
    return sorted(epoch for name, epoch in states_of(open_group(path)) if name == model)


def missing(group: zarr.Group) -> list[tuple[int, int]]:
    """(state, block) of every chunk that is not stored, ordered by state."""
    return [
        (state, block)
        for state in range(len(states_of(group)))
        for block in range(_blocks(group))
        if not _file(group, state, block).is_file()
    ]


def damaged(group: zarr.Group) -> list[tuple[int, int]]:
    """(state, block) of every stored chunk whose content does not match its checksum; reads the whole store."""
    absent = set(missing(group))
    found = []
    for state in range(len(states_of(group))):
        for block in range(_blocks(group)):
            if (state, block) not in absent:
                try:
                    _read(group, state, block)
                except ValueError:
                    found.append((state, block))
    return found


def discard(group: zarr.Group, chunks: Sequence[tuple[int, int]]) -> None:
    """Remove chunks, so that they count as missing."""
    for state, block in chunks:
        _file(group, state, block).unlink()


def states_of(group: zarr.Group) -> list[tuple[str, int]]:
    """(model, epoch) of every state, in the order of the store."""
    return [(str(name), int(epoch)) for name, epoch in zip(group["model"][:], group["epoch"][:], strict=True)]


def rows_of(group: zarr.Group, block: int) -> slice:
    """Images of a block."""
    images, size = group["logits"].shape[1], group["logits"].chunks[1]
    return slice(block * size, min(images, (block + 1) * size))


def write_block(group: zarr.Group, state: int, block: int, logits: np.ndarray) -> None:
    """Write one chunk, whole or not at all.

    Raises
    ------
    OSError
        If the device is full; names the file and its size, and leaves nothing behind.
    """
    path = _file(group, state, block)
    try:
        group["logits"][state, rows_of(group, block)] = logits
    except OSError as error:
        for partial in path.parent.glob(f"{path.name}.*"):
            partial.unlink(missing_ok=True)
        raise store.no_space(error, path, logits.nbytes) from error


def fill(
    path: Path,
    load_model: Callable[[str, int], nn.Module],
    images: Tensor,
    *,
    recompute: bool = False,
    batch_size: int | None = None,
    progress: bool = True,
) -> int:
    """Compute what the store of occluded logits at `path` still lacks, block by block.

    May be killed at any time; the next call goes on from the last whole block. Memory is that of one block.

    Parameters
    ----------
    path : Path
        A store made by `create_or_open`, which fixes patch, stride, baseline and precision.
    load_model : callable
        Gives the network of a (model, epoch), on the device to compute on; called once a state that lacks something.
    images : Tensor, float, shape (N, C, H, W)
        The normalised images the store was made for, in its order.
    recompute : bool
        Whether to read every stored block first and compute the damaged ones again.
    batch_size : int, optional
        As for `occluded_logits`.
    progress : bool
        Whether to show a progress bar in maps (one an image and class).

    Returns
    -------
    int
        Number of blocks computed.

    Raises
    ------
    ValueError
        If `images` are not as many or not of the size the store was made for.
    OSError
        If the device is full: the blocks written so far are kept, the one at hand is not.
    """
    group = open_group(path, mode="r+")
    attributes = dict(group.attrs)
    settings = {name: attributes[name] for name in ("patch", "stride", "baseline", "precision")}
    stored = (group["logits"].shape[1], *attributes["image_size"])
    if (len(images), *images.shape[-2:]) != stored:
        raise ValueError(f"images have shape {tuple(images.shape)}: {path} was made for (N, H, W) = {stored}")
    if recompute:
        discard(group, damaged(group))
    todo = missing(group)
    classes, rows = group["logits"].shape[-1], [rows_of(group, block) for _, block in todo]
    total = sum(block.stop - block.start for block in rows) * classes
    loaded = None
    with tqdm(total=total, desc="occlusion", unit="map", unit_scale=True, disable=not progress) as bar:
        for (state, block), images_of_block in zip(todo, rows, strict=True):
            if state != loaded:
                model = load_model(*states_of(group)[state])
                loaded = state
            logits = occluded_logits(model, images[images_of_block], batch_size=batch_size, **settings)
            write_block(group, state, block, logits.numpy())
            bar.update(len(logits) * classes)
    return len(todo)


def _create(path: Path, attributes: dict, labels: np.ndarray, index: np.ndarray, count: int, block: int) -> None:
    """Make an empty store under another name, then rename it: a store that can be seen is complete."""
    partial = path.with_name(f".{path.name}.partial")
    group = zarr.open_group(LocalStore(partial), mode="w", attributes=attributes)
    classes, images = len(attributes["class_names"]), len(labels)
    group.create_array(
        "logits",
        shape=(0, images, count, classes),
        chunks=(1, min(block, images), count, classes),
        dtype="float32",
        fill_value=math.nan,
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=("state", "image", "window", "class"),
        config={"write_empty_chunks": True},
    )
    for name, values in {"label": labels, "index": index}.items():
        array = group.create_array(name, shape=(images,), dtype="int64", dimension_names=("image",))
        array[:] = values
    for name, kind in {"model": str, "epoch": "int64"}.items():
        group.create_array(name, shape=(0,), chunks=(4096,), dtype=kind, dimension_names=("state",))
    partial.rename(path)


def _append(group: zarr.Group, states: Sequence[tuple[str, int]]) -> None:
    if not states:
        return
    old = len(states_of(group))
    for name, column in zip(("model", "epoch"), zip(*states, strict=True), strict=True):
        group[name].resize((old + len(states),))
        group[name][old:] = np.array(column, dtype=group[name].dtype)
    group["logits"].resize((old + len(states), *group["logits"].shape[1:]))


def _blocks(group: zarr.Group) -> int:
    return math.ceil(group["logits"].shape[1] / group["logits"].chunks[1])


def _file(group: zarr.Group, state: int, block: int) -> Path:
    array = group["logits"]
    return Path(array.store.root) / array.path / array.metadata.encode_chunk_key((state, block, 0, 0))


def _read(group: zarr.Group, state: int, block: int) -> np.ndarray:
    """One chunk; a ValueError that names it if it is damaged."""
    try:
        return group["logits"][state, rows_of(group, block)]
    except Exception as error:  # codecs raise whatever they like on damaged bytes
        raise ValueError(
            f"{_name(group, state, block)} is damaged ({error}): run generate_saliency_maps with recompute=True"
        ) from error


def _name(group: zarr.Group, state: int, block: int) -> str:
    model, epoch = states_of(group)[state]
    rows = rows_of(group, block)
    path = _file(group, state, block)
    return f"{path}: the block of model {model!r}, epoch {epoch}, images {rows.start} to {rows.stop - 1}"
