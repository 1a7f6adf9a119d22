"""Photographs come through the door of `data.load` as the files have them."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional as transforms

from kd_lib.data import dataset, load, photographs
from tests.data.test_dataset import one_line


def write_folder(root: Path, *, train=6, test=5, names=("cat", "dog"), size=(32, 32)) -> Path:
    """Write an image folder of random PNG files."""
    rng = np.random.default_rng(0)
    for what, count in (("train", train), ("test", test)):
        for name in names:
            (root / what / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (*size, 3), np.uint8)
                Image.fromarray(pixels).save(root / what / name / f"{i}.png")
    return root


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pictures")


# image folders


def test_imagefolder_gives_the_pixels_and_labels_of_the_files(folder):
    dataset = load(f"imagefolder:{folder}", probe_per_class=2)
    assert dataset.class_names == ("cat", "dog")
    assert (len(dataset.train), len(dataset.test), len(dataset.probe)) == (12, 6, 4)
    assert dataset.train.labels.tolist() == [0] * 6 + [1] * 6
    assert dataset.train.index.tolist() == list(range(12))
    assert dataset.train.views is None
    for row, path in enumerate(sorted((folder / "train").glob("*/*.png"))):
        assert np.array_equal(dataset.train.images[row].permute(1, 2, 0), np.asarray(Image.open(path)))
    files = sorted((folder / "test").glob("*/*.png"))
    for split in (dataset.test, dataset.probe):
        for image, index, path in zip(split.images, split.index, split.paths, strict=True):
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(Image.open(files[index])))
            assert folder / f"{path}.png" == files[index]


def test_the_folder_may_be_given_as_root(folder):
    by_name = load(f"imagefolder:{folder}", probe_per_class=1)
    assert load("imagefolder", root=folder, probe_per_class=1).fingerprint == by_name.fingerprint


def test_a_sample_is_stratified_and_only_the_sample_is_decoded(folder, monkeypatch):
    read, decode = [], photographs._read
    monkeypatch.setattr(photographs, "_read", lambda path, size: read.append(path) or decode(path, size))
    dataset = load(f"imagefolder:{folder}", train_size=4, test_size=6, probe_per_class=1)
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert (len(dataset.test), len(dataset.probe)) == (4, 2)
    files = sorted((folder / "train").glob("*/*.png"))
    decoded = [Path(path) for path in read if "train" in Path(path).parts]
    assert decoded == [files[row] for row in dataset.train.index]
    assert len(read) == 10


def test_more_images_than_one_thread_decodes_at_a_time_stay_in_order(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, train=20)
    whole = load(f"imagefolder:{folder}", probe_per_class=1)
    monkeypatch.setattr(photographs, "DECODE_BLOCK", 3)
    assert load(f"imagefolder:{folder}", probe_per_class=1).fingerprint == whole.fingerprint


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_images_of_other_kinds_become_colour(folder, mode):
    grey = np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 8, 32, 1)
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256 + 99)
    else:
        image = Image.fromarray(grey).convert("RGB")
        image = image.quantize(32) if mode == "P" else image.convert(mode)
    path = folder / "train" / "cat" / "0.png"
    if mode == "CMYK":  # PNG has none
        path.unlink()
        path = path.with_suffix(".tiff")
    image.save(path)
    train = load(f"imagefolder:{folder}", probe_per_class=1).train
    assert train.images.shape == (12, 3, 32, 32)
    shown = train.images[0].float()
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])
    if mode != "1":
        torch.testing.assert_close(shown[0], torch.tensor(grey).float(), atol=1, rtol=0)


def test_images_of_other_sizes_are_resized_as_torchvision_does(tmp_path):
    folder = write_folder(tmp_path, size=(50, 71))
    dataset = load(f"imagefolder:{folder}", probe_per_class=1)
    for row, path in enumerate(sorted((folder / "train").glob("*/*.png"))):
        original = torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1)
        expected = transforms.resize(original, [32, 32], antialias=True)
        assert (dataset.train.images[row].int() - expected.int()).abs().max() <= 1


def refused(folder, kind, message, **arguments):
    with pytest.raises(kind, match=message) as error:
        load(f"imagefolder:{folder}", **{"probe_per_class": 1} | arguments)
    return one_line(error)


def test_a_missing_folder_is_named(tmp_path, folder):
    assert str(tmp_path / "nowhere" / "train") in refused(tmp_path / "nowhere", FileNotFoundError, "no folder")
    shutil.rmtree(folder / "test")
    assert str(folder / "test") in refused(folder, FileNotFoundError, "expected train/ and test/")


def test_an_empty_folder_is_named(folder):
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    assert str(folder / "train") in refused(folder, FileNotFoundError, "fewer than 2 class folders")


def test_empty_class_folders_are_named(folder):
    for name in ("cat", "dog"):
        shutil.rmtree(folder / "train" / name)
        (folder / "train" / name).mkdir()
    assert str(folder / "train" / "cat") in refused(folder, ValueError, "holds 0 image")


@pytest.mark.parametrize("what", ["train", "test"])
def test_a_class_folder_with_one_image_is_named(folder, what):
    for path in sorted((folder / what / "dog").iterdir())[1:]:
        path.unlink()
    message = refused(folder, ValueError, "holds 1 image")
    assert str(folder / what / "dog") in message


def test_class_folders_that_differ_are_named(folder):
    (folder / "test" / "dog").rename(folder / "test" / "wolf")
    refused(folder, ValueError, "differ in dog, wolf")


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"not an image", lambda raw: b""])
def test_a_corrupt_image_is_named(folder, damage):
    path = folder / "train" / "dog" / "3.png"
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in refused(folder, ValueError, "cannot read image.*replace or remove the file")


def test_a_truncated_jpeg_is_named(folder):
    path = folder / "test" / "cat" / "1.jpg"
    Image.open(folder / "test" / "cat" / "1.png").save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert str(path) in refused(folder, ValueError, "cannot read image")


def test_a_probe_larger_than_the_test_images_is_refused_before_any_image_is_read(folder, monkeypatch):
    monkeypatch.setattr(photographs, "_read", lambda path: pytest.fail("an image was read"))
    refused(folder, ValueError, "gives 5 test images of 'cat', expected at least 6", probe_per_class=5)
    refused(folder, ValueError, "test_size=4 gives 2 test images", probe_per_class=2, test_size=4)


def test_the_largest_possible_probe_leaves_one_test_image_a_class(folder):
    assert load(f"imagefolder:{folder}", probe_per_class=4).test.labels.tolist() == [0, 1]


def test_more_images_than_there_are_is_refused(folder):
    refused(folder, ValueError, "train_size=13: there are 12 train images", train_size=13)
    refused(folder, ValueError, "test_size=11: there are 10 test images", test_size=11)


@pytest.mark.parametrize(("name", "root"), [("imagefolder", None), ("imagefolder:", None), ("imagefolder:a", "b")])
def test_the_folder_is_given_once(name, root):
    with pytest.raises(ValueError, match="give the folder once"):
        load(name, root=root)


def test_images_of_one_single_colour_are_refused(folder):
    for path in (folder / "train").glob("*/*.png"):
        Image.new("RGB", (32, 32), "grey").save(path)
    refused(folder, ValueError, "one single level")


# CIFAR-10


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Write a small CIFAR-10 in torchvision's format: 40 training images in two files, 20 test images."""
    rng = np.random.default_rng(0)
    batches = tmp_path / CIFAR10.base_folder
    batches.mkdir()
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        entry = {"data": rng.integers(0, 256, (20, 3072), np.uint8), "labels": [i % 10 for i in range(20)]}
        (batches / name).write_bytes(pickle.dumps(entry))
    (batches / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"kind {k}" for k in range(10)]}))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", None], ["data_batch_2", None]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": None})
    monkeypatch.setattr(CIFAR10, "url", (tmp_path / "nowhere").as_uri())
    return tmp_path


