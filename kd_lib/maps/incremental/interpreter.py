"""Run a network on an image with a hidden patch, computing only what the patch reaches.

Each activation is kept as the *part* that differs (`parts` says where it lies), beside the clean image's whole
activation. Where no part is worth keeping, all is computed as usual.
"""

from functools import cached_property
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kd_lib.maps.incremental.parts import Axes, Box, lookup, module_of, sliding_axes
from kd_lib.networks.fast.fusion import CudnnConvolution


class Incremental(fx.Interpreter):
    """A traced network that shares the clean image's activations among all windows of the image.

    `boxes` is what `plan` found for the other three, see there; images are of the size that it was traced with, and
    what the windows cover is on the network's device.
    """

    def __init__(self, traced: fx.GraphModule, boxes: dict[fx.Node, Box], covered_rows: Tensor, covered_cols: Tensor):
        super().__init__(traced)
        self.boxes, self.device = boxes, covered_rows.device
        spans = next(iter(boxes.values()))
        self.pixels = [(span.start[:, None] + torch.arange(span.size)).to(self.device) for span in spans]
        self.hidden = [side.gather(1, at) for side, at in zip((covered_rows, covered_cols), self.pixels, strict=True)]
        self.lookups: dict[tuple, tuple[Tensor, Tensor] | None] = {}

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

    def _hidden(self, node: fx.Node) -> Tensor:
        """Cut the box around the window out of the clean images and hide its pixels."""
        image, row, col = self.pairs
        at_rows, at_cols = self.pixels[0][row], self.pixels[1][col]
        at = (image[:, None, None], slice(None), at_rows[:, :, None], at_cols[:, None, :])
        hidden = self.hidden[0][row][:, :, None] & self.hidden[1][col][:, None, :]
        one_colour = self.filled.shape[2:] == (1, 1)
        filled = self.filled[image].permute(0, 2, 3, 1) if one_colour else self.filled.expand_as(self.clean[node])[at]
        return torch.where(hidden[..., None], filled, self.clean[node][at]).permute(0, 3, 1, 2)

    def _part(self, node: fx.Node) -> Tensor:
        """Compute a node's part from the parts of its inputs."""
        module = module_of(self.module, node)
        if (sliding := sliding_axes(module)) is None:
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
        places = self._places(source, box, user)
        if places and dilation == (1, 1) and self._gathers:
            return self._gather(source, places, outside=-torch.inf, kernel=kernel, stride=stride)
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
        places = self._places(source, box, user)
        if not places:
            return part
        if self._gathers:
            return self._gather(source, places, outside=outside)
        image, row, col = self.pairs
        number, channels, height, width = clean.shape
        part_height, part_width = part.shape[2:]
        # One gather of pixels, all channels at once: of the clean maps, the parts, and a last one for what is outside.
        flat = [maps.permute(0, 2, 3, 1).reshape(-1, channels) for maps in (clean, part)]
        pixels = torch.cat([*flat, clean.new_full((1, channels), outside)])
        which = torch.arange(len(part), device=image.device)[:, None] * part_height
        (clean_y, part_y), (clean_x, part_x) = (at[of].unbind(-1) for at, of in zip(places, (row, col), strict=True))
        in_part = (which + part_y)[:, :, None] * part_width + part_x[:, None, :]
        in_clean = (image[:, None] * height + clean_y)[:, :, None] * width + clean_x[:, None, :]
        changed = (part_y >= 0)[:, :, None] & (part_x >= 0)[:, None, :]
        index = torch.where(changed, in_part + number * height * width, in_clean)
        index.masked_fill_((clean_y < 0)[:, :, None] | (clean_x < 0)[:, None, :], len(pixels) - 1)
        found = pixels.index_select(0, index.flatten())
        return found.view(*index.shape, channels).permute(0, 3, 1, 2)

    def _gather(self, source: fx.Node, places: tuple[Tensor, Tensor], **options) -> Tensor:
        from kd_lib.maps.incremental import gather  # needs Triton

        return gather.cut(self.clean[source], self.env[source], self.pairs, places, **options)

    @cached_property
    def _gathers(self) -> bool:
        """Whether the GPU is one that Triton compiles for, from NVIDIA's seventh generation on, and Triton is there."""
        there = self.device.type == "cuda" and find_spec("triton") is not None
        return there and torch.cuda.get_device_capability(self.device) >= (7, 0)

    def _places(self, source: fx.Node, box: Box, user: fx.Node | None) -> tuple[Tensor, Tensor] | None:
        """Look up both axes of a box, once for each use of a node; None where the box is the part itself."""
        if (source, user) not in self.lookups:
            both = list(zip(self.boxes[source], box, strict=True))
            same = all(own.size == span.size and torch.equal(own.start, span.start) for own, span in both)
            self.lookups[source, user] = None if same else tuple(lookup(*axis).to(self.device) for axis in both)
        return self.lookups[source, user]
