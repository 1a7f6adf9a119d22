"""What annotators are asked: the items of the two tasks, their order, and which answers there are.

An item has a stable name: ``12/3/a/b`` is the pair of the maps of networks a and b of image 12 for class 3, and
``12/3/a/b#2`` the same pair asked again; ``visible/12`` asks what image 12 shows, ``shown/12/a`` what a's map of it
shows.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from urllib.parse import quote, unquote
from zlib import crc32

import numpy as np
import pandas as pd

from kd_lib.people.log import Check

SAME, DIFFERENT, CANNOT_TELL = ANSWERS = ("same", "different", "cannot tell")
AGAIN = "#2"
NONE = "none"  # the answer of somebody who ticked no feature
BINS = np.linspace(-1, 1, 11)  # of similarity
MOST = 18  # features that one page has keys and room for


@dataclass(frozen=True)
class Pair:
    """Two maps of one image for one class; `again` where the pair is asked a second time."""

    image: int
    target: int
    model_a: str
    model_b: str
    again: bool = False

    def __str__(self) -> str:  # noqa: D105
        names = "/".join(quote(name, safe=" ") for name in (self.model_a, self.model_b))
        return f"{self.image}/{self.target}/{names}{AGAIN if self.again else ''}"

    def swapped(self, seed: int) -> bool:
        """Whether model_b is shown on the left: drawn for each pair, and the other way round when it is asked again."""
        return (_drawn(seed, replace(self, again=False)) % 2 == 1) != self.again


def pair_of(item: str) -> Pair:
    """Read the name of a pair; ValueError if it is none."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})/([^/#]+)/([^/#]+)(#2)?", item)
    if not found:
        raise ValueError(f"item is {item!r}; expected image/class/network/network, such as 12/3/a/b")
    return Pair(int(found[1]), int(found[2]), unquote(found[3]), unquote(found[4]), bool(found[5]))


def feature_item(image: int, model: str | None = None) -> str:
    """Name the question which features an image shows, or a network's map of it."""
    return f"visible/{image}" if model is None else f"shown/{image}/{quote(model, safe=' ')}"


def feature_of(item: str) -> tuple[int, str | None]:
    """Image and network of a question about features (None: about the image); ValueError if it is none."""
    found = re.fullmatch(r"visible/([0-9]{1,9})|shown/([0-9]{1,9})/([^/#]+)", item)
    if not found:
        raise ValueError(f"item is {item!r}; expected visible/image or shown/image/network, such as shown/12/a")
    return (int(found[1]), None) if found[1] else (int(found[2]), unquote(found[3]))


def ticked(answer: str) -> tuple[str, ...]:
    """Features of an answer."""
    return () if answer == NONE else tuple(answer.split("|"))


def ticks(features: Sequence[str]) -> str:
    """Put features into an answer."""
    return "|".join(features) or NONE


def check_features(features: Sequence[str]) -> tuple[str, ...]:
    """Refuse a list of features that cannot be asked or written as a table; ValueError says what one may be."""
    features = (features,) if isinstance(features, str) else tuple(features)
    if not 1 <= len(features) <= MOST or len(set(features)) < len(features):
        raise ValueError(f"features {', '.join(features)!r}: expected 1 to {MOST}, each once")
    for name in features:
        if not re.fullmatch(r"[^|\s,;](?:[^|\r\n\t,;]*[^|\s,;])?", name) or name in ("image", "model", NONE):
            raise ValueError(f"feature {name!r}: expected a name without | , ; and not image, model or {NONE}")
    return features


def pair_check(images: int, classes: int, models: Collection[str]) -> Check:
    """Make the function by which a log of pairs refuses items that the run does not have, and unknown answers."""

    def check(item: str, action: str, answer: str) -> None:
        pair = pair_of(item)
        for what, value, size in (("image", pair.image, images), ("class", pair.target, classes)):
            if value >= size:
                raise ValueError(f"{what} {value} is not in this run (0 to {size - 1}); remove the line")
        _check_model(pair.model_a, models)
        _check_model(pair.model_b, models)
        if pair.model_a == pair.model_b:
            raise ValueError(f"item is {item!r}: a pair needs two networks")
        if action == "answer" and answer not in ANSWERS:
            raise ValueError(f"answer is {answer!r}; expected {', '.join(ANSWERS)}")

    return check


