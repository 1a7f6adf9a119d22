"""Rewrite a network for images of one size: the same function, fewer operations.

Each pass takes a traced network and leaves out work that is provably not needed. What cannot be traced, or would not be
safe to rewrite, is left alone.
"""

import copy
import itertools
import operator
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from kd_lib.networks import architectures

MOST_OUTPUTS = 9  # pixels of a map that is computed by products
NEEDED = 0.7  # share of a convolution's products above which leaving out those with padding does not pay
DENSE_BYTES = 64 << 20  # of one convolution's weights as matrices
Rows = tuple[int, int]  # first one, and the one after the last
_OUT_OF_PLACE = {getattr(operator, f"i{name}"): getattr(operator, name) for name in ("add", "sub", "mul", "truediv")}
_IN_PLACE = (operator.setitem, *(getattr(operator, f"i{name}") for name in ("floordiv", "matmul", "mod", "pow")))


class CannotRewrite(Exception):
    """The network must run as it is; says why."""


def for_inference(model: nn.Module, image: Tensor) -> fx.GraphModule:
    """Trace a copy of a network, fold its batch norms into its convolutions and replace the small ones of these.

    The network is in evaluation mode and never changed; the result shares those of its layers that are used as they
    are, and maps (B, C, H, W) to what the network does, up to rounding. The image (1, C, H, W) is of the size to be
    expected, on the network's device; `shape_of` tells every node's shape for it.

    CannotRewrite if the network has hooks, which may do anything, or control flow that depends on the data, more than
    one use of a layer that a batch norm follows, or changes a tensor in place that is used again.
    """
    traced = _trace(model)
    check_folding(traced)
    folded = fuse(traced, inplace=True, no_trace=True)  # in place: in what was traced, the model keeps its layers
    free_when_dropped(traced)
    work_out_of_place(folded)
    shapes(folded, image)
    small_convolutions_as_products(folded, frozen=True)  # the shapes stay
    return folded


def with_products(model: nn.Module, image: Tensor) -> nn.Module:
    """Trace a network and replace its small convolutions; it answers and learns as before, up to rounding.

    Parameters and buffers stay the network's own. It is in the mode (training or evaluation) that the result is for;
    `image` is that of `for_inference`. A network that cannot be traced is returned as it is.
    """
    try:
        traced = _trace(model)
        with architectures.evaluating(traced):
            shapes(traced, image)
        small_convolutions_as_products(traced, frozen=False)
    except CannotRewrite:
        return model
    return traced


def _trace(model: nn.Module) -> fx.GraphModule:
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        raise CannotRewrite("it has forward hooks")
    tracer = fx.Tracer()
    try:
        return fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # tracing runs the network's own code on proxies: anything may come back
        raise CannotRewrite(f"it cannot be traced: {' '.join(str(error).split())[:160]}") from error
    finally:
        tracer.root, tracer.submodule_paths = None, None  # it lies in a cycle, and would keep the model alive


def free_when_dropped(traced: fx.GraphModule) -> None:
    """Let the last reference to a traced network free its weights at once; its graph is not to be changed any more.

    The graph refers back to the network, and Python finds such cycles late: it does not see how much memory they hold.
    """
    traced.graph.owning_module = None


def check_folding(traced: fx.GraphModule) -> None:
    """Raise CannotRewrite if a layer before a batch norm is used elsewhere too, where nothing may be folded into it."""
    layers = [node for node in traced.graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in layers)
    for node in layers:
        before = node.args[0] if node.args else None
        is_folded = before in layers and isinstance(traced.get_submodule(node.target), nn.BatchNorm2d)
        if is_folded and uses[before.target] > 1:
            raise CannotRewrite(f"layer {before.target} before a batch norm is used {uses[before.target]} times")


def work_out_of_place(traced: fx.GraphModule) -> None:
    """Let no operation overwrite its input, so that activations can be kept.

    Raise CannotRewrite if a tensor that is overwritten is used again: its later users rely on the overwriting.
    """
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        module = modules[node.target] if node.op == "call_module" else None
        overwrites = (
            getattr(module, "inplace", False) or node.target in _OUT_OF_PLACE or node.kwargs.get("inplace", False)
        )
        if not overwrites and not _only_in_place(node):
            continue
        if _only_in_place(node) or len(node.all_input_nodes[0].users) > 1:
            raise CannotRewrite(f"{node} overwrites a tensor in place")
        if module is not None:  # it may be the caller's own
            modules[node.target] = copy.copy(module)
            modules[node.target].inplace = False
            traced.set_submodule(node.target, modules[node.target])
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if "inplace" in node.kwargs:
            node.kwargs = node.kwargs | {"inplace": False}
    traced.recompile()


