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
import hmac
import importlib
import json
import re
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from kd_lib import _files
from kd_lib.data import Dataset
from kd_lib.networks import training
from kd_lib.networks.checkpoints import Checkpoints

SAME = 1e-3  # of the largest logit; rounding stays far below
COMPILED = "_orig_mod."  # by torch.compile, anywhere in a name
ROLES = ("component", "distilled", "other")
KEY = Path("~/.local/share/kd_lib/key")  # of who uses the project on this machine, see `seal`
BUILD = "kd_lib.networks:build"  # factory of the networks that the project trains
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
        entries = _files.parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error}): save it so") from None
    except ValueError as error:
        raise ValueError(f"{path} is {error}") from None
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


def seal(recipes: Mapping[str, Mapping]) -> str:
    """Seal of what a person of this machine has said may be run: a digest (HMAC) with a key that only they have.

    A run folder names the functions that build its networks, and may come from anybody: without the seal of who opens
    it, `check_seal` refuses to call them.
    """
    file = KEY.expanduser()
    if (key := _files.read_bytes(file)) is None:
        _files.write_bytes(file, key := secrets.token_bytes(32))
        file.chmod(0o600)
    called = {name: [own.get(part) for part in ("factory", "arguments", "folder")] for name, own in recipes.items()}
    return hmac.digest(key, json.dumps(called, sort_keys=True).encode(), "sha256").hex()


def check_seal(recipes: Mapping[str, Mapping], sealed: str, run: object) -> None:
    """Raise a ValueError unless recipes call nothing but the project's and torchvision's networks, or are sealed."""
    foreign = {own["factory"] for own in recipes.values() if not _is_known(own["factory"])}
    if foreign and not hmac.compare_digest(seal(recipes), sealed):
        raise ValueError(
            f"{run} names code that is not the project's, {', '.join(sorted(foreign))}, and nobody here has said that "
            "it may run: look at it, then run train_models with models= the YAML file that lists these networks"
        )


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
    """Build every network with each of its weights, and try it on a few images as a run will use it.

    Prints what was taken out of a file that holds more than weights. A ValueError names the network if its factory
    fails, weights do not fit or cannot be kept, it does not map images to the classes, or its answer about an image is
    not always the same.
    """
    for network in networks:
        what = f"network {network.name!r}"
        for file in network.weights:
            model = _fill(build(network.name, network.recipe), network.name, file, say=True).eval()
        training.check_fit(model, dataset, what)
        with tempfile.TemporaryDirectory() as folder:
            kept = Checkpoints(Path(folder))
            again = restore(kept, take([replace(network, weights=(file,))], kept), network.name, device="cpu")
            _check_answers(model, again, dataset, what)


def _check_answers(model: nn.Module, again: nn.Module, dataset: Dataset, what: str) -> None:
    """Raise a ValueError if a network answers otherwise the next time, in other company, or once it is built again."""
    few = dataset.train.select(slice(8))
    answer = training.predict(model, dataset, few)
    if not answer.isfinite().all():
        raise ValueError(f"{what} answers what is no finite number: give weights of a training that did not diverge")

    def differs(found: Tensor) -> bool:
        return not torch.allclose(found, answer, rtol=0, atol=SAME * answer.abs().max().item())

    if any(differs(training.predict(model, dataset, few)) for _ in range(4)):
        raise ValueError(
            f"{what} answers otherwise each time: let nothing in it be random in evaluation mode, such as F.dropout "
            "without training=self.training"
        )
    try:
        alone = torch.cat([training.predict(model, dataset, few.select([row])) for row in range(len(few))])
    except ValueError:  # batch norm wants more than one value
        alone = answer + torch.inf
    if differs(alone):
        raise ValueError(
            f"{what} answers otherwise about an image when others are in its batch: let its batch norms use running "
            "statistics (track_running_stats=True) and follow model.eval()"
        )
    if differs(training.predict(again, dataset, few)):
        raise ValueError(
            f"{what} answers otherwise once it is built again with the same weights: make a parameter or buffer of all "
            "that its factory draws at random or computes, so that its state dict holds it"
        )


def restore(
    checkpoints: Checkpoints,
    recipes: Mapping[str, Mapping],
    name: str,
    epoch: int | None = None,
    *,
    device: str = "auto",
) -> nn.Module:
    """Build a network of a run by its recipe and load its weights, in evaluation mode; its last epoch by default."""
    model = build(name, recipes[name])
    checkpoints.load(name, checkpoints.last_epoch(name) if epoch is None else epoch, model)
    model.to(training.pick_device(device))
    if _is_known(recipes[name]["factory"]):  # another one may call `view`, which wants what is contiguous
        model.to(memory_format=torch.channels_last)
    return model.eval()


def check_place(networks: Sequence[Network], checkpoints: Checkpoints) -> None:
    """Raise a ValueError if a network would take the place of one that the run has trained."""
    for network in networks:
        if _files.is_there(checkpoints.folder / network.name / "resume.pt"):
            place = checkpoints.folder / network.name
            raise ValueError(f"{place} holds a network that was trained in this run: give another run folder")


def take(networks: Sequence[Network], checkpoints: Checkpoints) -> dict[str, dict]:
    """Copy the weights into a run's checkpoints, and return by name what `build` makes the networks from."""
    for network in networks:
        for epoch in checkpoints.epochs(network.name)[len(network.weights) :]:  # of another one that was here
            _files.delete(checkpoints.path(network.name, epoch))
        for epoch, file in enumerate(network.weights):
            checkpoints.save(network.name, epoch, _fill(build(network.name, network.recipe), network.name, file))
    return {network.name: network.recipe for network in networks}


