"""Attribution methods to look at beside Occlusion, as Captum computes them, all as one map (H, W) an image."""

import copy
import warnings

import numpy as np
import torch
from captum.attr import Deconvolution, LayerAttribution, LayerGradCam, Saliency
from torch import Tensor, nn

from kd_lib.maps import occlusion

GRID = 4  # places a side that a layer must tell apart for GradCAM to be a map


def occlusion_map(model: nn.Module, image: Tensor, target: int, *, patch: int, stride: int = 1) -> np.ndarray:
    """Occlusion map (H, W) of one image (1, C, H, W) for one class, with a patch as large as fits it, at most."""
    patch = min(patch, *image.shape[-2:])
    windows = {"patch": patch, "stride": min(stride, patch)}
    logits = occlusion.occluded_logits(model, image, **windows)
    return occlusion.saliency_maps(logits, image_size=tuple(image.shape[-2:]), **windows)[0, target].numpy()


def methods(model: nn.Module, image: Tensor, target: int, *, patch: int = 4, stride: int = 1) -> dict[str, np.ndarray]:
    """Explain one image with four methods.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; it is not changed.
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
        there if the network has no such convolution. What fails but for Occlusion is not there, and a warning says so.

    References
    ----------
    Simonyan et al. (2014), arXiv:1312.6034; Zeiler & Fergus (2014), arXiv:1311.2901; Selvaraju et al. (2017),
    arXiv:1610.02391.
    """
    image = image.to(next((parameter.device for parameter in model.parameters()), image.device))
    found = {"Occlusion": occlusion_map(model, image, target, patch=patch, stride=stride)}
    for name, explain in (("Saliency", _saliency), ("Deconvolution", _deconvolution), ("GradCAM", _gradcam)):
        try:
            explained = explain(_apart(model), image.clone().requires_grad_(), target)
        except Exception as error:  # networks are anybody's, and what only illustrates stops nothing
            warnings.warn(f"{name} is left out: {type(error).__name__}: {error}", stacklevel=2)
            continue
        if explained is not None:
            found[name] = explained[0].detach().cpu().numpy()
    return found


def _apart(model: nn.Module) -> nn.Module:
    """Copy a network so that nothing is done in place, neither in it nor on its input: hooks cannot follow that."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    return nn.Sequential(_Copy(), model).eval()


class _Copy(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.clone()


def _saliency(model: nn.Module, image: Tensor, target: int) -> Tensor:
    return Saliency(model).attribute(image, target=target).amax(1)


def _deconvolution(model: nn.Module, image: Tensor, target: int) -> Tensor:
    return Deconvolution(model).attribute(image, target=target).sum(1)


def _gradcam(model: nn.Module, image: Tensor, target: int) -> Tensor | None:
    if (layer := _last_spatial_convolution(model, image)) is None:
        return None
    cam = LayerGradCam(model, layer).attribute(image, target=target)
    return LayerAttribution.interpolate(cam, tuple(image.shape[-2:])).sum(1)


@torch.no_grad()
def _last_spatial_convolution(model: nn.Module, image: Tensor) -> nn.Module | None:
    found = []

    def note(module, _, output):
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) and min(output.shape[-2:]) >= GRID:
            found.append(module)

    with nn.modules.module.register_module_forward_hook(note):
        model(image)
    return found[-1] if found else None
