import pytest
import torch
from torch import nn

from kd_lib.maps import occlusion
from kd_lib.maps.incremental.interpreter import Incremental
from kd_lib.maps.incremental.parts import plan
from kd_lib.networks.fast import rewrite
from tests.example_networks import NETWORKS, network


def engine(model, images, *, patch, stride):
    covered = occlusion._coverage(images.shape[-2:], patch, stride)
    traced = rewrite.for_inference(model.eval(), images[:1])
    return Incremental(traced, plan(traced, *covered), *covered)


def check(model, images, **where):
    """Every window, against the network itself on whole occluded images; returns the engine."""
    fill_in = occlusion.baseline_images(where.pop("fill_in", 0.0), images).expand(len(images), -1, -1, -1)
    rows, cols = (torch.tensor(side) for side in occlusion.windows(images.shape[-2:], **where))
    with torch.inference_mode():
        ours = engine(model, images, **where)
        clean = ours.start(images, fill_in)
        torch.testing.assert_close(clean, model(images), rtol=0, atol=1e-5 * clean.abs().max().item())
        number = torch.arange(len(images)).repeat_interleave(len(rows) * len(cols))
        row = torch.arange(len(rows)).repeat_interleave(len(cols)).repeat(len(images))
        col = torch.arange(len(cols)).repeat(len(rows) * len(images))
        hidden = images[number].clone()
        for image, of, r, c in zip(hidden, number, rows[row], cols[col], strict=True):
            place = (slice(None), slice(r, r + where["patch"]), slice(c, c + where["patch"]))
            image[place] = fill_in.expand_as(images)[of][place]
        torch.testing.assert_close(
            ours.occluded(slice(None), number, row, col), model(hidden), rtol=0, atol=1e-5 * clean.abs().max().item()
        )
    return ours


@pytest.mark.parametrize("arch", NETWORKS)
def test_torchvisions_networks(arch):
    check(network(arch), torch.randn(2, 3, 32, 32), patch=4, stride=4)


def test_resnets_first_layers_are_parts():
    ours = check(network("resnet18"), torch.randn(1, 3, 32, 32), patch=4, stride=3)
    sizes = {node.name: (box[0].size, box[0].full) for node, box in ours.boxes.items()}
    assert sizes["conv1"] == (5, 16)
    assert sizes["maxpool"] == (4, 8)
    assert sizes["layer1_0_conv1"] == (6, 8)
    assert "layer1_0_conv2" not in sizes  # it sees all of the map


def test_images_of_other_shapes_and_patches():
    model = network("resnet18", size=64)
    check(model, torch.randn(1, 3, 40, 64), patch=8, stride=7, fill_in=0.7)
    check(model, torch.randn(2, 3, 33, 32), patch=1, stride=1)


class Joined(nn.Module):
    """Parts that meet: branches of different reach are added, multiplied and joined."""

    def __init__(self):
        super().__init__()
        self.near, self.far = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.mean, self.most = nn.AvgPool2d(2, 2), nn.MaxPool2d(3, 2, 1)
        self.head = nn.Conv2d(8, 5, 3)

    def forward(self, images):
        near, far = self.near(images), self.far(images)
        near = near + far * 2 - near * far
        joined = torch.cat([self.norm(torch.cat([near, far], 1)), torch.relu(self.near(images))], 1)[:, :8]
        joined = joined + self.grouped(nn.functional.silu(torch.cat([far, near], dim=1)))
        return self.head(self.mean(joined) + self.most(joined)[..., :, :]).mean((2, 3))


class Threes(nn.Module):
    """Stays made of parts to the last, and gives maps whole to a layer that looks everywhere."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.down, self.head = nn.MaxPool2d(2), nn.Linear(2 * 64, 3)

    def forward(self, images):
        for layer in self.layers:
            images = images + torch.relu(layer(images))
        return self.head(self.down(images).flatten(1)) + images.amax((1, 2, 3))[:, None]


@pytest.mark.parametrize(("model", "channels"), [(Joined(), 1), (Threes(), 2)])
@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (2, 2), (4, 3), (8, 5), (16, 16)])
def test_hand_made_networks(model, channels, patch, stride):
    torch.manual_seed(patch)
    ours = check(model.eval(), torch.randn(2, channels, 16, 16), patch=patch, stride=stride, fill_in=-0.3)
    assert len(ours.boxes) > 1 or patch > 4


@pytest.mark.parametrize("fill_in", ["mean", "blur"])
@pytest.mark.parametrize(("model", "channels"), [(Joined(), 1), (Threes(), 2)])
def test_baselines_that_differ_from_image_to_image(model, channels, fill_in):
    torch.manual_seed(0)
    check(model.eval(), torch.randn(3, channels, 16, 16), patch=4, stride=3, fill_in=fill_in)


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (4, 3, 32, 32)])
def test_batches_of_any_images_in_order(shape):
    model, images = network("resnet18"), torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        ours = engine(model, images, patch=8, stride=8)
        ours.start(images, torch.randn(shape))
        number, row, col = torch.tensor([1, 1, 3]), torch.tensor([0, 2, 3]), torch.tensor([1, 3, 0])
        together = ours.occluded(slice(4), number, row, col)
        alone = [
            ours.occluded(slice(of, of + 1), torch.zeros(1, dtype=torch.int64), row[i : i + 1], col[i : i + 1])
            for i, of in enumerate(number.tolist())
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5 * together.abs().max().item())
