"""Train a network, alone or to mimic a teacher: one checkpoint an epoch, resumable to the same bits."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lib import _workers
from kd_lib.data import Dataset, Split
from kd_lib.networks import architectures
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.fast import fusion, replay, rewrite
from kd_lib.networks.regime import Regime, check_number, count_steps, optimiser_and_schedule

DEVICES = ("auto", "cpu", "cuda")
AT_ONCE = {"cpu": 250, "cuda": 5000}  # images of a forward pass that only tests
Mix = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]  # images, labels and classes to images and targets
Learnt = tuple[float, float, float]  # in an epoch: mean loss of the steps, accuracy, images a second


def pick_device(device: str) -> torch.device:
    """Turn 'auto', 'cpu' or 'cuda' into a device; 'auto' is CUDA where there is one.

    A ValueError if the name is none of the three, or 'cuda' is asked for and there is none.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}: expected {', '.join(map(repr, DEVICES))}")
    best = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and best == "cpu":
        raise ValueError("device 'cuda' is not available on this machine: use 'auto' or 'cpu'")
    return torch.device(best if device == "auto" else device)


def augment(images: Tensor, *, flip: bool, crop_padding: int, generator: torch.Generator) -> Tensor:
    """Mirror every image (N, C, H, W) with probability 1/2, and shift it by up to `crop_padding` pixels each way.

    The zeros around normalised images are the mean colour. All randomness is the generator's, on the images' device.
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
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0, hard_weight: float = 0.0
) -> Tensor:
    """Weighted mean of the soft loss, T^2 KL(teacher || student) at temperature T, and the hard cross-entropy.

    Parameters
    ----------
    student, teacher : Tensor (N, K)
        Logits.
    labels : Tensor (N,), int64
    temperature : float
        T, by which all logits are divided. The factor T^2 keeps the size of the gradients (in nats).
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
    softened = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    soft = temperature**2 * F.kl_div(*softened, reduction="batchmean", log_target=True)
    if hard_weight == 0:
        return soft
    return (1 - hard_weight) * soft + hard_weight * F.cross_entropy(student, labels)


def predict(model: nn.Module, dataset: Dataset, split: Split) -> Tensor:
    """Logits (N, K) of a network in evaluation mode, on its own device; its training mode is left as found.

    Parameters
    ----------
    model : nn.Module
    dataset : Dataset
        Whose mean and standard deviation normalise the images.
    split : Split
        Of N images, for instance ``dataset.test``.

    Returns
    -------
    Tensor (N, K)
        float32, on the CPU.
    """
    device = next(model.parameters()).device
    with architectures.evaluating(model):
        batches = split.images.split(AT_ONCE.get(device.type, AT_ONCE["cpu"]))
        batches = (dataset.normalise(images.to(device)) for images in batches)
        return torch.cat([check_tensor(model(batch), "the network").float() for batch in batches]).cpu()


def check_tensor(answer: object, what: str) -> Tensor:
    """Return what a network answered, once it is known to be a tensor; else a ValueError that begins with `what`."""
    if isinstance(answer, Tensor):
        return answer
    parts = list(answer) if isinstance(answer, Mapping) else []
    part = f"[{parts[0]!r}]" if parts else "[0]" if isinstance(answer, tuple | list) else ".logits"
    raise ValueError(
        f"{what} returns {type(answer).__name__}{f' of {parts}' if parts else ''}, expected one tensor of logits: let "
        f"its factory return a module whose forward gives the logits alone, such as `self.network(images){part}`"
    )


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images (N,) whose largest logit (N, K) is their label's."""
    return (logits.argmax(1) == labels).double().mean().item()


