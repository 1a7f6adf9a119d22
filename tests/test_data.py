import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.transforms.v2 import functional as transforms

from kd_lib import data
from kd_lib.data import Split, load, stratified


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


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


# stratified


def test_stratified_gives_each_class_its_share():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2] * 1)
    rows = stratified(labels, 5, seed=0)  # shares 3, 1.5, 0.5: the tie goes to the first class
    assert torch.bincount(labels[rows], minlength=3).tolist() == [3, 2, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data(), st.integers(0, 99))
def test_stratified_rows_are_a_sorted_fair_sample(labels, data, seed):
    labels = torch.tensor(labels)
    size = data.draw(st.integers(0, len(labels)))
    rows = stratified(labels, size, seed=seed)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == size
    exact = torch.bincount(labels, minlength=5) * size / len(labels)
    assert (torch.bincount(labels[rows], minlength=5) - exact).abs().max() < 1
    assert torch.equal(rows, stratified(labels, size, seed=seed))


def test_stratified_depends_on_its_seed_and_reaches_every_row():
    labels = torch.arange(20) % 2
    samples = [stratified(labels, 6, seed=seed) for seed in range(40)]
    assert not torch.equal(samples[0], samples[1])
    assert set(torch.cat(samples).tolist()) == set(range(20))


@pytest.mark.parametrize("size", [-1, 4])
def test_stratified_refuses_a_size_that_does_not_fit(size):
    with pytest.raises(ValueError, match=f"size={size}: expected 0 to 3"):
        stratified(torch.tensor([0, 1, 1]), size, seed=0)


# the object all sources give


@pytest.fixture(scope="module")
def drawn():
    return load("multiview", train_size=105, test_size=200, probe_per_class=4)


def test_multiview_is_split_with_a_stratified_probe_out_of_test(drawn):
    assert (len(drawn.train), len(drawn.test), len(drawn.probe)) == (105, 160, 40)
    assert torch.bincount(drawn.probe.labels).tolist() == [4] * 10
    assert torch.bincount(drawn.test.labels).tolist() == [16] * 10
    assert drawn.name == "multiview"
    assert len(drawn.class_names) == 10
    everything = torch.cat([drawn.test.index, drawn.probe.index])
    assert torch.equal(everything.sort().values, torch.arange(200))


def test_multiview_defaults_to_4000_and_2000_images():
    drawn = load("multiview")
    assert (len(drawn.train), len(drawn.test), len(drawn.probe)) == (4000, 1000, 1000)
    assert drawn.train.views.single.float().mean() == pytest.approx(0.2, abs=0.03)
    assert torch.cat([drawn.test.views.single, drawn.probe.views.single]).float().mean() == pytest.approx(0.5, abs=0.04)


def test_views_stay_with_their_images(drawn):
    for split in (drawn.train, drawn.test, drawn.probe):
        assert torch.equal(split.views.images, split.images)
        assert torch.equal(split.views.labels, split.labels)


def test_select_keeps_rows_of_everything(drawn):
    rows = torch.tensor([3, 0])
    some = drawn.probe.select(rows)
    assert len(some) == 2
    assert torch.equal(some.images, drawn.probe.images[rows])
    assert torch.equal(some.labels, drawn.probe.labels[rows])
    assert torch.equal(some.index, drawn.probe.index[rows])
    assert torch.equal(some.views.images, some.images)
    assert Split(some.images, some.labels, some.index).select(rows[:1] * 0).views is None


def test_mean_and_std_are_those_of_the_training_images(drawn):
    scaled = drawn.train.images.double() / 255
    torch.testing.assert_close(drawn.mean, scaled.mean((0, 2, 3)).float())
    torch.testing.assert_close(drawn.std, scaled.std((0, 2, 3), correction=0).float())


def test_normalised_training_images_have_zero_mean_and_unit_variance(drawn):
    normalised = drawn.normalise(drawn.train.images)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_normalise_by_hand():
    nothing = Split(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0).long(), torch.zeros(0).long())
    dataset = data.Dataset("x", ("a",), nothing, nothing, nothing, torch.tensor([0.2]), torch.tensor([0.4]))
    images = torch.tensor([0, 51, 153], dtype=torch.uint8).view(3, 1, 1, 1)
    torch.testing.assert_close(dataset.normalise(images).flatten(), torch.tensor([-0.5, 0.0, 1.0]))


