"""Networks that no ensemble teaches: rivals of distillation, which cost one training and take the same labels.

A technique changes what a network is shown or what it is asked, in one function of a batch that `training.train` calls
after augmentation: images (N, C, H, W), int64 labels (N,) and the number of classes K become images (N, C, H, W) and
float32 targets (N, K), of which rows sum to 1. All random numbers come from torch's default generators, of which the
training keeps the state.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lib.data import Dataset
from kd_lib.networks import training
from kd_lib.networks.architectures import ADAM, CONSTANT_RATE, SELF_DISTILLATION, TECHNIQUES, technique_of
from kd_lib.networks.regime import Regime

SMOOTHING = 0.1  # Szegedy et al. (2016)
RICAP_BETA = 0.3  # Takahashi et al. (2018), for CIFAR-10


def label_smoothing(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Leave images as they are; a share `SMOOTHING` of each label is spread evenly over all classes.

    Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567, section 7.
    """
    return images, (1 - SMOOTHING) * F.one_hot(labels, classes).float() + SMOOTHING / classes


def ricap(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Patch every image together from random crops of four images; each weighs as much as the area that it covers.

    The point where the four meet, and where a crop is taken, are drawn once a batch; the images are drawn for each.

    Takahashi, Matsubara & Uehara (2018), "Data Augmentation using Random Image Cropping and Patching for Deep CNNs",
    arXiv:1811.09030, section 3.
    """
    n, _, height, width = images.shape
    share = torch.distributions.Beta(RICAP_BETA, RICAP_BETA)
    middle, centre = round(height * share.sample().item()), round(width * share.sample().item())
    patched, targets = torch.empty_like(images), torch.zeros(n, classes, device=images.device)
    for rows in (slice(0, middle), slice(middle, height)):
        for columns in (slice(0, centre), slice(centre, width)):
            tall, wide = rows.stop - rows.start, columns.stop - columns.start
            top, left = (torch.randint(spare + 1, ()).item() for spare in (height - tall, width - wide))
            chosen = torch.randperm(n, device=images.device)
            patched[:, :, rows, columns] = images[chosen, :, top : top + tall, left : left + wide]
            targets += tall * wide / (height * width) * F.one_hot(labels[chosen], classes)
    return patched, targets


def mixup(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Blend every image and its label with the next one's: torchvision's MixUp, with weights uniform in [0, 1].

    Zhang, Cisse, Dauphin & Lopez-Paz (2018), "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
    """
    from torchvision.transforms import v2  # takes seconds, and most trainings do without

    return v2.MixUp(alpha=1.0, num_classes=classes)(images, labels)


def cutmix(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of the next image into every image, labels weighing as the areas do: torchvision's CutMix.

    Yun et al. (2019), "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
    arXiv:1905.04899.
    """
    from torchvision.transforms import v2  # see above

    return v2.CutMix(alpha=1.0, num_classes=classes)(images, labels)


MIXES = {"label-smoothing": label_smoothing, "ricap": ricap, "mixup": mixup, "cutmix": cutmix}


def check_techniques(names: Sequence[str]) -> None:
    """Raise a ValueError that lists the valid names unless all are known and none comes twice."""
    for place, name in enumerate(names):
        if name not in TECHNIQUES:
            raise ValueError(f"unknown technique {name!r}: expected a list of some of {', '.join(TECHNIQUES)}")
        if name in names[:place]:
            raise ValueError(f"technique {name!r} is asked for twice: name each once")


def train_technique(
    name: str, dataset: Dataset, regime: Regime, *, component: nn.Module | None = None, **options
) -> pd.DataFrame:
    """Train one network by the technique that its name says; see `training.train`, which does it.

    Parameters
    ----------
    name : str
        One of `technique_names` of `TECHNIQUES`, such as 'mixup' or 'mixup-2'. 'plain' is a fresh network trained on
        the labels, as long as all others and, unlike a component, in no ensemble; 'adam' is one that Adam trains, the
        other reading of Table 3.1 of Gardner (2022); 'constant-rate' one whose learning rate stays at half of the
        others' peak, which is their mean. 'self-distillation' learns from one trained component of its own
        architecture, as the distilled network does from all of them.
    dataset, regime
        As of `training.train`.
    component : nn.Module, optional
        Teacher of self-distillation; unused otherwise.
    **options
        Of `training.train`, whose history is returned; those about a teacher matter to self-distillation alone.

    Raises
    ------
    ValueError
        If the technique is unknown, self-distillation has no component, or for a reason of `training.train`.

    References
    ----------
    Furlanello, Lipton, Tschannen, Itti & Anandkumar (2018), "Born-Again Neural Networks", arXiv:1805.04770, section 3.
    """
    check_techniques([technique := technique_of(name)])
    if technique == SELF_DISTILLATION:
        if component is None:
            raise ValueError(f"{technique} without a component to learn from: train one and pass it")
        options["teacher"] = component
    if technique == ADAM:
        regime = replace(regime, optimiser="adam")
    if technique == CONSTANT_RATE:
        regime = replace(regime, schedule="constant")
    return training.train(name, dataset, regime, mix=MIXES.get(technique), **options)
