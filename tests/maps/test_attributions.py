import warnings

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from kd_lib.maps import attributions
from kd_lib.networks import architectures


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return architectures.build("resnet10", 4).eval()


def test_four_methods_each_give_one_finite_map_and_leave_the_network_alone(network):
    image = torch.randn(1, 3, 32, 32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    maps = attributions.methods(network, image, 2)
    assert list(maps) == ["Occlusion", "Saliency", "Deconvolution", "GradCAM"]
    assert all(m.shape == (32, 32) and np.isfinite(m).all() and np.ptp(m) > 0 for m in maps.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(m.inplace for m in network.modules() if isinstance(m, nn.ReLU))
    assert not any(m._forward_hooks for m in network.modules())


def test_occlusion_map_is_captums(network):
    image = torch.randn(1, 3, 32, 32)
    peer = Occlusion(network).attribute(image, (3, 8, 8), strides=(3, 1, 1), target=1)[0, 0]
    np.testing.assert_allclose(attributions.occlusion_map(network, image, 1, patch=8), peer.detach(), atol=1e-5)
    low = image[..., :6, :]  # a patch of eight does not fit it
    peer = Occlusion(network).attribute(low, (3, 6, 6), strides=(3, 1, 1), target=1)[0, 0]
    np.testing.assert_allclose(attributions.occlusion_map(network, low, 1, patch=8), peer.detach(), atol=1e-5)


def test_a_network_without_convolution_has_no_gradcam():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    maps = attributions.methods(network, torch.randn(1, 3, 2, 2), 0, patch=1)
    assert list(maps) == ["Occlusion", "Saliency", "Deconvolution"]


class Awkward(nn.Module):
    """A network of which something is out of the ordinary."""

    def __init__(self, before=nn.Identity(), after=nn.Identity(), activation=nn.ReLU()):  # noqa: B008
        super().__init__()
        self.before, self.after, self.activation = before, after, activation
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), activation, nn.Conv2d(4, 4, 3, padding=1), activation)
        self.head = nn.Linear(4 * 64, 3)

    def forward(self, x):
        return self.after(self.head(self.body(self.before(x)).flatten(1)))


class Does(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def forward(self, x):
        return self.what(x)


class Fixed(nn.Module):
    """No parameters at all."""

    def forward(self, x):
        return x.mean((2, 3))


GRADIENTS = {"Saliency", "Deconvolution", "GradCAM"}
AWKWARD = {  # a network, and the methods that cannot explain it
    "in place on its input": (lambda: Awkward(before=Does(lambda x: x.clone().sub_(0.5).mul_(2))), set()),
    "in place activations": (lambda: Awkward(activation=nn.SiLU(inplace=True)), set()),
    "in place dropout": (lambda: Awkward(after=nn.Dropout(0.5, inplace=True)), set()),
    "in place, functional": (lambda: Awkward(activation=Does(torch.relu_)), set()),
    "no gradient": (lambda: Awkward(after=Does(torch.Tensor.detach)), GRADIENTS),
    "integers within": (lambda: Awkward(before=Does(lambda x: (x * 9).int().float())), GRADIENTS - {"GradCAM"}),
    "no parameters": (Fixed, {"GradCAM"}),
    "no convolution": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), {"GradCAM"}),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("on_its_input", [False, True])
def test_what_a_method_cannot_explain_is_left_out(name, on_its_input):
    torch.manual_seed(0)
    network, image = AWKWARD[name][0]().eval(), torch.randn(1, 3, 8, 8)
    expected = attributions.occlusion_map(network, image, 1, patch=2)
    if on_its_input:
        network = nn.Sequential(Does(lambda x: x.mul_(1)), network).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps = attributions.methods(network, image, 1, patch=2)
    without = AWKWARD[name][1]
    assert set(maps) == {"Occlusion"} | GRADIENTS - without
    said = {str(w.message).split()[0] for w in caught if "is left out" in str(w.message)}
    assert said == without - ({"GradCAM"} if name in ("no parameters", "no convolution") else set())
    np.testing.assert_allclose(maps["Occlusion"], expected, atol=1e-6)
    assert all(m.shape == (8, 8) and np.isfinite(m).all() for m in maps.values())
