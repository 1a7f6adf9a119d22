from . import given
from .architectures import TECHNIQUES, Ensemble, build, check_arch
from .checkpoints import Checkpoints
from .regime import Regime
from .techniques import train_technique
from .training import accuracy, distillation_loss, pick_device, predict, train

__all__ = [
    "TECHNIQUES",
    "Checkpoints",
    "Ensemble",
    "Regime",
    "accuracy",
    "build",
    "check_arch",
    "distillation_loss",
    "given",
    "pick_device",
    "predict",
    "train",
    "train_technique",
]
