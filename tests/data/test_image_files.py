"""Folders of images as people have them: what is no image is left out, and images are read as a person sees them."""

import os
import re
import struct
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

from kd_lib.data import load, photographs
from tests.data.test_photographs import refused, write_folder


def _link(to):
    return lambda path: path.symlink_to(to, target_is_directory=True)


def _previews(path):
    path.mkdir()
    for i in range(2):
        Image.new("RGB", (8, 8)).save(path / f"{i}.png")


CLUTTER = {  # name, what makes it, and what it counts as below a class; None: hidden, or another tool's
    ".ipynb_checkpoints": (_previews, None),
    "@eaDir": (_previews, None),
    "__MACOSX": (_previews, None),
    "._0.jpg": (Path.touch, None),
    "Thumbs.db": (Path.touch, None),
    "up": (_link(".."), "links to a folder that is read already"),
    "self": (_link("."), "links to a folder that is read already"),
    "loop.png": (_link("loop.png"), "links to nowhere or pipes"),
    "nowhere.png": (_link("nowhere"), "links to nowhere or pipes"),
    "pipe.jpg": (os.mkfifo, "links to nowhere or pipes"),
    "0.heic": (Path.touch, ".heic"),
    "notes.TXT": (Path.touch, ".txt"),
    "README": (Path.touch, "no suffix"),
}
PLACES = ["train", "train/cat", "test/dog", "test/cat/more"]


@settings(max_examples=60, deadline=None)
@hypothesis.given(st.sets(st.tuples(st.sampled_from(PLACES), st.sampled_from(sorted(CLUTTER))), max_size=6))
def test_what_is_no_image_of_a_class_is_left_out_and_counted(clutter):
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place), train=2, test=2)
        (folder / "test/cat/more/others").mkdir(parents=True)
        expected = load(f"imagefolder:{folder}", probe_per_class=1).fingerprint
        for where, name in sorted(clutter):
            CLUTTER[name][0](folder / where / name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert load(f"imagefolder:{folder}", probe_per_class=1).fingerprint == expected
    kinds = [
        "in no class folder" if where == "train" else CLUTTER[name][1] for where, name in clutter if CLUTTER[name][1]
    ]
    said = [re.search("left out (.*);", str(warning.message))[1] for warning in caught]
    counts = [f"{count} {kind}" for kind, count in Counter(kinds).items()]
    assert [sorted(kind.split(", ")) for kind in said] == ([sorted(counts)] if counts else [])


def test_classes_without_images_say_what_they_hold_instead(tmp_path):
    folder = write_folder(tmp_path)
    for path in (folder / "train" / "cat").iterdir():
        path.rename(path.with_suffix(".HEIC"))
    refused(folder, ValueError, r"cat holds 0 image\(s\), expected at least 2 \(6 .heic left out\): add some")


@pytest.mark.parametrize("name", ["two\nlines", "caf\udce9", "tab\t"])
def test_names_of_classes_that_cannot_be_shown_are_refused(tmp_path, name):
    folder = write_folder(tmp_path)
    for what in ("train", "test"):
        (folder / what / "cat").rename(folder / what / name)
    refused(folder, ValueError, "has characters that cannot be shown; rename it")


# as a person sees them

NOISE = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)


def read(image, tmp_path, suffix=".png", **how):
    path = tmp_path / f"image{suffix}"
    image.save(path, **how)
    return np.asarray(photographs._read(str(path), (32, 32)))


@pytest.mark.parametrize("suffix", photographs.SUFFIXES)
def test_every_suffix_gives_the_pixels_of_its_file(tmp_path, suffix):
    image = Image.fromarray(NOISE)
    found = read(image.quantize(256) if suffix == ".gif" else image, tmp_path, suffix)
    assert np.array_equal(found, Image.open(tmp_path / f"image{suffix}").convert("RGB"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(tmp_path, suffix, orientation):
    upright = np.kron(np.random.default_rng(0).integers(0, 256, (4, 4, 1), np.uint8), np.ones((8, 8, 3), np.uint8))
    stored = upright.transpose(1, 0, 2) if orientation > 4 else upright
    stored = stored[:, ::-1] if orientation in (2, 3, 7, 8) else stored
    stored = stored[::-1] if orientation in (3, 4, 6, 7) else stored
    exif = Image.Exif()
    exif[0x0112] = orientation  # EXIF 2.3, 4.6.4: what the first row and column of the file are of the scene
    how = {"lossless": True} if suffix == ".webp" else {"quality": 100} if suffix == ".jpg" else {}
    found = read(Image.fromarray(np.ascontiguousarray(stored)), tmp_path, suffix, exif=exif, **how)
    np.testing.assert_allclose(found.astype(int), upright, atol=3)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "colour key", "16 bits", "GIF", "WebP"])
