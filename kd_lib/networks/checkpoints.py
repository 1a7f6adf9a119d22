"""The networks of a run after every epoch, and what their trainings left, so that they go on from there.

A folder a network: `epoch-000.safetensors` (as initialised), `epoch-001.safetensors`, …, `history.csv` and `resume.pt`.
"""

import fnmatch
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from upath import UPath

from kd_lib import _files

MEND = "delete this network's folder and run train_models again (recompute=True makes all networks anew)"
DIGEST = "sha256"  # of what a file holds: in the metadata of weights, and at the end of `resume.pt`
SEAL = 71  # bytes of ``sha256:`` and 64 digits


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run in their `folder`, which is made when something is written."""

    folder: Path | UPath

    def path(self, name: str, epoch: int) -> Path | UPath:
        """Where the weights of a network after `epoch` epochs are kept (0: as initialised)."""
        return self.folder / name / f"epoch-{epoch:03d}.safetensors"

    def epochs(self, name: str) -> list[int]:
        """Epochs of a network that are stored, in order; empty if there are none."""
        files = _files.names_in(self.folder / name)
        return sorted(int(match[1]) for file in files if (match := re.fullmatch(r"epoch-(\d+)\.safetensors", file)))

    def last_epoch(self, name: str) -> int:
        """Last stored epoch of a network; FileNotFoundError if there is none."""
        if epochs := self.epochs(name):
            return epochs[-1]
        raise FileNotFoundError(f"no checkpoint of model {name!r} in {self.folder}: run train_models first")

    def save(self, name: str, epoch: int, module: nn.Module) -> None:
        """Write the parameters and buffers of `module` as safetensors, whole or not at all."""
        whole = torch.contiguous_format  # cloned, for safetensors refuses what shares memory, such as tied weights
        tensors = {key: tensor.detach().cpu().clone(memory_format=whole) for key, tensor in module.state_dict().items()}
        _files.write_bytes(self.path(name, epoch), safetensors.torch.save(tensors, {DIGEST: _digest(tensors)}))

    def load(self, name: str, epoch: int, module: nn.Module) -> nn.Module:
        """Fill `module` with the weights of a network after `epoch` epochs, on the device it is on, and return it.

        Raises
        ------
        FileNotFoundError
            If there is no such checkpoint.
        ValueError
            If the file is damaged, is no safetensors file, or holds another architecture.
        """
        path = self.path(name, epoch)
        if (data := _files.read_bytes(path)) is None:
            raise FileNotFoundError(f"checkpoint {path} is missing: run train_models first")
        try:
            tensors, kept = safetensors.torch.load(data), _metadata(data).get(DIGEST)
            if kept not in (None, _digest(tensors)):
                raise SafetensorError("its content is not what was written")
            module.load_state_dict(tensors)
        except SafetensorError as error:
            raise ValueError(f"checkpoint {path} is damaged ({error}): {MEND}") from None
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise ValueError(f"checkpoint {path} holds another network ({reason}): {MEND}") from None
        return module

    def digest(self, name: str, epoch: int) -> str:
        """SHA-256 of the weights of a network after `epoch` epochs, as `save` noted it; empty if it is not known."""
        path = self.path(name, epoch)
        if not _files.is_there(path):
            return ""
        with path.open("rb") as file:
            size = file.read(8)
            return _metadata(size + file.read(int.from_bytes(size, "little"))).get(DIGEST, "")

    def save_state(self, module: nn.Module, state: dict) -> None:
        """Write the last epoch of a training; `resume.pt` comes last and makes it count.

        The `state` has the history (a dict an epoch, as rows of `training.train`), the setting (what must not change),
        the device (its type), and the state of whatever else goes on.
        """
        last = state["history"][-1]
        resume, csv = self._beside(last["model"])
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.save(last["model"], last["epoch"], module)
        _files.write_bytes(csv, pd.DataFrame(state["history"]).to_csv(index=False).encode())
        content = buffer.getvalue()
        _files.write_bytes(resume, content + f"{DIGEST}:{hashlib.sha256(content).hexdigest()}".encode())

    def load_state(self, name: str, setting: dict, device: torch.device, epochs: int) -> dict | None:
        """Read what `save_state` was given after the last full epoch; None if nothing is stored.

        A ValueError if a training by this setting, on this device, to so many `epochs` in all cannot go on from there:
        the network was trained in another way or elsewhere, or something is damaged or missing.
        """
        resume, _ = self._beside(name)
        data = _files.read_bytes(resume)
        if data is None:
            if any(self.epochs(name)):  # epoch 0 alone is a training killed in its first write
                raise ValueError(f"{resume.parent} has checkpoints but no {resume.name} to go on from: {MEND}")
            return None
        try:
            content, seal = data[:-SEAL], data[-SEAL:].decode(errors="replace")
            if seal.startswith(DIGEST) and seal != f"{DIGEST}:{hashlib.sha256(content).hexdigest()}":
                raise RuntimeError("its content is not what was written")
            state = torch.load(io.BytesIO(content if seal.startswith(DIGEST) else data), "cpu", weights_only=True)
        except Exception as error:  # whatever a damaged file makes of its reader
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"{resume} is damaged ({reason}): {MEND}") from None
        if differing := _files.differences(state["setting"], setting):
            raise ValueError(f"{name!r} was trained in another way ({'; '.join(differing)}): {MEND}")
        if len(state["history"]) <= epochs and state["device"] != device.type:
            raise ValueError(f"training of {name!r} stopped on {state['device']!r}: go on there, or {MEND}")
        for row in state["history"]:
            path = self.path(name, row["epoch"])
            if not _files.is_there(path):
                raise ValueError(f"checkpoint {path} is missing: {MEND}")
            try:
                if not _files.is_remote(path):  # objects are whole
                    safe_open(path, "pt").keys()  # a truncated file does not open
            except SafetensorError as error:
                raise ValueError(f"checkpoint {path} is damaged ({error}): {MEND}") from None
        return state

    def clear(self, name: str) -> None:
        """Delete what an earlier training left, `resume.pt` last so that a half-deleted one is not taken for new."""
        resume, csv = self._beside(name)
        for file in (*(self.path(name, epoch) for epoch in self.epochs(name)), csv, resume):
            _files.delete(file)

    def keep_last(self, name: str) -> None:
        """Delete what a finished training needs no more: all but the weights of its last epoch, and its history."""
        resume, _ = self._beside(name)
        for file in (*(self.path(name, epoch) for epoch in self.epochs(name)[:-1]), resume):
            _files.delete(file)

    def clear_partial(self, name: str) -> None:
        """Delete what a training leaves that was killed while it wrote."""
        for partial in fnmatch.filter(_files.names_in(self.folder / name), ".*.partial"):
            _files.delete(self.folder / name / partial)

    def _beside(self, name: str) -> tuple[Path | UPath, Path | UPath]:
        """Find what is kept beside the checkpoints: the state of the training, and its history."""
        return self.folder / name / "resume.pt", self.folder / name / "history.csv"


def _metadata(data: bytes) -> dict[str, str]:
    """Metadata in the header of a safetensors file."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and numbers."""
    whole = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # an array is a buffer
    return whole.hexdigest()
