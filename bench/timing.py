"""Honest timings: what is compared is run in turn, so that a change of the machine's speed meets all of it."""

import math
import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

from kd_lib.networks.fast import fusion

ROUNDS = 5
SIDES = (1024, 2048, 4096)  # of square matrices


def medians(functions: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Median time of each function in seconds, the functions called in turn."""
    taken = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            taken[name].append(seconds(function))
    return {name: median(times) for name, times in taken.items()}


def seconds(function: Callable[[], object]) -> float:
    """Time of one call, until the device has done what it was given."""
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def within_memory(function: Callable[[], object]) -> float:
    """Time of one call, or infinity where it takes more memory than the device has."""
    try:
        return seconds(function)
    except torch.OutOfMemoryError:
        return math.inf


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Multiply-adds a second of the fastest product of two square matrices there is here."""
    rates = []
    for side in SIDES:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        products = [lambda a=a, b=b: a @ b]
        if device.type == "cpu" and fusion.available(device, str(dtype).removeprefix("torch.")):
            packed = torch.ops.mkldnn._reorder_linear_weight(b, side)
            options = (packed, None, "none", [], "")
            products.append(lambda a=a, options=options: torch.ops.mkldnn._linear_pointwise(a, *options))
        for product in products:
            product()
            rates.append(side**3 / min(seconds(product) for _ in range(ROUNDS)))
    return max(rates)
