"""Cut boxes out of maps on a GPU in one pass over memory, where `incremental` needs a dozen operations elsewhere.

Imported only where there is a GPU: Triton, which compiles this, comes with PyTorch for GPUs.
"""

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # values that one program of the GPU moves


@triton.jit
def _move(
    clean,
    part,
    found,
    image,
    row,
    col,
    row_places,
    col_places,
    outside,
    pixels,
    height,
    width,
    part_height,
    part_width,
    box_height,
    box_width,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Copy one tile: some pixels of the boxes, all channels."""
    pixel = tl.program_id(0).to(tl.int64) * PIXELS + tl.arange(0, PIXELS)
    there = pixel < pixels
    box = pixel // (box_height * box_width)
    y, x = pixel // box_width % box_height, pixel % box_width
    number = tl.load(image + box, mask=there, other=0)
    row_place = row_places + 2 * (tl.load(row + box, mask=there, other=0) * box_height + y)
    col_place = col_places + 2 * (tl.load(col + box, mask=there, other=0) * box_width + x)
    clean_y, clean_x = tl.load(row_place, mask=there, other=-1), tl.load(col_place, mask=there, other=-1)
    part_y, part_x = tl.load(row_place + 1, mask=there, other=-1), tl.load(col_place + 1, mask=there, other=-1)
    changed = (part_y >= 0) & (part_x >= 0)
    same = (clean_y >= 0) & (clean_x >= 0) & (changed == 0)
    channel = tl.arange(0, WIDE)[None, :]
    real = channel < CHANNELS
    from_part = part + ((box * part_height + part_y) * part_width + part_x)[:, None] * CHANNELS + channel
    from_clean = clean + ((number * height + clean_y) * width + clean_x)[:, None] * CHANNELS + channel
    value = tl.load(from_clean, mask=same[:, None] & real, other=outside)
    value = tl.where(changed[:, None], tl.load(from_part, mask=changed[:, None] & real, other=outside), value)
    tl.store(found + pixel[:, None] * CHANNELS + channel, value, mask=there[:, None] & real)


def cut(
    clean: Tensor,
    part: Tensor,
    where: tuple[Tensor, Tensor, Tensor],
    places: tuple[Tensor, Tensor],
    *,
    outside: float,
) -> Tensor:
    """Cut a box out of each of B maps, of which a part differs from a clean map.

    Parameters
    ----------
    clean : Tensor, shape (N, C, H, W)
    part : Tensor, shape (B, C, h, w)
        Of the dtype of `clean`.
    where : three Tensors of int64, shape (B,)
        Number of each part's clean map, its row and its column of windows.
    places : two Tensors of int32, shapes (R, h', 2) and (Q, w', 2)
        See `incremental.Lookup.places`.
    outside : float
        Value beyond the map.

    Returns
    -------
    Tensor, shape (B, C, h', w')
        With the channels last in memory.
    """
    clean, part = (maps.permute(0, 2, 3, 1).contiguous() for maps in (clean, part))
    count, channels = len(part), clean.shape[3]
    box_height, box_width = (axis.shape[1] for axis in places)
    found = part.new_empty(count, box_height, box_width, channels)
    pixels, wide = count * box_height * box_width, triton.next_power_of_2(channels)
    each = max(1, TILE // wide)
    sides = (*clean.shape[1:3], *part.shape[1:3], box_height, box_width)
    with torch.cuda.device(part.device) if part.is_cuda else nullcontext():  # Triton's interpreter needs no GPU
        _move[triton.cdiv(pixels, each),](
            *(clean, part, found, *where, *places, outside, pixels, *sides),
            CHANNELS=channels,
            WIDE=wide,
            PIXELS=each,
        )
    return found.permute(0, 3, 1, 2)
