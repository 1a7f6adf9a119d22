from .agreement import alpha, kappas, majority
from .annotate import annotate_features, annotate_pairs, desk
from .annotations import Annotations
from .answers import Labels, by_annotator, labels
from .features import default_features, feature_agreement, write_tables

__all__ = [
    "Annotations",
    "Labels",
    "alpha",
    "annotate_features",
    "annotate_pairs",
    "by_annotator",
    "default_features",
    "desk",
    "feature_agreement",
    "kappas",
    "labels",
    "majority",
    "write_tables",
]
