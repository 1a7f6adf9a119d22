"""RQ3: whether the distilled network inherits the ensemble's features."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kd_lib._workers import in_threads
from kd_lib.measures.similarity import check_threshold, compare
from kd_lib.measures.statistics import (
    bootstrap_weights,
    holm,
    interval,
    percentiles,
    share,
    sign_flip_test,
    standardised,
)

COMPONENT, LEFT_OUT, DISTILLED = "component", "leave-one-out", "distilled"  # kinds of network
BESIDE_OTHERS = "distilled, beside the same"  # as leave-one-out: each ensemble of all components but one
AGAINST = {COMPONENT: DISTILLED, LEFT_OUT: BESIDE_OTHERS}  # what each is compared with, beside the same ensemble
ON_TARGET, OFF_TARGET = "on target", "off target"  # maps of the image's own class, and of the other classes
TO_ENSEMBLE = ("kind", "model", "image", "target", "label", "on_target", "pearson", "cosine")  # columns
TO_HALVES = ("ensemble", *TO_ENSEMBLE)
TEACHERS, STRANGERS = "its teachers", "strangers"
SAME_MAP = 1 - 1e-6  # a similarity beyond counts as this, so that Fisher's z has an end
THRESHOLDS = tuple(step / 20 for step in range(20))  # from 0 to 0.95


def leave_one_out(logits: ArrayLike) -> np.ndarray:
    """Ensembles of all components but one.

    Parameters
    ----------
    logits : array_like, shape (M, ...)
        Outputs of M components.

    Returns
    -------
    ndarray, shape (M, ...)
        For each component the mean of the other M - 1, summed in float64, in the same floating type (else float64).

    Raises
    ------
    ValueError
        If there are fewer than two components.
    """
    logits = np.asarray(logits)
    if logits.ndim == 0 or len(logits) < 2:
        raise ValueError(f"logits of shape {logits.shape}: leaving one out takes at least two components")
    others = (logits.sum(0, dtype=np.float64) - logits) / (len(logits) - 1)
    return others.astype(logits.dtype if logits.dtype.kind == "f" else np.float64)


def to_ensemble(
    components: Mapping[str, ArrayLike],
    ensemble: ArrayLike,
    rests: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    outsiders: Sequence[tuple[str, str, ArrayLike, str | None]] = (),
) -> pd.DataFrame:
    """Similarity to the ensemble's maps: of components, with and without themselves in it, and of other networks.

    Parameters
    ----------
    components : mapping of str to array_like, shape (N, K, H, W)
        Maps of each component, by name.
    ensemble : array_like, shape (N, K, H, W)
        Maps of the ensemble of all components.
    rests : mapping of str to array_like, shape (N, K, H, W)
        For each component the maps of the ensemble of the others, which `leave_one_out` gives the outputs of.
    labels : array_like of int, shape (N,)
        True class of each image.
    outsiders : sequence of (str, str, array_like, str or None)
        Kind, name and maps of networks that are in no ensemble: the distilled one, others, techniques; and the
        component without which the ensemble is taken, as for a network that it alone has taught.

    Returns
    -------
    DataFrame
        Columns `TO_ENSEMBLE`. kind is 'component' (to the ensemble it is part of), 'leave-one-out' (the same component
        to the ensemble of the others), or that of an outsider.

    Raises
    ------
    ValueError
        If there are fewer than two components, or shapes or names do not match.
    """
    if len(components) < 2:
        raise ValueError(f"{len(components)} components: an ensemble takes at least two components")
    if components.keys() != rests.keys():
        raise ValueError(f"components {', '.join(components)} and ensembles without {', '.join(rests)}: names differ")
    pairs = [(COMPONENT, name, maps, ensemble) for name, maps in components.items()]
    pairs += [(LEFT_OUT, name, maps, rests[name]) for name, maps in components.items()]
    pairs += [(kind, name, maps, ensemble if out is None else rests[out]) for kind, name, maps, out in outsiders]
    frames = in_threads(lambda pair: compare(*pair[2:], labels, kind=pair[0], model=pair[1]), pairs)
    return pd.concat(frames, ignore_index=True)


def to_halves(
    half_taught: Mapping[str, ArrayLike],
    halves: Sequence[tuple[ArrayLike, Mapping[str, ArrayLike]]],
    labels: ArrayLike,
) -> pd.DataFrame:
    """Similarity of half-taught networks to the ensemble that taught them and to the one that did not.

    All maps have shape (N, K, H, W): of the network that the first half taught, and of the one that the second half
    taught, if there is one, by name; and of both halves, each the ensemble's and its components' by name. With both,
    that one half is nearer to everybody does not pass for being nearer to one's teachers. `labels` (N,) are the true
    classes.

    Gives the columns `TO_HALVES`: ensemble is 'its teachers' or 'strangers', kind 'half-taught' or 'component': each
    component beside the ensemble of the half that it is not in, which is one of 'strangers' to it.
    """
    frames, crossed = [], list(zip(halves, halves[::-1], strict=True))
    for (model, maps), ensembles in zip(half_taught.items(), crossed, strict=False):
        for name, (ensemble, _) in zip((TEACHERS, STRANGERS), ensembles, strict=True):
            frames.append(compare(maps, ensemble, labels, ensemble=name, kind="half-taught", model=model))
    for (_, components), (other, _) in crossed:
        for name, maps in components.items():
            frames.append(compare(maps, other, labels, ensemble=STRANGERS, kind=COMPONENT, model=name))
    return pd.concat(frames, ignore_index=True)


def own_part(members: Sequence[ArrayLike], labels: ArrayLike) -> pd.DataFrame:
    """How much of a component's likeness to the ensemble is likeness to itself.

    The ensemble's map is the mean of its M components' maps, so the covariance of a component's map with it is 1 / M of
    the component's own variance and (M - 1) / M of its covariance with the others' mean. The first part tells nothing
    of the ensemble; leaving the component out removes it.

    `members` are the components' maps, each (N, K, H, W), and `labels` (N,) the true classes. Gives the columns
    on_target, and own part: the first part over the whole, both summed over maps and components. It is 1 / M where all
    components have the same maps, 1 where they have nothing in common.
    """
    ensemble = _centred(sum(np.asarray(maps, dtype=np.float64) for maps in members) / len(members))
    on_target = np.asarray(labels)[:, None] == np.arange(ensemble.shape[1])
    own, whole = np.zeros(on_target.shape), np.zeros(on_target.shape)
    for maps in members:
        centred = _centred(np.asarray(maps, dtype=np.float64))
        own += np.square(centred).sum((-2, -1)) / len(members)
        whole += (centred * ensemble).sum((-2, -1))
    parts = [(True, on_target), (False, ~on_target)]
    rows = [(on, own[chosen].sum() / whole[chosen].sum()) for on, chosen in parts if chosen.any()]
    return pd.DataFrame(rows, columns=["on_target", "own part"])


def _centred(maps: np.ndarray) -> np.ndarray:
    return maps - maps.mean((-2, -1), keepdims=True)


def shares_above(
    frame: pd.DataFrame, threshold: float, *, by: str | Sequence[str], similarity: str = "pearson"
) -> pd.DataFrame:
    """Share of maps whose similarity reaches the threshold, with its uncertainty.

    Parameters
    ----------
    frame : DataFrame
        One row a comparison of two maps, with the columns image, `similarity` and those of `by`.
    threshold : float
        T_c, in [-1, 1].
    by : str or sequence of str
        Columns that tell the groups apart, such as ``["kind", "on_target"]``.
    similarity : {'pearson', 'cosine'}

    Returns
    -------
    DataFrame
        One row a group, in order of appearance: the columns of `by`, share, low, high (95 %, see `statistics.share`),
        maps (rows), images, undefined (rows whose similarity is NaN, a constant map; they count as not
        reaching the threshold).

    Raises
    ------
    ValueError
        If the threshold is outside [-1, 1] or a column is missing.
    """
    threshold = check_threshold(threshold)
    by = [by] if isinstance(by, str) else list(by)
    missing = [name for name in ("image", similarity, *by) if name not in frame.columns]
    if missing:
        raise ValueError(f"columns {', '.join(missing)} are missing: found {', '.join(map(str, frame.columns))}")
    if not by:
        raise ValueError("by is empty: expected at least one column")
    rows = []
    for key, group in frame.groupby(by, sort=False, dropna=False):
        counts = len(group), group.image.nunique(), int(group[similarity].isna().sum())
        rows.append((*key, *share(group[similarity] >= threshold, group.image), *counts))
    return pd.DataFrame(rows, columns=[*by, "share", "low", "high", "maps", "images", "undefined"])


def shares_by_threshold(frame: pd.DataFrame, *, by: Sequence[str], similarity: str = "pearson") -> pd.DataFrame:
    """Share of maps whose similarity reaches the threshold, for every threshold of `THRESHOLDS`.

    Parameters are those of `shares_above`; NaN reach no threshold. Gives the columns of `by`, threshold and share.
    """
    by = list(by)
    found = []
    for key, group in frame.groupby(by, sort=False):
        shares = (group[similarity].to_numpy()[:, None] >= np.array(THRESHOLDS)).mean(0)
        found.append(pd.DataFrame(dict(zip(by, key, strict=True)) | {"threshold": THRESHOLDS, "share": shares}))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*by, "threshold", "share"])


def gain(
    frame: pd.DataFrame,
    *,
    by: Sequence[str] = ("target",),
    opponents: Sequence[str] = (COMPONENT, LEFT_OUT),
    similarity: str = "pearson",
    seed: int = 0,
) -> pd.DataFrame:
    """How much closer the distilled network is to the ensemble than components are, image by image.

    Parameters
    ----------
    frame : DataFrame
        What `to_ensemble` returned, with the columns of `by`; for leave-one-out also rows of the kind `BESIDE_OTHERS`,
        of the distilled network beside each of the ensembles that leave a component out.
    by : sequence of str
        Columns that tell groups of maps apart.
    opponents : sequence of str
        Kinds that the distilled network is compared with.
    similarity : {'pearson', 'cosine'}
        Which similarity.
    seed : int
        Of the bootstrap and the permutations.

    Returns
    -------
    DataFrame
        What `contrasts` returns, with 'distilled less' instead of what and less.
    """
    pairs = [(AGAINST[opponent], opponent) for opponent in opponents]
    found = contrasts(frame, pairs, column="kind", by=by, value=similarity, seed=seed)
    return found.drop(columns="what").rename(columns={"less": "distilled less"})


def gain_by_scale(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How much closer the distilled network is than left-out components, on three scales, on and off target.

    Where components are further from the ensemble, there is more to gain in mean 'similarity'. "Fisher's z" (atanh r)
    stretches what is near 1; 'headroom' is the gain as a share of what a component lacks to a similarity of 1. `frame`
    is as of `gain`, `seed` of the bootstrap.

    Gives a row a scale and target (on target, off target, and 'off less on', how much larger the gain is off target):
    scale, target, difference, low, high (95 % bootstrap over images), images. No rows where nothing can be compared.
    """
    rows, kinds = [], [LEFT_OUT, BESIDE_OTHERS]
    known = frame[frame["kind"].isin(kinds)].dropna(subset=["pearson"])
    known = known.assign(z=np.arctanh(known["pearson"].clip(-SAME_MAP, SAME_MAP)))
    for scale, column in (("similarity", "pearson"), ("Fisher's z", "z"), ("headroom", "pearson")):
        means = known.pivot_table(index="image", columns=["target", "kind"], values=column)
        means = means.reindex(columns=pd.MultiIndex.from_product([[ON_TARGET, OFF_TARGET], kinds])).dropna()
        if len(means) < 2:
            continue
        drawn = np.vstack([np.ones(len(means)), bootstrap_weights(len(means), seed=seed)])
        on_own, on, off_own, off = (drawn @ means.to_numpy() / len(means)).T
        gains = {ON_TARGET: (on - on_own), OFF_TARGET: (off - off_own)}
        if scale == "headroom":
            gains = {ON_TARGET: gains[ON_TARGET] / (1 - on_own), OFF_TARGET: gains[OFF_TARGET] / (1 - off_own)}
        gains["off less on"] = gains[OFF_TARGET] - gains[ON_TARGET]
        rows += [(scale, target, all_[0], *percentiles(all_[1:]), len(means)) for target, all_ in gains.items()]
    return pd.DataFrame(rows, columns=["scale", "target", "difference", "low", "high", "images"])