def train(
    name: str,
    dataset: Dataset,
    regime: Regime,
    *,
    checkpoints: Checkpoints,
    seed: int,
    device: str = "auto",
    teacher: nn.Module | None = None,
    temperature: float = 4.0,
    hard_weight: float = 0.0,
    mix: Mix | None = None,
    recompute: bool = False,
    until: int | None = None,
    verbose: bool = True,
) -> pd.DataFrame:
    """Train one network of a run, or what is left of it, and store a checkpoint after every epoch.

    Epoch 0 is the initialisation. A call on a trained network only reads its history; an interrupted training goes
    on after its last full epoch and ends in the same bits as an uninterrupted one (same CPU, same thread count).

    Parameters
    ----------
    name : str
        See `architectures.seed_of`; with `seed` it decides the network's seed.
    dataset : Dataset
        ``train`` is learnt, ``test`` measures the accuracy.
    regime : Regime
    checkpoints : Checkpoints
        Receives an epoch at a time, the history and the state of the training.
    seed : int
        The run's seed.
    device : {'auto', 'cpu', 'cuda'}
    teacher : nn.Module, optional
        Network whose outputs on the same augmented batch are the soft targets, see `distillation_loss`.
        None trains on the labels alone. It is left as found.
    temperature, hard_weight : float
        See `distillation_loss`; unused without a teacher.
    mix : Mix, optional
        From an augmented batch (N, C, H, W), its labels (N,) and the number of classes K to what the network is shown
        instead, and its targets (N, K), rows that sum to 1; see `techniques`. Draws from torch's default generators.
    recompute : bool
        Train anew, whatever is stored.
    until : int, optional
        Stop after this epoch, as if interrupted; None goes on to the last.
    verbose : bool
        Print a line an epoch.

    Returns
    -------
    DataFrame
        One row an epoch 0 … E: model, epoch, loss (mean over the epoch's steps; NaN at epoch 0), train_accuracy (on
        the images as they were learnt, of mixed labels the heaviest; NaN at epoch 0), test_accuracy (both in [0, 1])
        and images_per_second (training steps alone; NaN at epoch 0).

    Raises
    ------
    ValueError
        If an argument is out of its range, the stored network was trained in another way, one of its checkpoints is
        damaged or missing, or the loss stops being finite.
    """
    task = _Task(name, dataset, regime, pick_device(device), seed, teacher, temperature, hard_weight, mix)
    stored = None if recompute else checkpoints.load_state(name, task.setting, task.device, regime.epochs)
    history = stored["history"] if stored else []
    if len(history) > regime.epochs:
        if verbose:
            _workers.say(f"{name}  trained already, accuracy {history[-1]['test_accuracy']:.1%}")
        return pd.DataFrame(history)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if task.device.type == "cuda" else []):
        torch.manual_seed(architectures.seed_of(name, seed))
        trainee = _Trainee(task)
        checkpoints.clear_partial(name)
        if stored:
            checkpoints.load(name, history[-1]["epoch"], trainee.model)
            trainee.restore(stored)
        else:
            checkpoints.clear(name)
            trainee.store(checkpoints)
        _learn_until(regime.epochs if until is None else min(until, regime.epochs), trainee, checkpoints, verbose)
    return pd.DataFrame(trainee.history)


