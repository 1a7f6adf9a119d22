"""Rewrite a network for images of one size: the same function, fewer operations.

Each pass takes a traced network and leaves out work that is provably not needed. What cannot be traced, or would not be
safe to rewrite, is left alone.
"""

import operator
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from kd_lib import models

DENSE_BYTES = 64 << 20  # of one convolution's weights as a matrix
_OUT_OF_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul}


class CannotRewrite(Exception):
    """The network must run as it is; says why."""


def for_inference(model: nn.Module, image: Tensor) -> fx.GraphModule:
    """Trace a copy of a network, fold its batch norms into its convolutions and replace the small ones of these.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is copied, never changed.
    image : Tensor, shape (1, C, H, W)
        An image of the size to be expected, on the network's device.

    Returns
    -------
    fx.GraphModule
        Maps (B, C, H, W) to what `model` does, up to rounding. Every node's ``meta['tensor_meta']`` tells its shape
        at B = 1.

    Raises
    ------
    CannotRewrite
        If the network has hooks, which may do anything, or control flow that depends on the data, more than one use
        of a layer that a batch norm follows, or changes a tensor in place that is used again.
    """
    traced = _trace(model)
    check_folding(traced)
    traced = fuse(traced)
    work_out_of_place(traced)
    shapes(traced, image)
    small_convolutions_as_products(traced, frozen=True)  # the shapes stay
    return traced


def with_products(model: nn.Module, image: Tensor) -> nn.Module:
    """Trace a network and replace its small convolutions; parameters and buffers stay the network's own.

    Parameters
    ----------
    model : nn.Module
        In the mode (training or evaluation) that the result is for: tracing takes it as given.
    image : Tensor, shape (1, C, H, W)
        An image of the size to be expected, on the network's device.

    Returns
    -------
    nn.Module
        Answers and learns as `model` does, up to rounding; `model` itself if it cannot be traced.
    """
    try:
        traced = _trace(model)
        with models.evaluating(traced):
            shapes(traced, image)
        small_convolutions_as_products(traced, frozen=False)
    except CannotRewrite:
        return model
    return traced


def _trace(model: nn.Module) -> fx.GraphModule:
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise CannotRewrite("it has forward hooks")
    try:
        traced = fx.symbolic_trace(model)
    except Exception as error:  # tracing runs the network's own code on proxies: anything may come back
        raise CannotRewrite(f"it cannot be traced: {' '.join(str(error).split())[:160]}") from error
    return traced


def check_folding(traced: fx.GraphModule) -> None:
    """Raise CannotRewrite if a layer before a batch norm is used elsewhere too, where nothing may be folded into it."""
    layers = [node for node in traced.graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in layers)
    for node in layers:
        before = node.args[0] if node.args else None
        if (
            isinstance(traced.get_submodule(node.target), nn.BatchNorm2d)
            and before in layers
            and uses[before.target] > 1
        ):
            raise CannotRewrite(f"layer {before.target} before a batch norm is used {uses[before.target]} times")


def work_out_of_place(traced: fx.GraphModule) -> None:
    """Let no operation overwrite its input, so that activations can be kept.

    Raises
    ------
    CannotRewrite
        If a tensor that is overwritten is used again: its later users rely on the overwriting.
    """
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        module = modules[node.target] if node.op == "call_module" else None
        overwrites = (
            getattr(module, "inplace", False)
            or node.target in _OUT_OF_PLACE
            or node.kwargs.get("inplace", False)
            or (node.op == "call_method" and node.target.endswith("_") and not node.target.endswith("__"))
            or node.target is operator.setitem
        )
        if not overwrites:
            continue
        if node.op == "call_method" or node.target is operator.setitem or len(node.all_input_nodes[0].users) > 1:
            raise CannotRewrite(f"{node} overwrites a tensor in place")
        if module is not None:
            module.inplace = False
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if "inplace" in node.kwargs:
            node.kwargs = node.kwargs | {"inplace": False}
    traced.recompile()


def shapes(traced: fx.GraphModule, image: Tensor) -> None:
    """Note every node's shape for one image of this size; CannotRewrite if the traced network does not run."""
    try:
        ShapeProp(traced).propagate(image)
    except RuntimeError as error:
        raise CannotRewrite(f"it does not run once traced: {' '.join(str(error).split())[:160]}") from error


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Shape that `shapes` noted; None where the node's value is no tensor."""
    return tuple(shape) if (shape := getattr(node.meta.get("tensor_meta"), "shape", None)) is not None else None


class Product(nn.Module):
    """A convolution on maps of a few pixels as one matrix product, pixels and channels together.

    A 3 x 3 kernel on maps of 2 x 2 pixels multiplies more padding than pixels. The product is as exact, and it shares
    the convolution's parameters, gradients included.

    Parameters
    ----------
    convolution : nn.Conv2d
        With zero padding, one group and no dilation.
    size : (int, int)
        Height and width of its input.
    out_size : (int, int)
        Height and width of its output.
    frozen : bool
        Whether the matrix is computed once, for all evaluations, or at every pass.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int], out_size: tuple[int, int], *, frozen: bool):
        super().__init__()
        self.convolution, self.size, self.out_size = convolution, size, out_size
        self.frozen = self.matrix() if frozen else None

    def matrix(self) -> tuple[Tensor, Tensor | None]:
        """Weight (H' W' C', H W C) and bias (H' W' C') of the product."""
        convolution, (height, width) = self.convolution, self.size
        kernel_height, kernel_width = convolution.kernel_size
        # For every output pixel the kernel is laid over the input: cropped where it overhangs, zero out of its reach.
        corners = [
            [place * stride - padding for place in range(side)]
            for side, stride, padding in zip(self.out_size, convolution.stride, convolution.padding, strict=True)
        ]
        laid = [
            F.pad(convolution.weight, (x, width - kernel_width - x, y, height - kernel_height - y))
            for y in corners[0]
            for x in corners[1]
        ]
        weight = torch.stack(laid).permute(0, 1, 3, 4, 2).flatten(2).flatten(0, 1)
        return weight, None if convolution.bias is None else convolution.bias.repeat(len(laid))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'), without a copy where channels come last in memory."""
        weight, bias = self.frozen or self.matrix()
        out = F.linear(maps.permute(0, 2, 3, 1).flatten(1), weight, bias)
        return out.view(len(maps), *self.out_size, -1).permute(0, 3, 1, 2)


def small_convolutions_as_products(traced: fx.GraphModule, *, frozen: bool) -> None:
    """Replace every convolution that costs no less than its matrix: a 3 x 3 kernel on maps of up to nine pixels."""
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if type(module) is not nn.Conv2d or module.groups != 1 or not has_zero_padding(module):
            continue
        (*_, height, width), (_, outputs, *out_size) = shape_of(node.args[0]), shape_of(node)
        taps = module.kernel_size[0] * module.kernel_size[1]
        bytes_needed = out_size[0] * out_size[1] * outputs * height * width * module.in_channels * 4
        if height * width > taps or module.dilation != (1, 1) or bytes_needed > DENSE_BYTES:
            continue
        name = f"{node.name}_as_product"
        traced.add_submodule(name, Product(module, (height, width), tuple(out_size), frozen=frozen))
        node.target = name
    traced.recompile()


def has_zero_padding(convolution: nn.Conv2d) -> bool:
    """Whether a convolution pads with a given number of zeros."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