def medians_apart(frame: pd.DataFrame, *, resamples: int = 200, seed: int = 0) -> pd.DataFrame:
    """By how many interquartile ranges the distilled network's median similarity lies above a component's, by class.

    The range is that of the components, as the box plots of Gardner (2022), Fig. 4.6, show it; as there, a component is
    part of the ensemble. `frame` is as of `gain`, with the column class. Gives a row a class and target: difference,
    low, high (95 % bootstrap over images), images. None where a range is 0.
    """
    rows = []
    known = frame[frame["kind"].isin([COMPONENT, DISTILLED])].dropna(subset=["pearson"])
    for key, group in known.groupby(["class", "target"], sort=False):
        own, other = (group[group["kind"] == kind].groupby("image")["pearson"] for kind in (DISTILLED, COMPONENT))
        images = sorted(set(own.groups) & set(other.groups))
        if len(images) < 2:
            continue
        sides = [np.stack([of.get_group(image).to_numpy() for image in images]) for of in (own, other)]
        drawn = np.random.default_rng(seed).integers(len(images), size=(resamples, len(images)))
        found = [_medians_apart(*sides), *(_medians_apart(*(side[at] for side in sides)) for at in drawn)]
        if np.isfinite(found[0]):
            rows.append((*key, found[0], *percentiles(found[1:]), len(images)))
    return pd.DataFrame(rows, columns=["class", "target", "difference", "low", "high", "images"])


