from .bounds import floors
from .discrimination import areas_under_curve, roc_curves
from .learning import arrivals, first_crossing, lasting_crossing
from .outputs import cka, kl_divergence
from .piecewise import transitions
from .similarity import compare, cosine, pearson, spearman, ssim
from .statistics import Interval, holm, interval, sign_flip_test
from .threshold import PUBLISHED, Threshold, fit_threshold
from .transfer import gain, leave_one_out, shares_above, to_ensemble
from .utilisation import cosine_matrix
from .views import importance, pointing, views_shown

__all__ = [
    "PUBLISHED",
    "Interval",
    "Threshold",
    "areas_under_curve",
    "arrivals",
    "cka",
    "compare",
    "cosine",
    "cosine_matrix",
    "first_crossing",
    "fit_threshold",
    "floors",
    "gain",
    "holm",
    "importance",
    "interval",
    "kl_divergence",
    "lasting_crossing",
    "leave_one_out",
    "pearson",
    "pointing",
    "roc_curves",
    "shares_above",
    "sign_flip_test",
    "spearman",
    "ssim",
    "to_ensemble",
    "transitions",
    "views_shown",
]
