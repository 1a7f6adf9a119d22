"""RQ3 by intervention: whether networks rely on the views of an image that the ensemble relies on.

How much a view counts is known where it can be taken out of the image (`views.importance`): no map and no T_c enters.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib.measures import statistics
from kd_lib.measures.threshold import view_labels
from kd_lib.measures.transfer import DISTILLED, LEFT_OUT, OFF_TARGET, ON_TARGET, contrasts, leave_one_out
from kd_lib.measures.views import USED, used

CORRELATION, SAME_VIEWS, VIEW_BY_VIEW = "correlation", "same views", "view by view"  # quantities
EVERY = "every student"
LEAST = 5  # images that show a view, to rank them
BY_IMAGE = ("what", "kind", "network", "image", "quantity", "target", "value")
TABLE = ("what", "kind", "quantity", "target", "mean", "low", "high", "networks", "images")


def correlation(own: ArrayLike, reference: ArrayLike, present: ArrayLike) -> np.ndarray:
    """Pearson correlation of two networks' importances over the views of an image.

    Parameters
    ----------
    own, reference : array_like, shape (N, K, V)
        Importance of each of V views for each of K classes, in logits, see `views.importance`.
    present : array_like of bool, shape (N, V)
        Which views the images show; the others do not count.

    Returns
    -------
    ndarray of float64, shape (N, K)
        In [-1, 1]; NaN where either does not vary over the views present.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    x, y = _importances(own, reference)
    there = np.asarray(present, dtype=bool)
    if there.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"present {there.shape}: expected {(x.shape[0], x.shape[2])}, images by views")
    there = there[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (
            np.where(there, a - (a * there).sum(-1, keepdims=True) / there.sum(-1, keepdims=True), 0) for a in (x, y)
        )
        return np.clip((x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1)), -1, 1)


def same_views(own: ArrayLike, reference: ArrayLike, *, view_share: float = USED) -> np.ndarray:
    """Whether two networks use the same views of an image to the same effect, by `views.used`.

    `own` and `reference` are importances (N, K, V). Gives float64 (N, K): 1.0 where they do, 0.0 where they do not, NaN
    where an importance is not finite. A ValueError if the share or the shapes are wrong.
    """
    x, y = _importances(own, reference)
    known = np.isfinite(x).all(-1) & np.isfinite(y).all(-1)
    same = view_labels(*(used(np.nan_to_num(a, posinf=0, neginf=0), share=view_share) for a in (x, y)))
    return np.where(known, same, np.nan)


def _importances(own: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(own, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if x.ndim != 3 or x.shape != y.shape:
        raise ValueError(f"importances {x.shape} and {y.shape}: expected the same (N, K, V) twice")
    return x, y


def to_the_rest(
    components: Mapping[str, ArrayLike],
    others: Sequence[tuple[str, str, ArrayLike]],
    present: ArrayLike,
    labels: ArrayLike,
    *,
    view_share: float = USED,
) -> pd.DataFrame:
    """How close networks' importances are to those of the ensembles that leave one component out, image by image.

    A component is held against the ensemble of the others. Any other network is held against the same ensembles, each
    of M - 1 components, and has the mean over them.

    Parameters
    ----------
    components : mapping of str to array_like, shape (N, K, V)
        Importances of each component, whose mean are those of an ensemble that averages logits.
    others : sequence of (str, str, array_like)
        What it is called, kind and importances of networks that are in no ensemble.
    present : array_like of bool, shape (N, V)
    labels : array_like of int, shape (N,)
        True class of each image.
    view_share : float
        See `views.used`.

    Returns
    -------
    DataFrame
        Columns `BY_IMAGE`. what is 'leave-one-out' for components, else what it is called; quantity is 'correlation'
        (`correlation`) or 'same views' (`same_views`); target 'on target', for the image's own class, or 'off target',
        the mean over the others.

    Raises
    ------
    ValueError
        If there are fewer than two components, or shapes do not match.
    """
    names, labels = list(components), np.asarray(labels)
    rests = leave_one_out(np.stack([np.asarray(components[name]) for name in names]))
    pairs = [(LEFT_OUT, LEFT_OUT, name, components[name], slice(i, i + 1)) for i, name in enumerate(names)]
    pairs += [(what, kind, what, own, slice(None)) for what, kind, own in others]
    image, frames = np.arange(len(labels)), []
    for what, kind, name, own, beside in pairs:
        measured = {
            CORRELATION: np.mean([correlation(own, rest, present) for rest in rests[beside]], axis=0),
            SAME_VIEWS: np.mean([same_views(own, rest, view_share=view_share) for rest in rests[beside]], axis=0),
        }
        for quantity, values in measured.items():
            on = values[image, labels]
            off = (values.sum(1) - on) / (values.shape[1] - 1)
            ids = {"what": what, "kind": kind, "network": name, "quantity": quantity, "image": image}
            frames += [pd.DataFrame(ids | {"target": t, "value": v}) for t, v in ((ON_TARGET, on), (OFF_TARGET, off))]
    return pd.concat(frames, ignore_index=True)[list(BY_IMAGE)]


def view_by_view(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]], present: ArrayLike, labels: ArrayLike, *, seed: int = 0
) -> np.ndarray:
    """Rank correlation, over the images that show a view, of its importance for two networks; mean of views and pairs.

    `pairs` are importances (N, V) of the views of each image's own class, for that class, of a network and of the
    ensemble beside it; `present` bool (N, V), `labels` (N,). Views that fewer than 5 images show are left out. Gives
    float64 (1 + R,): of all images, then of bootstrap samples of them; NaN where there is no view.
    """
    present, labels = np.asarray(present, dtype=bool), np.asarray(labels)
    weights = np.vstack([np.ones(len(labels)), statistics.bootstrap_weights(len(labels), seed=seed)])
    sides = [np.stack([np.asarray(one, dtype=np.float64) for one in side]) for side in zip(*pairs, strict=True)]
    found = []
    for label in np.unique(labels):
        for view in range(present.shape[1]):
            rows = np.flatnonzero((labels == label) & present[:, view])
            if len(rows) >= LEAST:
                x, y = (side[:, rows, view] for side in sides)
                found.append(statistics.weighted_rank_correlations(x, y, weights[:, rows]))
    if not found:
        return np.full(len(weights), np.nan)
    return np.ma.masked_invalid(found).mean((0, 1)).filled(np.nan)


