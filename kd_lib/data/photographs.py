"""Photographs that are read and not drawn: CIFAR-10, and folders of images of any kind and size.

Labels are known at once; images are read when rows are asked for, and these only.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

DECODE_BLOCK = 250  # images a thread decodes at a time
TINY = 10_000  # bytes of a file; to decode a smaller one takes less time than threads take to hand on Python's lock

# Labels (N,) of all there are; reads rows, as uint8 (n, 3, H, W); paths (N,) of str, without their suffixes.
Images = tuple[Tensor, Callable[[Tensor], Tensor], np.ndarray]


def cifar10(root: Path) -> tuple[tuple[str, ...], list[Images]]:
    """Open CIFAR-10, which torchvision downloads into `root` on first use: class names, training and test images.

    An OSError if it can be neither read nor downloaded.
    """
    from torchvision.datasets import CIFAR10  # torchvision takes seconds to import, and multi-view images do without it

    try:
        parts = [CIFAR10(root, train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"CIFAR-10 is not usable in {root} ({error}): connect to the network, put cifar-10-python.tar.gz there, "
            "or read a folder of images with 'imagefolder:PATH'"
        ) from error

    def images(part) -> Images:
        # The paths are those of the copies of CIFAR-10 as files: images of a class are counted in the source's order.
        numbers, what = [itertools.count() for _ in part.classes], "train" if part.train else "test"
        paths = [f"{what}/{part.classes[k]}/{next(numbers[k]):04}" for k in part.targets]
        return torch.tensor(part.targets), lambda rows: _channels_first(part.data[rows.numpy()]), np.array(paths)

    return tuple(parts[0].classes), [images(part) for part in parts]


def imagefolder(root: Path, size: tuple[int, int]) -> tuple[tuple[str, ...], list[Images]]:
    """Open a folder that holds train/ and test/, each with one folder of images a class, as `cifar10` does.

    Images are resized to `size`, height and width. A FileNotFoundError if a folder is missing or holds fewer than two
    classes; a ValueError if the classes of both differ, one has fewer than two images or, when read, one is damaged.
    """
    parts = [_list_images(root, what) for what in ("train", "test")]
    train, test = (part.classes for part in parts)
    if train != test:
        differ = ", ".join(sorted(set(train) ^ set(test)))
        raise ValueError(f"{root}: expected the same class folders in train/ and test/, but they differ in {differ}")

    def images(part) -> Images:
        within = [path.removeprefix(f"{root}{os.sep}").replace(os.sep, "/") for path, _ in part.samples]
        return (
            torch.tensor(part.targets),
            lambda rows: _decode([part.samples[row][0] for row in rows], size),
            np.array([os.path.splitext(path)[0] for path in within]),
        )

    return tuple(train), [images(part) for part in parts]


def _list_images(root: Path, what: str):
    """List the images of one split's class folders, as torchvision's `ImageFolder`."""
    from torchvision.datasets import ImageFolder  # see `cifar10`

    folder = root / what
    layout = "expected train/ and test/, each with one folder of images a class"
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: {layout}")
    if sum(entry.is_dir() for entry in os.scandir(folder)) < 2:
        raise FileNotFoundError(f"fewer than 2 class folders in {folder}: {layout}")
    listing = ImageFolder(folder, allow_empty=True)
    counts = np.bincount(listing.targets, minlength=len(listing.classes))
    for name, count in zip(listing.classes, counts, strict=True):
        if count < 2:
            raise ValueError(
                f"{folder / name} holds {count} image(s), expected at least 2: add some or remove the folder"
            )
    return listing


def _decode(paths: Sequence[str], size: tuple[int, int]) -> Tensor:
    """Decode image files: uint8 (N, 3, *size)."""
    images = np.empty((len(paths), *size, 3), np.uint8)
    threads = 1 if all(os.path.getsize(path) < TINY for path in paths[:DECODE_BLOCK]) else None

    def decode_block(start):
        for row, path in enumerate(paths[start : start + DECODE_BLOCK], start):
            images[row] = _read(path, size)
        return row - start + 1

    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(paths), unit="image", desc="decoding", mininterval=1, delay=1) as bar,
    ):
        for count in pool.map(decode_block, range(0, len(paths), DECODE_BLOCK)):
            bar.update(count)
    return _channels_first(images)


def _read(path: str, size: tuple[int, int]) -> Image.Image:
    """Read a colour image of some height and width."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey, not scale it
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("RGB")
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ValueError(f"cannot read image {path} ({error}): replace or remove the file") from error
    return image if image.size == size[::-1] else image.resize(size[::-1], Image.Resampling.BILINEAR)


def _channels_first(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
