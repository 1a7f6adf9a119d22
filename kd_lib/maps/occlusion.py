"""Occlusion saliency: what each patch of an image adds to each class's output (Zeiler & Fergus 2014)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from kd_lib.maps.incremental.interpreter import Incremental
from kd_lib.maps.incremental.parts import plan
from kd_lib.networks import architectures, training
from kd_lib.networks.fast import fusion, rewrite

PRECISIONS = ("float32", "bfloat16")  # and 'auto', one of the two
OUTPUTS = ("logits", "centred", "probs", "log-probs")
BASELINES = ("mean", "blur")  # that differ from image to image
BLUR = 10 / 224  # standard deviation of the blur by the shorter side of the image: that of Fong & Vedaldi (2017)
SAME = {"float32": 1e-4, "bfloat16": 0.05}  # of the largest logit; rounding stays far below
# Of input a forward pass, in its precision: 512 images of 3 x 32 x 32 in float32, 1024 in bfloat16.
BATCH_BYTES = 3 << 21
GPU_SHARE = 1 / 400  # of a GPU's memory, likewise


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
    most = min(image_size)
    if not 1 <= patch <= most:
        raise ValueError(f"patch {patch} does not fit the {height}x{width} image: give 1 to {most} pixels")
    if not 1 <= stride <= patch:
        fitting = f"give 1 to {patch} pixels, so that every pixel is covered"
        raise ValueError(f"stride {stride} with patch {patch}: {fitting}")
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
    baseline: float | Sequence[float] | str | Tensor = 0.0,
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
    baseline : float, sequence of C floats, 'mean', 'blur' or Tensor
        What an occluded pixel is set to, after normalisation, see `baseline_images`: 0 is the data set's mean colour.
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
        If the shapes, the windows, the batch size or the precision make no sense, or the model returns no tensor.
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
    if batch_size is None:
        batch_size = _suitable_batch(images, precision)
    fill_in = baseline_images(baseline, images).expand(len(images), -1, -1, -1)
    covered_rows, covered_cols = (side.to(device) for side in _coverage(images.shape[-2:], patch, stride))
    count = 1 + len(covered_rows) * len(covered_cols)

    outputs = None
    with (
        architectures.evaluating(model),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        tqdm(total=len(images) * count, desc="occlusion", unit="image", disable=not progress) as bar,
    ):
        engine = _engine(model, images, fill_in, (covered_rows, covered_cols), precision, batch_size)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            for first in range(0, len(images), batch_size):
                group = slice(first, first + batch_size)
                clean = training.check_tensor(engine.start(images[group], fill_in[group]), "the model").float()
                if clean.ndim != 2:
                    raise ValueError(f"the model's output has shape {tuple(clean.shape)}: expected (batch, classes)")
                if outputs is None:
                    with torch.inference_mode(False):  # a GPU writes into pinned memory by itself
                        outputs = torch.empty(len(images), count, clean.shape[1], pin_memory=clean.is_cuda)
                hidden = []
                pairs = len(clean) * (count - 1)
                for begin in range(0, pairs, batch_size):  # nothing in here waits for the device
                    end = min(begin + batch_size, pairs)
                    among = slice(begin // (count - 1), (end - 1) // (count - 1) + 1)
                    pair = torch.arange(begin, end, device=device)
                    image, window = pair // (count - 1) - among.start, pair % (count - 1)
                    row, col = window // len(covered_cols), window % len(covered_cols)
                    hidden.append(engine.occluded(among, image, row, col).float())
                    bar.update(end - begin)
                hidden = torch.cat(hidden).unflatten(0, (len(clean), count - 1))
                outputs[group].copy_(torch.cat([clean[:, None], hidden], 1), non_blocking=True)
                bar.update(len(clean))
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
    return outputs


def baseline_images(baseline: float | Sequence[float] | str | Tensor, images: Tensor) -> Tensor:
    """Say what hidden pixels become, image by image.

    Parameters
    ----------
    baseline : float, sequence of C floats, 'mean', 'blur' or Tensor
        One number, or one a channel; 'mean': each image's own mean colour; 'blur': the image itself out of focus, by a
        Gaussian whose standard deviation is `BLUR` of the shorter side; or a tensor that broadcasts to the images.
    images : Tensor, float, shape (N, C, H, W)
        Normalised images. Both means and blurs may be taken before normalising or after: they are the same.

    Returns
    -------
    Tensor, shape (N or 1, C, H or 1, W or 1), of the dtype and on the device of `images`
        As Captum takes it for `baselines`, once expanded.

    Raises
    ------
    ValueError
        If the name is unknown, a number is not finite or the shape does not fit.

    References
    ----------
    Fong & Vedaldi (2017), "Interpretable Explanations of Black Boxes by Meaningful Perturbation", arXiv:1704.03296.
    """
    if isinstance(baseline, str):
        if check_baseline(baseline) == "mean":
            return images.mean((-2, -1), keepdim=True)
        from torchvision.transforms.functional import gaussian_blur  # takes seconds, and few need it

        sigma = BLUR * min(images.shape[-2:])
        return gaussian_blur(images, 2 * math.ceil(3 * sigma) + 1, sigma)
    values = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    channels = images.shape[1]
    if values.ndim in (0, 1):
        if values.ndim == 1 and len(values) != channels or not values.isfinite().all():
            expected = f"one finite number, or one for each of the {channels} channels"
            raise ValueError(f"baseline {baseline}: expected {expected}")
        return values.expand(channels)[None, :, None, None]
    if values.ndim != 4 or any(own not in (1, side) for own, side in zip(values.shape, images.shape, strict=True)):
        raise ValueError(f"baseline of shape {tuple(values.shape)}: expected one that fits {tuple(images.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"baseline: {int((~values.isfinite()).sum())} of its values are not finite")
    return values.expand(-1, channels, -1, -1)


def check_baseline(name: str) -> str:
    """Return the name of a baseline, once it is known to be one of `BASELINES`; else a ValueError."""
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}: expected a number, one for each channel, or 'mean' or 'blur'")
    return name


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
    output : {'logits', 'centred', 'probs', 'log-probs'}
        Whether the maps explain the logits, these less their mean over classes (which no answer hangs on), the softmax
        probabilities or their logarithm.

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
    if output not in OUTPUTS:
        raise ValueError(f"unknown output {output!r}: expected {', '.join(map(repr, OUTPUTS))}")
    covered_rows, covered_cols = (side.to(logits) for side in _coverage(image_size, patch, stride))
    expected = 1 + len(covered_rows) * len(covered_cols)
    if logits.ndim < 2 or logits.shape[-2] != expected:
        windows_of = f"image size {tuple(image_size)}, patch {patch}, stride {stride}"
        raise ValueError(f"logits have shape {tuple(logits.shape)}: expected (..., {expected}, K) for {windows_of}")
    values = logits - logits.mean(-1, keepdim=True) if output == "centred" else logits
    if output.endswith("probs"):  # float32 tells no probability above 1 - 6e-8 from 1
        values = (torch.softmax if output == "probs" else torch.log_softmax)(logits.double(), -1)
    fall = (values[..., :1, :] - values[..., 1:, :]).float().unflatten(-2, (len(covered_rows), len(covered_cols)))
    # A window is a product of rows and columns, so the mean over windows is one mean over each.
    mean_rows, mean_cols = covered_rows / covered_rows.sum(0), covered_cols / covered_cols.sum(0)
    return torch.einsum("...rck,rh,cw->...khw", fall, mean_rows, mean_cols)


def _suitable_batch(images: Tensor, precision: str) -> int:
    """Count the images a forward pass that keep their device busy and fit its memory."""
    memory = torch.cuda.get_device_properties(images.device).total_memory if images.is_cuda else 0
    room = int(GPU_SHARE * memory) or BATCH_BYTES
    return max(1, room // (images[0].nbytes // (2 if precision == "bfloat16" else 1)))


def _coverage(image_size: tuple[int, int], patch: int, stride: int) -> tuple[Tensor, Tensor]:
    """Which pixel rows (columns) each row (column) of windows covers: bool (R, H) and (Q, W)."""
    starts = (torch.tensor(side)[:, None] for side in windows(image_size, patch, stride))
    pixels = (torch.arange(side)[None] for side in image_size)
    rows, cols = ((start <= pixel) & (pixel < start + patch) for start, pixel in zip(starts, pixels, strict=True))
    return rows, cols


class _Plain:
    """Runs a network as it is on whole occluded images."""

    layout = torch.channels_last

    def __init__(self, model: nn.Module, covered_rows: Tensor, covered_cols: Tensor):
        self.model, self.covered_rows, self.covered_cols = model, covered_rows, covered_cols

    def start(self, images: Tensor, fill_in: Tensor) -> Tensor:
        """Output (G, K) for clean images (G, C, H, W), and what hidden pixels become in them."""
        self.images, self.fill_in = images, fill_in
        try:
            return self.model(images.clone(memory_format=self.layout))  # it may overwrite what it is given
        except RuntimeError:  # as `view` raises, which wants what is contiguous
            if self.layout == torch.contiguous_format:
                raise
            self.layout = torch.contiguous_format
            return self.start(images, fill_in)

    def occluded(self, among: slice, image: Tensor, row: Tensor, col: Tensor) -> Tensor:
        """Output (B, K) for some of the clean images, by number, each with the window of that row and column hidden."""
        covered = self.covered_rows[row, :, None] & self.covered_cols[col, None, :]
        hidden = torch.where(covered[:, None], self.fill_in[among][image], self.images[among][image])
        return self.model(hidden.contiguous(memory_format=self.layout))


def _engine(
    model: nn.Module, images: Tensor, fill_in: Tensor, where: tuple[Tensor, Tensor], precision: str, batch_size: int
) -> _Plain | Incremental:
    """Rewrite the network to do less, if it can be rewritten and then gives the same answer; else take it as it is."""
    plain = _Plain(model, *where)
    try:
        traced = rewrite.for_inference(model, images[:1])
    except rewrite.CannotRewrite:
        return plain
    boxes = plan(traced, *where)
    if precision == "bfloat16":
        rewrite.products_in_bfloat16(traced)
    if fusion.available(images.device, precision):
        fusion.fuse_pointwise(traced, batch_size=batch_size, keep=boxes)
    rewrite.free_when_dropped(traced)
    fast = Incremental(traced, boxes, *where)
    row, col = (torch.tensor([0, len(side) // 2, len(side) - 1], device=images.device) for side in where)
    answers = []
    for engine in (plain, fast):
        if plain.layout != torch.channels_last:
            return plain
        with torch.autocast(images.device.type, torch.bfloat16, enabled=engine is fast and precision == "bfloat16"):
            training.check_tensor(engine.start(images[:1], fill_in[:1]), "the model")
            answers.append(engine.occluded(slice(1), torch.zeros_like(row), row, col).float())
    expected, found = answers
    tolerance = SAME[precision] * expected.nan_to_num().abs().max().item()  # a network that diverged answers NaN
    return fast if torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True) else plain
