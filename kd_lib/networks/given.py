"""Networks that somebody already has: read from a YAML file, checked, and taken into a run.

The file has a name for each of them::

    resnet:
      factory: torchvision.models:resnet18    # package.module:function
      arguments: {num_classes: 10}            # of the function, by name; none by default
      weights: resnet.safetensors             # beside this file; or a list of files, one an epoch
      role: component                         # component | distilled | other
"""

import difflib
import hashlib
import importlib
import pickle
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
import yaml
from safetensors import SafetensorError
from torch import nn

from kd_lib.data import Dataset
from kd_lib.networks import training
from kd_lib.networks.checkpoints import Checkpoints

ROLES = ("component", "distilled", "other")
KEYS = {"factory": True, "arguments": False, "weights": True, "role": True}  # and whether they must be there
TAKEN = ("ensemble", "leave-one-out", "component", "other")  # names that the notebooks use for something else


@dataclass(frozen=True)
class Network:
    """One network of the file."""

    name: str
    factory: str  # 'package.module:function', which returns an nn.Module
    arguments: dict  # of the function, by name
    weights: tuple[Path, ...]  # a file an epoch, in order; the last is the final network
    role: str  # one of ROLES
    folder: Path  # where the file is: modules beside it can be imported

    @property
    def recipe(self) -> dict:
        """What `build` takes, as JSON-able values."""
        return {"factory": self.factory, "arguments": self.arguments, "role": self.role, "folder": str(self.folder)}


def read(path: str | Path) -> list[Network]:
    """Read the file; nothing is imported yet.

    A FileNotFoundError if it, or a file of weights, is missing, and a ValueError if it is not as described above; both
    name the network, and the key.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"models file {path} is missing: give the path of a YAML file")
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f"{path} must map names of networks to what they are; found {type(entries).__name__}")
    networks = [_network(path, name, entry) for name, entry in entries.items()]
    if len(networks) < 2:
        raise ValueError(f"{path} holds one network: give at least two, the study compares them")
    if len(students := [network.name for network in networks if network.role == "distilled"]) > 1:
        raise ValueError(f"{path}: {' and '.join(students)} are both distilled; one can be, give the rest role: other")
    return networks


def build(name: str, recipe: Mapping) -> nn.Module:
    """Call a network's factory; the weights are whatever it gives.

    A recipe has 'factory', 'arguments' and optionally 'folder', from which modules are imported as well. A ValueError
    names the network if the factory cannot be imported, fails or returns no nn.Module.
    """
    module, _, function = recipe["factory"].partition(":")
    if (folder := recipe.get("folder")) and folder not in sys.path:
        sys.path.append(folder)  # for good: a network may import more when it is called
    try:
        factory = getattr(importlib.import_module(module), function)
    except Exception as error:  # importing runs somebody's code
        raise ValueError(f"network {name!r}: cannot import its factory {recipe['factory']} ({_say(error)})") from error
    try:
        model = factory(**recipe["arguments"])
    except Exception as error:
        raise ValueError(
            f"network {name!r}: its factory {recipe['factory']} fails with arguments {recipe['arguments']} "
            f"({_say(error)})"
        ) from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"network {name!r}: its factory returns {type(model).__name__}, expected a torch.nn.Module")
    return model


def fingerprint(networks: Sequence[Network]) -> dict[str, str]:
    """For each name, 16 hexadecimal digits of a SHA-256 of what the network is, weights included."""
    found = {}
    for network in networks:
        digest = hashlib.sha256(repr((network.factory, sorted(network.arguments.items()), network.role)).encode())
        for file in network.weights:
            digest.update(file.read_bytes())
        found[network.name] = digest.hexdigest()[:16]
    return found


def check(networks: Sequence[Network], dataset: Dataset) -> None:
    """Build every network with each of its weights and try it on two images.

    A ValueError names the network if its factory fails, weights do not fit, or it does not map images to the classes.
    """
    for network in networks:
        model = build(network.name, network.recipe).eval()
        for file in network.weights:
            _fill(model, network.name, file)
        training.check_fit(model, dataset, f"network {network.name!r}")


def restore(
    checkpoints: Checkpoints,
    recipes: Mapping[str, Mapping],
    name: str,
    epoch: int | None = None,
    *,
    device: str = "auto",
) -> nn.Module:
    """Build a network of a run by its recipe and load its weights, in evaluation mode; its last epoch by default."""
    model = build(name, recipes[name]).to(training.pick_device(device), memory_format=torch.channels_last)
    return checkpoints.load(name, checkpoints.last_epoch(name) if epoch is None else epoch, model).eval()


def take(networks: Sequence[Network], checkpoints: Checkpoints) -> dict[str, dict]:
    """Copy the weights into a run's checkpoints, and return by name what `build` makes the networks from."""
    for network in networks:
        for epoch, file in enumerate(network.weights):
            checkpoints.save(network.name, epoch, _fill(build(network.name, network.recipe), network.name, file))
    return {network.name: network.recipe for network in networks}


def table(networks: Sequence[Network]) -> pd.DataFrame:
    """List what the networks are, a row each."""
    rows = [
        (n.name, n.role, n.factory, ", ".join(f"{k}={v!r}" for k, v in n.arguments.items()), len(n.weights))
        for n in networks
    ]
    return pd.DataFrame(rows, columns=["network", "role", "factory", "arguments", "epochs stored"]).set_index("network")


def _network(path: Path, name: object, entry: object) -> Network:
    """Check one entry of the file."""
    what = f"{path}: network {name!r}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name in TAKEN:
        raise ValueError(f"{what}: expected a name of letters, digits and . _ + -, and none of {', '.join(TAKEN)}")
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must have the keys {', '.join(KEYS)}; found {entry!r}")
    for key in entry:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"{what}: unknown key {key!r}{hint}; the keys are {', '.join(KEYS)}")
    for key, needed in KEYS.items():
        if needed and not entry.get(key):
            raise ValueError(f"{what}: the key {key!r} is missing")
    factory, arguments, role = entry["factory"], entry.get("arguments") or {}, entry["role"]
    if not isinstance(factory, str) or not re.fullmatch(r"[\w.]+:\w+", factory):
        raise ValueError(f"{what}: factory {factory!r}, expected package.module:function")
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise ValueError(f"{what}: arguments {arguments!r}, expected names and values")
    if role not in ROLES:
        raise ValueError(f"{what}: role {role!r}, expected {', '.join(ROLES)}")
    files = entry["weights"] if isinstance(entry["weights"], list) else [entry["weights"]]
    files = [path.parent / str(file) for file in files]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{what}: its weights {missing[0]} are missing")
    return Network(name, factory, arguments, tuple(files), role, path.parent)


def _fill(model: nn.Module, name: str, file: Path) -> nn.Module:
    """Load weights into a network; a ValueError that names both unless they fit."""
    try:
        if file.suffix == ".safetensors":
            weights = safetensors.torch.load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"network {name!r}: {file} holds other weights ({_say(error)})") from None
    except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"network {name!r}: {file} is no safetensors file and no state dict that can be read safely ({_say(error)})"
        ) from None
    return model


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
