"""Cut boxes out of maps on a GPU, and pool them, in one pass over memory; elsewhere this takes a dozen operations.

Imported only where there is a GPU: Triton, which compiles this, comes with PyTorch for GPUs.
"""

import math
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # values that one program of the GPU moves


# fmt: off
@triton.jit
def _move(
    clean, part, found, image, row, col, row_places, col_places, outside,
    pixels, height, width, part_height, part_width, box_height, box_width, found_height, found_width,
    CHANNELS: tl.constexpr, WIDE: tl.constexpr, PIXELS: tl.constexpr,
    KERNEL_HEIGHT: tl.constexpr, KERNEL_WIDTH: tl.constexpr, STRIDE_HEIGHT: tl.constexpr, STRIDE_WIDTH: tl.constexpr,
):
    # fmt: on
    """Find one tile of what is asked for: some of its pixels, all channels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    there = pixel < pixels
    box = pixel // (found_height * found_width)
    y, x = pixel // found_width % found_height * STRIDE_HEIGHT, pixel % found_width * STRIDE_WIDTH
    number = tl.load(image + box, mask=there, other=0)
    row_place = row_places + 2 * (tl.load(row + box, mask=there, other=0) * box_height + y)
    col_place = col_places + 2 * (tl.load(col + box, mask=there, other=0) * box_width + x)
    channel = tl.arange(0, WIDE)[None, :]
    real = channel < CHANNELS
    largest = tl.full([PIXELS, WIDE], float("-inf"), tl.float32)
    for tap_y in tl.static_range(KERNEL_HEIGHT):
        clean_y = tl.load(row_place + 2 * tap_y, mask=there, other=-1)
        part_y = tl.load(row_place + 2 * tap_y + 1, mask=there, other=-1)
        for tap_x in tl.static_range(KERNEL_WIDTH):
            clean_x = tl.load(col_place + 2 * tap_x, mask=there, other=-1)
            part_x = tl.load(col_place + 2 * tap_x + 1, mask=there, other=-1)
            changed = (part_y >= 0) & (part_x >= 0)
            same = (clean_y >= 0) & (clean_x >= 0) & (changed == 0)
            from_part = part + ((box * part_height + part_y) * part_width + part_x)[:, None] * CHANNELS + channel
            from_clean = clean + ((number * height + clean_y) * width + clean_x)[:, None] * CHANNELS + channel
            value = tl.load(from_clean, mask=same[:, None] & real, other=outside)
            value = tl.where(changed[:, None], tl.load(from_part, mask=changed[:, None] & real, other=outside), value)
            largest = tl.maximum(largest, value.to(tl.float32), propagate_nan=tl.PropagateNan.ALL)
    tl.store(found + pixel[:, None] * CHANNELS + channel, largest, mask=there[:, None] & real)


def cut(
    clean: Tensor,
    part: Tensor,
    where: tuple[Tensor, Tensor, Tensor],
    places: tuple[Tensor, Tensor],
    *,
    outside: float,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
) -> Tensor:
    """Cut a box out of each of B maps, of which a part differs from a clean map; then take the maximum of each window.

    Of clean maps (N, C, H, W) and parts (B, C, h, w) of one dtype; `where` is the number of each part's clean map, its
    row and its column of windows, int64 of shape (B,); `places` is what `parts.lookup` says of rows and of columns;
    `outside` is the value beyond the map. `kernel` and `stride` are height and width of the windows, and of the step
    from one to the next: by default a pixel. The answer is (B, C, h', w'), or as many windows as there are, with the
    channels last in memory.
    """
    clean, part = (maps.permute(0, 2, 3, 1).contiguous() for maps in (clean, part))
    count, channels = len(part), clean.shape[3]
    box = [axis.shape[1] for axis in places]
    size = [(side - own) // step + 1 for side, own, step in zip(box, kernel, stride, strict=True)]
    found = part.new_empty(count, *size, channels)
    pixels, wide = count * math.prod(size), triton.next_power_of_2(channels)
    each = max(1, TILE // wide)
    sides = (*clean.shape[1:3], *part.shape[1:3], *box, *size)
    with torch.cuda.device(part.device) if part.is_cuda else nullcontext():  # Triton's interpreter needs no GPU
        maps = clean, part, found, *where, *places, outside
        _move[triton.cdiv(pixels, each),](*maps, pixels, *sides, channels, wide, each, *kernel, *stride)
    return found.permute(0, 3, 1, 2)
