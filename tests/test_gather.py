"""The kernel that cuts boxes on a GPU, run by Triton's interpreter on the processor."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from kd_lib.incremental import Lookup, Span

CHANNELS, OUTSIDE = (3, 5, 64), -7.0
SHAPE = {"number": 3, "height": 9, "width": 11}
PART, BOX = (4, 3), (7, 6)


def drawn(channels: int):
    """Clean maps, parts, where these lie, and the places of the boxes to cut."""
    torch.manual_seed(channels)
    number, height, width = SHAPE.values()
    starts = torch.tensor([0, 2, 5]), torch.tensor([0, 3, 6, 8])
    boxes = torch.tensor([-1, 1, 4]), torch.tensor([-1, 1, 5, 6])
    lookups = tuple(
        Lookup.of(Span(start, size, full), Span(box, side, full))
        for start, size, full, box, side in zip(starts, PART, (height, width), boxes, BOX, strict=True)
    )
    where = torch.randint(number, (10,)), torch.randint(3, (10,)), torch.randint(4, (10,))
    return (
        torch.randn(number, channels, height, width),
        torch.randn(10, channels, *PART),
        where,
        tuple(lookup.places for lookup in lookups),
        starts,
        boxes,
    )


def by_hand(clean, part, where, starts, boxes):
    """Put every part into its map, the map into a frame, and cut the box out."""
    found = []
    for own, image, row, col in zip(part, *where, strict=True):
        framed = torch.full((clean.shape[1], clean.shape[2] + 10, clean.shape[3] + 10), OUTSIDE)
        framed[:, 5:-5, 5:-5] = clean[image]
        y, x = starts[0][row] + 5, starts[1][col] + 5
        framed[:, y : y + PART[0], x : x + PART[1]] = own
        y, x = boxes[0][row] + 5, boxes[1][col] + 5
        found.append(framed[:, y : y + BOX[0], x : x + BOX[1]])
    return torch.stack(found)


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="Triton comes with PyTorch for GPUs only")
def test_boxes_are_cut_as_by_hand():
    # The interpreter is chosen when Triton is imported: in a process of its own.
    subprocess.run(
        [sys.executable, "-m", "tests.test_gather"], env=os.environ | {"TRITON_INTERPRET": "1"}, check=True, timeout=300
    )


if __name__ == "__main__":
    from kd_lib import gather

    for count in CHANNELS:
        maps, parts, of, places, *lie = drawn(count)
        cut = gather.cut(maps, parts, of, places, outside=OUTSIDE)
        torch.testing.assert_close(cut, by_hand(maps, parts, of, *lie), rtol=0, atol=0)