def feature_check(images: Collection[int], models: Collection[str], features: Collection[str]) -> Check:
    """Make the function by which a log of features refuses items that the run does not have, and unknown features."""

    def check(item: str, action: str, answer: str) -> None:
        image, model = feature_of(item)
        if image not in images:
            raise ValueError(f"image {image} is no image of this class in this run; remove the line")
        if model is not None:
            _check_model(model, models)
        for name in ticked(answer) if action == "answer" else ():
            if name not in features:
                raise ValueError(f"feature is {name!r}; expected {', '.join(features)}, or {NONE} for none of them")

    return check


def draw_pairs(pairs: pd.DataFrame, *, number: int, seed: int = 0, repeats: float = 0.1) -> list[str]:
    """Draw pairs of maps to be labelled, in the order in which they are asked.

    Half of them are on target, half off; within each, every interval of similarity (0.2 wide) has its turn, and within
    that every class. A larger `number` (of different pairs) holds the same ones and more. A share of them, `repeats`,
    is asked again, far from the first time and with their sides swapped. `pairs` is what
    `similarity.pairs_of_components` returns.
    """
    if number < 1 or not 0 <= repeats <= 1:
        raise ValueError(f"number {number} and repeats {repeats}: expected at least 1, and a share from 0 to 1")
    pairs = pairs.dropna(subset=["pearson"])
    if pairs.empty:
        raise ValueError("no pair of maps has a similarity (all maps are constant): nothing to label")
    rng = np.random.default_rng(seed)
    pairs = pairs.iloc[rng.permutation(len(pairs))].reset_index(drop=True)
    pairs["bin"] = np.digitize(pairs["pearson"], BINS[1:-1])
    order = _in_turns(pairs[["on_target", "bin", "target"]])[:number]
    drawn = [Pair(int(p.image), int(p.target), p.model_a, p.model_b) for p in pairs.iloc[order].itertuples()]
    drawn.sort(key=lambda pair: _drawn(seed, pair))  # else on and off target would alternate
    return [str(pair) for pair in _with_repeats(drawn, round(repeats * len(drawn)), seed)]


def draw_features(
    images: Sequence[int], models: Sequence[str], *, number: int | None = None, seed: int = 0
) -> list[str]:
    """Put the questions about features in order: image by image, first the image, then its maps in a drawn order.

    The images, those of a class, are drawn too: the first `number` of them (all by default).
    """
    if number is not None and number < 1:
        raise ValueError(f"number {number}: expected at least 1 image")
    rng = np.random.default_rng(seed)
    items = []
    for image in rng.permutation(list(images)).tolist()[:number]:
        order = np.random.default_rng([seed, image]).permutation(len(models))
        items += [feature_item(image), *(feature_item(image, models[k]) for k in order)]
    return items


def _in_turns(layers: pd.DataFrame) -> list[int]:
    """Order rows so that the values of the first column take turns; within each, those of the second; and so on."""
    if layers.shape[1] == 0:
        return layers.index.tolist()
    groups = [_in_turns(group.iloc[:, 1:]) for _, group in layers.groupby(layers.columns[0], sort=False)]
    return [row for turn in zip_longest(*groups) for row in turn if row is not None]


def _with_repeats(drawn: list[Pair], repeated: int, seed: int) -> list[Pair]:
    """Ask some pairs again, each at least a third of the list after its first time."""
    rng = np.random.default_rng([seed, 2])
    n = len(drawn)
    early = rng.permutation(np.arange(max(n - n // 3, repeated)))[:repeated]
    place = {int(k): rng.uniform(min(k + n // 3, n - 1), n) for k in early}
    keyed = [*enumerate(drawn), *((at, replace(drawn[k], again=True)) for k, at in place.items())]
    return [pair for _, pair in sorted(keyed, key=lambda entry: (entry[0], entry[1].again))]


def _drawn(seed: int, pair: Pair) -> int:
    """Draw a number for a pair that depends on nothing else."""
    return int(np.random.default_rng([seed, crc32(str(pair).encode())]).integers(2**62))


def _check_model(model: str, models: Collection[str]) -> None:
    if model not in models:
        raise ValueError(f"network {model!r} is not in this run ({', '.join(models)}); remove the line")
