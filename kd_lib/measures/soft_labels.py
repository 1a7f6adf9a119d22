"""RQ3: whether networks' soft answers agree with people's, who called an image by several names as well."""

from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from kd_lib.measures.rivals import PLAIN
from kd_lib.measures.statistics import known_interval, rank_correlation
from kd_lib.measures.transfer import COMPONENT, DISTILLED, contrasts

CROSS_ENTROPY, TEMPERED = "cross-entropy", "cross-entropy at its temperature"  # nats an image
RANKS, ACCURACY, TEMPERATURE = "rank correlation", "accuracy", "temperature"
QUANTITIES = (CROSS_ENTROPY, TEMPERED, RANKS)
BY_IMAGE = ("kind", "model", "image", *QUANTITIES, ACCURACY, TEMPERATURE)  # columns
ALL, RIGHT = "all images", "images that both get right"
PAIRS = ((DISTILLED, COMPONENT), ("ensemble", COMPONENT), (DISTILLED, "ensemble"), (PLAIN, COMPONENT))
HOTTEST = 100  # bounds of a temperature, and of its inverse


def cross_entropy(shares: ArrayLike, logits: ArrayLike, temperature: float = 1) -> np.ndarray:
    """Cross-entropy (N,) of people's shares (N, K) with the softmax of logits (N, K) over a temperature, in nats."""
    return -(np.asarray(shares) * log_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1)).sum(-1)


def fitted_temperature(shares: ArrayLike, logits: ArrayLike) -> float:
    """Temperature from 0.01 to 100 at which the mean cross-entropy of (N, K) is least; NaN without finite logits.

    Guo et al. (2017), "On Calibration of Modern Neural Networks", arXiv:1706.04599 (there against labels).
    """
    shares, logits = np.asarray(shares), np.asarray(logits)
    known = np.isfinite(logits).all(-1)
    if not known.any():
        return float("nan")
    bounds = (-np.log(HOTTEST), np.log(HOTTEST))
    found = minimize_scalar(
        lambda log_t: cross_entropy(shares[known], logits[known], np.exp(log_t)).mean(), bounds=bounds, method="bounded"
    )
    return float(np.exp(found.x))