@dataclass(frozen=True)
class _Task:
    """What a network is to learn, how and where; see `train`."""

    name: str
    dataset: Dataset
    regime: Regime
    device: torch.device
    seed: int
    teacher: nn.Module | None
    temperature: float
    hard_weight: float
    mix: Mix | None

    @cached_property
    def setting(self) -> dict:
        """All that must be as it was for a training to go on; a ValueError if something is out of its range."""
        count_steps(len(self.dataset.train), self.regime.batch_size)
        setting = asdict(self.regime) | {"seed": self.seed, "data": self.dataset.fingerprint}
        if self.teacher is not None:
            check_number("temperature", self.temperature, above=0)
            check_number("hard_weight", self.hard_weight, least=0, most=1)
            setting |= {"teacher": _digest(self.teacher)}
            setting |= {"temperature": self.temperature, "hard_weight": self.hard_weight}
        return setting if self.mix is None else setting | {"mix": self.mix.__name__}

    def autocast(self) -> torch.autocast:
        """Where networks compute in the regime's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.regime.precision == "bfloat16")


class _Trainee:
    """The network of a task, with all that its steps need, on the device where they are done."""

    def __init__(self, task: _Task):
        dataset, regime, device = task.dataset, task.regime, task.device
        self.task, self.history = task, []
        self.model = architectures.build(regime.arch, len(dataset.class_names))
        check_fit(self.model, dataset, f"architecture {regime.arch!r}")
        self.model.to(device, memory_format=torch.channels_last)  # faster on CPUs as well
        image = dataset.normalise(dataset.train.images[:1].to(device))
        # Both share every parameter and buffer of the model.
        self.learner = rewrite.with_products(self.model.train(), image)
        self.examinee = rewrite.with_products(self.model.eval(), image)
        self.teacher = None if task.teacher is None else _prepared(task.teacher, task, image)
        steps = regime.epochs * count_steps(len(dataset.train), regime.batch_size)
        self.optimiser, self.schedule = optimiser_and_schedule(self.model, regime, steps)
        self.generators = _default_generators(device)
        train = replace(dataset.train, images=dataset.train.images.to(device), labels=dataset.train.labels.to(device))
        # Every step would wait for a mean and a standard deviation on the host.
        self.dataset = replace(dataset, train=train, mean=dataset.mean.to(device), std=dataset.std.to(device))

    def learn(self, batch: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the gradients of one step: its loss, and the logits of the batch."""
        self.optimiser.zero_grad()
        with self.task.autocast():
            logits = self.learner(batch)
        if self.teacher is None:
            loss = F.cross_entropy(logits.float(), targets)
        else:
            with torch.no_grad(), self.task.autocast():
                soft = self.teacher(batch).float()
            options = {"temperature": self.task.temperature, "hard_weight": self.task.hard_weight}
            loss = distillation_loss(logits.float(), soft, targets, **options)
        loss.backward()
        return loss.detach(), logits.detach()

    def store(self, checkpoints: Checkpoints, learnt: Learnt = (math.nan,) * 3) -> None:
        """Test the network after an epoch, and write it down with all that it takes to go on from there."""
        tested = accuracy(predict(self.examinee, self.dataset, self.dataset.test), self.dataset.test.labels)
        loss, train_accuracy, speed = learnt
        row = {"model": self.task.name, "epoch": len(self.history), "loss": loss, "train_accuracy": train_accuracy}
        self.history.append(row | {"test_accuracy": tested, "images_per_second": speed})
        state = {"optimiser": self.optimiser.state_dict(), "schedule": self.schedule.state_dict()}
        state |= {"rng": [generator.get_state() for generator in self.generators]}
        state |= {"device": self.task.device.type, "setting": self.task.setting, "history": self.history}
        checkpoints.save_state(self.model, state)

    def restore(self, state: dict) -> None:
        """Take up what `store` wrote, but for the weights."""
        self.history = state["history"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        for generator, its in zip(self.generators, state["rng"], strict=True):
            generator.set_state(its)


def _prepared(teacher: nn.Module, task: _Task, image: Tensor) -> nn.Module:
    """Copy a teacher to where it is asked, and make it as fast there as it can be."""
    teacher = copy.deepcopy(teacher).to(task.device, memory_format=torch.channels_last).eval()
    check_fit(teacher, task.dataset, "the teacher")
    with suppress(rewrite.CannotRewrite):
        teacher = rewrite.for_inference(teacher, image)
        if task.regime.precision == "bfloat16":
            rewrite.products_in_bfloat16(teacher)
        if fusion.available(task.device, task.regime.precision):
            fusion.fuse_pointwise(teacher, batch_size=task.regime.batch_size)
    return teacher


def _learn_until(last: int, trainee: _Trainee, checkpoints: Checkpoints, verbose: bool) -> None:
    """Go on to the `last` epoch, and store every one."""
    name, regime, learn = trainee.task.name, trainee.task.regime, trainee.learn
    if trainee.task.device.type == "cuda":
        learn = replay.Replayed(learn, list(trainee.model.parameters()))
    begun, first = time.perf_counter(), len(trainee.history)
    for epoch in range(first, last + 1):
        learnt = loss, _, speed = _epoch(trainee, learn)
        if not math.isfinite(loss):
            raise ValueError(f"the loss of {name!r} is {loss} in epoch {epoch}: lower max_lr ({regime.max_lr})")
        trainee.store(checkpoints, learnt)
        if verbose:
            left = (time.perf_counter() - begun) / (epoch - first + 1) * (last - epoch)
            _workers.say(
                f"{name}  epoch {epoch}/{regime.epochs}  loss {loss:.4f}  "
                f"accuracy {trainee.history[-1]['test_accuracy']:.1%}  {speed:,.0f} images/s  "
                f"ETA {timedelta(seconds=round(left))}"
            )


def _epoch(trainee: _Trainee, learn: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Learnt:
    """Learn every training image once."""
    dataset, regime, mix, generator = trainee.dataset, trainee.task.regime, trainee.task.mix, trainee.generators[0]
    images, labels = dataset.train.images, dataset.train.labels
    steps = count_steps(len(labels), regime.batch_size)
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    right = torch.zeros((), dtype=torch.int64, device=images.device)
    trainee.learner.train()
    begun = time.perf_counter()
    order = torch.randperm(len(labels), generator=generator, device=images.device)
    for rows in order.tensor_split(steps):
        batch = dataset.normalise(images[rows])
        batch = augment(batch, flip=regime.flip, crop_padding=regime.crop_padding, generator=generator)
        targets = heaviest = labels[rows]
        if mix is not None:
            batch, targets = mix(batch, targets, len(dataset.class_names))
            heaviest = targets.argmax(1)
        batch = batch.contiguous(memory_format=torch.channels_last)
        loss, logits = learn(batch, targets)
        trainee.optimiser.step()
        trainee.schedule.step()
        total += loss
        right += (logits.argmax(1) == heaviest).sum()
    mean_loss = total.item() / steps  # the epoch's first wait for the device
    seconds = time.perf_counter() - begun
    return mean_loss, right.item() / len(labels), len(labels) / seconds


def _default_generators(device: torch.device) -> list[torch.Generator]:
    """Get all that a training draws from: the device's generator, as dropout does, and the host's, as mixing does."""
    if device.type == "cuda":
        return [torch.cuda.default_generators[torch.cuda.current_device()], torch.default_generator]
    return [torch.default_generator]


def _digest(model: nn.Module) -> str:
    """SHA-256 of a network's structure and weights."""
    digest = hashlib.sha256(repr(model).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy())
    return digest.hexdigest()


def check_fit(model: nn.Module, dataset: Dataset, what: str) -> None:
    """Raise a ValueError, which begins with `what`, unless the network maps the data set's images to its classes."""
    pair = dataset.train.select(slice(2))
    size, classes = "x".join(map(str, pair.images.shape[2:])), len(dataset.class_names)
    try:
        with architectures.evaluating(model):
            answer = model(dataset.normalise(pair.images.to(next(model.parameters()).device)))
    except Exception as error:  # a network that somebody brought may raise anything
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{what} does not take {size} images ({reason}): use another, such as 'resnet18'") from None
    logits = check_tensor(answer, what)
    if logits.shape != (len(pair), classes):
        raise ValueError(
            f"{what} returns {tuple(logits.shape[1:])} outputs an image: expected ({classes},), the classes"
        )
