"""What only a GPU can show; skipped where there is none."""

import pytest
import torch
from torch import nn

from bench import peers
from kd_lib import data
from kd_lib.maps import occlusion
from kd_lib.measures import similarity
from kd_lib.networks import architectures, training
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.fast import replay
from kd_lib.networks.regime import Regime
from tests.example_networks import NETWORKS, network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
REGIME = {"arch": "resnet10", "epochs": 2, "batch_size": 100, "max_lr": 0.05, "flip": True}


@pytest.fixture(scope="module")
def dataset():
    return data.load("multiview", train_size=1030, test_size=400, probe_per_class=5)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    stored = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
    training.train("a", dataset, Regime(**REGIME), checkpoints=stored, seed=0, device="cuda", verbose=False)
    return stored.load("a", 2, architectures.build("resnet10", 10).cuda()).eval()


@pytest.mark.parametrize("arch", NETWORKS)
def test_captum_finds_the_same_maps(arch):
    size, classes = 48 if arch == "densenet121" else 32, 10
    model, images = network(arch, size=size).cuda(), torch.randn(2, 3, size, size).cuda()
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = peers.captum(model, images, 4, target=None, perturbations=32).cpu()
    logits = occlusion.occluded_logits(model, images, patch=4, stride=1)
    found = occlusion.saliency_maps(logits, image_size=(size, size), patch=4, stride=1)
    expected = expected.view(2, -1, *images.shape[1:])[:, :, 0]
    assert expected.shape[1] == found.shape[1] >= classes
    assert (found - expected).abs().max() <= 1e-5 * logits.abs().max()


def test_bfloat16_is_faithful(trained, dataset):
    images = dataset.normalise(dataset.probe.images)
    exact, fast = (
        occlusion.saliency_maps(
            occlusion.occluded_logits(trained, images, precision=precision), image_size=(32, 32), patch=4, stride=1
        )
        for precision in ("float32", "bfloat16")
    )
    alike = torch.as_tensor(similarity.pearson(exact, fast)).flatten()
    assert alike.nanmedian() >= 0.999
    assert alike.nanquantile(0.01) >= 0.98


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("taught", [False, True])
def test_a_replayed_training_goes_as_a_launched_one(dataset, trained, precision, taught, tmp_path, monkeypatch):
    options = {"seed": 0, "device": "cuda", "verbose": False}
    options |= {"teacher": architectures.Ensemble([trained, trained])} if taught else {}
    regime = Regime(**REGIME | {"precision": precision})
    replayed = training.train("b", dataset, regime, checkpoints=Checkpoints(tmp_path / "replayed"), **options)
    monkeypatch.setattr(replay, "WARM_UP", 10**9)
    launched = training.train("b", dataset, regime, checkpoints=Checkpoints(tmp_path / "launched"), **options)
    near = 0.02 if precision == "float32" else 0.05  # of atomic sums and TensorFloat-32, step after step
    assert (replayed["loss"] - launched["loss"]).abs().max() <= near * launched["loss"].max()


def test_gradients_are_those_of_the_shape_at_hand():
    torch.manual_seed(0)
    layer = nn.Linear(4, 1, bias=False).cuda()

    def square(batch):
        layer.zero_grad()
        loss = (layer(batch) ** 2).mean()
        loss.backward()
        return (loss.detach(),)

    replayed = replay.Replayed(square, list(layer.parameters()))
    for rows in [3, 5] * 6:
        batch = torch.randn(rows, 4, device="cuda")
        (loss,) = replayed(batch)
        found = loss.item(), layer.weight.grad.clone()
        assert square(batch)[0].item() == pytest.approx(found[0], rel=1e-5)
        torch.testing.assert_close(layer.weight.grad, found[1])
    assert len(replayed.recorded) == 2
    assert not replayed.refused


def test_what_waits_for_the_gpu_runs_as_it_is():
    layer = nn.Linear(4, 1).cuda()

    def looks(batch):
        layer.zero_grad()
        loss = layer(batch).square().mean()
        loss = loss * 2 if loss.item() > 0 else loss
        loss.backward()
        return (loss.detach(),)

    replayed = replay.Replayed(looks, list(layer.parameters()))
    batch = torch.randn(3, 4, device="cuda")
    losses = [replayed(batch)[0].item() for _ in range(6)]
    assert losses == pytest.approx([looks(batch)[0].item()] * 6, rel=1e-5)
    assert replayed.refused
