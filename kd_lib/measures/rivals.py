"""RQ3: which technique that needs no ensemble comes closest to distillation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kd_lib.measures.transfer import BESIDE_OTHERS, DISTILLED, contrasts

PLAIN, SELF_DISTILLATION = "plain", "self-distillation"  # the technique that changes nothing; of one component
SIGNIFICANCE = 0.05  # of a p-value after Holm's correction


def technique_contrasts(frame: pd.DataFrame, techniques: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """How much closer to the ensemble the distilled network is than each technique, and each than the plain network.

    `frame` is as of `transfer.gain`; `techniques` are kinds in it, the plain network perhaps among them, of each of
    which it is the mean over seeds. Self-distillation, which is beside an ensemble without its teacher, is compared
    with the distilled network beside such ones. For the result see `transfer.contrasts`; Holm's correction is over all
    rows. No rows without techniques.
    """
    pairs = [(BESIDE_OTHERS if name == SELF_DISTILLATION else DISTILLED, name) for name in techniques]
    if PLAIN in techniques:
        pairs += [(name, PLAIN) for name in techniques if name not in (PLAIN, SELF_DISTILLATION)]
    return contrasts(frame, pairs, column="kind", seed=seed).replace({"what": {BESIDE_OTHERS: DISTILLED}})


def seed_spread(frame: pd.DataFrame) -> pd.Series:
    """How far apart networks lie that differ in their seed alone.

    Of a frame as of `technique_contrasts`, by target, the range over components of the mean similarity to the ensemble
    of the others. NaN for fewer than three components: two are each other's ensemble, equally similar.
    """
    alone = frame[frame["kind"] == "leave-one-out"]
    means = alone.groupby(["target", "model"], sort=False)["pearson"].mean()
    return means.groupby("target", sort=False).agg(lambda own: own.max() - own.min() if len(own) > 2 else np.nan)


def closest_technique(compared: pd.DataFrame, spread: pd.Series) -> list[str]:
    """Say which technique comes closest to distillation, and whether it differs from training plainly.

    Closest is the technique with the smallest difference to the distilled network, in either direction. Takes what
    `technique_contrasts` and `seed_spread` returned; gives a sentence a target, or one that says what is missing.
    """
    to_student = compared[compared["what"] == "distilled"]
    if to_student.empty:
        return [
            "No technique is compared here: that takes an ensemble, its distilled network and networks trained "
            "by `techniques`, as the profile full trains them."
        ]
    sentences = []
    for target, rows in to_student.groupby("target", sort=False):
        closest = rows.loc[rows["difference"].abs().idxmin()]
        name = closest["less"]
        sentences.append(
            f"{target}: {name} comes closest to the distilled network and {_told(closest)} told apart from it, "
            f"which is {_distance(closest)} than it. {_against_plain(name, compared[compared['target'] == target])} "
            f"{_seeds(spread[target])}"
        )
    return sentences


def _against_plain(name: str, compared: pd.DataFrame) -> str:
    if name == PLAIN:
        others = compared["less"][compared["what"] == "distilled"].ne(PLAIN).any()
        return "No technique comes closer than plain training." if others else "No other technique was trained."
    rows = compared[(compared["what"] == name) & (compared["less"] == PLAIN)]
    if rows.empty:
        return "Whether it differs from plain training cannot be told: no plain network was trained."
    row = rows.iloc[0]
    return f"From plain training it {_told(row)} told apart: it is {_distance(row)}."


def _told(row: pd.Series) -> str:
    return "is" if row["p (Holm)"] < SIGNIFICANCE else "is not"


def _seeds(spread: float) -> str:
    if np.isnan(spread):
        return "What a seed does cannot be told from fewer than three components."
    return f"Components, which differ in their seed alone, lie up to {spread:.3f} apart when left out."


def _distance(row: pd.Series) -> str:
    """Say how far, and with which interval: 0.012 (0.003 to 0.021) closer to the ensemble."""
    sign, where = (1, "closer to") if row["difference"] >= 0 else (-1, "further from")
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return f"{sign * row['difference']:.3f} ({low:.3f} to {high:.3f}) {where} the ensemble"