def other_classes(shares: ArrayLike, logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """Spearman's correlation (N,) of people's shares and logits (N, K) over the classes other than the true one.

    NaN where nobody named another class, where all others were named as often, and where a logit is not finite.
    """
    shares, logits = np.asarray(shares, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    other = np.arange(shares.shape[1]) != np.asarray(labels)[:, None]
    people, network = (values[other].reshape(len(values), -1) for values in (shares, logits))
    chosen = (people > 0).any(1) & np.isfinite(logits).all(-1)
    found = np.full(len(shares), np.nan)
    if chosen.any():
        found[chosen] = rank_correlation(people[chosen], network[chosen])
    return found


def by_image(counts: ArrayLike, logits: ArrayLike, labels: ArrayLike, *, seed: int = 0) -> pd.DataFrame:
    """Compare a network's soft answers with people's, image by image.

    `counts` (N, K) is how many people called an image by each class, at least one an image; `logits` are (N, K),
    `labels` (N,) the true classes, and `seed` is of the half of the images that the temperature is fitted on. A
    ValueError if the shapes do not match, or nobody said anything about an image.

    Gives a row an image: image, cross-entropy (nats), cross-entropy at its temperature (NaN on the half that this is
    fitted on), rank correlation (`other_classes`), accuracy (0 or 1), temperature (one of the network). NaN where a
    logit is not finite.
    """
    counts, logits, labels = np.asarray(counts), np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if counts.ndim != 2 or counts.shape != logits.shape or labels.shape != counts.shape[:1]:
        raise ValueError(
            f"counts of shape {counts.shape}, logits of shape {logits.shape}, labels of shape {labels.shape}: "
            "expected (N, K) twice and (N,)"
        )
    if (nobody := ~(counts.sum(1) > 0)).any():
        raise ValueError(f"image {nobody.argmax()}: nobody's label is counted; leave it out")
    known = np.isfinite(logits).all(-1)
    logits, shares = np.where(known[:, None], logits, np.nan), counts / counts.sum(1, keepdims=True)
    fitted = np.random.default_rng(seed).permutation(len(counts)) < len(counts) // 2
    temperature = fitted_temperature(shares[fitted], logits[fitted])
    columns = {
        "image": np.arange(len(counts)),
        CROSS_ENTROPY: cross_entropy(shares, logits),
        TEMPERED: np.where(fitted, np.nan, cross_entropy(shares, logits, temperature)),
        RANKS: other_classes(shares, logits, labels),
        ACCURACY: np.where(known, logits.argmax(1) == labels, np.nan),
        TEMPERATURE: temperature,
    }
    return pd.DataFrame(columns)


def agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """Means of each kind over networks and images, with 95 % bootstrap intervals over images.

    `frame` is what `by_image` returned, with the columns kind and model. Gives a row a kind: kind; of each of the three
    quantities and of accuracy the mean and, as ``QUANTITY low`` and ``QUANTITY high``, its interval; temperature (mean
    over networks); images, networks.
    """
    measured = {name: (name, f"{name} low", f"{name} high") for name in (*QUANTITIES, ACCURACY)}
    rows = []
    for kind, group in frame.groupby("kind", sort=False):
        counts = group["image"].nunique(), group["model"].nunique()
        row = {"kind": kind, TEMPERATURE: group[TEMPERATURE].mean(), "images": counts[0], "networks": counts[1]}
        for name, columns in measured.items():
            row |= dict(zip(columns, known_interval(group, name), strict=True))
        rows.append(row)
    names = ["kind", *chain.from_iterable(measured.values()), TEMPERATURE, "images", "networks"]
    return pd.DataFrame(rows, columns=names)


def gaps(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How much nearer to people one kind is than another, image by image: on all images, and at equal accuracy.

    Networks of a kind are averaged. At equal accuracy only pairs of networks count that both get the image right.
    `frame` is as of `agreement`, `seed` of the bootstrap and the permutations.

    Gives what `transfer.contrasts` returns of `PAIRS`, by among ('all images' or 'images that both get right') and
    quantity. Nearer is a cross-entropy below 0, a rank correlation above 0.
    """
    # A network's images that it gets wrong are dropped before the mean over networks: what is left of two kinds on one
    # image are all pairs of networks that both get it right.
    among = pd.concat([frame.assign(among=ALL), frame[frame[ACCURACY] == 1].assign(among=RIGHT)])
    keys = ["kind", "image", "among"]
    long = among.melt(keys, list(QUANTITIES), "quantity", "value").dropna(subset=["value"])
    return contrasts(long, PAIRS, column="kind", by=["among", "quantity"], value="value", seed=seed)


def nearer_in_words(found: pd.DataFrame) -> str:
    """Say whether the distilled network is nearer to people than a component, from `gaps`."""
    rows = found[(found["what"] == DISTILLED) & (found["less"] == COMPONENT)]
    if rows.empty:
        return "Whether the distilled network is nearer to people than a component cannot be told here."
    said = []
    for among, group in rows.groupby("among", sort=False):
        said += [f"On {among}, is the distilled network nearer to people than a component?"]
        said += [f"- {row['quantity']}: {_nearer(row)} ({_numbers(row)})." for _, row in group.iterrows()]
    rest = rows[(rows["among"] == RIGHT) & (rows["quantity"] == TEMPERED)]
    left = _nearer(rest.iloc[0]) if len(rest) else "cannot tell, for there are no such images"
    return "\n".join([*said, f"What is left at equal accuracy, after one temperature a network: {left}."])


def _nearer(row: pd.Series) -> str:
    sign = 1 if row["quantity"] == RANKS else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return "it is nearer" if low > 0 else "it is further away" if high < 0 else "cannot tell"


def _numbers(row: pd.Series) -> str:
    unit = "" if row["quantity"] == RANKS else " nats"
    return f"{row['difference']:+.4f}{unit}, {row['low']:+.4f} to {row['high']:+.4f}, {row['images']} images"
