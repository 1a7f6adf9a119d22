"""Saliency maps by occlusion: the occluded logits, the store that keeps them, and filling it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
