"""What runs on a GPU, on the processor: Triton's kernel by its interpreter, cuDNN's operations by their definition."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kd_lib.maps import occlusion
from kd_lib.maps.incremental.interpreter import Incremental
from kd_lib.maps.incremental.parts import Span, lookup
from kd_lib.networks.fast import fusion, rewrite
from tests.example_networks import network

ARCHS = ("resnet18", "mobilenet_v3_small")
KERNEL, STRIDE = (3, 2), (2, 1)
CHANNELS, OUTSIDE = (3, 5, 64), -7.0
SHAPE = {"number": 3, "height": 9, "width": 11}
PART, BOX = (4, 3), (7, 6)


def drawn(channels: int):
    """Clean maps, parts, where these lie, and the places of the boxes to cut."""
    torch.manual_seed(channels)
    number, height, width = SHAPE.values()
    starts = torch.tensor([0, 2, 5]), torch.tensor([0, 3, 6, 8])
    boxes = torch.tensor([-1, 1, 4]), torch.tensor([-1, 1, 5, 6])
    places = tuple(
        lookup(Span(start, size, full), Span(box, side, full))
        for start, size, full, box, side in zip(starts, PART, (height, width), boxes, BOX, strict=True)
    )
    where = torch.randint(number, (10,)), torch.randint(3, (10,)), torch.randint(4, (10,))
    return (
        torch.randn(number, channels, height, width),
        torch.randn(10, channels, *PART),
        where,
        places,
        starts,
        boxes,
    )


def by_hand(clean, part, where, starts, boxes, outside=OUTSIDE):
    """Put every part into its map, the map into a frame, and cut the box out."""
    found = []
    for own, image, row, col in zip(part, *where, strict=True):
        framed = torch.full((clean.shape[1], clean.shape[2] + 10, clean.shape[3] + 10), outside)
        framed[:, 5:-5, 5:-5] = clean[image]
        y, x = starts[0][row] + 5, starts[1][col] + 5
        framed[:, y : y + PART[0], x : x + PART[1]] = own
        y, x = boxes[0][row] + 5, boxes[1][col] + 5
        found.append(framed[:, y : y + BOX[0], x : x + BOX[1]])
    return torch.stack(found)


def test_boxes_are_cut_and_pooled_as_by_hand():
    alone("boxes")


@pytest.mark.parametrize("arch", ARCHS)
def test_a_gpus_operations_give_the_same_logits(arch):
    alone(arch)


def alone(what: str) -> None:
    """Check in a process of its own: the interpreter is chosen when Triton is imported."""
    if not importlib.util.find_spec("triton"):
        pytest.skip("Triton comes with PyTorch for GPUs only")
    command = [sys.executable, "-m", "tests.maps.test_gather", what]
    subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, check=True, timeout=300)


def check_boxes() -> None:
    """Compare the kernel's answer with `by_hand`."""
    from kd_lib.maps.incremental import gather

    for count in CHANNELS:
        maps, parts, of, places, *lie = drawn(count)
        cut = gather.cut(maps, parts, of, places, outside=OUTSIDE)
        expected = by_hand(maps, parts, of, *lie)
        torch.testing.assert_close(cut, expected, rtol=0, atol=0)
        parts[0, 0, 1, 1] = torch.nan  # of which PyTorch makes the maximum
        pooled = gather.cut(maps, parts, of, places, outside=-torch.inf, kernel=KERNEL, stride=STRIDE)
        framed = by_hand(maps, parts, of, *lie, outside=-torch.inf)
        torch.testing.assert_close(pooled, F.max_pool2d(framed, KERNEL, STRIDE), rtol=0, atol=0, equal_nan=True)


def check_logits(arch: str) -> None:
    """Compare what the engine answers with a GPU's operations with what it answers on a processor."""

    def convolve(maps, weight, bias, stride, padding, dilation, groups):
        return F.conv2d(maps, weight, bias, stride, padding, dilation, groups).relu()

    def convolve_and_add(maps, weight, other, scale, bias, stride, padding, dilation, groups):
        return (F.conv2d(maps, weight, bias, stride, padding, dilation, groups) + scale * other).relu()

    def fused(traced, node, *_):
        layer = traced.get_submodule(node.target) if node.op == "call_module" else None
        is_known = type(layer) is nn.Conv2d and rewrite.has_zero_padding(layer)
        return fusion.CudnnConvolution(layer) if is_known else None

    model, images = network(arch), torch.randn(1, 3, 32, 32)
    for precision, near in (("float32", 1e-5), ("bfloat16", 0.02)):
        expected = occlusion.occluded_logits(model, images, stride=4, precision=precision)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "cudnn_convolution_relu", convolve)
            patch.setattr(torch, "cudnn_convolution_add_relu", convolve_and_add)
            patch.setattr(fusion, "_fused", fused)
            patch.setattr(Incremental, "_gathers", True)
            patch.setattr(torch, "allclose", lambda *_, **__: True)  # no other engine is to answer
            found = occlusion.occluded_logits(model, images, stride=4, precision=precision)
        torch.testing.assert_close(found, expected, rtol=0, atol=near * expected.abs().max().item())


if __name__ == "__main__":
    check_boxes() if sys.argv[1] == "boxes" else check_logits(sys.argv[1])
