"""Run a network on an image with a hidden patch, computing only what the patch reaches.

The first layers look at small neighbourhoods: behind a hidden patch most of their output is that of the clean image. So
each activation is kept as a *part*, a box of fixed size that holds everything that differs, beside the clean image's
whole activation. Once the box has grown to nearly the whole map, or a layer looks everywhere, all is computed as usual.
"""

import operator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kd_lib.fusion import CudnnConvolution
from kd_lib.rewrite import has_zero_padding, shape_of

WORTHWHILE = 0.7  # share of a map above which a part costs more than the whole
POINTWISE_MODULES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Hardswish),
    *(nn.Hardsigmoid, nn.Hardtanh, nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d),
)
POINTWISE_FUNCTIONS = (torch.relu, F.relu, F.relu6, F.gelu, F.silu, F.hardswish, torch.sigmoid, torch.tanh)
ARITHMETIC = (operator.add, operator.sub, operator.mul, torch.add, torch.sub, torch.mul)


@dataclass(frozen=True)
class Span:
    """Where the parts of an activation lie along one axis.

    Attributes
    ----------
    start : Tensor of int64, shape (R,)
        First row (column) of the part, for each row (column) of windows.
    size : int
        Rows of the part, the same for every window.
    full : int
        Rows of the whole map.
    """

    start: Tensor
    size: int
    full: int

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


@dataclass(frozen=True)
class Lookup:
    """Where the rows of a box are found, for each row of windows; every field has the shape (R, rows of the box).

    Attributes
    ----------
    clean, part : Tensor of int64
        Row of the clean image's map, and of the part.
    changed, outside : Tensor of bool
        Whether the part holds the row; whether it lies beyond the map.
    """

    clean: Tensor
    part: Tensor
    changed: Tensor
    outside: Tensor

    @classmethod
    def of(cls, part: Span, box: Span, device: torch.device | str = "cpu") -> "Lookup":
        """Look for the rows of `box` in `part` and in the map around it; the answer is put on `device`."""
        row = box.start[:, None] + torch.arange(box.size)
        own = row - part.start[:, None]
        found = {
            "clean": row.clamp(0, part.full - 1),
            "part": own.clamp(0, part.size - 1),
            "changed": (own >= 0) & (own < part.size),
            "outside": (row < 0) | (row >= part.full),
        }
        return cls(**{name: each.to(device) for name, each in found.items()})

    @cached_property
    def places(self) -> Tensor:
        """Say the same in numbers, for each row its place in the clean map and in the part, or -1.

        An int32 Tensor of shape (R, rows of the box, 2).
        """
        found = [torch.where(self.outside, -1, self.clean), torch.where(self.changed, self.part, -1)]
        return torch.stack(found, -1).int()


def plan(traced: fx.GraphModule, covered_rows: Tensor, covered_cols: Tensor) -> dict[fx.Node, Box]:
    """Find where the part of each activation lies that hiding a patch may change.

    Parameters
    ----------
    traced : fx.GraphModule
        What `rewrite.for_inference` returned; one input.
    covered_rows, covered_cols : Tensor of bool, shapes (R, H) and (Q, W)
        Pixels that each row and column of windows hides.

    Returns
    -------
    dict of fx.Node to (Span, Span)
        Those nodes of which a part is worth keeping; the others are to be computed whole.
    """
    boxes: dict[fx.Node, Box] = {}
    covered = covered_rows.cpu(), covered_cols.cpu()  # a GPU would be waited for again and again
    for node in traced.graph.nodes:
        box = _box(node, module_of(traced, node), boxes, covered)
        if box is not None and (node.op == "placeholder" or _share(box) <= WORTHWHILE):
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
    if (sliding := _sliding(module)) is not None:
        spans = zip(boxes[inputs[0]], sliding, shape[2:], strict=True)
        return tuple(span.reached(*axis, full) for span, axis, full in spans)
    if any(shape_of(source)[2:] != shape[2:] for source in inputs):
        return None
    if not (_is_pointwise(node, module) or node.target in ARITHMETIC or _joins_channels(node)):
        return None
    rows, cols = boxes[inputs[0]]
    for source in inputs[1:]:
        rows, cols = rows.united(boxes[source][0]), cols.united(boxes[source][1])
    return rows, cols


