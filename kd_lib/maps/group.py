"""The zarr group behind a store of occluded logits: made whole, and opened once, with all but its blocks checked."""

import hashlib
import json
import math
import re
import uuid
from base64 import b64decode, b64encode
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from upath import UPath
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore

from kd_lib import _files

ROOT = "zarr.json"  # metadata of the group
COPY = "logits/copy.json"  # of all files but the blocks, where zarr looks for none
COPIED = re.compile(r"(\w+/)?zarr\.json|\w+/c/\d+")
MISSING = {"model": "", "epoch": -1, "label": -1, "index": -1}  # what zarr gives where a coordinate's file is gone
STATE = ("model", "epoch")  # those of a state; the others are of an image
COORDINATE: dict[str, Any] = {"compressors": [ZstdCodec(level=1), Crc32cCodec()], "dimension_names": ("state",)}
# What a damaged file makes of zarr; that a place cannot be reached is none of it.
DAMAGE = (ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)


@lru_cache(maxsize=4)
def open_group(path: Path | UPath, token: uuid.UUID) -> tuple[zarr.Group, zarr.Array, list[tuple[str, int]]]:
    """Open the group, its logits and its states; once for a token, before which they were there."""
    if not exists(path):
        raise FileNotFoundError(f"{path} is missing: run generate_saliency_maps first")
    file, values = path / ROOT, {}
    try:
        group = whole(zarr.open_group(zarr_store(path), mode="r+"))
        # zarr would drop a chunk of nothing but NaN, as a network that diverged gives: it would be missing for ever.
        with zarr.config.set({"array.write_empty_chunks": True}):
            file = path / "logits" / ROOT
            array = whole(group["logits"])
        count = array.shape[0]  # a kill while states are added can leave more names than states
        for name, missing in MISSING.items():
            file = path / name / ROOT
            coordinate = whole(group[name])
            if coordinate.shape[0] < (count if name in STATE else array.shape[1]):
                raise ValueError(f"there are fewer than in {path / 'logits' / ROOT}")
            file = path / name / "c" / "0"
            values[name] = coordinate[:count] if name in STATE else coordinate[:]
            if missing in values[name]:
                raise ValueError("numbers or names are missing")
        file = path / "weights" / ROOT
        if _files.is_there(file):
            owners, file = whole(group["weights"]), path / "weights" / "c" / "0"
            _ = owners[:]
        file = path / "logits" / ROOT
        if _files.is_there(path / "logits" / array.metadata.encode_chunk_key((count, 0, 0, 0))):
            raise ValueError(f"there are blocks of more than {count} states")
    except (*DAMAGE, FileNotFoundError) as error:
        what = f"{path} is no whole store of occluded logits ({file}: {say(error)})"
        mend = "run generate_saliency_maps, which mends it from its copy; where that fails, delete it first"
        raise ValueError(f"{what}: {mend}") from None
    states = zip(values["model"], values["epoch"], strict=True)
    return group, array, [(str(name), int(epoch)) for name, epoch in states]


def _digest(node: zarr.Group | zarr.Array) -> str:
    """SHA-256 of what is said of an array or the group and stays as it is, whichever version of zarr writes it."""
    said: list[Any] = [{name: value for name, value in node.attrs.items() if name != _files.SEAL}]
    if isinstance(node, zarr.Array):
        names = node.metadata.dimension_names
        said += [node.shape[names[0] == "state" :], node.chunks, str(node.fill_value), names]
        said += [node.metadata.encode_chunk_key((1,) * node.ndim)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def seal(node: zarr.Group | zarr.Array) -> None:
    """Have an array or the group carry its digest."""
    node.attrs[_files.SEAL] = _digest(node)


def whole(node: Any) -> Any:
    """Give an array or the group; a ValueError if it is not what was sealed."""
    if node.attrs.get(_files.SEAL) not in (None, _digest(node)):
        raise ValueError("its content is not what was written")
    return node


def say(error: Exception) -> str:
    """First sentence of an error, or its kind."""
    return str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__


def create_group(path: Path | UPath, attributes: dict, images: dict[str, np.ndarray], count: int, block: int) -> None:
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
        shape = {"shape": values.shape, "chunks": values.shape, "dtype": values.dtype}
        of_images = COORDINATE | {"dimension_names": ("image",)}
        group.create_array(name, **shape, fill_value=MISSING[name], **of_images)[:] = values
    for name, kind in {"model": str, "epoch": "int64"}.items():
        group.create_array(name, shape=(0,), chunks=(4096,), dtype=kind, fill_value=MISSING[name], **COORDINATE)
    for node in (group, *(array for _, array in group.arrays())):
        seal(node)
    last = [name for name in contents if name != ROOT] + [ROOT]  # what makes it a store
    _files.write_folder(path, {name: contents[name].to_bytes() for name in last})


def keep_copy(path: Path | UPath) -> None:
    """Keep a copy of all files but the blocks, as they are: before the first block of a new state is written."""
    kept = {name: _files.read_bytes(path / name) for name in _files.names_in(path) if COPIED.fullmatch(name)}
    if kept != _copied(path):
        entries = {name: b64encode(data or b"").decode() for name, data in kept.items()}
        _files.write_json(path / COPY, _files.sealed(entries))


def put_back(path: Path | UPath) -> None:
    """Put the files back that are not, or no more, as the copy has them; no block is newer than it."""
    for name, data in _copied(path).items():
        if _files.read_bytes(path / name) != data:
            _files.write_bytes(path / name, data)


def _copied(path: Path | UPath) -> dict[str, bytes]:
    """Read the copy; nothing if there is none, or it is damaged."""
    with suppress(ValueError):
        entries = _files.read_sealed(path / COPY, "") or {}
        return {name: b64decode(data) for name, data in entries.items() if COPIED.fullmatch(name)}
    return {}


def exists(path: Path | UPath) -> bool:
    """Say whether something is at the store's place: here any folder, in an object store what is written last."""
    return _files.is_there(path / ROOT) if _files.is_remote(path) else path.exists()


def zarr_store(path: Path | UPath, **options) -> LocalStore | FsspecStore:
    """Zarr's own access to a folder or an object store."""
    if _files.is_remote(path):
        return FsspecStore.from_url(str(path), storage_options=dict(path.storage_options), **options)
    return LocalStore(path, **options)
