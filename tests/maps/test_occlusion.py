import gc
import operator
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kd_lib import data
from kd_lib.maps import occlusion
from kd_lib.maps.occlusion import occluded_logits, pick_precision, saliency_maps, windows
from kd_lib.measures.similarity import pearson
from kd_lib.networks import architectures, training
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.networks.fast import rewrite
from tests.example_networks import NETWORKS, network


def tiny_net(channels, classes, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(45, classes),
    ).eval()


class Weighted(nn.Module):
    """A linear net whose maps can be worked out by hand: f(x) = sum of weights * x."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))  # (K, H, W)

    def forward(self, x):
        return torch.einsum("bchw,khw->bk", x, self.weights)


def captum_maps(model, images, patch, stride, baseline):
    channels = images.shape[1]
    filled = torch.as_tensor(baseline, dtype=torch.float32)
    filled = (filled if filled.ndim == 4 else filled.reshape(-1, 1, 1)).expand(images.shape).contiguous()
    with torch.no_grad():
        maps = Occlusion(model).attribute(
            images,
            sliding_window_shapes=(channels, patch, patch),
            strides=(channels, stride, stride),
            baselines=filled,
            target=None,
            perturbations_per_eval=1,
        )
    return maps.reshape(len(images), -1, *images.shape[1:])[:, :, 0]


@st.composite
def cases(draw):
    channels = draw(st.sampled_from([1, 3]))
    patch = draw(st.integers(1, 8))
    number = st.floats(-2, 2, width=32)
    return {
        "channels": channels,
        "size": (draw(st.integers(8, 12)), draw(st.integers(8, 12))),
        "count": draw(st.integers(1, 3)),
        "classes": draw(st.integers(1, 4)),
        "patch": patch,
        "stride": draw(st.integers(1, patch)),
        "baseline": draw(number | st.lists(number, min_size=channels, max_size=channels)),
        "batch_size": draw(st.none() | st.integers(1, 400)),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases())
def test_maps_are_captums(case):
    model = tiny_net(case["channels"], case["classes"], case["seed"])
    images = torch.randn(case["count"], case["channels"], *case["size"])
    where = {"patch": case["patch"], "stride": case["stride"]}
    logits = occluded_logits(model, images, baseline=case["baseline"], batch_size=case["batch_size"], **where)
    maps = saliency_maps(logits, image_size=case["size"], **where)
    oracle = captum_maps(model, images, baseline=case["baseline"], **where)
    assert maps.shape == (case["count"], case["classes"], *case["size"])
    torch.testing.assert_close(maps, oracle, rtol=0, atol=1e-5 * logits.abs().max().item())


@pytest.mark.parametrize("arch", NETWORKS)
def test_maps_of_torchvisions_networks_are_captums(arch):
    model, images = network(arch), torch.randn(1, 3, 32, 32)
    where = {"patch": 8, "stride": 5}
    logits = occluded_logits(model, images, baseline=[0.1, -0.2, 0.3], **where)
    maps = saliency_maps(logits, image_size=(32, 32), **where)
    oracle = captum_maps(model, images, baseline=[0.1, -0.2, 0.3], **where)
    torch.testing.assert_close(maps, oracle, rtol=0, atol=1e-5 * logits.abs().max().item())


@pytest.mark.parametrize("arch", [None, "resnet18"])
@pytest.mark.parametrize("kind", ["mean", "blur", "image", "colour", "shared"])
def test_maps_with_a_baseline_of_each_images_own_are_captums(arch, kind):
    torch.manual_seed(1)
    model, images = (network(arch) if arch else tiny_net(3, 4, 0)), torch.randn(3, 3, 32, 32)
    shapes = {"image": images.shape, "colour": (3, 3, 1, 1), "shared": (1, 3, 32, 32)}
    baseline = torch.randn(shapes[kind]) if kind in shapes else kind
    tensor = occlusion.baseline_images(baseline, images)
    where = {"patch": 12, "stride": 10}
    logits = occluded_logits(model, images, baseline=baseline, batch_size=40, **where)
    maps = saliency_maps(logits, image_size=(32, 32), **where)
    oracle = captum_maps(model, images, baseline=tensor, **where)
    torch.testing.assert_close(maps, oracle, rtol=0, atol=1e-5 * logits.abs().max().item())


def test_baselines_by_hand():
    images = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    assert occlusion.baseline_images("mean", images).flatten().tolist() == [3, 1]
    assert occlusion.baseline_images([0.5], images).tolist() == [[[[0.5]]]]
    blurred = occlusion.baseline_images("blur", images)
    assert blurred.shape == images.shape
    torch.testing.assert_close(blurred[1], images[1])  # nothing to blur


def test_a_blur_is_the_same_before_normalising_and_after():
    pixels, mean, std = torch.rand(2, 3, 20, 31), torch.rand(3, 1, 1), 0.1 + torch.rand(3, 1, 1)
    for name in occlusion.BASELINES:
        before = (occlusion.baseline_images(name, pixels) - mean) / std
        torch.testing.assert_close(occlusion.baseline_images(name, (pixels - mean) / std), before)


def test_a_blur_hides_what_is_small_and_keeps_what_is_large():
    fine = torch.arange(32) % 2 * 2.0 - 1
    coarse = (torch.arange(32) >= 16) * 2.0 - 1
    of = {name: line.expand(1, 1, 32, 32) for name, line in (("fine", fine), ("coarse", coarse))}
    left = {name: occlusion.baseline_images("blur", x).std() / x.std() for name, x in of.items()}
    assert left["fine"] < 0.1
    assert left["coarse"] > 0.9


def test_a_network_that_cannot_be_traced_runs_as_it_is():
    class Branches(nn.Module):
        def forward(self, images):
            return (images if images.sum() > -1e9 else -images).mean((2, 3))

    images = torch.randn(2, 3, 9, 8)
    for baseline in (0.0, torch.randn(2, 3, 9, 8)):
        maps = saliency_maps(occluded_logits(Branches(), images, baseline=baseline), image_size=(9, 8))
        torch.testing.assert_close(maps, captum_maps(Branches(), images, 4, 1, baseline), rtol=0, atol=1e-6)


def test_a_rewrite_that_changes_the_answer_is_not_used(monkeypatch):
    model, images = tiny_net(3, 2, 0), torch.randn(1, 3, 8, 8)
    right = occluded_logits(model, images)
    wrong = rewrite.for_inference(tiny_net(3, 2, 1), images)
    monkeypatch.setattr(rewrite, "for_inference", lambda *_: wrong)
    torch.testing.assert_close(occluded_logits(model, images), right, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("output", "last"), [("probs", nn.Softmax(1)), ("log-probs", nn.LogSoftmax(1))])
def test_maps_of_probabilities_are_captums(output, last):
    model, images = tiny_net(3, 4, 0), torch.randn(2, 3, 9, 8)
    maps = saliency_maps(occluded_logits(model, images), image_size=(9, 8), output=output)
    oracle = captum_maps(nn.Sequential(model, last), images, 4, 1, 0.0)
    torch.testing.assert_close(maps, oracle, rtol=0, atol=1e-6)


def test_maps_of_centred_logits_add_up_to_nothing_and_differ_as_those_of_logits_do():
    logits = torch.randn(2, 26, 4)
    maps, centred = (saliency_maps(logits, image_size=(8, 8), output=output) for output in ("logits", "centred"))
    torch.testing.assert_close(centred, maps - maps.mean(1, keepdim=True), rtol=0, atol=1e-6)


def test_a_probability_that_is_nearly_one_still_has_a_map():
    logits = torch.zeros(1, 2, 2)
    logits[0, :, 0] = torch.tensor([30.0, 25.0])  # 1 - 9e-14 and 1 - 1e-11, the same in float32
    for output in ("probs", "log-probs"):
        maps = saliency_maps(logits, image_size=(2, 2), patch=2, output=output)
        assert maps[0, 0, 0, 0].item() == pytest.approx(np.exp(-25) - np.exp(-30), rel=1e-3)


def test_worked_by_hand():
    model = Weighted([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    image = torch.tensor([[[[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]]]])
    # patch 2, stride 1: two windows; they hide columns 0-1 (1+2+4+5) and 1-2 (2+3+5+12)
    logits = occluded_logits(model, image, patch=2)
    assert logits[0, :, 0].tolist() == [27, 27 - 12, 27 - 22]
    assert saliency_maps(logits, image_size=(2, 3), patch=2).tolist() == [[[[12, 17, 22], [12, 17, 22]]]]
    # stride 2: the second window hangs over the border and hides column 2 (3+12) only
    logits = occluded_logits(model, image, patch=2, stride=2)
    assert logits[0, :, 0].tolist() == [27, 27 - 12, 27 - 15]
    assert saliency_maps(logits, image_size=(2, 3), patch=2, stride=2).tolist() == [[[[12, 12, 15], [12, 12, 15]]]]
    # patch 1, baseline 1: only the pixel that is 2 changes, by 6
    maps = saliency_maps(occluded_logits(model, image, patch=1, baseline=1.0), image_size=(2, 3), patch=1)
    assert maps.tolist() == [[[[0, 0, 0], [0, 0, 6]]]]


def test_windows_are_row_major_and_the_last_one_hangs_over():
    assert windows((5, 8), 4, 3) == ([0, 3], [0, 3, 6])
    assert windows((32, 32), 4, 1) == (list(range(29)), list(range(29)))
    assert windows((4, 4), 4, 2) == ([0], [0])
    model = Weighted(torch.arange(12.0).reshape(1, 3, 4).tolist())
    logits = occluded_logits(model, torch.ones(1, 1, 3, 4), patch=1)
    assert (logits[0, 0, 0] - logits[0, 1:, 0]).tolist() == list(range(12))


def test_every_batch_size_gives_the_same():
    model, images = tiny_net(3, 3, 1), torch.randn(2, 3, 8, 8)
    one = occluded_logits(model, images, batch_size=1)
    for batch_size in (2, 7, 25, 26, 27, 51, 52, 1000):
        torch.testing.assert_close(occluded_logits(model, images, batch_size=batch_size), one, rtol=0, atol=1e-6)


def test_no_forward_pass_exceeds_the_batch_size():
    seen = []
    model = tiny_net(1, 2, 0)
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    occluded_logits(model, torch.randn(3, 1, 8, 8), batch_size=20)
    assert max(seen) == 20
    assert sum(seen) == 3 * 26  # all classes from one pass an occluded image


def test_the_maps_of_the_mean_are_the_mean_of_the_maps():
    images = torch.randn(2, 3, 8, 10)
    logits = torch.stack([occluded_logits(tiny_net(3, 3, seed), images, patch=3) for seed in range(3)])
    maps = saliency_maps(logits, image_size=(8, 10), patch=3)  # leading axes are free
    mean = saliency_maps(logits.mean(0), image_size=(8, 10), patch=3)
    torch.testing.assert_close(maps.mean(0), mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(saliency_maps(logits.numpy(), image_size=(8, 10), patch=3), maps)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(tiny_net(3, 4, 0), nn.Dropout(0.5))
    model.train()
    model[0][1].eval()  # a frozen batch norm inside a net in training
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(2, 3, 8, 8)
    kept = images.clone()
    first, second = occluded_logits(model, images), occluded_logits(model, images)
    assert torch.equal(first, second)  # dropout is off
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(images, kept)
    assert not first.is_inference()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    model(images).sum().backward()  # still trains


class Begun(nn.Module):
    """A network that begins with some operation."""

    def __init__(self, begin, channels):
        super().__init__()
        self.begin, self.rest = begin, tiny_net(channels, 3, 0)

    def forward(self, x):
        begun = self.begin(x)
        return self.rest(x if begun is None else begun)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("in_place", "apart"),
    [
        (lambda x: x.sub_(0.5).mul_(2), lambda x: (x - 0.5) * 2),
        (lambda x: operator.isub(x, 0.5), lambda x: x - 0.5),
        (lambda x: operator.ipow(x, 2), lambda x: x**2),
        (lambda x: torch.sigmoid_(x), lambda x: torch.sigmoid(x)),
        (lambda x: torch.add(x, 1, out=x), lambda x: x + 1),
        (lambda x: nn.functional.relu(x, inplace=True), lambda x: nn.functional.relu(x)),
        (lambda x: operator.setitem(x, (slice(None), 0), 1.0), lambda x: torch.cat([0 * x[:, :1] + 1, x[:, 1:]], 1)),
        (lambda x: operator.iadd(x[:, :, :4], 1) is None or x, lambda x: torch.cat([x[:, :, :4] + 1, x[:, :, 4:]], 2)),
    ],
)
def test_a_network_that_overwrites_its_input_has_the_maps_of_one_that_does_not(
    in_place, apart, channels, memory_format
):
    images = torch.randn(3, channels, 12, 12).contiguous(memory_format=memory_format)
    before = images.clone()
    found, expected = (
        occluded_logits(Begun(begin, channels), images, patch=4, stride=4, batch_size=2) for begin in (in_place, apart)
    )
    torch.testing.assert_close(found, expected)
    assert torch.equal(images, before)


def test_an_answer_that_is_no_tensor_is_named_with_what_to_give():
    class Pair(nn.Sequential):
        def forward(self, x):
            return super().forward(x), 0

    with pytest.raises(ValueError, match=r"the model returns tuple, expected one tensor of logits: .*\)\[0\]`"):
        occluded_logits(Pair(nn.Flatten(), nn.Linear(48, 2)), torch.zeros(1, 3, 4, 4), patch=2, stride=2)


def test_the_mode_comes_back_after_an_error():
    model = nn.Sequential(nn.Conv2d(3, 2, 3)).train()
    with pytest.raises(ValueError, match=r"output has shape \(1, 2, 6, 6\): expected \(batch, classes\)"):
        occluded_logits(model, torch.randn(1, 3, 8, 8), batch_size=25)
    assert model.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_bfloat16_is_near_float32():
    model, images = tiny_net(3, 4, 0), torch.randn(2, 3, 8, 8)
    exact, near = occluded_logits(model, images), occluded_logits(model, images, precision="bfloat16")
    assert near.dtype == torch.float32
    assert 0 < (near - exact).abs().max() < 0.02 * exact.abs().max()


def test_auto_is_the_precision_of_the_hardware(monkeypatch):
    model, images, cpu = tiny_net(3, 4, 0), torch.randn(2, 3, 8, 8), torch.device("cpu")
    for supported, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", partial(bool, supported))
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert pick_precision("auto", cpu) == precision
        expected = occluded_logits(model, images, precision=precision)
        assert torch.equal(occluded_logits(model, images, precision="auto"), expected)


def test_maps_in_bfloat16_are_those_in_float32(tmp_path):
    dataset = data.load("multiview", train_size=1000, test_size=200, probe_per_class=3)
    training.train("a", dataset, training.Regime(epochs=3), checkpoints=Checkpoints(tmp_path), seed=0, verbose=False)
    model = Checkpoints(tmp_path).load("a", 3, architectures.build("resnet10", 10))
    images = dataset.normalise(dataset.probe.images)
    exact, near = (
        saliency_maps(occluded_logits(model, images, stride=2, precision=precision), image_size=(32, 32), stride=2)
        for precision in ("float32", "bfloat16")
    )
    similarity = pearson(exact, near)
    assert np.median(similarity) >= 0.999
    assert np.percentile(similarity, 1) >= 0.98


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patch": 9}, "patch 9 does not fit the 8x9 image: give 1 to 8"),
        ({"patch": 0}, "patch 0 does not fit"),
        ({"stride": 0}, "stride 0 with patch 4: give 1 to 4"),
        ({"stride": 5}, "stride 5 with patch 4: give 1 to 4"),
        ({"precision": "float16"}, "unknown precision 'float16': expected one of float32, bfloat16"),
        ({"batch_size": 0}, "batch size 0: expected at least 1"),
        ({"baseline": [0.0, 1.0]}, r"baseline \[0.0, 1.0\]: expected one finite number, or one for each of the 3"),
        ({"baseline": float("nan")}, "baseline nan: expected one finite number"),
        ({"baseline": "median"}, "unknown baseline 'median': expected a number, one for each channel, or 'mean' or"),
        (
            {"baseline": torch.zeros(2, 3, 8, 9)},
            r"baseline of shape \(2, 3, 8, 9\): expected one that fits \(1, 3, 8, 9",
        ),
        ({"baseline": torch.full((1, 3, 1, 1), torch.inf)}, "baseline: 3 of its values are not finite"),
    ],
)
def test_bad_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        occluded_logits(tiny_net(3, 2, 0), torch.zeros(1, 3, 8, 9), **wrong)


def test_bad_images_and_logits_are_named():
    model = tiny_net(3, 2, 0)
    with pytest.raises(TypeError, match=r"images are torch.uint8: expected normalised floats"):
        occluded_logits(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"images have shape \(3, 8, 8\): expected \(N, C, H, W\)"):
        occluded_logits(model, torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="with N >= 1"):
        occluded_logits(model, torch.zeros(0, 3, 8, 8))
    with pytest.raises(ValueError, match=r"logits have shape \(1, 25, 2\): expected \(..., 26, K\)"):
        saliency_maps(np.zeros((1, 25, 2), np.float32), image_size=(8, 8))
    with pytest.raises(ValueError, match="unknown output 'probabilities': expected 'logits', 'centred', "):
        saliency_maps(np.zeros((1, 26, 2), np.float32), image_size=(8, 8), output="probabilities")


def test_the_rewritten_network_is_freed_with_the_answer(monkeypatch):
    modules = []

    class Noted(occlusion.Incremental):
        def __init__(self, traced, *where):
            modules.extend(weakref.ref(module) for module in traced.modules())
            super().__init__(traced, *where)

    monkeypatch.setattr(occlusion, "Incremental", Noted)
    gc.disable()  # else it might come by
    try:
        occluded_logits(architectures.build("resnet10", 3), torch.randn(1, 3, 32, 32), patch=16, stride=16)
        assert modules
        assert not [module for module in modules if module() is not None]
    finally:
        gc.enable()
