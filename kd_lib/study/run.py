"""The run folder: parameters, checkpoints, results. One folder holds everything one run of the study made.

It may lie in an object store, under a URL such as s3://bucket/quick.
"""

import importlib.metadata
import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from upath import UPath

from kd_lib import _files
from kd_lib.networks.checkpoints import Checkpoints

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "torchvision", "numpy", "zarr", "kd_lib")
# Columns of result tables with names somebody gave, to a class, a network, a choice: text, also where one is NA or 1
NAMED = ("class", "model", "model_a", "model_b", "network", "other network", "pair", "panel", "feature", "annotator")
NAMED += ("kind", "what", "less", "distilled less", "choice", "question", "headline", "verdict", "remark", "source")
NAMED += ("student", "setting", "quantity", "among")


@dataclass(frozen=True)
class Run:
    """The folder of one run of the study.

    Parameters
    ----------
    folder : str, Path or UPath
        A relative folder starts at the project's folder, so that a notebook finds the same run wherever it is started;
        at the current one where the package is installed without the project. A URL (s3://bucket/quick) is opened by
        fsspec, whose own configuration says with which credentials.

    Raises
    ------
    ValueError
        If the folder is a file, or no file system known to fsspec opens the URL.
    ImportError
        If the package that opens such URLs is missing; names it.
    """

    folder: Path | UPath

    def __post_init__(self):  # noqa: D105
        if "://" in str(self.folder):
            return object.__setattr__(self, "folder", _at(str(self.folder)))
        start = PROJECT if (PROJECT / "pyproject.toml").is_file() else Path.cwd()
        object.__setattr__(self, "folder", start / Path(self.folder).expanduser())
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"run folder {self.folder} is a file: give a folder, or a new name")

    @property
    def checkpoints(self) -> Checkpoints:
        """The networks after every epoch."""
        return Checkpoints(self.folder / "checkpoints")

    @property
    def occlusion(self) -> Path | UPath:
        """The zarr group of occluded logits."""
        return self.folder / "occlusion.zarr"

    @property
    def annotations(self) -> Path | UPath:
        """Folder of the labels that people gave."""
        return self.folder / "annotations"

    @property
    def results(self) -> Path | UPath:
        """Folder of the result tables."""
        return self.folder / "results"

    def claim(self, parameters: Mapping, *, dataset_fingerprint: str) -> None:
        """Make the folder this run's own, or check that it already is.

        The first call writes `run.json`: parameters, fingerprint of the data, versions, hardware. A later one compares.

        Parameters
        ----------
        parameters : mapping
            JSON-able values that decide what the run computes.
        dataset_fingerprint : str
            `Dataset.fingerprint`.

        Raises
        ------
        ValueError
            If the folder belongs to other parameters or other data. Nothing is written.
        """
        parameters = json.loads(json.dumps(dict(parameters)))  # as they will be read back: tuples become lists
        claimed = parameters | {"data fingerprint": dataset_fingerprint}
        if not _files.is_there(self._json):
            entries = {"parameters": parameters, "dataset_fingerprint": dataset_fingerprint}
            return _files.write_json(self._json, _files.sealed(entries | surroundings()))
        known = self.entries()
        owner = known["parameters"] | {"data fingerprint": known.get("dataset_fingerprint")}
        if differing := _files.differences(owner, claimed):
            raise ValueError(
                f"run folder {self.folder} belongs to other parameters ({'; '.join(differing)}): "
                "give another run folder, or delete this one"
            )

    @property
    def parameters(self) -> dict:
        """The parameters this run was claimed with; FileNotFoundError if it never was."""
        return self.entries()["parameters"]

    def entry(self, key: str):
        """One entry of `run.json`; KeyError if it was never recorded."""
        return self.entries()[key]

    def record(self, key: str, value) -> None:
        """Add one JSON-able entry, such as seconds per step, to `run.json`."""
        _files.write_json(self._json, _files.sealed(self.entries() | {key: value}))

    def write_csv(self, frame: pd.DataFrame, name: str, folder: Path | UPath | None = None) -> bytes:
        """Write `frame` (without its index) to `NAME.csv` in a folder, `results/` by default; gives what is in it."""
        data = frame.to_csv(index=False).encode()
        _files.write_bytes((folder or self.results) / f"{name}.csv", data)
        return data

    def read_csv(self, name: str, *, made_by: str = "the notebook that makes it") -> pd.DataFrame:
        """Read `results/NAME.csv`; `made_by` names the notebook to run if it is missing (FileNotFoundError)."""
        file = self.results / f"{name}.csv"
        if (data := _files.read_bytes(file)) is None:
            raise FileNotFoundError(f"{file} is missing: run {made_by} first")
        self.made_with(name, data, made_by=made_by)
        return read_results(data)

    def made_with(self, name: str, data: bytes, *, made_by: str = "the notebook that makes it") -> dict:
        """Give what a table of this content was made with; a ValueError if it is not the content that was written."""
        mend = f"or {self.results / name}.csv is; run {made_by} again"
        return _files.read_sealed(self.results / f"{name}.json", mend, data) or {}

    @property
    def _json(self) -> Path | UPath:
        return self.folder / "run.json"

    def entries(self) -> dict:
        """All of `run.json`, read anew.

        A FileNotFoundError if nothing was begun here, a ValueError if the file is not what was written.
        """
        mend = "put a copy back, or delete this file and run train_models with its parameters, which keeps the rest"
        if (entries := _files.read_sealed(self._json, mend)) is None:
            raise FileNotFoundError(f"{self._json} is missing: run train_models first")
        if not isinstance(entries.get("parameters"), dict):
            raise ValueError(f"{self._json} is damaged (it names no parameters): {mend}")
        return entries


def read_results(data: bytes) -> pd.DataFrame:
    """Read the bytes of a result table: what `NAMED` lists is text as written, and an empty cell elsewhere is NaN."""
    types = dict.fromkeys(NAMED, str)
    table = pd.read_csv(io.BytesIO(data), dtype=types, keep_default_na=False, na_values=[""])
    return table.fillna(dict.fromkeys(NAMED, ""))


def _at(url: str) -> Path | UPath:
    """Open the place that a URL names; one of this machine is an ordinary folder."""
    try:
        place = UPath(url, use_listings_cache=False)  # other processes write there too
        _ = place.fs
    except ImportError as error:
        raise ImportError(f"run folder {url} needs a package more: {error}") from None
    except ValueError as error:
        raise ValueError(f"run folder {url}: {error}; expected a folder, or a URL such as s3://bucket/quick") from None
    return Path(place.path) if place.protocol in ("file", "local") else place


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # found on the path, as this one is in a copy of the project
        return "not installed"


def surroundings() -> dict:
    """Versions, hardware, number of threads, commit and time, for the record of a run."""
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "hardware": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "threads": torch.get_num_threads(),
        "commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def git_commit() -> str | None:
    """Commit of the source tree this package lies in; outside a git checkout what GIT_COMMIT says, None without it."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GIT_COMMIT")
