"""Occlusion saliency: what each patch of an image adds to each class's output (Zeiler & Fergus 2014)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kd_lib import fusion, models, rewrite
from kd_lib.incremental import Incremental, plan

PRECISIONS = ("float32", "bfloat16")  # and 'auto', one of the two
SAME = {"float32": 1e-4, "bfloat16": 0.05}  # of the largest logit; rounding stays far below
BATCH_BYTES = {"cpu": 3 << 22, "cuda": 3 << 24}  # of input a forward pass: 1024 (4096) images of 3x32x32


def windows(image_size: tuple[int, int], patch: int, stride: int) -> tuple[list[int], list[int]]:
    """First row and first column of every window, as Captum's `Occlusion` places them.

    Parameters
    ----------
    image_size : (int, int)
        Height and width in pixels.
    patch : int
        Side of the square window in pixels.
    stride : int
        Step from one window to the next in pixels. Where it does not divide, the last window hangs over the border.

    Returns
    -------
    rows, cols : list of int
        Window `1 + r * len(cols) + c` of the occluded logits starts at pixel `(rows[r], cols[c])`.

    Raises
    ------
    ValueError
        If the patch does not fit into the image, or the stride is below 1 or leaves pixels that no window covers.
    """
    height, width = image_size
    if not 1 <= patch <= min(height, width):
        raise ValueError(
            f"patch {patch} does not fit the {height}x{width} image: give 1 to {min(height, width)} pixels"
        )
    if not 1 <= stride <= patch:
        raise ValueError(
            f"stride {stride} with patch {patch}: give 1 to {patch} pixels, so that every pixel is covered"
        )
    rows, cols = (list(range(0, side - patch + stride, stride)) for side in (height, width))
    return rows, cols


def pick_precision(precision: str, device: torch.device) -> str:
    """Turn 'float32', 'bfloat16' or 'auto' into a precision; 'auto' is bfloat16 where the hardware multiplies in it.

    Over a trained network's maps, those in bfloat16 have a median Pearson similarity above 0.999 to those in float32.

    Raises
    ------
    ValueError
        If the name is none of the three.
    """
    if precision != "auto":
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}, auto")
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    instructions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    known = device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in instructions)
    return "bfloat16" if known else "float32"


def occluded_logits(
    model: nn.Module,
    images: Tensor,
    *,
    patch: int = 4,
    stride: int = 1,
    baseline: float | Sequence[float] = 0.0,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: bool = False,
) -> Tensor:
    """Output of `model` on each image, clean and with each patch replaced by the baseline.

    All classes come from the same forward pass. The model is evaluated in eval mode without gradients and is left as
    it was found.

    Parameters
    ----------
    model : nn.Module
        Maps (B, C, H, W) to (B, K); runs on the device its parameters are on.
    images : Tensor, float, shape (N, C, H, W)
        Normalised images, on any device.
    patch, stride : int
        Side of the occluding square and step between two of them, in pixels.
    baseline : float or sequence of C floats
        What an occluded pixel is set to, after normalisation: 0 is the data set's mean colour.
    batch_size : int, optional
        Occluded images a forward pass; by default as many as suit the device.
    precision : {'float32', 'bfloat16', 'auto'}
        Of the forward passes, see `pick_precision`. float32 does without TensorFloat-32, which keeps only 10 bits of a
        product; bfloat16 keeps 8, but for the layer that gives the output, and for all sums.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Tensor, float32, shape (N, 1 + W, K), on the CPU
        Window 0 is the clean image, then one a patch position, row-major.

    Raises
    ------
    TypeError
        If `images` are not floating point.
    ValueError
        If the shapes, the windows, the batch size or the precision make no sense.
    """
    if not images.is_floating_point():
        raise TypeError(f"images are {images.dtype}: expected normalised floats, as Dataset.normalise gives them")
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images have shape {tuple(images.shape)}: expected (N, C, H, W) with N >= 1")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch size {batch_size}: expected at least 1")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    precision = pick_precision(precision, device)
    images = images.to(device, torch.float32)
    batch_size = batch_size or max(1, BATCH_BYTES.get(device.type, BATCH_BYTES["cpu"]) // images[0].nbytes)
    fill_in = _per_channel(baseline, images)
    covered_rows, covered_cols = (side.to(device) for side in _coverage(images.shape[-2:], patch, stride))
    count = 1 + len(covered_rows) * len(covered_cols)

    outputs = []
    with (
        models.evaluating(model),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        tqdm(total=len(images) * count, desc="occlusion", unit="image", disable=not progress) as bar,
    ):
        engine = _engine(model, images, (covered_rows, covered_cols, fill_in), precision, batch_size)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            for group in images.split(batch_size):
                clean = engine.start(group).float()
                if clean.ndim != 2:
                    raise ValueError(f"the model's output has shape {tuple(clean.shape)}: expected (batch, classes)")
                hidden = []
                for pair in torch.arange(len(group) * (count - 1)).split(batch_size):
                    image, window = pair // (count - 1), (pair % (count - 1)).to(device)
                    row, col = window // len(covered_cols), window % len(covered_cols)
                    hidden.append(engine.occluded(image, row, col).float())
                    bar.update(len(pair))
                hidden = torch.cat(hidden).cpu().unflatten(0, (len(group), count - 1))
                outputs.append(torch.cat([clean.cpu()[:, None], hidden], 1))
                bar.update(len(group))
    return torch.cat(outputs)


def saliency_maps(
    logits: Tensor, *, image_size: tuple[int, int], patch: int = 4, stride: int = 1, output: str = "logits"
) -> Tensor:
    """Saliency map of every class: how far the output falls, on average over the windows that cover a pixel.

    Equal to Captum's `Occlusion.attribute` with the same windows, of which every channel is the same.

    Parameters
    ----------
    logits : Tensor or array, float, shape (..., 1 + W, K)
        As `occluded_logits` gives them; the mean over models gives the ensemble's maps.
    image_size : (int, int)
        Height and width in pixels.
    patch, stride : int
        Those of the occluded logits, in pixels.
    output : {'logits', 'probs'}
        Whether the maps explain the logits or the softmax probabilities.

    Returns
    -------
    Tensor, float32, shape (..., K, H, W)
        In units of the output; positive where hiding the pixel lowers it.

    Raises
    ------
    ValueError
        If the windows do not belong to such an image, or the output is unknown.

    References
    ----------
    Zeiler & Fergus (2014), "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901.
    """
    logits = torch.as_tensor(logits).float()
    if output not in ("logits", "probs"):
        raise ValueError(f"unknown output {output!r}: expected 'logits' or 'probs'")
    covered_rows, covered_cols = (side.to(logits) for side in _coverage(image_size, patch, stride))
    expected = 1 + len(covered_rows) * len(covered_cols)
    if logits.ndim < 2 or logits.shape[-2] != expected:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}: expected (..., {expected}, K) for image size "
            f"{tuple(image_size)}, patch {patch}, stride {stride}"
        )
    values = logits.softmax(-1) if output == "probs" else logits
    fall = (values[..., :1, :] - values[..., 1:, :]).unflatten(-2, (len(covered_rows), len(covered_cols)))
    # A window is a product of rows and columns, so the mean over windows is one mean over each.
    mean_rows, mean_cols = covered_rows / covered_rows.sum(0), covered_cols / covered_cols.sum(0)
    return torch.einsum("...rck,rh,cw->...khw", fall, mean_rows, mean_cols)


def _coverage(image_size: tuple[int, int], patch: int, stride: int) -> tuple[Tensor, Tensor]:
    """Which pixel rows (columns) each row (column) of windows covers: bool (R, H) and (Q, W)."""
    starts = (torch.tensor(side)[:, None] for side in windows(image_size, patch, stride))
    pixels = (torch.arange(side)[None] for side in image_size)
    rows, cols = ((start <= pixel) & (pixel < start + patch) for start, pixel in zip(starts, pixels, strict=True))
    return rows, cols


def _per_channel(baseline: float | Sequence[float], images: Tensor) -> Tensor:
    """Bring the baseline to (C, 1, 1)."""
    values = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    if values.ndim > 1 or (values.ndim == 1 and len(values) != channels) or not values.isfinite().all():
        raise ValueError(f"baseline {baseline}: expected one finite number, or one for each of the {channels} channels")
    return values.expand(channels)[:, None, None]


class _Plain:
    """Runs a network as it is on whole occluded images."""

    def __init__(self, model: nn.Module, covered_rows: Tensor, covered_cols: Tensor, fill_in: Tensor):
        self.model, self.covered_rows, self.covered_cols, self.fill_in = model, covered_rows, covered_cols, fill_in

    def start(self, images: Tensor) -> Tensor:
        """Output (G, K) for clean images (G, C, H, W)."""
        self.images = images
        return self.model(images.contiguous(memory_format=torch.channels_last))

    def occluded(self, image: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Output (B, K) for clean images by number, each with the window of that row and column hidden."""
        covered = self.covered_rows[row, :, None] & self.covered_cols[col, None, :]
        hidden = torch.where(covered[:, None], self.fill_in, self.images[image.to(row.device)])
        return self.model(hidden.contiguous(memory_format=torch.channels_last))


def _engine(model: nn.Module, images: Tensor, where: tuple[Tensor, Tensor, Tensor], precision: str, batch_size: int):
    """Rewrite the network to do less, if it can be rewritten and then gives the same answer; else take it as it is."""
    plain = _Plain(model, *where)
    try:
        traced = rewrite.for_inference(model, images[:1])
    except rewrite.CannotRewrite:
        return plain
    boxes = plan(traced, *where[:2])
    if precision == "bfloat16":
        rewrite.products_in_bfloat16(traced)
    if fusion.available(images.device):
        fusion.fuse_pointwise(traced, batch_size=batch_size, keep=boxes)
    rewrite.free_when_dropped(traced)
    fast = Incremental(traced, boxes, *where)
    row, col = (torch.tensor([0, len(side) // 2, len(side) - 1], device=images.device) for side in where[:2])
    answers = []
    for engine in (plain, fast):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=engine is fast and precision == "bfloat16"):
            engine.start(images[:1])
            answers.append(engine.occluded(torch.zeros(3, dtype=torch.int64), row, col).float())
    expected, found = answers
    tolerance = SAME[precision] * expected.nan_to_num().abs().max().item()  # a network that diverged answers NaN
    return fast if torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True) else plain
