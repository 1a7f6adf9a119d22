"""The occlusion engine: beside its peers, against the hardware's peak, and how its cost grows."""

import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench import peers
from bench.timing import matrix_peak, medians, within_memory
from kd_lib import _workers
from kd_lib.data import Dataset
from kd_lib.maps import fill as explaining
from kd_lib.maps import occlusion, store
from kd_lib.networks import architectures, training
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.fast import fusion
from kd_lib.networks.regime import Regime

ARCH, PATCH, STRIDE = "resnet18", 4, 1
IMAGES, FEW = {"cpu": 48, "cuda": 1000}, 4  # FEW for those that take too long otherwise
BLOCK = {"cpu": 12, "cuda": 1000}  # images
MEMORY = [(100, 1), (100_000, 1), (100, 650)]  # images and states, explained with a patch of half the side


def trained(dataset: Dataset, device: torch.device) -> nn.Module:
    """Train a network for two epochs on the data set."""
    regime = Regime(arch=ARCH, epochs=2, batch_size=64, max_lr=0.05)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        training.train("a", dataset, regime, checkpoints=checkpoints, seed=0, device=device.type, verbose=False)
        model = architectures.build(ARCH, len(dataset.class_names)).to(device)  # as whoever loads a checkpoint has it
        return checkpoints.load("a", 2, model).eval()


def engine(model: nn.Module, images: Tensor, *, precision: str = "float32", stride: int = STRIDE) -> Tensor:
    """Compute the maps of all classes with this project's engine."""
    logits = occlusion.occluded_logits(model, images, patch=PATCH, stride=stride, precision=precision)
    return occlusion.saliency_maps(logits, image_size=tuple(images.shape[2:]), patch=PATCH, stride=stride)


def beside_peers(model: nn.Module, images: Tensor, classes: int) -> pd.DataFrame:
    """Measure the maps a second of each way to compute them; a row a way.

    A call for one class is timed once and counted for every class: the calls are the same work.
    """
    sweep = partial(peers.captum, model, images, PATCH)
    best = {
        target: min(peers.PERTURBATIONS, key=lambda p: within_memory(_with(sweep, target, p))) for target in (0, None)
    }
    laid_out = copy.deepcopy(model).to(memory_format=torch.channels_last)
    all_classes, one_class = len(images) * classes, len(images)
    ways: dict[str, tuple[Callable, int]] = {
        "this engine, float32": (lambda: engine(model, images), all_classes),
        "this engine, auto": (lambda: engine(model, images, precision="auto"), all_classes),
        f"Captum, all classes at once, perturbations_per_eval={best[None]}": (
            _with(sweep, None, best[None]),
            all_classes,
        ),
        "Captum, likewise, with the network's weights in channels-last order": (
            partial(peers.captum, laid_out, images, PATCH, target=None, perturbations=best[None]),
            all_classes,
        ),
        f"Captum, a call a class, perturbations_per_eval={best[0]}": (_with(sweep, 0, best[0]), one_class),
        "Captum, a call a class, as it comes": (_with(sweep, 0, 1), one_class),
    }
    return _rates(ways)


