"""Train a network, alone or to mimic a teacher: one checkpoint an epoch, resumable to the same bits."""

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kd_lib import models, store
from kd_lib.data import Dataset, Split

OPTIMISERS = ("sgd", "adam")
PRECISIONS = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Regime:
    """How every network of a run is trained; raises a ValueError that names a field out of its range.

    Attributes
    ----------
    arch : str
        Architecture, see `models.build`.
    epochs : int
        Passes over the training images, at least 1.
    batch_size : int
        Images per step, at least 2. An epoch is split into ``ceil(n / batch_size)`` batches that differ by one image
        at most, so no image is left out and no step rests on a small last batch.
    optimiser : {'sgd', 'adam'}
        SGD with Nesterov momentum, or Adam.
    max_lr : float
        Peak of the one-cycle learning rate, which rises over the first 30 % of the steps and falls, both linearly.
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
    momentum: float = 0.9
    weight_decay: float = 5e-4
    flip: bool = False
    crop_padding: int = 2
    precision: str = "float32"

    def __post_init__(self):
        models.check_arch(self.arch)
        for field, low in {"epochs": 1, "batch_size": 2, "crop_padding": 0}.items():
            value = getattr(self, field)
            if type(value) is not int or value < low:
                raise ValueError(f"{field} is {value!r}: expected a whole number, at least {low}")
        for field, valid in {"optimiser": OPTIMISERS, "precision": PRECISIONS, "flip": (True, False)}.items():
            value = getattr(self, field)
            if value not in valid or (field == "flip" and type(value) is not bool):
                raise ValueError(f"unknown {field} {value!r}: expected {' or '.join(map(repr, valid))}")
        if not 0 < self.max_lr < math.inf:
            raise ValueError(f"max_lr is {self.max_lr!r}: expected a finite number above 0")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is {self.momentum!r}: expected a number in [0, 1)")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay!r}: expected a finite number, at least 0")


def pick_device(device: str) -> torch.device:
    """Turn 'auto', 'cpu' or 'cuda' into a device; 'auto' is CUDA where there is one.

    Raises
    ------
    ValueError
        If the name is none of the three, or 'cuda' is asked for and there is none.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: expected {', '.join(map(repr, DEVICES))}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available on this machine: use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def augment(images: Tensor, *, flip: bool, crop_padding: int, generator: torch.Generator) -> Tensor:
    """Mirror and shift every image of a batch at random, in one gather.

    Parameters
    ----------
    images : Tensor (N, C, H, W)
        Normalised images, so that the zeros around them are the data set's mean colour.
    flip : bool
        Mirror each image left to right with probability 1/2.
    crop_padding : int
        Each image is shifted by up to this many pixels in each direction, uniformly.
    generator : torch.Generator
        Source of all randomness, on the images' device.

    Returns
    -------
    Tensor (N, C, H, W)
        The augmented images, of the dtype and on the device of `images`.
    """
    n, channels, height, width = images.shape
    device = images.device
    rows = torch.arange(height, device=device).expand(n, -1)
    columns = torch.arange(width, device=device).expand(n, -1)
    if flip:
        mirrored = torch.rand(n, 1, device=device, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if crop_padding:
        corner = torch.randint(2 * crop_padding + 1, (2, n, 1), device=device, generator=generator)
        rows, columns = rows + corner[0], columns + corner[1]
        images = F.pad(images, [crop_padding] * 4)
    if not (flip or crop_padding):
        return images
    image = torch.arange(n, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 4.0, hard_weight: float = 0.0
) -> Tensor:
    """Weighted mean of the soft loss, T^2 KL(teacher || student) at temperature T, and the hard cross-entropy.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor (N, K)
    labels : Tensor (N,)
        int64 class indices.
    temperature : float
        T, by which both nets' logits are divided. The factor T^2 keeps the size of the gradients (in nats).
    hard_weight : float
        Weight w of the labels' cross-entropy, the soft loss having 1 - w.

    Returns
    -------
    Tensor ()
        Mean over the batch.

    References
    ----------
    Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network", arXiv:1503.02531, section 2.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    soft = temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    if hard_weight == 0:
        return soft
    return (1 - hard_weight) * soft + hard_weight * F.cross_entropy(student_logits, labels)


@torch.no_grad()
def predict(model: nn.Module, dataset: Dataset, split: Split, *, batch_size: int = 1000) -> Tensor:
    """Logits of a network in evaluation mode, on its own device; its training mode is left as found.

    Parameters
    ----------
    model : nn.Module
    dataset : Dataset
        Whose mean and standard deviation normalise the images.
    split : Split
        Of N images, for instance ``dataset.test``.
    batch_size : int
        Images per forward pass.

    Returns
    -------
    Tensor (N, K)
        float32, on the CPU.
    """
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        batches = [dataset.normalise(images.to(device)) for images in split.images.split(batch_size)]
        return torch.cat([model(batch).float() for batch in batches]).cpu()
    finally:
        for module, mode in modes.items():
            module.training = mode


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images (N,) whose largest logit (N, K) is their label's."""
    return (logits.argmax(1) == labels).double().mean().item()


def train(
    name: str,
    dataset: Dataset,
    regime: Regime,
    *,
    run: store.Run,
    seed: int,
    device: str = "auto",
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    hard_weight: float = 0.0,
    recompute: bool = False,
    verbose: bool = True,
) -> pd.DataFrame:
    """Train one network of a run, or what is left of it, and store a checkpoint after every epoch.

    Epoch 0 is the initialisation. A call on a trained network only reads its history; an interrupted training goes
    on after its last full epoch and ends in the same bits as an uninterrupted one (same CPU, same thread count).

    Parameters
    ----------
    name : str
        'a' to 'z' or 'distilled'; with `seed` it decides the network's seed, see `models.seed_of`.
    dataset : Dataset
        ``train`` is learnt, ``test`` measures the accuracy.
    regime : Regime
    run : store.Run
        Receives the checkpoints, and beside them ``history.csv`` and ``resume.pt``.
    seed : int
        The run's seed.
    device : {'auto', 'cpu', 'cuda'}
    teacher : nn.Module, optional
        Network whose outputs on the same augmented batch are the soft targets, see `distillation_loss`.
        None trains on the labels alone. It is left as found.
    temperature, hard_weight : float
        See `distillation_loss`; unused without a teacher.
    recompute : bool
        Train anew, whatever is stored.
    verbose : bool
        Print a line an epoch.

    Returns
    -------
    DataFrame
        One row an epoch 0 … E: model, epoch, loss (mean over the epoch's steps; NaN at epoch 0), train_accuracy (on
        the augmented images while they were learnt; NaN at epoch 0), test_accuracy (both in [0, 1]) and
        images_per_second (training steps alone; NaN at epoch 0).

    Raises
    ------
    ValueError
        If an argument is out of its range, the stored network was trained in another way, one of its checkpoints is
        damaged, or the loss stops being finite.
    FileNotFoundError
        If a checkpoint of the stored network is missing.
    """
    where = pick_device(device)
    classes, n = len(dataset.class_names), len(dataset.train)
    rounds = math.ceil(n / regime.batch_size)
    if n < 2 * rounds or n == 0:
        raise ValueError(
            f"{n} training images in batches of {regime.batch_size} leave a batch of less than 2, which batch "
            "normalisation cannot take: use more images or another batch_size"
        )
    setting = {"regime": asdict(regime), "seed": seed, "data": dataset.fingerprint, "teacher": None}
    if teacher is not None:
        _check_distillation(temperature, hard_weight)
        setting |= {"teacher": _digest(teacher), "temperature": temperature, "hard_weight": hard_weight}
    folder = run.checkpoint_path(name, 0).parent
    stored = None if recompute else _stored(run, name, setting, where)

    cuda = [torch.cuda.current_device()] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(models.seed_of(name, seed))
        model = models.build(regime.arch, classes).to(where, memory_format=torch.channels_last)
        _check_fit(model, dataset, regime.arch)
        generator = torch.Generator(where).manual_seed(models.seed_of(name, seed))
        optimiser, schedule = _optimiser(model, regime, steps=rounds * regime.epochs)
        if stored is None:
            (folder / "resume.pt").unlink(missing_ok=True)
            history = [_row(name, 0, test_accuracy=accuracy(predict(model, dataset, dataset.test), dataset.test.labels))]
            _save(run, name, history, setting, model, optimiser, schedule, generator)
        else:
            history = stored["history"]
            store.load_checkpoint(run.checkpoint_path(name, len(history) - 1), model)
            optimiser.load_state_dict(stored["optimiser"])
            schedule.load_state_dict(stored["schedule"])
            generator.set_state(stored["generator"])
            _set_rng(stored["rng"])

        ...
