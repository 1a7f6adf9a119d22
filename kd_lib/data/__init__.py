"""Images: three sources behind one door, in train, test and probe parts; drawn ones come with the truth."""

from kd_lib.data.dataset import CACHE, NAMES, SIZE, Dataset, Split, load, normalise, stratified, with_shuffled_labels

__all__ = ["CACHE", "NAMES", "SIZE", "Dataset", "Split", "load", "normalise", "stratified", "with_shuffled_labels"]