def _is_known(factory: str) -> bool:
    """Say whether a factory is the project's or torchvision's."""
    return factory == BUILD or factory.partition(":")[0] == "torchvision.models"


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
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,99}", name) or name in TAKEN:
        raise ValueError(
            f"{what}: expected a name of up to 100 letters, digits and . _ + - (in quotation marks where YAML reads no "
            f"text), and none of {', '.join(TAKEN)}"
        )
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
    files = [path.parent / Path(str(file)).expanduser() for file in files]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(f"{what}: its weights {missing[0]} are missing")
    return Network(name, factory, arguments, tuple(files), role, path.parent)


def _fill(model: nn.Module, name: str, file: Path, *, say: bool = False) -> nn.Module:
    """Load weights into a network; a ValueError that names both unless they fit."""
    what, wanted = f"network {name!r}: {file}", model.state_dict()
    if odd := [key for key, value in wanted.items() if not isinstance(value, Tensor) or value.is_quantized]:
        raise ValueError(
            f"network {name!r}: {odd[0]!r} of its state is no tensor of floats ({type(wanted[odd[0]]).__name__}), "
            "as that of quantised layers or extra state: let its factory give the network without them"
        )
    if not any(True for _ in model.parameters()):
        raise ValueError(f"network {name!r} has no parameters: expected a trained network")
    weights, taken = _unwrapped(_read(file, what), wanted, what)
    if taken and say:
        print(f"{what}: taken without {', '.join(taken)}")
    if lacking := set(wanted) ^ set(weights):
        own, others = (
            ", ".join(sorted(names)[:3]) or "nothing else" for names in (lacking & set(wanted), lacking - set(wanted))
        )
        raise ValueError(f"{what} holds other weights: it has {others} … where the network has {own} …")
    if odd := [key for key, own in wanted.items() if own.is_floating_point() > weights[key].is_floating_point()]:
        raise ValueError(f"{what} holds {odd[0]!r} in {weights[odd[0]].dtype}, expected floats: save them as trained")
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{what} holds other weights ({_say(error)})") from None
    return model


def _read(file: Path, what: str) -> object:
    """Read a file of weights, by what it is, not by how it is called; no code of it is run."""
    try:
        with file.open("rb") as opened:
            if opened.read(9)[8:] == b"{":  # eight bytes of length, then JSON
                return safetensors.torch.load_file(file)
            opened.seek(0)
            return torch.load(opened, map_location="cpu", weights_only=True)  # by its name it would go by the suffix
    except Exception as error:  # whatever a damaged file makes of its reader
        raise ValueError(
            f"{what} is no safetensors file and no state dict that can be read safely ({_say(error)}): save one with "
            "torch.save(model.state_dict(), …)"
        ) from None


def _unwrapped(content: object, wanted: Mapping, what: str) -> tuple[dict[str, Tensor], list[str]]:
    """Find the weights in what training frameworks save, and what was left off: entries around them, and prefixes."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{what} holds a {type(content).__name__}, expected a state dict: names and tensors")
    if _are_weights(content):
        return _without_prefixes(content, wanted)
    parts = {str(key): part for key, part in content.items() if isinstance(part, Mapping) and _are_weights(part)}
    if not parts:
        found = ", ".join(map(str, content)) or "nothing"
        raise ValueError(f"{what} holds {found}: none of it is a state dict, of names and tensors")
    fitting = [key for key, part in parts.items() if _without_prefixes(part, wanted)[0].keys() == wanted.keys()]
    plain = [key for key in fitting or parts if "ema" not in key.lower()] or fitting or [*parts]
    if len(plain) > 1:
        raise ValueError(f"{what} holds several state dicts, {', '.join(plain)}: save the one that is meant alone")
    weights, taken = _without_prefixes(parts[plain[0]], wanted)
    others = [repr(str(key)) for key in content if str(key) != plain[0]]
    return weights, [f"{plain[0]!r} around it", *(["its neighbours " + ", ".join(others)] if others else []), *taken]


def _are_weights(content: Mapping) -> bool:
    return bool(content) and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def _without_prefixes(weights: Mapping[str, Tensor], wanted: Mapping) -> tuple[dict[str, Tensor], list[str]]:
    """Take off what DataParallel, torch.compile, Lightning and averages put before or beside the names of weights."""
    found, taken = dict(weights), []
    if "n_averaged" not in wanted and found.pop("n_averaged", None) is not None:
        taken.append("'n_averaged'")
    if any(COMPILED in key for key in found) and not any(COMPILED in key for key in wanted):
        found, taken = {key.replace(COMPILED, ""): value for key, value in found.items()}, [*taken, repr(COMPILED)]
    while found.keys() != wanted.keys() and len({key.partition(".")[:2] for key in found}) == 1:
        prefix = "".join(next(iter(found)).partition(".")[:2])
        if any(key.startswith(prefix) for key in wanted) or not prefix.endswith("."):
            break
        found, taken = {key.removeprefix(prefix): value for key, value in found.items()}, [*taken, repr(prefix)]
    return (found, taken) if found.keys() == wanted.keys() else (dict(weights), [])


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
