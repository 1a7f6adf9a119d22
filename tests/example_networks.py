"""Networks that tests put to the proof: untrained, but with batch norms that do something."""

import torch
from torch import nn
from torchvision.models import vit_b_16

from kd_lib.networks import architectures

NETWORKS = ("resnet18", "resnet50", "vgg11_bn", "mobilenet_v3_small", "densenet121", "convnext_tiny", "vit_b_16")


def network(arch: str, *, seed: int = 0, size: int = 32) -> nn.Module:
    """Build a network in evaluation mode, weights and running statistics drawn from `seed`, for images of `size`."""
    torch.manual_seed(seed)
    if arch == "vit_b_16":  # made for one size of image, and born with a head of zeros
        model = vit_b_16(image_size=size, num_classes=10)
        nn.init.normal_(model.heads.head.weight, std=0.05)
    else:
        model = architectures.build(arch, 10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.1)
    return model.eval()


def of_state(name: str, epoch: int) -> nn.Module:
    """Give each state of a store a network of its own; here, so that workers can import it."""
    return network("resnet18", seed=10 * epoch + ord(name))


def refuse(name: str, epoch: int) -> nn.Module:
    """Fail, as a loader without its checkpoint does."""
    raise RuntimeError("no such network")
