"""How the networks of a run are trained: every setting with its range."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kd_lib.networks import architectures

OPTIMISERS = ("sgd", "adam")
PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("one-cycle", "constant")


@dataclass(frozen=True)
class Regime:
    """How every network of a run is trained; raises a ValueError that names a field out of its range.

    Attributes
    ----------
    arch : str
        Architecture, see `architectures.build`.
    epochs : int
        Passes over the training images, at least 1.
    batch_size : int
        Images a step, at least 2. The n images of an epoch are split into ``ceil(n / batch_size)`` batches that differ
        by one image at most, so none is left out and no step rests on a small last batch.
    optimiser : {'sgd', 'adam'}
        SGD with Nesterov momentum, or Adam.
    max_lr : float
        Peak of the learning rate.
    schedule : {'one-cycle', 'constant'}
        The learning rate rises over the first 30 % of the steps and falls, both linearly, or is half of `max_lr`, the
        mean of that, throughout.
    momentum : float
        Momentum of SGD, beta_1 of Adam; in [0, 1) and constant over the cycle.
    weight_decay : float
        L2 penalty.
    flip : bool
        Mirror images left to right with probability 1/2.
    crop_padding : int
        Pixels of mean colour around an image from which a random crop of its own size is taken; 0 for none.
    precision : {'float32', 'bfloat16'}
        'bfloat16' trains under autocast: float32 weights, bfloat16 products.
    """

    arch: str = "resnet10"
    epochs: int = 8
    batch_size: int = 128
    optimiser: str = "sgd"
    max_lr: float = 0.1
    schedule: str = "one-cycle"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    flip: bool = False
    crop_padding: int = 2
    precision: str = "float32"

    def __post_init__(self):  # noqa: D105
        architectures.check_arch(self.arch)
        for field, least in {"epochs": 1, "batch_size": 2, "crop_padding": 0}.items():
            value = getattr(self, field)
            if type(value) is not int or value < least:
                raise ValueError(f"{field} is {value!r}: expected a whole number, at least {least}")
        choices = {"optimiser": OPTIMISERS, "schedule": SCHEDULES, "precision": PRECISIONS, "flip": (True, False)}
        for field, valid in choices.items():
            if (value := getattr(self, field)) not in valid:
                raise ValueError(f"unknown {field} {value!r}: expected {' or '.join(map(repr, valid))}")
        check_number("max_lr", self.max_lr, above=0)
        check_number("momentum", self.momentum, least=0, below=1)
        check_number("weight_decay", self.weight_decay, least=0)


def optimiser_and_schedule(model: nn.Module, regime: Regime, steps: int):
    """Build the optimiser and its learning rate's schedule over all steps of the training."""
    parameters = model.parameters()
    common: dict[str, Any] = {"lr": regime.max_lr, "weight_decay": regime.weight_decay, "fused": True}
    optimiser: torch.optim.Optimizer
    if regime.optimiser == "sgd":
        optimiser = torch.optim.SGD(parameters, momentum=regime.momentum, nesterov=regime.momentum > 0, **common)
    else:
        optimiser = torch.optim.Adam(parameters, betas=(regime.momentum, 0.999), **common)
    if regime.schedule == "constant":
        return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, factor=0.5, total_iters=steps + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, regime.max_lr, total_steps=steps, anneal_strategy="linear", cycle_momentum=False
    )
    return optimiser, schedule


def count_steps(images: int, batch_size: int) -> int:
    """Count the batches of an epoch; a ValueError if one of them would hold fewer than two images."""
    steps = math.ceil(images / batch_size)
    if images < max(2 * steps, 2):
        raise ValueError(
            f"{images} training images in batches of {batch_size} leave a batch of less than 2, which batch "
            "normalisation cannot take: use more images or another batch_size"
        )
    return steps


def check_number(what: str, value: float, *, least=-math.inf, most=math.inf, above=-math.inf, below=math.inf) -> None:
    """Raise a ValueError that names `what` unless the value is a finite number within its limits."""
    if type(value) not in (int, float) or not (least <= value <= most and above < value < below):
        limits = {"at least": least, "at most": most, "above": above, "below": below}
        wanted = " and ".join(f"{word} {limit}" for word, limit in limits.items() if math.isfinite(limit))
        raise ValueError(f"{what} is {value!r}: expected a finite number {wanted}")
