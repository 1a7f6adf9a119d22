"""What a training leaves after every epoch, so that it goes on from there: `resume.pt` beside the checkpoints."""

import fnmatch
import io
import pickle
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from upath import UPath

from kd_lib import _files
from kd_lib.study.run import Run


def save(run: Run, model: nn.Module, state: dict) -> None:
    """Write the last epoch of a history; `resume.pt` comes last and makes it count.

    Parameters
    ----------
    run : Run
    model : nn.Module
        After that epoch.
    state : dict
        What `load` gives back: history (a dict an epoch, as rows of `training.train`), setting (what must not change),
        device (its type), and the state of whatever else goes on.
    """
    last = state["history"][-1]
    resume, csv = _beside(run, last["model"])
    buffer = io.BytesIO()
    torch.save(state, buffer)
    save_checkpoint(run.checkpoint_path(last["model"], last["epoch"]), model)
    _files.write_bytes(csv, pd.DataFrame(state["history"]).to_csv(index=False).encode())
    _files.write_bytes(resume, buffer.getvalue())


def load(run: Run, name: str, setting: dict, device: torch.device, epochs: int) -> dict | None:
    """Read the state after the last full epoch, if there is one that this training can go on from.

    Parameters
    ----------
    run : Run
    name : str
        Of the network.
    setting : dict
        How it is to be trained.
    device : torch.device
        Where it would go on.
    epochs : int
        How many are wanted in all.

    Returns
    -------
    dict or None
        What `save` was given; None if nothing is stored.

    Raises
    ------
    ValueError
        If the network was trained in another way or on another device, or something is damaged or missing.
    """
    resume, _ = _beside(run, name)
    mend = "train again with recompute=True"
    data = _files.read_bytes(resume)
    if data is None:
        if any(run.epochs(name)):  # epoch 0 alone is a training killed in its first write
            raise ValueError(f"{resume.parent} has checkpoints but no {resume.name} to go on from: {mend}")
        return None
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{resume} is damaged ({str(error).splitlines()[0]}): {mend}") from None
    if differing := _files.differences(state["setting"], setting):
        raise ValueError(f"{name!r} was trained in another way ({'; '.join(differing)}): {mend}")
    if len(state["history"]) <= epochs and state["device"] != device.type:
        raise ValueError(f"training of {name!r} stopped on {state['device']!r}: go on there, or {mend}")
    for row in state["history"]:
        path = run.checkpoint_path(name, row["epoch"])
        if not _files.is_there(path):
            raise ValueError(f"checkpoint {path} is missing: {mend}")
        if _files.is_remote(path):  # and whole, as objects are
            continue
        try:
            safe_open(path, "pt").keys()  # a truncated file does not open
        except SafetensorError as error:
            raise ValueError(f"checkpoint {path} is damaged ({error}): {mend}") from None
    return state


def clear(run: Run, name: str) -> None:
    """Delete what an earlier training left, `resume.pt` last so that a half-deleted one is not taken for a new one."""
    resume, csv = _beside(run, name)
    for file in (*[run.checkpoint_path(name, epoch) for epoch in run.epochs(name)], csv, resume):
        _files.delete(file)


def clear_partial(run: Run, name: str) -> None:
    """Delete what a training leaves that was killed while it wrote."""
    folder = run.checkpoint_path(name, 0).parent
    for partial in fnmatch.filter(_files.names_in(folder), ".*.partial"):
        _files.delete(folder / partial)


def _beside(run: Run, name: str) -> tuple:
    folder = run.checkpoint_path(name, 0).parent
    return folder / "resume.pt", folder / "history.csv"


def save_checkpoint(path: Path | UPath, module: nn.Module) -> None:
    """Write the parameters and buffers of `module` to `path` as safetensors, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    _files.write_bytes(path, safetensors.torch.save(tensors))


def load_checkpoint(path: Path | UPath, module: nn.Module) -> nn.Module:
    """Fill `module` with the weights at `path`, on the device it is on, and return it.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint.
    ValueError
        If the file is truncated, is no safetensors file, or holds another architecture.
    """
    if (data := _files.read_bytes(path)) is None:
        raise FileNotFoundError(f"checkpoint {path} is missing: run train_models first")
    try:
        module.load_state_dict(safetensors.torch.load(data))
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged ({error}): train again with recompute=True") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"checkpoint {path} holds another network ({reason}): train again with recompute=True"
        ) from None
    return module
