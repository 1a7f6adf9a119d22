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


def test_a_network_without_convolution_has_no_gradcam():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    maps = attributions.methods(network, torch.randn(1, 3, 2, 2), 0, patch=1)
    assert list(maps) == ["Occlusion", "Saliency", "Deconvolution"]


def test_a_network_that_overwrites_its_input_is_explained_as_one_that_does_not(network):
    class Shifted(nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.rest, self.in_place = network, in_place

        def forward(self, x):
            return self.rest(x.sub_(0.5) if self.in_place else x - 0.5)

    image = torch.randn(1, 3, 32, 32)
    before = image.clone()
    found, expected = (attributions.methods(Shifted(kind).eval(), image, 2) for kind in (True, False))
    for name, peer in expected.items():
        np.testing.assert_allclose(found[name], peer, atol=1e-5)
    assert torch.equal(image, before)
