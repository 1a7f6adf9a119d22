"""What a study reads that is no parameter: the files of brought networks, and a folder of images."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kd_lib import _files


def digests(values: Mapping[str, Any]) -> dict[str, str]:
    """For networks and images that are files, a digest of which these are, how large, and when they were changed.

    Parameters
    ----------
    values : mapping
        Parameters of the notebooks that differ from the defaults. What is not there is no error here.
    """
    source, _, path = values.get("data_set", "").partition(":")
    places = {}
    if models := values.get("models"):
        places["networks"] = _networks(Path(models))
    if source == "imagefolder" and (root := path or values.get("root")):
        places["images"] = _below(Path(root).expanduser())
    return {what: _digest(files) for what, files in places.items()}


def _networks(file: Path) -> Iterator[Path]:
    """Give the YAML file, the weights that it names, the modules beside it, and the package that a factory is in."""
    yield file
    entries: Any = {}
    with suppress(ValueError, OSError):
        entries = _files.parse_yaml(file.read_text(encoding="utf-8"))
    yield from file.parent.glob("*.py")
    for entry in entries.values() if isinstance(entries, dict) else ():
        if isinstance(entry, dict):
            weights, package = entry.get("weights"), str(entry.get("factory")).partition(":")[0].partition(".")[0]
            for one in weights if isinstance(weights, list) else [weights]:
                yield file.parent / Path(str(one)).expanduser()
            yield from (file.parent / package).rglob("*.py")


def _below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder, followlinks=True):
        yield from (Path(parent, name) for name in names)


def _digest(files: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(set(files)):
        with suppress(OSError):
            state = file.stat()
            digest.update(os.fsencode(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0"))
    return digest.hexdigest()[:16]