def test_fingerprint_is_that_of_the_content(drawn):
    arguments = {"train_size": 105, "test_size": 200, "probe_per_class": 4}
    assert load("multiview", **arguments).fingerprint == drawn.fingerprint
    assert len(drawn.fingerprint) == 64
    assert load("multiview", **arguments, seed=1).fingerprint != drawn.fingerprint
    assert load("multiview", **arguments | {"probe_per_class": 3}).fingerprint != drawn.fingerprint


def test_one_pixel_one_label_or_one_name_changes_the_fingerprint(drawn):
    def fingerprint(names=drawn.class_names, pixel=0, label=0):
        probe = drawn.probe.select(slice(None))
        probe = Split(probe.images.clone(), probe.labels.clone(), probe.index)
        probe.images[0, 0, 0, 0] += pixel
        probe.labels[0] += label
        return data.Dataset("x", names, drawn.train, drawn.test, probe, drawn.mean, drawn.std).fingerprint

    prints = {fingerprint(), fingerprint(pixel=1), fingerprint(label=1), fingerprint(names=("cat",))}
    assert len(prints) == 4
    assert fingerprint() == drawn.fingerprint


# bad arguments


@pytest.mark.parametrize("name", ["cifar", "multiview:x", "cifar10:here", "", "MULTIVIEW"])
def test_an_unknown_data_set_is_refused(name):
    with pytest.raises(ValueError, match="unknown data set.*multiview, cifar10, imagefolder:PATH") as error:
        load(name)
    assert repr(name) in one_line(error)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"train_size": 0}, ValueError, "train_size=0: expected at least 1"),
        ({"train_size": 2.5}, TypeError, "train_size=2.5: expected an integer"),
        ({"test_size": "9"}, TypeError, "test_size='9': expected an integer"),
        ({"probe_per_class": 0}, ValueError, "probe_per_class=0: expected at least 1"),
        ({"probe_per_class": True}, TypeError, "probe_per_class=True: expected an integer"),
        ({"probe_per_class": None}, TypeError, "probe_per_class=None: expected an integer"),
        ({"seed": -1}, ValueError, "seed=-1: expected at least 0"),
        ({"root": "somewhere"}, ValueError, "'multiview' is drawn, not read; leave root out"),
        ({"train_size": 9}, ValueError, "train_size=9 gives 0 train images of 'class 9', expected at least 1"),
        ({"test_size": 1000}, ValueError, "gives 100 test images.*at least 101.*probe_per_class=100 lower"),
    ],
)
def test_sizes_and_seeds_that_cannot_be_are_refused(arguments, kind, message):
    with pytest.raises(kind, match=message) as error:
        load("multiview", **arguments)
    one_line(error)


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
        for image, index in zip(split.images, split.index, strict=True):
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(Image.open(files[index])))


def test_the_folder_may_be_given_as_root(folder):
    by_name = load(f"imagefolder:{folder}", probe_per_class=1)
    assert load("imagefolder", root=folder, probe_per_class=1).fingerprint == by_name.fingerprint


def test_a_sample_is_stratified_and_only_the_sample_is_decoded(folder, monkeypatch):
    read, decode = [], data._read
    monkeypatch.setattr(data, "_read", lambda path, size: read.append(path) or decode(path, size))
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
    monkeypatch.setattr(data, "DECODE_BLOCK", 3)
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
    monkeypatch.setattr(data, "_read", lambda path: pytest.fail("an image was read"))
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


def test_cifar10_is_kept_in_the_cache_by_default(cifar10, monkeypatch):
    monkeypatch.setattr(data, "CACHE", cifar10)
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


def test_drawn_images_have_one_size():
    with pytest.raises(ValueError, match="image_size=64: the images of 'multiview' have 32x32 pixels"):
        load("multiview", image_size=64)