def _sliding(module: nn.Module | None) -> Axes | None:
    """Kernel, stride, padding and dilation along each axis, if the module slides a kernel over its input."""
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


class Incremental(fx.Interpreter):
    """A traced network that shares the clean image's activations among all windows of the image.

    Parameters
    ----------
    traced : fx.GraphModule
        What `rewrite.for_inference` returned, for images of the size it was traced with.
    boxes : dict of fx.Node to (Span, Span)
        What `plan` found for it.
    covered_rows, covered_cols : Tensor of bool, shapes (R, H) and (Q, W)
        Pixels that each row and column of windows hides, on the network's device.
    """

    def __init__(self, traced: fx.GraphModule, boxes: dict[fx.Node, Box], covered_rows: Tensor, covered_cols: Tensor):
        super().__init__(traced)
        self.boxes, self.device = boxes, covered_rows.device
        spans = next(iter(boxes.values()))
        self.pixels = [(span.start[:, None] + torch.arange(span.size)).to(self.device) for span in spans]
        self.hidden = [
            covered.gather(1, pixels) for covered, pixels in zip((covered_rows, covered_cols), self.pixels, strict=True)
        ]
        self.lookups: dict[tuple, tuple[Lookup | None, Lookup | None]] = {}

    def start(self, images: Tensor, fill_in: Tensor) -> Tensor:
        """Run clean images (G, C, H, W) as they are, keep their first activations; returns the output (G, K).

        Hidden pixels become `fill_in`, of that shape, or (G, C, 1, 1): one colour an image.
        """
        self.pairs, self.fill_in = None, fill_in
        self.kept: dict[fx.Node, Tensor] = {}
        return self.run(images.contiguous(memory_format=torch.channels_last), enable_io_processing=False)

    def occluded(self, among: slice, image: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Output (B, K) for some of the clean images, by number, each with the window of that row and column hidden."""
        self.pairs = (image, row, col)
        self.clean = {node: kept[among] for node, kept in self.kept.items()}
        self.filled = self.fill_in[among]
        self.wholes: dict[fx.Node, Tensor] = {}
        return self.run(None, enable_io_processing=False)

    def run_node(self, n: fx.Node) -> Tensor:
        """Compute one node: its part where it is kept as one, else the whole; called by `run`."""
        if self.pairs is None:
            value = super().run_node(n)
            if n in self.boxes:
                self.kept[n] = value
            return value
        if n.op == "placeholder":
            return self._hidden(n)
        return self._part(n) if n in self.boxes else super().run_node(n)

    def map_nodes_to_values(self, args, n: fx.Node):
        """Give a node whose value is computed whole its inputs whole."""
        if self.pairs is None or n in self.boxes:
            return super().map_nodes_to_values(args, n)
        return fx.node.map_arg(args, lambda node: self._whole(node) if node in self.boxes else self.env[node])

    # ---- computing ---------------------------------------------------------------------------------------------------

    def _hidden(self, node: fx.Node) -> Tensor:
        """Cut the box around the window out of the clean images and hide its pixels."""
        image, row, col = self.pairs
        at_rows, at_cols = self.pixels[0][row], self.pixels[1][col]
        at = (image[:, None, None], slice(None), at_rows[:, :, None], at_cols[:, None, :])
        hidden = self.hidden[0][row][:, :, None] & self.hidden[1][col][:, None, :]
        if self.filled.shape[2:] == (1, 1):
            filled = self.filled[image].permute(0, 2, 3, 1)
        else:
            filled = self.filled.expand_as(self.clean[node])[at]
        return torch.where(hidden[..., None], filled, self.clean[node][at]).permute(0, 3, 1, 2)

    def _part(self, node: fx.Node) -> Tensor:
        """Compute a node's part from the parts of its inputs."""
        module = module_of(self.module, node)
        if (sliding := _sliding(module)) is None:
            if len(node.all_input_nodes) == 1:
                return super().run_node(node)
            parts = {source: self._cut(source, self.boxes[node], user=node) for source in node.all_input_nodes}
            args, kwargs = (fx.node.map_arg(given, parts.get) for given in (node.args, node.kwargs))
            return node.target(*args, **kwargs)
        (source,) = node.all_input_nodes
        box = tuple(span.needed(*axis) for span, axis in zip(self.boxes[node], sliding, strict=True))
        if isinstance(module, nn.MaxPool2d):
            return self._pooled(source, box, module, sliding, user=node)
        seen = self._cut(source, box, user=node)
        if isinstance(module, nn.AvgPool2d):
            return F.avg_pool2d(seen, module.kernel_size, module.stride, 0, divisor_override=module.divisor_override)
        if isinstance(module, CudnnConvolution):
            return module(seen, padded=True)
        return F.conv2d(seen, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)

    def _pooled(self, source: fx.Node, box: Box, module: nn.MaxPool2d, sliding: Axes, *, user: fx.Node) -> Tensor:
        """Take the maximum of each window of a box."""
        kernel, stride, _, dilation = zip(*sliding, strict=True)
        rows, cols = self._lookups(source, box, user)
        if rows is not None and dilation == (1, 1) and self._gathers:
            return self._gather(source, rows, cols, outside=-torch.inf, kernel=kernel, stride=stride)
        seen = self._cut(source, box, user=user, outside=-torch.inf)
        return F.max_pool2d(seen, kernel, stride, 0, dilation)

    def _whole(self, node: fx.Node) -> Tensor:
        """Put a node's part into the clean image's map."""
        if node not in self.wholes:
            self.wholes[node] = self._cut(node, tuple(span.whole() for span in self.boxes[node]), user=None)
        return self.wholes[node]

    def _cut(self, source: fx.Node, box: Box, *, user: fx.Node | None, outside: float = 0.0) -> Tensor:
        """Cut a box out of a map: its part where it lies, the clean image around it, `outside` beyond the map."""
        part, clean = self.env[source], self.clean[source]
        rows, cols = self._lookups(source, box, user)
        if rows is None:
            return part
        if self._gathers:
            return self._gather(source, rows, cols, outside=outside)
        image, row, col = self.pairs
        number, channels, height, width = clean.shape
        part_height, part_width = part.shape[2:]
        # One gather of pixels, all channels at once: of the clean maps, the parts, and a last one for what is outside.
        pixels = torch.cat(
            [
                clean.permute(0, 2, 3, 1).reshape(-1, channels),
                part.permute(0, 2, 3, 1).reshape(-1, channels),
                clean.new_full((1, channels), outside),
            ]
        )
        which = torch.arange(len(part), device=image.device)[:, None] * part_height
        in_part = (which + rows.part[row])[:, :, None] * part_width + cols.part[col][:, None, :]
        in_clean = (image[:, None] * height + rows.clean[row])[:, :, None] * width + cols.clean[col][:, None, :]
        changed = rows.changed[row][:, :, None] & cols.changed[col][:, None, :]
        index = torch.where(changed, in_part + number * height * width, in_clean)
        index.masked_fill_(rows.outside[row][:, :, None] | cols.outside[col][:, None, :], len(pixels) - 1)
        found = pixels.index_select(0, index.flatten())
        return found.view(*index.shape, channels).permute(0, 3, 1, 2)

    def _gather(self, source: fx.Node, rows: Lookup, cols: Lookup, **options) -> Tensor:
        from kd_lib import gather  # see there

        return gather.cut(self.clean[source], self.env[source], self.pairs, (rows.places, cols.places), **options)

    @cached_property
    def _gathers(self) -> bool:
        """Whether the GPU is one that Triton compiles for, from NVIDIA's seventh generation on, and Triton is there."""
        return (
            self.device.type == "cuda"
            and find_spec("triton") is not None
            and torch.cuda.get_device_capability(self.device) >= (7, 0)
        )

    def _lookups(self, source: fx.Node, box: Box, user: fx.Node | None) -> tuple[Lookup | None, Lookup | None]:
        """Look up both axes of a box, once for each use of a node; None where the box is the part itself."""
        if (source, user) not in self.lookups:
            own = self.boxes[source]
            same = all(a.size == b.size and torch.equal(a.start, b.start) for a, b in zip(own, box, strict=True))
            found = (
                (None, None) if same else tuple(Lookup.of(*both, self.device) for both in zip(own, box, strict=True))
            )
            self.lookups[source, user] = found
        return self.lookups[source, user]


def _joins_channels(node: fx.Node) -> bool:
    """Whether the node concatenates feature maps along their channels."""
    return node.target is torch.cat and (node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")) == 1


def _share(box: Box) -> float:
    rows, cols = box
    return rows.size * cols.size / (rows.full * cols.full)
