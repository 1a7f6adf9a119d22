"""Where the parts of each activation lie that hiding a patch may change.

The first layers look at small neighbourhoods: behind a hidden patch most of their output is that of the clean image. A
*part* is a box of one size for all windows that holds everything that differs. It grows from layer to layer, until it
is nearly the whole map or a layer looks everywhere. `incremental` computes what is planned here.
"""

import operator
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kd_lib.networks.fast.fusion import CudnnConvolution
from kd_lib.networks.fast.rewrite import has_zero_padding, shape_of

WORTHWHILE = 0.7  # share of a map above which a part costs more than the whole
POINTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Hardswish),
    *(nn.Hardsigmoid, nn.Hardtanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)
POINTWISE_FUNCTIONS = (torch.relu, F.relu, F.relu6, F.gelu, F.silu, F.hardswish, torch.sigmoid, torch.tanh)
ARITHMETIC = (operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul)


@dataclass(frozen=True)
class Span:
    """Where the parts of an activation lie along one axis, of rows or of columns."""

    start: Tensor  # int64, shape (R,): first row of the part, for each row of windows
    size: int  # rows of the part, the same for every window
    full: int  # rows of the whole map

    def reached(self, kernel: int, stride: int, padding: int, dilation: int, full: int) -> "Span":
        """Find the outputs of a sliding kernel, `full` in all, that see the part."""
        first = -((dilation * (kernel - 1) - padding - self.start) // stride)  # rounded up
        last = (self.start + self.size - 1 + padding) // stride
        first, last = first.clamp(0, full - 1), last.clamp(0, full - 1)
        size = max(1, int((last - first + 1).max()))
        return Span(first.clamp(max=full - size), size, full)

    def needed(self, kernel: int, stride: int, padding: int, dilation: int) -> "Span":
        """Find the inputs that a sliding kernel sees to compute this span; they may lie beyond the map."""
        return Span(self.start * stride - padding, (self.size - 1) * stride + dilation * (kernel - 1) + 1, self.full)

    def united(self, other: "Span") -> "Span":
        """Find the smallest span of one size that holds both."""
        first = torch.minimum(self.start, other.start)
        last = torch.maximum(self.start + self.size, other.start + other.size)
        size = min(int((last - first).max()), self.full)
        return Span(first.clamp(max=self.full - size), size, self.full)

    def whole(self) -> "Span":
        """Take all rows of the map."""
        return Span(torch.zeros_like(self.start), self.full, self.full)


Box = tuple[Span, Span]
Axes = list[tuple[int, int, int, int]]  # kernel, stride, padding and dilation, of rows and of columns


def lookup(part: Span, box: Span) -> Tensor:
    """Find the rows of a box, for each row of windows, in the clean image's map and in the part.

    int32 of shape (R, rows of the box, 2): the row of the map, and that of the part; each -1 where there is none.
    """
    row = box.start[:, None] + torch.arange(box.size)
    own = row - part.start[:, None]
    sides = (row, part.full), (own, part.size)
    return torch.stack([torch.where((at < 0) | (at >= size), -1, at) for at, size in sides], -1).int()


def plan(traced: fx.GraphModule, covered_rows: Tensor, covered_cols: Tensor) -> dict[fx.Node, Box]:
    """Find where the part of each activation lies that hiding a patch may change.

    Of what `rewrite.for_inference` returned, and the pixels that each row and column of windows hides: bool (R, H) and
    (Q, W). Nodes that are not named are to be computed whole: no part of them is worth keeping.
    """
    boxes: dict[fx.Node, Box] = {}
    covered = covered_rows.cpu(), covered_cols.cpu()  # a GPU would be waited for again and again
    for node in traced.graph.nodes:
        box = _box(node, module_of(traced, node), boxes, covered)
        if box is not None:
            rows, cols = box
            if node.op == "placeholder" or rows.size * cols.size / (rows.full * cols.full) <= WORTHWHILE:
                boxes[node] = box
    return boxes


def module_of(traced: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Find the module that a node calls; None if it calls none."""
    return traced.get_submodule(node.target) if node.op == "call_module" else None


def _box(node: fx.Node, module: nn.Module | None, boxes: dict[fx.Node, Box], covered: tuple[Tensor, Tensor]):
    """Find where a node's part lies, or None where it has to be computed whole."""
    shape = shape_of(node)
    if shape is None or len(shape) != 4:
        return None
    if node.op == "placeholder":
        return tuple(
            Span(hidden.int().argmax(1).clamp(max=side - size), size, side)
            for hidden, side in zip(covered, shape[2:], strict=True)
            for size in [int(hidden.sum(1).max())]
        )
    inputs = node.all_input_nodes
    if not inputs or any(source not in boxes for source in inputs):
        return None
    if (sliding := sliding_axes(module)) is not None:
        spans = zip(boxes[inputs[0]], sliding, shape[2:], strict=True)
        return tuple(span.reached(*axis, full) for span, axis, full in spans)
    if any(shape_of(source)[2:] != shape[2:] for source in inputs):
        return None
    if not (_is_pointwise(node, module) or node.target in ARITHMETIC or _joins_channels(node)):
        return None
    return tuple(reduce(Span.united, spans) for spans in zip(*(boxes[source] for source in inputs), strict=True))


def sliding_axes(module: nn.Module | None) -> Axes | None:
    """Give kernel, stride, padding and dilation along each axis, if the module slides a kernel over its input."""
    plain = (
        (type(module) in (nn.Conv2d, CudnnConvolution) and has_zero_padding(module))
        or (type(module) is nn.MaxPool2d and not module.ceil_mode and not module.return_indices)
        or (type(module) is nn.AvgPool2d and not module.ceil_mode and module.padding in (0, (0, 0)))
    )
    if not plain:
        return None
    settings = [module.kernel_size, module.stride, module.padding, getattr(module, "dilation", 1)]
    return list(zip(*[(value, value) if isinstance(value, int) else value for value in settings], strict=True))


def _is_pointwise(node: fx.Node, module: nn.Module | None) -> bool:
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
        return False  # it takes the statistics of the maps before it
    return type(module) in POINTWISE_MODULES or node.target in POINTWISE_FUNCTIONS


def _joins_channels(node: fx.Node) -> bool:
    """Whether the node concatenates feature maps along their channels."""
    return node.target is torch.cat and (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")) == 1
