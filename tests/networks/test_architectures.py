import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from kd_lib.networks import architectures


def constant(*logits):
    """A network that answers every image with the same logits."""
    layer = nn.Linear(1, len(logits))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(logits))
    return layer


def test_resnet10_has_one_basic_block_a_stage():
    net = architectures.build("resnet10", 7)
    assert sum(isinstance(module, BasicBlock) for module in net.modules()) == 4
    assert not any(isinstance(module, Bottleneck) for module in net.modules())
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v3_small", "googlenet"])
def test_torchvision_models_give_one_tensor_of_logits_while_training(arch):
    assert architectures.build(arch, 5).train()(torch.randn(2, 3, 32, 32)).shape == (2, 5)


def test_torch_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return architectures.build("resnet10", 10).conv1.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_unknown_architecture_lists_close_matches():
    with pytest.raises(ValueError, match="unknown architecture 'resnet81'.*resnet18") as error:
        architectures.build("resnet81", 10)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="unknown architecture 'fcn_resnet50'"):  # segmentation
        architectures.build("fcn_resnet50", 10)
    with pytest.raises(ValueError, match="num_classes is 1"):
        architectures.build("resnet10", 1)


def test_ensemble_of_logits_is_their_mean():
    ensemble = architectures.Ensemble([constant(0.0, 2.0), constant(4.0, 0.0)])
    assert ensemble(torch.zeros(3, 1)).tolist() == [[2.0, 1.0]] * 3


def test_ensemble_of_probabilities_has_the_mean_probability():
    members = [constant(0.0, math.log(3)), constant(math.log(9), 0.0)]  # (1/4, 3/4) and (9/10, 1/10)
    logits = architectures.Ensemble(members, output="probs")(torch.zeros(1, 1))
    torch.testing.assert_close(logits.exp(), torch.tensor([[0.575, 0.425]]))
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[0.575, 0.425]]))


def test_ensemble_of_probabilities_stands_large_logits():
    logits = architectures.Ensemble([constant(1000.0, 0.0), constant(0.0, 1000.0)], output="probs")(torch.zeros(1, 1))
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize(("members", "output", "message"), [([], "logits", "0 members"), ([1], "votes", "'votes'")])
def test_ensemble_refuses(members, output, message):
    with pytest.raises(ValueError, match=message):
        architectures.Ensemble([constant(0.0, 1.0) for _ in members], output)


def test_component_names():
    assert architectures.component_names(3) == ["a", "b", "c"]
    assert architectures.component_names(28)[25:] == ["z", "aa", "ab"]
    assert architectures.component_names(702)[-1] == "zz"
    for n in (0, 703):
        with pytest.raises(ValueError, match=f"{n} components"):
            architectures.component_names(n)


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_seeds_are_distinct_across_networks_and_runs(one, other):
    names = [*architectures.component_names(40), *architectures.student_names(9)]
    names += [*architectures.CONTROLS, *architectures.TECHNIQUES]
    seeds = {architectures.seed_of(name, seed) for name in names for seed in {one, other}}
    assert len(seeds) == len(names) * len({one, other})


def test_seed_of_an_unknown_network():
    with pytest.raises(ValueError, match="unknown network 'ensemble'"):
        architectures.seed_of("ensemble", 0)


def test_evaluating_puts_every_modules_own_mode_back_even_after_an_error():
    class Stop(Exception): ...

    def stop(net):
        with architectures.evaluating(net):
            assert not any(module.training for module in net.modules())
            assert not net(torch.ones(2, 2)).requires_grad
            raise Stop

    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2)).train()
    net[1].eval()
    with pytest.raises(Stop):
        stop(net)
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert not net[0].num_batches_tracked
