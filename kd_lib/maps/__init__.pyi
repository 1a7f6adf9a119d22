from .attributions import methods, occlusion_map
from .occlusion import occluded_logits, saliency_maps, windows
from .store import MapStore, open_logits

__all__ = ["MapStore", "methods", "occluded_logits", "occlusion_map", "open_logits", "saliency_maps", "windows"]
