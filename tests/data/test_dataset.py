import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lib import data
from kd_lib.data import Split, load, stratified


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


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


@pytest.mark.parametrize("name", ["cifar", "multiview:x", "cifar10:here", "", "MULTIVIEW", None, 10, ["cifar10"]])
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


NO_COLOURS = [0.5, "grey", "abc", [], [0.5], [0.5] * 4, [0.5, 0.5, None], ["0.5"] * 3, [True] * 3, {"red": 0.5}]
NO_COLOURS += [[0.5, 0.5, 127.5], [0.5, -0.1, 0.5], [0.5, float("nan"), 0.5], [[0.5] * 3], torch.full((2,), 0.5), {0.5}]


@pytest.mark.parametrize("given", NO_COLOURS, ids=repr)
@pytest.mark.parametrize("name", ["mean", "std"])
def test_what_is_no_colour_is_refused_with_what_is_expected(name, given):
    with pytest.raises(ValueError, match=f"{name}=.*: expected 3 intensities from .* to 1, one a channel") as error:
        load("multiview", train_size=20, test_size=20, probe_per_class=1, **{name: given})
    one_line(error)


@pytest.mark.parametrize("given", [torch.full((3,), 0.5), np.full(3, 0.5), (0.5, 0.5, 0.5)])
def test_a_colour_may_be_any_sequence_of_three_numbers(given):
    kept = load("multiview", train_size=20, test_size=20, probe_per_class=1, mean=given, std=given)
    assert kept.mean.tolist() == kept.std.tolist() == [0.5] * 3
    assert kept.mean.dtype == torch.float32


@pytest.mark.parametrize("given", [torch.full((2,), 0.5), torch.full((1,), 0.5), torch.tensor(0.5), [0.5] * 3, None])
def test_normalise_wants_a_number_a_channel(given):
    images, right = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.full((3,), 0.5)
    for wrong in ({"mean": given, "std": right}, {"mean": right, "std": given}):
        with pytest.raises(ValueError, match=r"(mean|std)=.* for images of shape \(2, 3, 4, 4\): expected") as error:
            data.normalise(images, **wrong)
        one_line(error)
    with pytest.raises(ValueError, match=r"images of shape \(3, 4, 4\)"):
        data.normalise(images[0], mean=right, std=right)


def test_drawn_images_have_one_size():
    with pytest.raises(ValueError, match="image_size=64: the images of 'multiview' have 32x32 pixels"):
        load("multiview", image_size=64)
