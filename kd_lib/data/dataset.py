"""Three sources of images behind one door: `load` gives train, test and probe images of one shape."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lib.data import multiview, photographs

NAMES = ("multiview", "cifar10", "imagefolder:PATH")
SIZE = 32  # pixels a side of an image
CACHE = Path("~/.cache/kd_lib")


@dataclass(frozen=True, eq=False)
class Split:
    """A set of images.

    Attributes
    ----------
    images : Tensor (N, C, H, W), uint8
    labels : Tensor (N,), int64
    index : Tensor (N,), int64
        Position of each image in its source, before sampling.
    views : multiview.Views, optional
        What the images show and where, if that is known.
    paths : ndarray (N,) of str, optional
        Path of each photograph in its source without its suffix, such as ``test/cat/0000``.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    views: multiview.Views | None = None
    paths: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def select(self, rows) -> "Split":
        """Keep the given rows (a slice, indices or a Boolean mask), in the order given."""
        views = None if self.views is None else self.views.select(rows)
        paths = None if self.paths is None else self.paths[rows if isinstance(rows, slice) else np.asarray(rows)]
        return Split(self.images[rows], self.labels[rows], self.index[rows], views, paths)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on, to measure accuracy on (`test`) and to explain (`probe`, taken out of the test images).

    Attributes
    ----------
    name : str
    class_names : tuple of str
        In label order.
    train, test, probe : Split
    mean, std : Tensor (C,), float32
        Of each channel, by which images are normalised; intensities from 0 to 1.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    probe: Split
    mean: Tensor
    std: Tensor

    def normalise(self, images: Tensor) -> Tensor:
        """Scale images (N, C, H, W) by the mean and standard deviation of each channel, see `normalise`."""
        return self.normaliser(images)

    @property
    def normaliser(self) -> Callable[[Tensor], Tensor]:
        """The function `normalise` alone, without the images of the data set, small enough to be sent to a worker."""
        return partial(normalise, mean=self.mean, std=self.std)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the class names, images and labels of all three splits, in hexadecimal."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split in (self.train, self.test, self.probe):
            digest.update(repr(tuple(split.images.shape)).encode())
            for tensor in (split.images, split.labels):
                digest.update(tensor.contiguous().numpy())  # type: ignore[arg-type]  # an array is a buffer
        return digest.hexdigest()


