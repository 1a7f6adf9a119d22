"""The run folder: parameters, checkpoints, results. One folder holds everything one run of the study made."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from kd_lib import files

PACKAGES = ("torch", "torchvision", "numpy", "zarr", "kd_lib")


@dataclass(frozen=True)
class Run:
    """The folder of one run of the study.

    Parameters
    ----------
    folder : str or Path
        A relative folder is taken from the current folder, or from the project's folder when the current one is the
        project's `notebooks/`, so that a notebook finds the same run however it is started.
    """

    folder: Path

    def __post_init__(self):  # noqa: D105
        folder = Path(self.folder).expanduser()
        here = Path.cwd()
        if here.name == "notebooks" and (here.parent / "pyproject.toml").is_file():
            here = here.parent
        object.__setattr__(self, "folder", here / folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"run folder {self.folder} is a file: give a folder, or a new name")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, one folder a model."""
        return self.folder / "checkpoints"

    @property
    def occlusion(self) -> Path:
        """The zarr group of occluded logits."""
        return self.folder / "occlusion.zarr"

    @property
    def annotations(self) -> Path:
        """Folder of the labels that people gave."""
        return self.folder / "annotations"

    @property
    def results(self) -> Path:
        """Folder of the result tables."""
        return self.folder / "results"

    @property
    def notebooks(self) -> Path:
        """Folder of the executed notebooks."""
        return self.folder / "notebooks"

    @property
    def report(self) -> Path:
        """Folder of the rendered book."""
        return self.folder / "report"

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
        if not self._json.is_file():
            entries = {"parameters": parameters, "dataset_fingerprint": dataset_fingerprint}
            return files.write_json(self._json, entries | surroundings())
        known = self._entries()
        owner = known["parameters"] | {"data fingerprint": known["dataset_fingerprint"]}
        if differing := differences(owner, claimed):
            raise ValueError(
                f"run folder {self.folder} belongs to other parameters ({'; '.join(differing)}): "
                "give another run folder, or delete this one"
            )

    @property
    def parameters(self) -> dict:
        """The parameters this run was claimed with; FileNotFoundError if it never was."""
        return self._entries()["parameters"]

    def entry(self, key: str):
        """One entry of `run.json`; KeyError if it was never recorded."""
        return self._entries()[key]

    def record(self, key: str, value) -> None:
        """Add one JSON-able entry, such as seconds per step, to `run.json`."""
        files.write_json(self._json, self._entries() | {key: value})

    def checkpoint_path(self, model: str, epoch: int) -> Path:
        """Where the weights of `model` after `epoch` epochs are kept (0: as initialised)."""
        return self.checkpoints / model / f"epoch-{epoch:03d}.safetensors"

    def epochs(self, model: str) -> list[int]:
        """Epochs of `model` that are stored, in order; empty if there are none."""
        return sorted(int(file.stem.split("-")[1]) for file in (self.checkpoints / model).glob("epoch-*.safetensors"))

    def last_epoch(self, model: str) -> int:
        """Last stored epoch of `model`; FileNotFoundError if there is none."""
        if epochs := self.epochs(model):
            return epochs[-1]
        raise FileNotFoundError(f"no checkpoint of model {model!r} in {self.checkpoints}: run train_models first")

    def write_csv(self, frame: pd.DataFrame, name: str) -> None:
        """Write `frame` (without its index) to `results/NAME.csv`."""
        files.write_bytes(self.results / f"{name}.csv", frame.to_csv(index=False).encode())

    def read_csv(self, name: str, *, made_by: str = "the notebook that makes it") -> pd.DataFrame:
        """Read `results/NAME.csv`; `made_by` names the notebook to run if it is missing (FileNotFoundError)."""
        file = self.results / f"{name}.csv"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: run {made_by} first")
        return pd.read_csv(file)

    @property
    def _json(self) -> Path:
        return self.folder / "run.json"

    def _entries(self) -> dict:
        try:
            return json.loads(self._json.read_text())
        except FileNotFoundError:
            raise FileNotFoundError(f"{self._json} is missing: run train_models first") from None
        except ValueError as error:
            raise ValueError(
                f"{self._json} is not valid JSON ({error}): delete the run folder and start again"
            ) from None


def save_checkpoint(path: Path, module: nn.Module) -> None:
    """Write the parameters and buffers of `module` to `path` as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    files.write_bytes(path, safetensors.torch.save(tensors))


def load_checkpoint(path: Path, module: nn.Module) -> nn.Module:
    """Fill `module` with the weights at `path`, on the device it is on, and return it.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint.
    ValueError
        If the file is truncated, is no safetensors file, or holds another architecture.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {path} is missing: run train_models first")
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged ({error}): train again with recompute=True") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"checkpoint {path} holds another network ({reason}): train again with recompute=True"
        ) from None
    return module


def differences(known: Mapping, given: Mapping) -> list[str]:
    """Say of each entry that differs between two mappings what each of them has."""
    absent = object()

    def say(value):
        return "absent" if value is absent else repr(value)

    pairs = {key: (known.get(key, absent), given.get(key, absent)) for key in known | given}
    return [f"{key}: {say(old)} there, {say(new)} given" for key, (old, new) in pairs.items() if old != new]


def surroundings() -> dict:
    """Versions, hardware, number of threads, commit and time, for the record of a run."""
    return {
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
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
    """Commit of the source tree this package lies in; None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
