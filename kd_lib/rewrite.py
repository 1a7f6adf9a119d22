"""Rewrite a network for evaluation on images of one size: the same function, fewer operations.

Each pass takes a traced network and leaves out work that is provably not needed. What cannot be traced, or would not be
safe to rewrite, is left alone.
"""

import operator

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

DENSE_BYTES = 64 << 20  # of one convolution's weights as a matrix
_OUT_OF_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul}


class CannotRewrite(Exception):
    """The network must run as it is; says why."""


def for_inference(model: nn.Module, image: Tensor) -> fx.GraphModule:
    """Trace a network and apply every pass of this module.

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
        If the network has hooks, which may do anything, or control flow that depends on the data, or changes a
        tensor in place that is used again.
    """
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise CannotRewrite("it has forward hooks")
    try:
        traced = fold_batch_norms(model)
    except Exception as error:  # tracing runs the network's own code on proxies: anything may come back
        raise CannotRewrite(f"it cannot be traced: {' '.join(str(error).split())[:160]}") from error
    work_out_of_place(traced)
    shapes(traced, image)
    small_convolutions_as_products(traced)
    shapes(traced, image)
    return traced


def fold_batch_norms(model: nn.Module) -> fx.GraphModule:
    """Trace a copy of the network and fold each batch norm into the convolution that it follows."""
    return fuse(model)


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
            or node.target in (operator.setitem, "__setitem__")
        )
        if not overwrites:
            continue
        if len(node.args[0].users) > 1 or node.op == "call_method" or node.target is operator.setitem:
            raise CannotRewrite(f"{node} overwrites a tensor in place")
        if module is not None:
            module.inplace = False
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if "inplace" in node.kwargs:
            node.kwargs = node.kwargs | {"inplace": False}
    traced.recompile()


def shapes(traced: fx.GraphModule, image: Tensor) -> None:
    """Note every node's shape for one image of this size."""
    ShapeProp(traced).propagate(image)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Shape that `shapes` noted; None where the node's value is no tensor."""
    return tuple(shape) if (shape := getattr(node.meta.get("tensor_meta"), "shape", None)) is not None else None


class Product(nn.Module):
    """A convolution on maps of a few pixels as one matrix product, pixels and channels together.

    Parameters
    ----------
    convolution : nn.Conv2d
        With zero padding and one group.
    size : (int, int)
        Height and width of its input.
    out_size : (int, int)
        Height and width of its output.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int], out_size: tuple[int, int]):
        super().__init__()
        weight = convolution.weight.detach()
        outputs, inputs, *kernel = weight.shape
        matrix = weight.new_zeros(*out_size, outputs, *size, inputs)
        strides, paddings, dilations = convolution.stride, convolution.padding, convolution.dilation
        for place in torch.cartesian_prod(*map(torch.arange, (*out_size, *kernel))).tolist():
            out, tap = place[:2], place[2:]
            reached = [o * s - p + t * d for o, t, s, p, d in zip(out, tap, strides, paddings, dilations, strict=True)]
            if all(0 <= r < side for r, side in zip(reached, size, strict=True)):
                matrix[out[0], out[1], :, reached[0], reached[1], :] = weight[:, :, tap[0], tap[1]]
        pixels = out_size[0] * out_size[1]
        self.weight = nn.Parameter(matrix.reshape(pixels * outputs, -1), requires_grad=False)
        bias = None if convolution.bias is None else convolution.bias.detach().repeat(pixels)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.out_size = out_size

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'); free of copies where channels come last in memory."""
        flat = maps.permute(0, 2, 3, 1).reshape(len(maps), -1)
        out = nn.functional.linear(flat, self.weight, self.bias)
        return out.view(len(maps), *self.out_size, -1).permute(0, 3, 1, 2)


def small_convolutions_as_products(traced: fx.GraphModule) -> None:
    """Replace every convolution that costs no less than its matrix: a 3 x 3 kernel on maps of up to nine pixels."""
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if type(module) is not nn.Conv2d or module.groups != 1 or not has_zero_padding(module):
            continue
        (*_, height, width), (_, outputs, *out_size) = shape_of(node.args[0]), shape_of(node)
        taps = module.kernel_size[0] * module.kernel_size[1]
        bytes_needed = out_size[0] * out_size[1] * outputs * height * width * module.in_channels * 4
        if height * width > taps or bytes_needed > DENSE_BYTES:
            continue
        name = f"{node.name}_as_product"
        traced.add_submodule(name, Product(module, (height, width), tuple(out_size)))
        node.target = name
    traced.delete_all_unused_submodules()
    traced.recompile()


def has_zero_padding(convolution: nn.Conv2d) -> bool:
    """Whether a convolution pads with a given number of zeros."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
