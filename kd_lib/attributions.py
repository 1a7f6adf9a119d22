"""Attribution methods to look at beside Occlusion, as Captum computes them, all as one map (H, W) an image."""

import copy

import numpy as np
import torch
from captum.attr import Deconvolution, LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn

from kd_lib import occlusion

GRID = 4  # places a side that a layer must tell apart for GradCAM to be a map


def occlusion_map(model: nn.Module, image: Tensor, target: int, *, patch: int) -> np.ndarray:
    """Occlusion map (H, W) of one image (1, C, H, W) for one class, stride 1."""
    logits = occlusion.occluded_logits(model, image, patch=patch, stride=1)
    return occlusion.saliency_maps(logits, image_size=tuple(image.shape[-2:]), patch=patch)[0, target].numpy()


def methods(model: nn.Module, image: Tensor, target: int, *, patch: int = 4) -> dict[str, np.ndarray]:
    """Explain one image with four methods.

    Parameters
    ----------
    model : nn.Module
        A convolutional network in evaluation mode; it is not changed.
    image : Tensor (1, C, H, W)
        Normalised.
    target : int
        The class to explain.
    patch : int
        Side of Occlusion's square in pixels.

    Returns
    -------
    dict of str to ndarray (H, W)
        Occlusion; Saliency (largest absolute gradient over channels); Deconvolution (sum over channels); GradCAM of
        the last convolution that still tells places apart (on at least `GRID` x `GRID`), resized to the image.

    Raises
    ------
    ValueError
        If the network has no such convolution.

    References
    ----------
    Simonyan et al. (2014), arXiv:1312.6034; Zeiler & Fergus (2014), arXiv:1311.2901; Selvaraju et al. (2017),
    arXiv:1610.02391.
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # Captum's hooks cannot follow in-place activations
    image = image.to(next(model.parameters()).device)
    cam = LayerGradCam(model, _last_spatial_convolution(model, image)).attribute(image, target=target)
    maps = {
        "Saliency": Saliency(model).attribute(image.clone().requires_grad_(), target=target).amax(1),
        "Deconvolution": Deconvolution(model).attribute(image.clone().requires_grad_(), target=target).sum(1),
        "GradCAM": LayerAttribution.interpolate(cam, tuple(image.shape[-2:])).sum(1),
    }
    with torch.no_grad():
        explained = {name: value[0].detach().cpu().numpy() for name, value in maps.items()}
    return {"Occlusion": occlusion_map(model, image, target, patch=patch)} | explained


@torch.no_grad()
def _last_spatial_convolution(model: nn.Module, image: Tensor) -> nn.Module:
    found = []

    def note(module, _, output):
        if min(output.shape[-2:]) >= GRID:
            found.append(module)

    hooks = [
        m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)
    ]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no convolution with an output of {GRID}x{GRID} or more: no GradCAM"
        )
    return found[-1]
