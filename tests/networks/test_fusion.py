import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kd_lib.networks.fast import fusion, rewrite
from tests.example_networks import NETWORKS, network

pytestmark = pytest.mark.skipif(not fusion.available(torch.device("cpu")), reason="this build of torch has no oneDNN")


def fused(model, images, **options):
    traced = rewrite.for_inference(model.eval(), images[:1])
    fusion.fuse_pointwise(traced, batch_size=len(images), **options)
    return traced


def kinds(traced):
    return [
        type(traced.get_submodule(node.target)) if node.op == "call_module" else node.target
        for node in traced.graph.nodes
        if node.op.startswith("call")
    ]


@pytest.mark.parametrize("arch", NETWORKS)
def test_torchvisions_networks_give_the_same_answer(arch):
    size = 48 if arch == "densenet121" else 32
    model, images = network(arch, size=size), torch.randn(3, 3, size, size)
    with torch.inference_mode():
        expected, found = model(images), fused(model, images)(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_what_is_left_of_a_resnet():
    left = kinds(fused(network("resnet18"), torch.randn(2, 3, 32, 32)))
    assert nn.Conv2d not in left
    assert nn.Linear not in left
    # 17 ReLU: those after convolutions are gone; left are those after the sums of stages that are products (4 of 8)
    assert left.count(nn.ReLU) == 4
    assert len([kind for kind in left if getattr(kind, "__name__", "") == "add"]) == 4


class Twists(nn.Module):
    """Everything that must not be fused, or not in the wrong order."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pixel, self.far = nn.Conv2d(4, 4, 1, stride=2, bias=False), nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.deep, self.act, self.head = nn.Conv2d(4, 8, 5, groups=2), nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        a = self.one(x)
        b = self.act(a) + a  # a has two users
        c = b + self.act(self.two(b))  # the function comes before the sum
        d = self.two(c) + self.two(b) + c  # two sums, and a layer that is used three times
        e = torch.add(self.far(d), c, alpha=2)  # a sum with a weight
        f = F.silu(self.far(e + e)) + 1  # a map twice; a number
        g = torch.sigmoid(self.pixel(f)) * torch.tanh(self.pixel(f))
        return F.hardswish(self.head(F.relu(self.deep(g)).mean((2, 3))))


def test_nothing_is_fused_that_must_not_be():
    torch.manual_seed(0)
    model, images = Twists().eval(), torch.randn(3, 2, 12, 14)
    traced = fused(model, images)
    with torch.inference_mode():
        expected, found = model(images), traced(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert fusion.FusedConvolution in kinds(traced)
    assert fusion.FusedLinear in kinds(traced)


def test_what_is_to_be_kept_stays():
    torch.manual_seed(0)
    model, images = Twists().eval(), torch.randn(1, 2, 12, 14)
    traced = rewrite.for_inference(model, images)
    before = kinds(traced)
    fusion.fuse_pointwise(traced, batch_size=1, keep=set(traced.graph.nodes))
    assert kinds(traced) == before


def test_the_model_itself_is_left_alone():
    model, images = network("resnet18"), torch.randn(1, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused(model, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert type(model.conv1) is nn.Conv2d


@pytest.mark.skipif(
    not fusion.available(torch.device("cpu"), "bfloat16"), reason="this processor has no instructions for bfloat16"
)
def test_in_bfloat16_the_last_layer_is_exact():
    torch.manual_seed(0)
    model, images = Twists().eval(), torch.randn(3, 2, 12, 14)
    traced = rewrite.for_inference(model, images[:1])
    rewrite.products_in_bfloat16(traced)
    fusion.fuse_pointwise(traced, batch_size=3)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = traced(images)
    with torch.inference_mode():
        expected = model(images)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() <= 0.05 * expected.abs().max()
