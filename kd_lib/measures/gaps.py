"""Differences between kinds of network, image by image: in accuracy, in shares of maps, in the views they use.

Each answers one claim with one number. All tables have the same columns (`transfer.contrasts`): what, less, target,
difference, low, high and the rest.
"""

from collections.abc import Sequence

import pandas as pd

from kd_lib.measures.statistics import interval
from kd_lib.measures.transfer import AGAINST, BESIDE_OTHERS, COMPONENT, DISTILLED, OFF_TARGET, ON_TARGET, contrasts

ENSEMBLE = "ensemble"
PAIRS = ((ENSEMBLE, COMPONENT), (DISTILLED, COMPONENT), (DISTILLED, ENSEMBLE))


def accuracy_by_kind(right: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Accuracy of every kind of network, the mean over its networks, with an interval over test images.

    `right` has a row a network and test image: kind, model, image, right (bool). Gives a row a kind: kind, accuracy,
    low, high (in [0, 1]; 95 % bootstrap that draws whole images), networks, images.
    """
    rows = []
    for kind, group in right.groupby("kind", sort=False):
        found = interval(group.groupby("image")["right"].mean(), seed=seed)
        rows.append((kind, *found, group["model"].nunique(), group["image"].nunique()))
    return pd.DataFrame(rows, columns=["kind", "accuracy", "low", "high", "networks", "images"])


def in_accuracy(right: pd.DataFrame) -> pd.DataFrame:
    """By how much the accuracies of ensemble, distilled network and components differ, on the same test images.

    `right` is as of `accuracy_by_kind`; for the result see `transfer.contrasts`. Differences are in [-1, 1]; there are
    no rows for a kind that is not there.
    """
    frame = right.assign(target="test images", right=right["right"].astype(float))
    return contrasts(frame, PAIRS, column="kind", value="right")


def in_shares(frame: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Differences of the shares of maps whose similarity to the ensemble's reaches T_c.

    `frame` is as of `transfer.gain`, with target 'on target' or 'off target'. For the result see `transfer.contrasts`;
    differences are in [-1, 1].

    Three kinds of row: distilled less component or leave-one-out, by target; the same with target 'off less on', by how
    much that difference is larger off target; and, with what 'on target' and less 'off target', by how much the share
    of each kind (named in target) is larger on target.
    """
    frame = frame.assign(share=(frame["pearson"] >= threshold).astype(float))
    gains = contrasts(frame, [(own, opponent) for opponent, own in AGAINST.items()], column="kind", value="share")
    gains["what"] = DISTILLED
    kinds = frame[frame["kind"] != BESIDE_OTHERS]
    targets = contrasts(kinds, [(ON_TARGET, OFF_TARGET)], column="target", by=["kind"], value="share")
    return pd.concat([gains, _gain_by_target(frame), targets.rename(columns={"kind": "target"})], ignore_index=True)


def _gain_by_target(frame: pd.DataFrame) -> pd.DataFrame:
    """By how much the distilled network's gain is larger off target than on target."""
    means = frame.pivot_table(index=["image", "target"], columns="kind", values="share")
    means = means.reindex(columns=[*AGAINST, *AGAINST.values()])
    gains = pd.DataFrame({opponent: means[own] - means[opponent] for opponent, own in AGAINST.items()})
    gains = gains.rename_axis(columns="less")
    gains = gains.melt(ignore_index=False, var_name="less", value_name="gain").reset_index().dropna()
    found = contrasts(gains, [(OFF_TARGET, ON_TARGET)], column="target", by=["less"], value="gain")
    found = found.set_axis(["what", "on", "less", *found.columns[3:]], axis=1).drop(columns="on")
    return found.assign(what=DISTILLED, target="off less on")


def of_views(use: pd.DataFrame, single: pd.DataFrame, components: Sequence[str], distilled: str | None) -> pd.DataFrame:
    """Differences in the views that networks use and know, and by how much their maps point better than others would.

    `use` has a row a network and image: network, image, used (number of views), hit and any view of `views.pointing`,
    and untrained, hit of the map before training, where it is known;
    `single` the columns network, image and single-view accuracy (right or not), a row an answer to a single-view image.
    The others name the components and the distilled network, if there is one.

    For the result see `transfer.contrasts`. For the targets 'used' (views of its class that a network uses in an image)
    and 'single-view accuracy', every two of ensemble, distilled network and components; for the target 'networks', hit
    less any view, and less untrained, the mean over the networks of which both are known.
    """
    kinds = dict.fromkeys(components, COMPONENT) | {distilled: DISTILLED, ENSEMBLE: ENSEMBLE}
    frames = []
    for frame, value in ((use, "used"), (single, "single-view accuracy")):
        frame = frame.assign(kind=frame["network"].map(kinds), target=value, value=frame[value].astype(float))
        frames.append(contrasts(frame, PAIRS, column="kind", value="value"))
    use = use[use["network"].isin([*components, distilled])]
    for less in ("any view", "untrained"):
        known = use.dropna(subset=["hit", less]) if less in use else use.iloc[:0].assign(**{less: 0.0})
        pointing = known.melt(id_vars=["network", "image"], value_vars=["hit", less], var_name="column")
        pointing = pointing.assign(target="networks", value=pointing["value"].astype(float))
        frames.append(contrasts(pointing, [("hit", less)], column="column", value="value"))
    return pd.concat(frames, ignore_index=True)
