"""Photographs that are read and not drawn: CIFAR-10, and folders of images of any kind and size.

Labels are known at once; images are read when rows are asked for, and these only.
"""

import itertools
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

DECODE_BLOCK = 250  # images a thread decodes at a time
TINY = 10_000  # bytes of a file; to decode a smaller one takes less time than threads take to hand on Python's lock

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", "AVIF")  # as Pillow calls them
JPEG, PPM = (".jpg", ".jpeg", ".jpe", ".jfif"), (".pbm", ".pgm", ".ppm")
SUFFIXES = (*JPEG, ".png", ".gif", ".bmp", *PPM, ".tif", ".tiff", ".webp", ".avif")
# What systems and tools put beside images, hidden or not: previews, settings, bins.
FOREIGN = re.compile(
    r"(?i)\..*|@eadir|@tmp|#recycle|@recycle|\$recycle\.bin|__macosx|lost\+found|(eh)?thumbs\.db|desktop\.ini"
)

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

    Images are resized to `size`, height and width. What is no image is left out, with a warning that counts it. A
    FileNotFoundError if a folder is missing or holds fewer than two classes; a ValueError if the classes of both
    differ, one has fewer than two images or, when read, one is damaged, has frames, or numbers of no known range.
    """
    parts = [_list_images(root, what) for what in ("train", "test")]
    if left_out := parts[0].left_out + parts[1].left_out:
        known = " ".join(SUFFIXES)
        warnings.warn(f"{root}: left out {_say(left_out)}; what is read are files {known}", stacklevel=3)
    train, test = (part.classes for part in parts)
    if train != test:
        differ = ", ".join(sorted(set(train) ^ set(test)))
        raise ValueError(f"{root}: expected the same class folders in train/ and test/, but they differ in {differ}")

    def images(part) -> Images:
        files, labels = zip(*part.samples, strict=True)
        within = [file.removeprefix(f"{root}{os.sep}").replace(os.sep, "/") for file in files]
        paths = np.array([os.path.splitext(path)[0] for path in within])
        return torch.tensor(labels), lambda rows: _decode([files[row] for row in rows], size), paths

    return tuple(train), [images(part) for part in parts]


class _Listing(NamedTuple):
    """The images of one split: names of the classes, each image's file and class, and how many files are not taken."""

    classes: list[str]
    samples: list[tuple[str, int]]
    left_out: Counter[str]


def _list_images(root: Path, what: str) -> _Listing:
    """List the images of one split's class folders, in the order of torchvision's `ImageFolder`."""
    folder = root / what
    layout = "expected train/ and test/, each with one folder of images a class"
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: {layout}")
    above = {str(place) for place in (folder.resolve(), *folder.resolve().parents)}
    inside = sorted(name for name in os.listdir(folder) if not FOREIGN.fullmatch(name))
    classes = [name for name in inside if (folder / name).is_dir() and os.path.realpath(folder / name) not in above]
    if len(classes) < 2:
        raise FileNotFoundError(f"fewer than 2 class folders in {folder}: {layout}")
    listing = _Listing(classes, [], +Counter({"in no class folder": len(inside) - len(classes)}))
    for label, name in enumerate(classes):
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
            raise ValueError(f"{folder}: class folder {name!r} has characters that cannot be shown; rename it")
        left_out = Counter()
        files = sorted(_files_in(str(folder / name), set(above), left_out))
        if len(files) < 2:
            without = f" ({_say(left_out)} left out)" if left_out else ""
            raise ValueError(
                f"{folder / name} holds {len(files)} image(s), expected at least 2{without}: "
                "add some or remove the folder"
            )
        listing.samples.extend((os.path.join(*file), label) for file in files)
        listing.left_out.update(left_out)
    return listing


def _files_in(folder: str, seen: set[str], left_out: Counter) -> Iterator[tuple[str, str]]:
    """Find the images below a folder, as folder and name, and count by suffix what is left out; links are followed."""
    if (real := os.path.realpath(folder)) in seen:
        left_out["links to a folder that is read already"] += 1
        return
    seen.add(real)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        suffix = os.path.splitext(entry.name)[1].lower()
        there = not entry.is_symlink() or os.path.exists(entry.path)  # not so if a link leads nowhere, or to itself
        if FOREIGN.fullmatch(entry.name):
            continue
        if there and entry.is_dir():
            yield from _files_in(entry.path, seen, left_out)
        elif not there or not entry.is_file():  # to read a pipe might take for ever
            left_out["links to nowhere or pipes"] += 1
        elif suffix not in SUFFIXES:
            left_out[suffix or "no suffix"] += 1
        else:
            yield folder, entry.name


def _say(left_out: Counter) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())


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
    """Read a still image as a person sees it: upright, on white where it is transparent; in colour, of a given size."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            moves = image.format != "MPO" and getattr(image, "is_animated", False)  # phones add a picture of depths
            image.load()
        problem = "several frames or pages" if moves else _unclear(image)
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # Pillow would clip 16-bit grey, not scale it
            grey, clear = np.asarray(image), image.info.get("transparency")
            image = Image.fromarray(np.where(grey == clear, 255, grey >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("RGB")
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ValueError(f"cannot read image {path} ({error}): replace or remove the file") from error
    if problem:
        raise ValueError(f"image {path} has {problem}: save it as one image of 8 bits a channel, or remove the file")
    return image if image.size == size[::-1] else image.resize(size[::-1], Image.Resampling.BILINEAR)


def _unclear(image: Image.Image) -> str:
    """Say what keeps an image's numbers from being intensities of a known range; empty if nothing."""
    tags = getattr(image, "tag_v2", {})  # of TIFF
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # of PPM, Pillow has scaled them to 16 bits
        return f"{'floating-point' if image.mode == 'F' else '32-bit'} numbers, of which no range is known"
    if image.mode.startswith("I;16") and (tags.get(258, (16,)), tags.get(262, 1)) != ((16,), 1):
        return "16-bit numbers that do not go from black to white"
    return ""


def _channels_first(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