def test_what_is_transparent_is_laid_on_white(tmp_path, kind):
    alpha = NOISE[..., :1] if kind in ("RGBA", "LA", "WebP") else np.where(NOISE[..., :1] < 128, 0, 255)
    colour = np.where(NOISE[:, :, 1:2] < 200, [200, 200, 200], [10, 10, 10])
    colour = np.where(alpha == 0, [90, 90, 90], colour).astype(np.uint8)
    image, how = Image.fromarray(np.dstack([colour, alpha.astype(np.uint8)])), {}
    if kind in ("palette", "GIF"):
        image, how = Image.fromarray(colour).quantize(4), {}
        how["transparency"] = int(np.asarray(image)[alpha[..., 0] == 0][0])
    elif kind == "colour key":
        image, how = Image.fromarray(colour), {"transparency": (90, 90, 90)}
    elif kind == "16 bits":
        deep = np.where(alpha == 0, 90, 91 + colour[..., :1]).astype(np.uint16) * 256 + 1
        image, colour, how = Image.fromarray(deep[..., 0]), np.repeat(deep >> 8, 3, 2), {"transparency": 90 * 256 + 1}
    elif kind == "LA":
        image = image.convert("LA")
    suffix, more = {"GIF": (".gif", {}), "WebP": (".webp", {"lossless": True, "exact": True})}.get(kind, (".png", {}))
    share = alpha / 255
    np.testing.assert_allclose(read(image, tmp_path, suffix, **how, **more), share * colour + (1 - share) * 255, atol=2)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tiff", ".avif", ".jpg"])
def test_frames_are_refused_but_for_what_phones_add(tmp_path, suffix, frames):
    first = Image.fromarray(np.kron(NOISE[::8, ::8], np.ones((8, 8, 1), np.uint8)))
    path = tmp_path / f"image{suffix}"
    others = [first.rotate(90)] * (frames - 1)
    first.save(path, **({"format": "MPO"} if suffix == ".jpg" else {}), save_all=True, append_images=others)
    if frames == 1 or suffix == ".jpg":
        assert np.array_equal(photographs._read(str(path), (32, 32)), Image.open(path).convert("RGB"))
    else:
        with pytest.raises(ValueError, match="has several frames or pages: save it as one image"):
            photographs._read(str(path), (32, 32))


def _tag(raw: bytes, tag: int, old: int, new: int) -> bytes:
    """Change a TIFF's tag of one short."""
    before, after = (struct.pack("<HHIH", tag, 3, 1, value) for value in (old, new))
    assert raw.count(before) == 1
    return raw.replace(before, after)


@pytest.mark.parametrize(
    ("kind", "suffix", "tag", "expected"),
    [
        ("<u2", ".png", None, None),
        ("<u2", ".tiff", None, None),
        (">u2", ".tiff", None, None),
        ("<u2", ".pgm", None, None),
        ("<u2", ".tiff", (258, 16, 12), "16-bit numbers that do not go from black to white"),
        ("<u2", ".tiff", (262, 1, 0), "16-bit numbers that do not go from black to white"),
        ("<i4", ".tiff", None, "32-bit numbers, of which no range is known"),
        ("<f4", ".tiff", None, "floating-point numbers, of which no range is known"),
    ],
)
def test_numbers_of_no_known_range_are_refused_and_others_scaled(tmp_path, kind, suffix, tag, expected):
    grey, path = NOISE[..., 0], tmp_path / f"image{suffix}"
    Image.fromarray((grey.astype(kind) * 257).astype(kind)).save(path)
    if tag:
        path.write_bytes(_tag(path.read_bytes(), *tag))
    if expected is None:
        assert np.array_equal(photographs._read(str(path), (32, 32)), np.repeat(grey[..., None], 3, 2))
    else:
        with pytest.raises(ValueError, match=f"{path} has {expected}: save it as one image of 8 bits"):
            photographs._read(str(path), (32, 32))
