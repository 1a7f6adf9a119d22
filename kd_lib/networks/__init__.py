"""networks."""

from kd_lib.networks.architectures import build

__all__ = ["build"]