def _only_in_place(node: fx.Node) -> bool:
    """Whether a node calls what has no other form here: ``x.add_(1)``, ``torch.relu_(x)``, ``x[0] = 1``, ``out=x``."""
    if node.op not in ("call_method", "call_function"):
        return False
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or node.target in _IN_PLACE or "out" in node.kwargs


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
    """A convolution with few outputs as matrix products, one for all outputs that see the same pixels.

    On maps of 2 x 2 pixels a 3 x 3 kernel multiplies more padding than pixels. The products leave the padding out; they
    share the convolution's parameters, gradients included. It has zero padding, one group and no dilation; `size` and
    `out_size` are (height, width). `frozen` matrices are computed once, for all evaluations, others at every pass.
    """

    def __init__(self, convolution: nn.Conv2d, size: tuple[int, int], out_size: tuple[int, int], *, frozen: bool):
        super().__init__()
        self.convolution, self.out_size = convolution, out_size
        self.seen: dict[tuple[Rows, Rows], list[tuple[int, Rows, Rows]]] = defaultdict(list)
        for place, (y, x) in enumerate(itertools.product(*_reaches(convolution, size, out_size))):
            (rows, kernel_rows), (cols, kernel_cols) = y, x
            self.seen[rows, cols].append((place, kernel_rows, kernel_cols))
        with torch.no_grad():
            self.frozen = self.matrices() if frozen else None

    def matrices(self) -> list[tuple[Tensor, Tensor | None]]:
        """Weight (P C', h w C) and bias (P C') of each product, for P outputs that see the same h x w pixels."""
        weight, bias = self.convolution.weight, self.convolution.bias
        found = []
        for outputs in self.seen.values():
            own = torch.stack([weight[:, :, slice(*rows), slice(*cols)] for _, rows, cols in outputs])
            own = own.permute(0, 1, 3, 4, 2).flatten(2).flatten(0, 1)
            found.append((own, bias if bias is None else bias.repeat(len(outputs))))
        return found

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'), without a copy of `maps` where channels come last in memory."""
        products = [partial(F.linear, weight=weight, bias=bias) for weight, bias in self.frozen or self.matrices()]
        return self.through(products, maps)

    def through(self, products: Sequence[Callable[[Tensor], Tensor]], maps: Tensor) -> Tensor:
        """Let each product map its pixels (B, h w C) to its outputs (B, P C'), and lay these out as maps."""
        maps = maps.permute(0, 2, 3, 1)
        seen = [maps[:, slice(*rows), slice(*cols)].flatten(1) for rows, cols in self.seen]
        found = [product(pixels) for product, pixels in zip(products, seen, strict=True)]
        if len(found) > 1:
            pieces = {}
            for outputs, values in zip(self.seen.values(), found, strict=True):
                values = values.unflatten(1, (len(outputs), -1))
                pieces |= {place: values[:, i] for i, (place, *_) in enumerate(outputs)}
            found = [torch.stack([pieces[place] for place in sorted(pieces)], 1)]
        return found[0].view(len(maps), *self.out_size, -1).permute(0, 3, 1, 2)


def small_convolutions_as_products(traced: fx.GraphModule, *, frozen: bool) -> None:
    """Replace every convolution with few outputs of which padding makes up a good share."""
    modules = dict(traced.named_modules())
    for node in traced.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if type(module) is not nn.Conv2d or module.groups != 1 or not has_zero_padding(module):
            continue
        (*_, height, width), (_, _, *out_size) = shape_of(node.args[0]), shape_of(node)
        places = out_size[0] * out_size[1]
        if places > MOST_OUTPUTS or module.dilation != (1, 1):
            continue
        reaches = _reaches(module, (height, width), tuple(out_size))
        rows, cols = (sum(stop - start for (start, stop), _ in axis) for axis in reaches)
        taps = module.kernel_size[0] * module.kernel_size[1] * places
        if rows * cols > NEEDED * taps or rows * cols * module.in_channels * module.out_channels * 4 > DENSE_BYTES:
            continue
        name = f"{node.name}_as_product"
        traced.add_submodule(name, Product(module, (height, width), tuple(out_size), frozen=frozen))
        node.target = name
    traced.recompile()


def _reaches(convolution: nn.Conv2d, size: tuple[int, int], out_size: tuple[int, int]) -> list[list[tuple[Rows, Rows]]]:
    """Which rows (columns) of the input each row (column) of the output sees, and through which of the kernel's."""
    axes = zip(size, out_size, convolution.kernel_size, convolution.stride, convolution.padding, strict=True)
    found = []
    for side, outputs, kernel, stride, padding in axes:
        axis = []
        for corner in range(-padding, outputs * stride - padding, stride):
            start, stop = max(0, corner), min(side, corner + kernel)
            axis.append(((start, stop), (start - corner, stop - corner)))
        found.append(axis)
    return found


class InFloat32(nn.Module):
    """A layer that works in float32, whatever the others do."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layer to `values` in float32."""
        with torch.autocast(values.device.type, enabled=False):
            return self.layer(values.float())


def products_in_bfloat16(traced: fx.GraphModule) -> None:
    """Cast the weights of convolutions and linear layers to bfloat16, but for the last ones, which work in float32.

    A logit has 8 bits in bfloat16, too few to take the difference of two; so the layers whose products reach the
    output without another such layer keep float32. The network is to be run under autocast.
    """
    modules = dict(traced.named_modules())
    layers = {
        node: modules[node.target]
        for node in traced.graph.nodes
        if node.op == "call_module" and isinstance(modules[node.target], nn.Conv2d | nn.Linear | Product)
    }
    last, seen = set(), set()
    left = [node for node in traced.graph.nodes if node.op == "output"]
    while left:
        node = left.pop()
        if node in layers:
            last.add(node)
        elif node not in seen:
            seen.add(node)
            left.extend(node.all_input_nodes)
    exact = {layers[node] for node in last}
    others = {layer: _in_bfloat16(layer) for layer in set(layers.values()) - exact}
    for node, layer in layers.items():
        if node in last or layer in others:
            name = f"{node.name}_in_{'float32' if node in last else 'bfloat16'}"
            traced.add_submodule(name, InFloat32(layer) if node in last else others[layer])
            node.target = name
    traced.delete_all_unused_submodules()
    traced.recompile()


def _in_bfloat16(layer: nn.Conv2d | nn.Linear | Product) -> nn.Module:
    """Cast a layer, or a copy of it if it may be the caller's own."""
    if isinstance(layer, Product):
        layer.frozen = [[None if each is None else each.to(torch.bfloat16) for each in pair] for pair in layer.frozen]
        return layer
    return copy.deepcopy(layer).to(torch.bfloat16)


def has_zero_padding(convolution: nn.Conv2d) -> bool:
    """Whether a convolution pads with a given number of zeros."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