def beside_others(model: nn.Module, images: Tensor) -> pd.DataFrame:
    """Measure other libraries in a process of their own: TensorFlow, which Xplique brings, would slow this one."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(images[:FEW].cpu(), Path(folder) / "images.pt")
        write_weights(folder, model)
        command = [sys.executable, "-m", "bench.others", folder, images.device.type]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return pd.DataFrame(json.loads(answer.splitlines()[-1]))


def rate_others(folder: Path, device: torch.device) -> pd.DataFrame:
    """Do the work of `beside_others`."""
    model = _restore(Checkpoints(folder), device, "a", 0)
    images = torch.load(folder / "images.pt", weights_only=True).to(device)
    ways = {
        f"this engine, {precision}": (partial(engine, model, images, precision=precision), 10 * len(images))
        for precision in ("float32", "auto")
    }
    ways |= {
        f"{name}, a call a class": (call, len(images)) for name, call in peers.others(model, images, PATCH).items()
    }
    return _rates(ways)[2:]


def _rates(ways: dict[str, tuple[Callable, int]]) -> pd.DataFrame:
    """Time every way, each with the number of maps that counts for one call."""
    taken = medians({name: call for name, (call, _) in ways.items()})
    rates = {name: maps / taken[name] for name, (_, maps) in ways.items()}
    frame = pd.DataFrame({"way": list(rates), "maps a second": list(rates.values())})
    for precision in ("float32", "auto"):
        frame[f"times slower than {precision}"] = rates[f"this engine, {precision}"] / frame["maps a second"]
    return frame


def _with(sweep: Callable, target: int | None, perturbations: int) -> Callable:
    return partial(sweep, target=target, perturbations=perturbations)


def share_of_peak(model: nn.Module, images: Tensor, frame: pd.DataFrame, classes: int) -> pd.DataFrame:
    """Multiply-adds an occluded image, as the network has them and as the engine does them, and the peak reached."""
    windows = 1 + len(occlusion.windows(tuple(images.shape[2:]), PATCH, STRIDE)[0]) ** 2
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(images[:1])
    nominal = counter.get_total_flops() / 2
    available, fusion.available = fusion.available, lambda *_: False  # fused products are not counted
    try:
        with FlopCounterMode(display=False) as counter:
            engine(model, images)
    finally:
        fusion.available = available
    done = counter.get_total_flops() / 2 / (len(images) * windows)
    rates = frame.set_index("way")["maps a second"] / classes * windows
    rows = []
    for precision in ("float32", "auto"):
        dtype = getattr(torch, occlusion.pick_precision(precision, images.device))
        peak, rate = matrix_peak(images.device, dtype), rates[f"this engine, {precision}"]
        rows.append((precision, str(dtype).removeprefix("torch."), nominal, done, rate, peak, rate * done / peak))
    columns = ["precision", "in", "nominal multiply-adds", "done", "occluded images a second", "peak", "share of peak"]
    return pd.DataFrame(rows, columns=columns)


def growth(model: nn.Module, images: Tensor) -> dict[str, float]:
    """Ratios of times: twice the images, twice the states, ten times the classes."""
    narrow, wide = (architectures.build(ARCH, classes).to(images.device).eval() for classes in (10, 100))
    half = images[: len(images) // 2]
    with tempfile.TemporaryDirectory() as folder:
        weights = write_weights(folder, model)
        taken = medians(
            {
                "half": lambda: engine(model, half),
                "all": lambda: engine(model, images),
                "10 classes": lambda: engine(narrow, images),
                "100 classes": lambda: engine(wide, images),
                "1 state": lambda: fill(weights, images, 1),
                "2 states": lambda: fill(weights, images, 2),
            }
        )
    return {
        "twice the images": taken["all"] / taken["half"],
        "twice the states": taken["2 states"] / taken["1 state"],
        "100 classes instead of 10": taken["100 classes"] / taken["10 classes"],
    }


def workers(model: nn.Module, images: Tensor) -> float:
    """Speed of two Dask workers of one thread each, over that of one, on the same blocks."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _workers.local_workers(1, threads=1) as one,
        _workers.local_workers(2, threads=1) as two,
    ):
        weights = write_weights(folder, model)
        for client in (one, two):
            fill(weights, images, 2, client=client)  # they import what they need
        taken = medians({name: partial(fill, weights, images, 4, client=c) for name, c in {"1": one, "2": two}.items()})
    return taken["1"] / taken["2"]


def write_weights(folder: str, model: nn.Module) -> Checkpoints:
    """Write a checkpoint of a network of 10 classes, from which `fill` restores it whatever the state."""
    weights = Checkpoints(Path(folder))
    weights.save("a", 0, model)
    return weights


def fill(
    weights: Checkpoints,
    images: Tensor,
    states: int,
    *,
    patch: int = PATCH,
    stride: int = 2,
    block: int = 0,
    client=None,
) -> None:
    """Make a store of a network, explained as often as there are `states`, and fill it."""
    numbers = np.arange(len(images))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "occlusion.zarr"
        explained = store.MapStore.create(
            path,
            states=[("a", epoch) for epoch in range(states)],
            labels=numbers,
            index=numbers,
            class_names=[str(k) for k in range(10)],
            image_size=tuple(images.shape[2:]),
            patch=patch,
            stride=stride,
            block=block or BLOCK[images.device.type],
        )
        load = partial(_restore, weights, images.device)
        explaining.fill(explained, load, images, normalise=Tensor.float, progress=False, client=client)


def _restore(weights: Checkpoints, device: torch.device, name: str, epoch: int) -> nn.Module:
    model = architectures.build(ARCH, 10).to(device)
    return weights.load("a", 0, model).eval()


def memory() -> pd.DataFrame:
    """Memory that a run takes above the interpreter and torch, in a process of its own; a row a size of run."""
    rows = []
    for images, states in MEMORY:
        command = [sys.executable, "-m", "bench.memory", str(images), str(states)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append((images, states, json.loads(answer)))
    return pd.DataFrame(rows, columns=["images", "states", "MB above torch"])
