"""How the book says its claims: in one sentence where they hold, another where they fail, a third where none can tell.

Which one is said, and with which numbers, follows from an edition's tables (`prose`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

ON, OFF = "on target", "off target"


@dataclass(frozen=True)
class Statement:
    """One claim, or the same claim in several places, and how to say it.

    Attributes
    ----------
    ids : mapping of str to str
        Where (such as 'on target'; empty if there is but one place) and the claim's id.
    about : str
        What it is about, to say that an edition does not know it; after "whether" or a noun.
    holds, fails, unknown : str
        The sentence for each verdict, without a full stop; the numbers follow it. ``{number}``, ``{above}`` and
        ``{below}`` stand for what the thesis gives and for the bounds of the region claimed.
    """

    ids: Mapping[str, str]
    about: str
    holds: str
    fails: str
    unknown: str


def _both(stem: str) -> dict[str, str]:
    return {ON: f"{stem}-on-target", OFF: f"{stem}-off-target"}


FAIR_GAIN = Statement(
    _both("fair-gain"),
    "how the distilled network compares with a left-out component",
    "More of the distilled network's maps are like the ensemble's than of a component's that is left out of it",
    "Fewer of the distilled network's maps are like the ensemble's than of a component's that is left out of it",
    "With the component left out of the ensemble, one cannot tell whether more of the distilled network's maps are "
    "like the ensemble's than of the component's",
)
GAIN = Statement(
    _both("distilled-closer"),
    "how the distilled network compares with a component of the ensemble",
    "Beside the whole ensemble, which a component is a part of, more of the distilled network's maps are like the "
    "ensemble's",
    "Beside the whole ensemble, which a component is a part of, fewer of the distilled network's maps are like the "
    "ensemble's",
    "Beside the whole ensemble, which a component is a part of, one cannot tell which of the two has more such maps",
)
TEACHERS = Statement(
    _both("teachers"),
    "how a half-taught student compares with its teachers and with strangers",
    "A student of half of the components is closer to its teachers than to the other half, as it is if it takes over "
    "their features and not those of any ensemble (mean similarity)",
    "A student of half of the components is closer to the other half than to its teachers (mean similarity)",
    "Of a student of half of the components one cannot tell whether it is closer to its teachers than to the other "
    "half (mean similarity)",
)
EQUAL_OUTPUTS = Statement(
    _both("equal-outputs"),
    "whether that is more than outputs which are closer to the ensemble's",
    "Where the outputs of both are equally close to the ensemble's, the distilled network's maps are more similar to "
    "the ensemble without the component than the component's are (mean similarity)",
    "Where the outputs of both are equally close to the ensemble's, the distilled network's maps are less similar to "
    "the ensemble without the component than the component's are (mean similarity)",
    "Where the outputs of both are equally close to the ensemble's, one cannot tell whether the distilled network's "
    "maps are more similar to the ensemble without the component than the component's are (mean similarity)",
)
MORE_ACCURATE = Statement(
    {"": "distilled-above-component"},
    "whether the distilled network is more accurate than a component",
    "The distilled network is more accurate than a component",
    "The distilled network is less accurate than a component",
    "One cannot tell whether the distilled network is more accurate than a component",
)
VIEWS_USED = Statement(
    {"": "distilled-views-used"},
    "how many views the distilled network uses",
    "By intervention, the distilled network uses more views of an image than a component does",
    "By intervention, the distilled network uses fewer views of an image than a component does",
    "Whether the distilled network uses more views of an image than a component does, one cannot tell by intervention",
)
SINGLE_VIEW = Statement(
    {"": "distilled-single-view"},
    "how many single-view images the distilled network recognises",
    "The distilled network recognises more images that show a single view of their class than a component does",
    "The distilled network recognises fewer images that show a single view of their class than a component does",
    "One cannot tell whether the distilled network recognises more images that show a single view of their class than "
    "a component does",
)
ANSWER = (FAIR_GAIN, GAIN, TEACHERS)
ANSWER_BESIDE_MAPS = (MORE_ACCURATE, SINGLE_VIEW, VIEWS_USED)

# The book's conclusions: mark on the page: statements.
CONCLUSIONS = {
    "accuracy": (
        Statement(
            {"": "ensemble-above-component"},
            "whether the ensemble is more accurate than a component",
            "The ensemble is more accurate than its components are on average",
            "The ensemble is less accurate than its components are on average",
            "One cannot tell whether the ensemble is more accurate than its components are on average",
        ),
        MORE_ACCURATE,
        Statement(
            {"": "distilled-below-ensemble"},
            "whether the distilled network is less accurate than the ensemble",
            "The distilled network is less accurate than the ensemble",
            "The distilled network is more accurate than the ensemble",
            "One cannot tell whether the distilled network is less accurate than the ensemble",
        ),
    ),
    "threshold": (
        Statement(
            {"": "threshold"},
            "T_c",
            "T_c lies close to the published {number}, between {above} and {below}",
            "T_c is not close to the published {number}, not between {above} and {below}",
            "One cannot tell whether T_c is close to the published {number}, between {above} and {below}",
        ),
        Statement(
            {"": "misclassified"},
            "how many pairs T_c misjudges",
            "T_c misjudges fewer than {below} of the labelled pairs",
            "T_c misjudges more than {below} of the labelled pairs",
            "One cannot tell whether T_c misjudges fewer than {below} of the labelled pairs",
        ),
        Statement(
            {
                "on all pairs": "better-than-chance",
                "on those on target": "auc-on-target",
                "on those off target": "auc-off-target",
            },
            "how well similarity ranks pairs",
            "Pearson similarity ranks pairs that show the same features above others better than chance, which is "
            "{above} (area under the ROC curve)",
            "Pearson similarity ranks pairs that show the same features above others worse than chance, which is "
            "{above} (area under the ROC curve)",
            "One cannot tell whether Pearson similarity ranks pairs that show the same features above others better "
            "than chance, which is {above} (area under the ROC curve)",
        ),
    ),
    "rq1": (
        Statement(
            {"": "learnt-early"},
            "by when features are learnt",
            "The features of every class are learnt by {below} (on target); the bend that comes last",
            "Not every class's features are learnt by {below} (on target); the bend that decides",
            "One cannot tell whether every class's features are learnt by {below} (on target); the bend that decides",
        ),
    ),
    "rq2": (
        Statement(
            {ON: "components-differ-on-target", OFF: "components-differ-off-target"},
            "whether components use different features",
            "Components use different features, for fewer than {below} of their maps are alike",
            "Components do not visibly use different features, for at least {below} of their maps are alike",
            "One cannot tell whether components use different features, that is, whether fewer than {below} of their "
            "maps are alike",
        ),
    ),
    "rq3": (
        Statement(
            _both("bias"),
            "how much being part of the ensemble flatters a component",
            "Being part of the ensemble flatters a component (mean similarity, less that with itself left out)",
            "Being part of the ensemble makes a component less similar to it (mean similarity, less that with itself "
            "left out)",
            "One cannot tell whether being part of the ensemble flatters a component (mean similarity, less that with "
            "itself left out)",
        ),
        FAIR_GAIN,
        GAIN,
        Statement(
            {"": "fair-gain-larger-off-target"},
            "whether the gain over a left-out component is larger off target",
            "The gain over a left-out component is larger off target than on target",
            "The gain over a left-out component is smaller off target than on target",
            "One cannot tell whether the gain over a left-out component is larger off target than on target",
        ),
        EQUAL_OUTPUTS,
        TEACHERS,
        Statement(
            _both("any-ensemble"),
            "what any ensemble would have taught",
            "Any ensemble teaches something, for the half-taught student is closer to the ensemble of strangers than a "
            "component is (mean similarity)",
            "The half-taught student is further from the ensemble of strangers than a component is (mean similarity)",
            "One cannot tell whether the half-taught student is closer to the ensemble of strangers than a component "
            "is (mean similarity)",
        ),
    ),
    "views": (
        Statement(
            {"": "hits"},
            "whether maps point at what networks use",
            "The maximum of a map lies in a view that the network uses more often than that of a map of noise would",
            "The maximum of a map lies in a view that the network uses less often than that of a map of noise would",
            "One cannot tell whether the maximum of a map lies in a view that the network uses more often than that of "
            "a map of noise would",
        ),
        Statement(
            {"": "ensemble-single-view"},
            "how many single-view images the ensemble recognises",
            "The ensemble recognises more images that show a single view of their class than a component does",
            "The ensemble recognises fewer images that show a single view of their class than a component does",
            "One cannot tell whether the ensemble recognises more images that show a single view of their class than a "
            "component does",
        ),
        SINGLE_VIEW,
        Statement(
            {"": "ensemble-views-used"},
            "how many views the ensemble uses",
            "By intervention, the ensemble uses more views of an image than a component does",
            "By intervention, the ensemble uses fewer views of an image than a component does",
            "Whether the ensemble uses more views of an image than a component does, one cannot tell by intervention",
        ),
        VIEWS_USED,
    ),
}