def normalise(images: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """Scale images by the mean and standard deviation of each channel.

    Parameters
    ----------
    images : Tensor (N, C, H, W), uint8
    mean, std : Tensor (C,)
        Of each channel, intensities from 0 to 1.

    Returns
    -------
    Tensor (N, C, H, W), float32
        On the device of `images`; 0 is the mean colour.

    Raises
    ------
    ValueError
        If there is not one number a channel.
    """
    for name, given in (("mean", mean), ("std", std)):
        if not isinstance(given, Tensor) or images.ndim != 4 or given.shape != images.shape[1:2]:
            what = tuple(given.shape) if isinstance(given, Tensor) else repr(given)
            told = f"{name}={what} for images of shape {tuple(images.shape)}"
            raise ValueError(f"{told}: expected images (N, C, H, W) and a tensor (C,), one number a channel")
    mean, std = (t.to(images.device).view(-1, 1, 1) for t in (mean, std))
    return (images.float() / 255 - mean) / std


Source = tuple[Tensor, Callable[[Tensor], Split]]  # labels of all there is, and how to read some rows of it


def load(
    name: str,
    *,
    root: str | os.PathLike | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    probe_per_class: int = 100,
    image_size: int | tuple[int, int] = SIZE,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    single_view: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str
        'multiview' (drawn here), 'cifar10' (downloaded on first use) or 'imagefolder:PATH', a folder that holds train/
        and test/, each with one folder of images a class: still images (JPEG, PNG, GIF, BMP, PPM, TIFF, WebP, AVIF),
        which are turned upright (EXIF), laid on white where transparent, converted to colour (without colour profiles)
        and resized. What is hidden or of other tools (@eaDir, Thumbs.db …) is passed over; else a warning counts it.
    root : path, optional
        Where 'cifar10' is stored (~/.cache/kd_lib by default), or the folder of 'imagefolder' where `name` gives none.
    train_size, test_size : int, optional
        Number of training images, and of test images before the probe is taken out; sampled with equal shares of each
        class. By default all there are; of 'multiview', 4,000 and 2,000.
    probe_per_class : int
        Number of test images of each class that are set aside as the probe. Accuracy is never measured on these.
    image_size : int or (int, int)
        Side, or height and width, in pixels to which the images of a folder are resized. The others have 32x32 pixels.
    mean, std : sequence of 3 floats, optional
        By which each channel is normalised, intensities from 0 to 1, as a network that is there already expects; by
        default those of the training images.
    single_view : float
        Share of the training images of 'multiview' that show a single view of their class, see `multiview.draw`; of its
        test images it is a half. The others have no views.
    seed : int
        Seed of the samples, and of the images of 'multiview'.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the data set is unknown, a size does not fit, or an image or class folder is unusable.
    FileNotFoundError
        If there is no such image folder.
    OSError
        If CIFAR-10 can be neither read nor downloaded.
    """
    _check_integers(train_size=train_size, test_size=test_size, probe_per_class=probe_per_class, seed=seed)
    size = _check_image_size(image_size)
    source, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if source != "imagefolder" and size != (SIZE, SIZE):
        raise ValueError(f"image_size={image_size!r}: the images of {name!r} have {SIZE}x{SIZE} pixels; leave it out")
    if source == "multiview" and not path:
        if root:
            raise ValueError(f"root={str(root)!r}: 'multiview' is drawn, not read; leave root out")
        train_size, test_size = train_size or 4000, test_size or 2000
        names, sources = _multiview(train_size, test_size, single_view, seed)
    elif source == "cifar10" and not path:
        names, sources = _photographs(*photographs.cifar10(Path(root or CACHE).expanduser()))
    elif source == "imagefolder":
        if bool(path) == bool(root):
            raise ValueError(f"name={name!r}, root={root!r}: give the folder once, as 'imagefolder:PATH' or as root")
        names, sources = _photographs(*photographs.imagefolder(Path(path or root or "").expanduser(), size))
    else:
        raise ValueError(f"unknown data set {name!r}: expected one of {', '.join(NAMES)}")

    (train_labels, read_train), (test_labels, read_test) = sources
    train_rows = _sample(train_labels, train_size, names, "train", probe_per_class=0, seed=seed)
    test_rows = _sample(test_labels, test_size, names, "test", probe_per_class=probe_per_class, seed=seed)
    train, held_out = read_train(train_rows), read_test(test_rows)  # slow, so only once all sizes are known to fit
    colour = _colour(train.images, mean, std)
    chosen = _take(held_out.labels, torch.full((len(names),), probe_per_class), seed)
    rest = torch.ones(len(held_out), dtype=torch.bool).index_fill_(0, chosen, False)
    return Dataset(name, names, train, held_out.select(rest), held_out.select(chosen), *colour)


def with_shuffled_labels(dataset: Dataset, *, seed: int) -> Dataset:
    """Put the training labels into random order, so that they say nothing about the images.

    What maps of a network trained on these share with others is not what the classes look like.

    References
    ----------
    Adebayo et al. (2018), "Sanity Checks for Saliency Maps", arXiv:1810.03292 (data randomization test).
    """
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))
    return replace(dataset, train=replace(dataset.train, labels=dataset.train.labels[order]))


def stratified(labels: Tensor, size: int, *, seed: int) -> Tensor:
    """Sample rows with equal shares of each class.

    Parameters
    ----------
    labels : Tensor (N,), int64
    size : int
        Number of rows, 0 to N.
    seed : int

    Returns
    -------
    Tensor (size,), int64
        Sorted rows, without repeats. The count of each class is within one of size * (its share of `labels`).

    Raises
    ------
    ValueError
        If `size` is negative or larger than N.
    """
    labels = torch.as_tensor(labels)
    if not 0 <= size <= len(labels):
        raise ValueError(f"size={size}: expected 0 to {len(labels)}, the number of labels")
    exact = torch.bincount(labels).double() * size / max(len(labels), 1)
    quota = exact.long()
    largest = (quota - exact).argsort(stable=True)[: size - int(quota.sum())]  # largest remainders
    quota[largest] += 1
    return _take(labels, quota, seed)


def _take(labels: Tensor, quota: Tensor, seed: int) -> Tensor:
    """Sample `quota[k]` rows of each class k: sorted rows."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=len(quota))
    rank = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[by_class]]
    return by_class[rank < quota[labels[by_class]]].sort().values


def _sample(
    labels: Tensor, size: int | None, names: Sequence[str], what: str, *, probe_per_class: int, seed: int
) -> Tensor:
    """Rows of a stratified sample that leaves at least one image of each class beside the probe."""
    if size is not None and size > len(labels):
        raise ValueError(f"{what}_size={size}: there are {len(labels)} {what} images; ask for fewer, or None for all")
    rows = torch.arange(len(labels)) if size is None else stratified(labels, size, seed=seed)
    counts = torch.bincount(labels[rows], minlength=len(names))
    fewest = int(counts.argmin())
    if counts[fewest] <= probe_per_class:
        mend = f"set {what}_size" + (
            f" higher, or probe_per_class={probe_per_class} lower" if probe_per_class else " higher"
        )
        raise ValueError(
            f"{what}_size={size} gives {int(counts[fewest])} {what} images of {names[fewest]!r}, "
            f"expected at least {probe_per_class + 1}: {mend}"
        )
    return rows


def _multiview(train_size: int, test_size: int, single_view: float, seed: int) -> tuple[tuple[str, ...], list[Source]]:
    sources: list[Source] = []
    for stream, (size, share) in enumerate(((train_size, single_view), (test_size, 0.5))):
        images, labels, views = multiview.draw(size, single_view=share, seed=2 * seed + stream)
        sources.append((labels, Split(images, labels, torch.arange(size), views).select))
    return multiview.class_names(), sources


def _photographs(names: tuple[str, ...], parts: Sequence[photographs.Images]) -> tuple[tuple[str, ...], list[Source]]:
    def source(labels, read, paths) -> Source:
        return labels, lambda rows: Split(read(rows), labels[rows], rows, paths=paths[rows.numpy()])

    return names, [source(*part) for part in parts]


def _colour(
    images: Tensor, given_mean: Sequence[float] | None, given_std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel as given, or from exact counts of the 256 levels: float32 (C,)."""
    for name, given in (("mean", given_mean), ("std", given_std)):
        if given is None:
            continue
        least = 0 if name == "mean" else 1e-6
        values = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
        sequence = isinstance(values, list | tuple) and len(values) == images.shape[1]
        numbers = sequence and all(isinstance(value, Real) and not isinstance(value, bool) for value in values)
        if not numbers or not all(least <= value <= 1 for value in values):
            raise ValueError(
                f"{name}={values!r}: expected {images.shape[1]} intensities from {least} to 1, one a channel"
            )
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])
    share = counts / counts.sum(1, keepdim=True).double()
    level = torch.arange(256).double() / 255
    mean = share @ level
    std = (share * (level - mean[:, None]).square()).sum(1).sqrt()
    if given_std is None and not std.all():
        raise ValueError("the training images have a channel of one single level: expected photographs or drawings")
    mean = mean if given_mean is None else torch.as_tensor(given_mean)
    std = std if given_std is None else torch.as_tensor(given_std)
    return mean.float(), std.float()


def _check_image_size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise ValueError(f"image_size={size!r}: expected a side in pixels, or height and width")
    return sides


def _check_integers(*, probe_per_class, seed, **sizes) -> None:
    for name, value, least in (
        *((name, size, 1) for name, size in sizes.items() if size is not None),
        ("probe_per_class", probe_per_class, 1),
        ("seed", seed, 0),
    ):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r}: expected an integer")
        if value < least:
            raise ValueError(f"{name}={value}: expected at least {least}")
