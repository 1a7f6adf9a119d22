"""Fuse element-wise steps into the product before them, and pack its weights once, where the library can do it.

A bias, a ReLU or a sum of two branches reads and writes a whole map to do next to nothing. On a processor, oneDNN does
all three while the product's result is at hand; its product of packed weights is also the fastest there is on many
processors. On a GPU, cuDNN does them behind a convolution. The operations are those to which PyTorch's own compilers
lower a frozen network.
"""

import operator
from collections.abc import Container
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kd_lib.networks.fast.rewrite import Product, has_zero_padding, shape_of

_MODULES = {nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.Hardswish: "hardswish", nn.SiLU: "swish"}
_FUNCTIONS = {
    **dict.fromkeys((torch.relu, F.relu), "relu"),
    **dict.fromkeys((torch.sigmoid, F.sigmoid), "sigmoid"),
    **dict.fromkeys((torch.tanh, F.tanh), "tanh"),
    F.hardswish: "hardswish",
    F.silu: "swish",
}
_SUMS = (operator.add, torch.add)
_OPERATIONS = ("_convolution_pointwise", "_linear_pointwise", "_reorder_convolution_weight", "_reorder_linear_weight")


def available(device: torch.device, precision: str = "float32") -> bool:
    """Whether oneDNN or cuDNN does the products of this device, with the operations that are needed.

    oneDNN packs weights in bfloat16 only where the processor has instructions for them (AVX-512 or the like).
    """
    if device.type == "cuda":  # what PyTorch calls AMD's GPUs, too
        return torch.version.cuda is not None and torch.backends.cudnn.is_available()
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATIONS)
        and (precision != "bfloat16" or torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class FusedConvolution(nn.Module):
    """A convolution with packed weights, which may add another map and then apply an element-wise function.

    The convolution has zero padding, in float32 or bfloat16, to which inputs are cast. Weights are packed for inputs of
    shape `size`; other batch sizes give the same answer. `function` is oneDNN's name of what follows, or 'none'.
    """

    functions = (*_MODULES.values(),)  # that can follow

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int, int, int]):
        super().__init__()
        places = [list(setting) for setting in (convolution.padding, convolution.stride, convolution.dilation)]
        self.settings, self.bias, self.function = (*places, convolution.groups), convolution.bias, "none"
        self.dtype = convolution.weight.dtype
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(convolution.weight.detach(), *self.settings, size)

    def forward(self, maps: Tensor, other: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'); `other`, of that shape, is added before the function."""
        convolve = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return convolve(_laid(maps, self.dtype), self.weight, self.bias, *self.settings, self.function, [], "")
        function = None if self.function == "none" else self.function
        given = (_laid(maps, self.dtype), _laid(other, self.dtype), self.weight, self.bias, *self.settings)
        return convolve.binary(*given, "add", 1.0, function, [], None)


class CudnnConvolution(nn.Module):
    """A convolution on a GPU, as `FusedConvolution`; its `function` is 'relu' or 'none', its settings are as given."""

    functions = ("relu",)
    padding_mode = "zeros"

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.kernel_size, self.stride, self.padding = convolution.kernel_size, convolution.stride, convolution.padding
        self.dilation, self.groups, self.function = convolution.dilation, convolution.groups, "none"
        weight = convolution.weight.detach()
        # Tensor cores take channels by the eight. With fewer, cuDNN works without them, in another order of memory.
        self.missing = -weight.shape[1] % 8 if weight.dtype == torch.bfloat16 and self.groups == 1 else 0
        self.weight = _laid(_with_channels(weight, self.missing), weight.dtype)
        self.bias = convolution.bias

    def forward(self, maps: Tensor, other: Tensor | None = None, *, padded: bool = False) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'); `other`, of that shape, is added before the function.

        Where `maps` are `padded` already, they are taken as they are.
        """
        maps = _laid(_with_channels(maps, self.missing), self.weight.dtype)
        settings = (self.stride, (0, 0) if padded else self.padding, self.dilation, self.groups)
        if self.function == "none":
            found = F.conv2d(maps, self.weight, self.bias, *settings)
            return found if other is None else found + other
        if other is None:
            return torch.cudnn_convolution_relu(maps, self.weight, self.bias, *settings)
        other = _laid(other, self.weight.dtype)
        return torch.cudnn_convolution_add_relu(maps, self.weight, other, 1.0, self.bias, *settings)


class FusedLinear(nn.Module):
    """Matrix products with packed weights, as `FusedConvolution`; of convolutions, those of one pixel without padding.

    Weights are packed for `batch_size` rows; other numbers give the same answer.
    """

    functions = FusedConvolution.functions

    def __init__(self, layer: nn.Linear | Product | nn.Conv2d, batch_size: int):
        super().__init__()
        self.layer, self.function = layer, "none"
        given = layer.frozen if isinstance(layer, Product) else [(layer.weight.flatten(1), layer.bias)]
        pack = torch.ops.mkldnn._reorder_linear_weight
        self.products = [(pack(weight.detach().contiguous(), batch_size), bias) for weight, bias in given]
        self.dtype = given[0][0].dtype

    def forward(self, values: Tensor) -> Tensor:
        """Map what the layer maps."""
        products = [partial(self._product, weight=weight, bias=bias) for weight, bias in self.products]
        if isinstance(self.layer, Product):
            return self.layer.through(products, values)
        if isinstance(self.layer, nn.Linear):
            return products[0](values)
        rows, cols = self.layer.stride
        return products[0](values.permute(0, 2, 3, 1)[:, ::rows, ::cols]).permute(0, 3, 1, 2)

    def _product(self, rows: Tensor, *, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(rows.to(self.dtype), weight, bias, self.function, [], "")


def fuse_pointwise(traced: fx.GraphModule, *, batch_size: int, keep: Container[fx.Node] = ()) -> None:
    """Replace the products of a network, and fuse the sums and element-wise functions that follow them.

    What `rewrite.for_inference` returned is changed in place, on a device for which this is `available`; weights are
    packed for `batch_size` images at a time. Nodes to `keep` are left alone, for whoever computes them otherwise; of
    these, convolutions on a GPU are fused with the function that follows, if that is to be kept as well.
    """
    nodes = list(traced.graph.nodes)
    fused = {node: layer for node in nodes if (layer := _fused(traced, node, batch_size, keep)) is not None}
    for node, layer in fused.items():
        name = f"{node.name}_fused"
        traced.add_submodule(name, layer)
        node.target = name
    for node in nodes:
        if node.op == "call_function" and node.target in _SUMS and _sums_maps(node) and node not in keep:
            for before in node.args:
                if (
                    isinstance(fused.get(before), FusedConvolution | CudnnConvolution)
                    and len(before.args) == 1
                    and before not in keep
                    and _is_free(before, fused)
                ):
                    (other,) = set(node.args) - {before}
                    node.prepend(before)  # here both are known
                    before.args = (*before.args, other)
                    _replace(traced, node, before)
                    break
        elif (
            (function := _function(traced, node))
            and (node in keep) == ((before := node.args[0]) in keep)
            and _is_free(before, fused, function)
        ):
            fused[before].function = function
            _replace(traced, node, before)
    traced.delete_all_unused_submodules()
    traced.recompile()


def _fused(traced: fx.GraphModule, node: fx.Node, batch_size: int, keep: Container[fx.Node]) -> nn.Module | None:
    """Pack the layer that a node calls; None if it is none of those that oneDNN, or cuDNN, does."""
    layer = traced.get_submodule(node.target) if node.op == "call_module" else None
    if type(layer) is nn.Conv2d and layer.weight.is_cuda:
        return CudnnConvolution(layer) if has_zero_padding(layer) else None
    if layer is None or node in keep or any(parameter.is_cuda for parameter in layer.parameters()):
        return None
    if type(layer) is nn.Conv2d and has_zero_padding(layer):
        if layer.kernel_size == (1, 1) and layer.padding == (0, 0) and layer.groups == 1:
            return FusedLinear(layer, batch_size)
        return FusedConvolution(layer, (batch_size, *shape_of(node.args[0])[1:]))
    return FusedLinear(layer, batch_size) if type(layer) in (nn.Linear, Product) else None


def _laid(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast maps, and lay them out with the channels last in memory, as packed weights expect them."""
    return maps.to(dtype).contiguous(memory_format=torch.channels_last)


def _with_channels(maps: Tensor, more: int) -> Tensor:
    """Append so many channels of zeros to maps, or to a convolution's weight."""
    return F.pad(maps, (0, 0, 0, 0, 0, more)) if more else maps


def _sums_maps(node: fx.Node) -> bool:
    """Whether a node adds two different maps of the same shape, and nothing else."""
    if len(node.args) != 2 or node.kwargs or not all(isinstance(arg, fx.Node) for arg in node.args):
        return False
    first, second = node.args
    return first is not second and shape_of(first) is not None and shape_of(first) == shape_of(second)


def _function(traced: fx.GraphModule, node: fx.Node) -> str | None:
    """Name the element-wise function that a node applies to another; None if it does something else."""
    if len(node.args) != 1 or set(node.kwargs) - {"inplace"}:
        return None
    if node.op == "call_module":
        return _MODULES.get(type(traced.get_submodule(node.target)))
    return _FUNCTIONS.get(node.target)


def _is_free(node: fx.Node, fused: dict[fx.Node, nn.Module], function: str | None = None) -> bool:
    """Whether a fused layer's result goes nowhere else, no function is applied to it yet, and this one could be."""
    if node not in fused or len(node.users) > 1 or fused[node].function != "none":
        return False
    return function is None or function in fused[node].functions


def _replace(traced: fx.GraphModule, node: fx.Node, before: fx.Node) -> None:
    node.replace_all_uses_with(before)
    traced.graph.erase_node(node)
