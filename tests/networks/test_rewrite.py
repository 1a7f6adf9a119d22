import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kd_lib.networks import architectures
from kd_lib.networks.fast import rewrite
from tests.example_networks import NETWORKS, network


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("arch", NETWORKS)
@pytest.mark.parametrize("batch", [1, 5])
def test_the_rewritten_network_gives_the_same_answer(arch, batch):
    model, images = network(arch), torch.randn(batch, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        close(rewrite.for_inference(model, images[:1])(images), model(images))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_the_rewrite_leaves_out():
    traced = rewrite.for_inference(network("resnet18"), torch.randn(1, 3, 32, 32))
    kinds = [type(traced.get_submodule(node.target)) for node in traced.graph.nodes if node.op == "call_module"]
    assert nn.BatchNorm2d not in kinds
    # at 32 pixels the third stage gives 2 x 2 pixels and the fourth one: 4 and 4 convolutions with a kernel of 3 x 3
    assert kinds.count(rewrite.Product) == 8
    assert kinds.count(nn.Conv2d) == 20 - 8


@st.composite
def convolutions(draw):
    kernel, size = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(2))
    padding = tuple(draw(st.integers(0, side)) for side in kernel)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    if any(side + 2 * pad < taps for side, pad, taps in zip(size, padding, kernel, strict=True)):
        padding = kernel
    bias = draw(st.booleans())
    return nn.Conv2d(2, 3, kernel, stride=stride, padding=padding, bias=bias), size


@settings(max_examples=60, deadline=None, derandomize=True)
@given(convolutions())
def test_a_product_is_its_convolution_gradients_included(case):
    convolution, size = case
    maps = torch.randn(4, 2, *size, requires_grad=True)
    expected = convolution(maps)
    product = rewrite.Product(convolution, size, tuple(expected.shape[2:]), frozen=False)
    close(product(maps), expected)
    weights = torch.randn_like(expected)
    parameters = [maps, *convolution.parameters()]
    ours = torch.autograd.grad((product(maps) * weights).sum(), parameters)
    for found, wanted in zip(ours, torch.autograd.grad((expected * weights).sum(), parameters), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_learning_through_products_changes_the_network_itself():
    images = torch.randn(6, 3, 32, 32)
    plain, model = network("resnet18").train(), network("resnet18").train()
    learner = rewrite.with_products(model, images[:1])
    assert learner is not model
    assert sum(isinstance(module, rewrite.Product) for module in learner.modules()) == 8
    for net in (plain, learner):
        net(images).square().mean().backward()
    for (name, parameter), twin in zip(plain.named_parameters(), model.parameters(), strict=True):
        wanted = parameter.grad
        torch.testing.assert_close(twin.grad, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item() + 1e-7, msg=name)
    for name, value in plain.named_buffers():  # the running statistics moved, and by one step
        torch.testing.assert_close(model.get_buffer(name), value, rtol=1e-4, atol=1e-5, msg=name)
    assert all(module.training for module in model.modules())


def test_dropout_follows_the_mode_the_network_was_traced_in():
    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, images):
            return nn.functional.dropout(self.conv(images).flatten(1), training=self.training)

    model, images = Drops(), torch.randn(2, 3, 3, 3)
    assert (rewrite.with_products(model.train(), images[:1])(images) == 0).any()
    torch.testing.assert_close(rewrite.with_products(model.eval(), images[:1])(images), model(images))


class Branches(nn.Module):
    def forward(self, images):
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Overwrites(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, images):
        doubled = images * 2
        positive = nn.functional.relu(doubled, inplace=True) if self.inplace else doubled.relu_()
        return (doubled + positive).flatten(1)


class OneSize(nn.Module):
    def forward(self, images):
        return images.view(7, -1)


class Repeats(nn.Module):
    """One convolution, used twice, before two batch norms: folding both into it would be wrong."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

    def forward(self, images):
        for norm in self.norms:
            images = norm(self.conv(images))
        return images.flatten(1)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Branches(), "cannot be traced"),
        (Overwrites(True), "overwrites a tensor in place"),
        (Overwrites(False), "overwrites a tensor in place"),
        (OneSize(), "does not run once traced"),
        (Repeats(), "layer conv before a batch norm is used 2 times"),
    ],
)
def test_what_cannot_be_rewritten_says_why(model, reason):
    with pytest.raises(rewrite.CannotRewrite, match=reason):
        rewrite.for_inference(model.eval(), torch.randn(1, 3, 4, 4))


def test_hooks_are_not_lost():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    model[0].register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(rewrite.CannotRewrite, match="forward hooks"):
        rewrite.for_inference(model, torch.randn(1, 3, 3, 3))
    assert rewrite.with_products(model, torch.randn(1, 3, 3, 3)) is model


def test_an_ensemble_is_rewritten_whole():
    ensemble = architectures.Ensemble([network("resnet18"), network("resnet18", seed=1)], output="probs").eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        close(rewrite.with_products(ensemble, images[:1])(images), ensemble(images))
