import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from kd_lib.networks import architectures, techniques, training
from kd_lib.networks.checkpoints import Checkpoints
from tests.trainings import coloured, files_in, net, regime, train, weights

CLASSES = 3


def batch(n=6, height=5, width=8):
    """Images whose pixels say where they are from: image * 1000 + row * 10 + column, in two channels."""
    place = torch.arange(height)[:, None] * 10 + torch.arange(width)
    images = torch.arange(n)[:, None, None, None] * 1000 + torch.stack([place, place])
    return images.float(), torch.arange(n) % CLASSES


def apply(mix, seed, images, labels):
    torch.manual_seed(seed)
    return mix(images, labels, CLASSES)


def test_label_smoothing_is_torchs():
    images, labels = batch()
    shown, targets = techniques.label_smoothing(images, labels, CLASSES)
    assert shown is images
    logits = torch.randn(len(labels), CLASSES, generator=torch.Generator().manual_seed(0))
    expected = F.cross_entropy(logits, labels, label_smoothing=techniques.SMOOTHING)
    torch.testing.assert_close(F.cross_entropy(logits, targets), expected)


@pytest.mark.parametrize(("mix", "peer"), [(techniques.mixup, v2.MixUp), (techniques.cutmix, v2.CutMix)])
def test_mixing_is_torchvisions(mix, peer):
    images, labels = batch()
    for seed in range(5):
        shown, targets = apply(mix, seed, images, labels)
        torch.manual_seed(seed)
        expected_images, expected_targets = peer(num_classes=CLASSES)(images, labels)
        assert torch.equal(shown, expected_images)
        assert torch.equal(targets, expected_targets)


def test_every_pixel_of_ricap_is_where_it_should_be_and_labels_weigh_as_areas_do():
    images, labels = batch()
    n, _, height, width = images.shape
    meetings = set()
    for seed in range(60):
        shown, targets = apply(techniques.ricap, seed, images, labels)
        assert torch.equal(shown[:, 0], shown[:, 1])
        source, at = shown[:, 0].long() // 1000, shown[:, 0].long() % 1000
        areas = F.one_hot(labels[source], CLASSES).float().mean((1, 2))
        torch.testing.assert_close(targets, areas)
        torch.testing.assert_close(targets.sum(1), torch.ones(n))
        assert all(torch.equal(pixels.unique(), torch.arange(n)) for pixels in source.flatten(1).T)  # each image once
        shift = at - (torch.arange(height)[:, None] * 10 + torch.arange(width))
        assert (shift == shift[0]).all()
        # Rows and columns at which the source changes in some image: at most one of each, where the four meet.
        rows = (source.diff(dim=1) != 0).any(2).any(0).nonzero().flatten().tolist()
        columns = (source.diff(dim=2) != 0).any(1).any(0).nonzero().flatten().tolist()
        assert len(rows) <= 1
        assert len(columns) <= 1
        for quadrant in (part for half in _cut(shift[0], rows, 0) for part in _cut(half, columns, 1)):
            assert quadrant.unique().numel() == 1  # a crop is moved as a whole
        meetings.add((*rows, *columns))
    assert len(meetings) > 10


def _cut(pixels, after, dim):
    return pixels.tensor_split([place + 1 for place in after], dim=dim)


def test_mixing_is_a_function_of_torchs_default_generator():
    images, labels = batch()
    for mix in (techniques.ricap, techniques.mixup, techniques.cutmix):
        first, again, other = (apply(mix, seed, images, labels) for seed in (1, 1, 2))
        assert all(map(torch.equal, first, again))
        assert not torch.equal(first[0], other[0])
        assert torch.equal(images, batch()[0])


def test_the_state_of_both_generators_is_kept_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "default_generators", ("of the GPU",), raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert training._default_generators(torch.device("cuda")) == ["of the GPU", torch.default_generator]
    assert training._default_generators(torch.device("cpu")) == [torch.default_generator]


def learn(folder, technique, *, epochs=7, **options):
    options |= {"checkpoints": Checkpoints(folder), "seed": 0, "verbose": False, "device": "cpu"}
    return techniques.train_technique(technique, coloured(n=96), regime(epochs=epochs), **options)


@pytest.mark.parametrize("technique", ["ricap", architectures.SELF_DISTILLATION])
def test_a_technique_learns(tmp_path, technique):
    component = None
    if technique == architectures.SELF_DISTILLATION:
        train(tmp_path, "a", coloured(n=96), epochs=7)
        component = Checkpoints(tmp_path).load("a", 7, net())
    history = learn(tmp_path, technique, component=component)
    assert history["test_accuracy"].iloc[-1] > 0.8
    assert set(history["model"]) == {technique}
    assert len(weights(tmp_path, technique)) == 8
    assert history["train_accuracy"][1:].between(0, 1).all()


@pytest.mark.parametrize(("technique", "optimiser"), [("plain", "sgd"), (architectures.ADAM, "adam")])
def test_some_are_trained_as_a_component_is_but_from_their_own_seed(tmp_path, monkeypatch, technique, optimiser):
    learn(tmp_path, technique, epochs=1)
    monkeypatch.setattr(architectures, "seed_of", lambda name, seed, of=architectures.seed_of: of(technique, seed))
    train(tmp_path, "a", coloured(n=96), epochs=1, optimiser=optimiser)
    assert weights(tmp_path, "a") == weights(tmp_path, technique)


def test_a_network_trained_with_another_technique_is_refused(tmp_path):
    train(tmp_path, "mixup", mix=techniques.mixup, epochs=1)
    with pytest.raises(ValueError, match="mix: 'mixup' there, absent given"):
        train(tmp_path, "mixup", epochs=1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mixup", "cutmx"], "unknown technique 'cutmx': expected a list of some of plain, label-smoothing, ricap, "),
        (["ricap", "ricap"], "technique 'ricap' is asked for twice"),
        ([["ricap"]], "unknown technique"),
    ],
)
def test_bad_names(names, message):
    with pytest.raises(ValueError, match=message) as error:
        techniques.check_techniques(names)
    assert "\n" not in str(error.value)


def test_self_distillation_needs_a_component(tmp_path):
    with pytest.raises(ValueError, match="self-distillation without a component to learn from"):
        learn(tmp_path, architectures.SELF_DISTILLATION)
    assert not files_in(tmp_path)