def table(by_image: pd.DataFrame, by_view: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Mean over images of what `to_the_rest` returned, and `view_by_view` of what it calls networks, with intervals.

    Gives the columns `TABLE`: a row what, quantity and target, the mean over its networks and images, 95 % bootstrap
    over images.
    """
    rows = []
    for (what, quantity, target), group in by_image.groupby(["what", "quantity", "target"], sort=False):
        counts = group["network"].nunique(), group["image"].nunique()
        rows.append(
            (what, group["kind"].iloc[0], quantity, target, *statistics.known_interval(group, "value"), *counts)
        )
    first = by_image.groupby("what")
    for what, drawn in by_view.items():
        kind, counts = first["kind"].first()[what], (first["network"].nunique()[what], by_image["image"].nunique())
        if not np.isnan(drawn[0]):
            bounds = statistics.percentiles(drawn[1:])
            rows.append((what, kind, VIEW_BY_VIEW, ON_TARGET, float(drawn[0]), *bounds, *counts))
    return pd.DataFrame(rows, columns=list(TABLE))


def gaps(by_image: pd.DataFrame, by_view: Mapping[str, np.ndarray], students: Sequence[str]) -> pd.DataFrame:
    """By how much closer `students` are to the ensembles than the components that these leave out.

    Takes what `to_the_rest` and `view_by_view` returned, and what the students are called. For the result see
    `transfer.contrasts`, with the columns quantity and target. From three students on there are rows of 'every
    student', whose interval counts students, components and images (`statistics.crossed_interval`) and which have no p;
    nor has 'view by view', which is no mean over images.
    """
    by, pairs = ["quantity", "target"], [(name, LEFT_OUT) for name in students]
    found = contrasts(by_image, pairs, column="what", by=by, value="value")
    rows = []
    for name in students:
        if name in by_view and not np.isnan(by_view[name][0]):
            drawn = by_view[name] - by_view[LEFT_OUT]
            rows.append((name, VIEW_BY_VIEW, ON_TARGET, drawn[0], *statistics.percentiles(drawn[1:])))
    for key, group in by_image.groupby(by, sort=False) if len(students) > 2 else ():
        values = group.pivot(index=["what", "network"], columns="image", values="value").dropna(axis="columns")
        if values.shape[1]:
            own, other = values.loc[list(students)].to_numpy(), values.loc[[LEFT_OUT]].to_numpy()
            rows.append((EVERY, *key, *statistics.crossed_interval(own, other)))
    more = pd.DataFrame(rows, columns=["what", *by, "difference", "low", "high"])
    more = more.assign(less=LEFT_OUT, images=by_image["image"].nunique())
    return pd.concat([f for f in (found, more) if len(f)] or [found], ignore_index=True)[list(found.columns)]


def in_words(means: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Say what `table` and `gaps` say of the distilled network, a sentence a quantity and target."""
    said, of = [], means.set_index(["what", "quantity", "target"])["mean"]
    for row in differences[differences["what"] == DISTILLED].itertuples():
        own, other = (of[what, row.quantity, row.target] for what in (DISTILLED, LEFT_OUT))
        verdict = "closer" if row.low > 0 else "further" if row.high < 0 else "not known to be closer or further"
        numbers = f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        said.append(
            f"{row.quantity}, {row.target}: {own:.3f} for the distilled network and {other:.3f} for a left-out "
            f"component, each with the same ensembles; the distilled network is {verdict}: {numbers}."
        )
    return said or ["No distilled network beside an ensemble whose importances are known: nothing to compare."]