def _medians_apart(own: np.ndarray, other: np.ndarray) -> float:
    low, middle, high = np.quantile(other, [0.25, 0.5, 0.75])
    return float((np.median(own) - middle) / (high - low)) if high > low else np.nan


def contrasts(
    frame: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    *,
    column: str,
    by: Sequence[str] = ("target",),
    value: str = "pearson",
    seed: int = 0,
) -> pd.DataFrame:
    """Mean of one group of comparisons less that of another, image by image.

    `frame` has a row a comparison of two maps, with the columns image, `value` (a similarity, or another number),
    `column` and those of `by`, which tell groups of maps apart. `pairs` are values of `column`: what, and what it is
    compared with. `seed` is of the bootstrap and the permutations.

    Gives a row a pair and group that has both: what, less, the columns of `by`, difference (mean over images), low,
    high (95 % bootstrap over images), effect size (`statistics.standardised`), p (`statistics.sign_flip_test`), p
    (Holm) (corrected for the number of rows), images.
    """
    by = list(by)
    kinds = list(dict.fromkeys(name for pair in pairs for name in pair))
    means = frame[frame[column].isin(kinds)].pivot_table(index=[*by, "image"], columns=column, values=value)
    means = means.reindex(columns=kinds)
    rows = []
    for what, less in pairs:
        for key, paired in means[[what, less]].dropna().groupby(level=by, sort=False):
            differences = paired[what] - paired[less]
            tested = standardised(differences), sign_flip_test(differences, seed=seed)
            rows.append((what, less, *key, *interval(differences, seed=seed), *tested, len(paired)))
    columns = ["what", "less", *by, "difference", "low", "high", "effect size", "p", "images"]
    found = pd.DataFrame(rows, columns=columns)
    found.insert(found.columns.get_loc("p") + 1, "p (Holm)", holm(found["p"]))
    return found
