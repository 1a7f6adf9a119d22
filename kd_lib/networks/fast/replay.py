"""Replay a step of training as a CUDA graph: the GPU is told once what to do, not kernel by kernel.

A step of a small network is some hundreds of kernels that take less time than Python needs to launch them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

WARM_UP = 3  # calls that run as usual, in which libraries choose their kernels


class _Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: tuple[Tensor, ...]
    gradients: list[Tensor | None]


class Replayed:
    """A function of tensors on a GPU that sets the gradients of `parameters`, recorded once a shape of its inputs.

    It must not look at values, and what it reads beside its inputs must stay where it is in memory. One that cannot be
    recorded is called as it is.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], parameters: Sequence[Tensor]):
        self.function, self.parameters = function, list(parameters)
        self.recorded: dict[tuple, _Recorded] = {}
        self.calls: Counter[tuple] = Counter()
        self.stream = torch.cuda.Stream()
        self.refused = False

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Do what the function does; the results are overwritten by the next call with inputs of these shapes."""
        shapes = tuple((tuple(each.shape), each.dtype) for each in inputs)
        if self.refused or self.calls[shapes] < WARM_UP:
            self.calls[shapes] += 1
            return self._as_usual(inputs)
        if shapes not in self.recorded:
            try:
                self.recorded[shapes] = self._record(inputs)
            except RuntimeError:  # it waits for the GPU, say
                self.refused = True
                return self._as_usual(inputs)
        recorded = self.recorded[shapes]
        for own, given in zip(recorded.inputs, inputs, strict=True):
            own.copy_(given)
        recorded.graph.replay()
        for parameter, gradient in zip(self.parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.outputs

    def _as_usual(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Call the function on the stream on which it is recorded later, as PyTorch asks for."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = self.function(*inputs)
        current.wait_stream(self.stream)
        return outputs

    def _record(self, inputs: Sequence[Tensor]) -> _Recorded:
        own, graph = [each.clone() for each in inputs], torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            outputs = self.function(*own)
        return _Recorded(graph, own, outputs, [parameter.grad for parameter in self.parameters])
