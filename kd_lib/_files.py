"""Read and write files, here or in an object store (a `UPath`); what is written is there whole or not at all.

Of an object store, only "no such file" counts as absence: what cannot be reached is an error, never a file that is not
there, which the caller would write anew. Nothing here takes long to load: Make's smallest steps import this.
"""

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import yaml

if TYPE_CHECKING:
    from upath import UPath

TEMPORARY = r"\..*\.\d+\.partial|.*\.[0-9a-f]{32}\.partial|\.book-.*"  # what is being written, here and by zarr
STALE = 3600  # what is alive writes a file in seconds, and a report's pages in minutes
SEAL = "sha256"  # entry of a JSON file: the digest of the others


def write_bytes(path: "str | Path | UPath", data: bytes) -> None:
    """Write `data` to `path` so that the file is there whole or not at all.

    Raises
    ------
    OSError
        If the device is full: the message names the file and its size, and nothing is left behind.
    FileNotFoundError
        If the bucket is not there.
    """
    if is_remote(path):
        return _put(path, data)
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a crash after the rename can leave an empty file
        os.replace(partial, path)
    except OSError as error:
        raise refused(error, path, len(data)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, see `write_bytes`."""
    write_bytes(path, text.encode())


def refused(error: OSError, path: Path, needed: int) -> OSError:
    """`error`, or one that names the file, and what to do, if the device is full or nothing may be written there."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = f"{needed / 1e6:.1f} MB needed"
        return OSError(error.errno, f"no space left to write {path} ({size}): free some space, then run again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        mend = "make its folder writable, or copy it to where it is"
        return OSError(error.errno, f"no permission to write {path}: {mend}, then run again")
    return error


def write_json(path: Path, entries: Mapping) -> None:
    """Write `entries` to `path` as indented JSON, see `write_bytes`."""
    write_text(path, json.dumps(entries, indent=2) + "\n")


def sealed(entries: Mapping, content: bytes = b"") -> dict:
    """Add to JSON-able entries their digest, together with that of the content of a file that they belong to."""
    plain = json.loads(json.dumps(entries))
    return plain | {SEAL: hashlib.sha256(json.dumps(plain, sort_keys=True).encode() + content).hexdigest()}


def read_sealed(path: "Path | UPath", mend: str, content: bytes = b"") -> dict | None:
    """Read what `sealed` gave, without the digest; None if there is no such file.

    A ValueError that names the file, and says how to `mend` it, if it is not what was written. Entries without a digest
    are taken as they are.
    """
    if (data := read_bytes(path)) is None:
        return None
    try:
        entries = json.loads(data)
        if not isinstance(entries, dict):
            raise ValueError("it holds no entries")
        if entries.pop(SEAL, None) not in (None, sealed(entries, content)[SEAL]):
            raise ValueError("its content is not what was written")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): {mend}") from None
    return entries


def write_folder(path: "Path | UPath", contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, by their names in it, so that it is there whole or not at all.

    An object store has no folders: there the file named last makes the others count.
    """
    if is_remote(path):
        for name, data in contents.items():
            _put(path / name, data)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        for name, data in contents.items():
            write_bytes(partial / name, data)
        os.replace(partial, path)
    except OSError as error:
        raise refused(error, path, sum(map(len, contents.values()))) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_bytes(path: "Path | UPath") -> bytes | None:
    """Read a file whole; None if there is none."""
    with suppress(FileNotFoundError):
        return path.fs.cat_file(path.path) if is_remote(path) else path.read_bytes()
    return None


def is_there(path: "Path | UPath") -> bool:
    """Say whether there is a file of this name."""
    if not is_remote(path):
        return path.is_file()
    with suppress(FileNotFoundError):
        return path.fs.info(path.path)["type"] == "file"  # isfile would take any error for a no
    return False


def names_in(folder: "Path | UPath") -> list[str]:
    """Names of all files below a folder, as seen from it, in order; none if there is no such folder."""
    if not is_remote(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with suppress(FileNotFoundError):
        return sorted(name.removeprefix(f"{folder.path}/") for name in folder.fs.find(folder.path))
    return []


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made, for this process and those that it starts; no lock outlives the last of them.

    A RuntimeError says who holds it already. Where nothing can be locked, nothing is: the first write tells why.
    """
    import fcntl  # not on every platform

    lock, file = folder / ".lock", None
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(lock, os.O_RDWR | os.O_CREAT)
        os.set_inheritable(file, True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode(errors="replace") or "another process"
            os.close(file)
            raise RuntimeError(f"{folder} is at work already, by {holder}: let it end, or stop it, first") from None
        os.truncate(file, 0)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        os.write(file, f"process {os.getpid()} on {platform.node()} since {since}".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            if os.listdir(folder) == [lock.name]:  # nothing came of it
                lock.unlink()
                folder.rmdir()
        if file is not None:
            os.close(file)


def delete(path: "Path | UPath") -> None:
    """Delete a file, if it is there."""
    with suppress(FileNotFoundError):
        path.fs.rm_file(path.path) if is_remote(path) else path.unlink()


def sweep(folder: "Path | UPath") -> None:
    """Delete what writers left below a folder that were killed: temporary files untouched for `STALE` seconds."""
    for place, folders, files in () if is_remote(folder) else os.walk(folder):
        for path in (Path(place, name) for name in [*folders, *files] if re.fullmatch(TEMPORARY, name)):
            with suppress(OSError):  # gone by now, or not ours
                if time.time() - max(part.stat().st_mtime for part in (path, *path.rglob("*"))) > STALE:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_remote(path: "str | Path | UPath") -> "TypeGuard[UPath]":
    """Say whether a path is one of an object store."""
    return not isinstance(path, (str, Path))


def _put(path: "UPath", data: bytes) -> None:
    """Write an object: a put is there whole or not at all, several parts included."""
    try:
        path.fs.pipe_file(path.path, data)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} cannot be written ({error}): make the bucket first, or give another") from None


class _Yaml(yaml.SafeLoader):
    """YAML as people mean it, which is version 1.2 for plain values: 1e-3 is a number, 010 is ten, and no is a word."""

    yaml_implicit_resolvers: dict = {}

    def construct_mapping(self, node, deep=False):
        """Refuse a key that is there twice, of which only the last one would count."""
        names = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        if twice := [name for position, name in enumerate(names) if name in names[:position]]:
            raise yaml.YAMLError(f"the key {twice[0]!r} is there twice")
        return super().construct_mapping(node, deep)


_WHOLE, _FRACTION = r"[-+]?[0-9]+", r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"
for _tag, _pattern, _first in (
    ("int", _WHOLE, "-+0123456789"),
    ("float", _FRACTION, "-+.0123456789"),
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first])
_Yaml.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))


def parse_yaml(text: str) -> Any:
    """Value of a YAML text; a ValueError, of one line, if it is not valid or has a key twice."""
    try:
        return yaml.load(text, _Yaml)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not valid YAML: {' '.join(str(error).split())}") from None


def differences(known: Mapping, given: Mapping) -> list[str]:
    """Say of each entry that differs between two mappings what each of them has."""
    absent = object()

    def say(value):
        return "absent" if value is absent else repr(value)

    pairs = {key: (known.get(key, absent), given.get(key, absent)) for key in {**known, **given}}
    return [f"{key}: {say(old)} there, {say(new)} given" for key, (old, new) in pairs.items() if old != new]
