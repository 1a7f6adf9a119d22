"""Print how many MB a run takes at most above the interpreter and torch: python -m bench.memory IMAGES STATES."""

import re
import sys
import tempfile
from pathlib import Path

import torch

BLOCK = 1000  # images


def peak() -> float:
    """Most memory of this process that was resident so far, in MB; what getrusage tells starts at its parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


if __name__ == "__main__":
    before = peak()
    from bench import occlusion
    from kd_lib.networks import architectures

    images, states = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        weights = occlusion.write_weights(folder, architectures.build(occlusion.ARCH, 10))
        pixels = torch.full((images, 3, 32, 32), 7, dtype=torch.uint8)
        occlusion.fill(weights, pixels, states, patch=16, stride=16, block=BLOCK)
    print(round(peak() - before))
