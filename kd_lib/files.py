"""Write a file so that it is there whole or not at all. Standard library only: Make's smallest steps import it."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that the file is there whole or not at all.

    Raises
    ------
    OSError
        If the device is full: the message names the file and its size, and nothing is left behind.
    """
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
        raise no_space(error, path, len(data)) from error
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, see `write_bytes`."""
    write_bytes(path, text.encode())


def no_space(error: OSError, path: Path, needed: int) -> OSError:
    """`error`, or if it says that the device is full, one that names the file and the `needed` bytes."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    size = f"{needed / 1e6:.1f} MB needed"
    return OSError(error.errno, f"no space left to write {path} ({size}): free some space, then run again")


def write_json(path: Path, entries: Mapping) -> None:
    """Write `entries` to `path` as indented JSON, see `write_bytes`."""
    write_text(path, json.dumps(entries, indent=2) + "\n")
