"""Occlusion as others compute it, on the same network and images."""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

import torch
from captum.attr import Occlusion
from torch import Tensor, nn

PERTURBATIONS = (1, 8, 32, 128, 512)  # of Captum's perturbations_per_eval


def versions() -> dict[str, str]:
    """Versions of the libraries that are installed."""
    return {name: version(name) for name in ("captum", "quantus", "xplique") if find_spec(name)}


def captum(model: nn.Module, images: Tensor, patch: int, *, target: int | None, perturbations: int = 1) -> Tensor:
    """Compute maps by Captum, of one class or (target None) of all in one sweep."""
    shape = (images.shape[1], patch, patch)
    with torch.inference_mode():
        return Occlusion(model).attribute(
            images,
            target=target,
            sliding_window_shapes=shape,
            strides=(shape[0], 1, 1),
            perturbations_per_eval=perturbations,
        )


def others(model: nn.Module, images: Tensor, patch: int) -> dict[str, Callable[[], object]]:
    """Other libraries' maps of one class, of those that are installed."""
    found = {}
    if find_spec("quantus"):
        import quantus

        window = (images.shape[1], patch, patch)
        inputs, targets = images.cpu().numpy(), torch.zeros(len(images), dtype=torch.int64).numpy()
        options = {"method": "Occlusion", "window": window, "device": str(images.device)}
        found["Quantus"] = lambda: quantus.explain(model, inputs, targets, **options)
    if find_spec("xplique"):
        from xplique.attributions import Occlusion as XpliqueOcclusion
        from xplique.wrappers import TorchWrapper

        wrapped = TorchWrapper(model, images.device, is_channel_first=True)
        sweep = XpliqueOcclusion(wrapped, batch_size=256, patch_size=patch, patch_stride=1, occlusion_value=0.0)
        pixels = images.permute(0, 2, 3, 1).cpu().numpy()
        classes = wrapped(pixels[:1]).shape[1]
        one_hot = torch.zeros(len(images), classes).index_fill(1, torch.tensor([0]), 1.0).numpy()
        found["Xplique"] = lambda: sweep.explain(pixels, one_hot)
    return found
