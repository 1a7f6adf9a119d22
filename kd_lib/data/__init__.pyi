from .dataset import CACHE, NAMES, SIZE, Dataset, Split, load, normalise, stratified, with_shuffled_labels
from .multiview import Views, draw

__all__ = [
    "CACHE",
    "NAMES",
    "SIZE",
    "Dataset",
    "Split",
    "Views",
    "draw",
    "load",
    "normalise",
    "stratified",
    "with_shuffled_labels",
]
