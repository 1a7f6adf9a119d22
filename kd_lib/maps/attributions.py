"""Attribution methods to look at beside Occlusion, as Captum computes them, all as one map (H, W) an image."""

import copy

import numpy as np
import torch
from captum.attr import Deconvolution, LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn

from kd_lib.maps import occlusion

GRID = 4  # places a side that a layer must tell apart for GradCAM to be a map


def occlusion_map(model: nn.Module, image: Tensor, target: int, *, patch: int, stride: int = 1) -> np.ndarray:
    """Occlusion map (H, W) of one image (1, C, H, W) for one class."""
    windows = {"patch": patch, "stride": stride}
    logits = occlusion.occluded_logits(model, image, **windows)
    return occlusion.saliency_maps(logits, image_size=tuple(image.shape[-2:]), **windows)[0, target].numpy()


def methods(model: nn.Module, image: Tensor, target: int, *, patch: int = 4, stride: int = 1) -> dict[str, np.ndarray]:
    """Explain one image with four methods.

    Parameters
    ----------
    model : nn.Module
        A convolutional network in evaluation mode; it is not changed.
    image : Tensor (1, C, H, W)
        Normalised.
    target : int
        The class to explain.
    patch, stride : int
        Side of Occlusion's square and its step, in pixels.

    Returns
    -------
    dict of str to ndarray (H, W)
        Occlusion; Saliency (largest absolute gradient over channels); Deconvolution (sum over channels); GradCAM of
        the last convolution that still tells places apart (on at least `GRID` x `GRID`), resized to the image; not
        there if the network has no such convolution.

    References
    ----------
    Simonyan et al. (2014), arXiv:1312.6034; Zeiler & Fergus (2014), arXiv:1311.2901; Selvaraju et al. (2017),
    arXiv:1610.02391.
    """
    own, model = model, copy.deepcopy(model)
    model.register_forward_pre_hook(lambda _, given: (given[0].clone(),))  # it may overwrite what it is given
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # Captum's hooks cannot follow in-place activations
    image = image.to(next(model.parameters()).device)
    maps = {
        "Saliency": Saliency(model).attribute(image.clone().requires_grad_(), target=target).amax(1),
        "Deconvolution": Deconvolution(model).attribute(image.clone().requires_grad_(), target=target).sum(1),
    }
    if (layer := _last_spatial_convolution(model, image)) is not None:
        cam = LayerGradCam(model, layer).attribute(image, target=target)
        maps["GradCAM"] = LayerAttribution.interpolate(cam, tuple(image.shape[-2:])).sum(1)
    explained = {name: value[0].detach().cpu().numpy() for name, value in maps.items()}
    return {"Occlusion": occlusion_map(own, image, target, patch=patch, stride=stride)} | explained


@torch.no_grad()
def _last_spatial_convolution(model: nn.Module, image: Tensor) -> nn.Module | None:
    found = []

    def note(module, _, output):
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and min(output.shape[-2:]) >= GRID:
            found.append(module)

    with nn.modules.module.register_module_forward_hook(note):
        model(image)
    return found[-1] if found else None
