"""The networks: one architecture by name, an ensemble of them, and the names and seeds they go by."""

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from string import ascii_lowercase

import torch
from torch import Tensor, nn

from kd_lib.data import Dataset, Split

# Networks that nothing should be concluded without: one trained on shuffled labels, and a student of each half of the
# ensemble.
HALF_TAUGHT = ("half-taught", "half-taught-2")
SHUFFLED = "shuffled"
CONTROLS = (SHUFFLED, *HALF_TAUGHT)
# Networks that an ensemble does not teach, each named after how it is trained instead, see `techniques`.
PLAIN, SELF_DISTILLATION, ADAM, CONSTANT_RATE = "plain", "self-distillation", "adam", "constant-rate"
TECHNIQUES = (PLAIN, "label-smoothing", "ricap", "mixup", "cutmix", SELF_DISTILLATION, ADAM, CONSTANT_RATE)
MOST_SEEDS = 9  # of students and of each technique
COMPONENTS = [*ascii_lowercase, *map("".join, product(ascii_lowercase, repeat=2))]  # a to z, then aa to zz
STUDENTS = ("distilled", *(f"distilled-{number}" for number in range(2, MOST_SEEDS + 1)))  # of one ensemble

# Their extra training heads would return a tuple of logits; this study needs the one output.
_SINGLE_OUTPUT = dict.fromkeys(("googlenet", "inception_v3"), {"aux_logits": False, "init_weights": True})


def architectures() -> list[str]:
    """List the names that `build` accepts: 'resnet10' and torchvision's classification models."""
    import torchvision  # takes seconds, and only those who build a network need it

    return sorted(["resnet10", *torchvision.models.list_models(module=torchvision.models)])


def check_arch(arch: str) -> None:
    """Raise a ValueError with the closest names unless `arch` is one of `architectures`."""
    names = architectures()
    if arch not in names:
        close = difflib.get_close_matches(str(arch), names, n=3) or ["resnet10", "resnet18", "mobilenet_v2"]
        raise ValueError(
            f"unknown architecture {arch!r}: expected 'resnet10' or a torchvision classification model; "
            f"close matches: {', '.join(close)}"
        )


def build(arch: str, num_classes: int) -> nn.Module:
    """Build an untrained network, its weights drawn from torch's global generator.

    Parameters
    ----------
    arch : str
        'resnet10' (torchvision's ``ResNet(BasicBlock, [1, 1, 1, 1])``) or any torchvision classification model.
    num_classes : int
        Number of classes K, at least 2.

    Returns
    -------
    nn.Module
        Network in training mode that maps float32 images (N, 3, H, W) to logits (N, K).

    Raises
    ------
    ValueError
        If the architecture is unknown (close matches are listed) or `num_classes` is less than 2.
    """
    import torchvision  # see above

    check_arch(arch)
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}: a classifier needs at least 2 classes")
    if arch == "resnet10":
        resnet = torchvision.models.resnet
        return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    return torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **_SINGLE_OUTPUT.get(arch, {}))


class Ensemble(nn.Module):
    """Unweighted mean of its members' outputs.

    Parameters
    ----------
    members : sequence of nn.Module
        Networks that map images (N, C, H, W) to logits (N, K).
    output : {'logits', 'probs'}
        What is averaged. With 'probs' the log of the mean probability is returned, so that a softmax of the
        ensemble's output is the mean probability.

    Raises
    ------
    ValueError
        If there are no members or `output` is neither of the two.
    """

    def __init__(self, members: Sequence[nn.Module], output: str = "logits"):
        super().__init__()
        if len(members) == 0:
            raise ValueError("an ensemble of 0 members: pass at least one network")
        if output not in ("logits", "probs"):
            raise ValueError(f"unknown ensemble output {output!r}: expected 'logits' or 'probs'")
        self.members = nn.ModuleList(members)
        self.output = output

    def extra_repr(self) -> str:
        """Say what is averaged."""
        return f"output={self.output!r}"

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to the ensemble's logits (N, K)."""
        logits = torch.stack([member(images.clone()) for member in self.members])  # one may overwrite them
        if self.output == "logits":
            return logits.mean(0)
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(self.members))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode without gradients; afterwards every module's own mode is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def penultimate_features(model: nn.Module, dataset: Dataset, split: Split, *, batch_size: int = 1000) -> Tensor | None:
    """Take what the last linear layer of a network is given, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Of any kind. Its last linear layer is the one that runs last; it must give the network's K outputs.
    dataset : Dataset
        Whose mean and standard deviation normalise the images.
    split : Split
        Of N images.
    batch_size : int
        Images per forward pass.

    Returns
    -------
    Tensor (N, D) or None
        float32, on the CPU; None where a network does not end with a linear layer (SqueezeNet ends with a convolution).
    """
    seen, device = {}, next(model.parameters()).device

    def keep(_, given: tuple[Tensor, ...], answer: Tensor) -> None:
        seen["features"], seen["answer"] = given[0], answer

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, nn.Linear)]
    found = []
    try:
        with evaluating(model):
            for images in split.images.split(batch_size):
                logits = model(dataset.normalise(images.to(device)))
                if not seen or seen["answer"].shape != logits.shape:
                    return None
                found.append(seen["features"].float().cpu())
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(found)


def component_names(n: int) -> list[str]:
    """Name `n` components 'a', 'b', … 'z', 'aa', …; a ValueError unless 1 <= n <= 702."""
    if not 1 <= n <= len(COMPONENTS):
        raise ValueError(f"{n} components: expected 1 to {len(COMPONENTS)}, one or two letters each")
    return COMPONENTS[:n]


def student_names(n: int) -> list[str]:
    """Name `n` students of one ensemble 'distilled', 'distilled-2', …; a ValueError unless 1 <= n <= 9."""
    if type(n) is not int or not 1 <= n <= len(STUDENTS):
        raise ValueError(f"students is {n!r}: expected a whole number from 1 to {len(STUDENTS)}")
    return list(STUDENTS[:n])


def technique_names(techniques: Sequence[str], seeds: int = 1) -> list[str]:
    """Name the networks of each technique, `seeds` of each: 'mixup', 'mixup-2', …; a ValueError unless 1 to 9."""
    if type(seeds) is not int or not 1 <= seeds <= MOST_SEEDS:
        raise ValueError(f"technique_seeds is {seeds!r}: expected a whole number from 1 to {MOST_SEEDS}")
    return [name if number == 1 else f"{name}-{number}" for name in techniques for number in range(1, seeds + 1)]


def technique_of(name: str) -> str:
    """Give the technique of a network that `technique_names` named."""
    return re.sub(r"-\d$", "", name)


def seed_of(name: str, seed: int) -> int:
    """Seed of one network: distinct for every network of a study, and for every `seed` of a run.

    A ValueError unless it is a component 'a' to 'zz' or one of `STUDENTS`, `CONTROLS` or `technique_names`.
    """
    # In the order in which they came to be.
    others = [STUDENTS[0], *CONTROLS[:2], *TECHNIQUES[:7], *STUDENTS[1:]]
    names = [*ascii_lowercase, *others, *COMPONENTS[26:], HALF_TAUGHT[1], *TECHNIQUES[7:]]
    names += [name for name in technique_names(TECHNIQUES, MOST_SEEDS) if name not in TECHNIQUES]
    if name not in names:
        raise ValueError(f"unknown network {name!r}: expected a component 'a' to 'zz' or {', '.join(others)}")
    return seed * len(names) + names.index(name)