def test_cifar10_gives_torchvisions_images(cifar10):
    dataset = load("cifar10", root=cifar10, train_size=20, probe_per_class=1)
    assert dataset.class_names[3] == "kind 3"
    assert (len(dataset.train), len(dataset.test), len(dataset.probe)) == (20, 10, 10)
    assert torch.bincount(dataset.train.labels).tolist() == [2] * 10
    for split, train in ((dataset.train, True), (dataset.test, False), (dataset.probe, False)):
        source = CIFAR10(cifar10, train=train)
        for image, label, index in zip(split.images, split.labels, split.index, strict=True):
            picture, target = source[index]
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(picture))
            assert label == target


def test_cifar10_images_are_counted_class_by_class(cifar10):
    dataset = load("cifar10", root=cifar10, probe_per_class=1)  # labels are 0 to 9, twice
    for split in (dataset.test, dataset.probe):
        assert split.paths.tolist() == [f"test/kind {i % 10}/{i // 10:04}" for i in split.index.tolist()]
    for rows in (torch.tensor([3]), [3], slice(3, 4), torch.arange(len(dataset.test)) == 3):
        assert dataset.test.select(rows).paths.tolist() == dataset.test.paths[3:4].tolist()


def test_cifar10_is_kept_in_the_cache_by_default(cifar10, monkeypatch):
    monkeypatch.setattr(dataset, "CACHE", cifar10)
    assert len(load("cifar10", probe_per_class=1).train) == 40


def test_cifar10_that_can_be_neither_read_nor_downloaded_is_refused(cifar10):
    shutil.rmtree(cifar10 / CIFAR10.base_folder)
    with pytest.raises(OSError, match="CIFAR-10 is not usable.*imagefolder:PATH") as error:
        load("cifar10", root=cifar10)
    assert str(cifar10) in one_line(error)


def test_a_damaged_cifar10_is_refused(cifar10, monkeypatch):
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(OSError, match="CIFAR-10 is not usable") as error:
        load("cifar10", root=cifar10)
    one_line(error)


def test_a_folders_images_take_the_size_and_the_colours_that_are_asked_for(folder):
    dataset = load(f"imagefolder:{folder}", probe_per_class=1, image_size=[20, 24], mean=[0, 0.5, 1], std=[0.5, 0.5, 1])
    assert dataset.train.images.shape[1:] == dataset.probe.images.shape[1:] == (3, 20, 24)
    assert dataset.mean.tolist() == [0, 0.5, 1]
    black = dataset.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).flatten()
    assert black.tolist() == [0, -1, -1]
    assert load(f"imagefolder:{folder}", probe_per_class=1, image_size=8).test.images.shape[2:] == (8, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": [32]}, r"image_size=\[32\]: expected a side"),
        ({"image_size": 0}, "image_size=0: expected a side"),
        ({"mean": [0.5, 0.5]}, r"mean=\[0.5, 0.5\]: expected 3 intensities"),
        ({"std": [0.5, 0, 0.5]}, r"std=\[0.5, 0, 0.5\]: expected 3 intensities"),
        ({"mean": [120, 120, 120]}, "expected 3 intensities from 0 to 1"),
    ],
)
def test_wrong_sizes_and_colours_are_named(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        load(f"imagefolder:{folder}", probe_per_class=1, **settings)
