"""RQ1: whether a second transition is a property of the class, or of the one network in which it was seen.

A network *shows* a second transition for a class where its curve has one and at least half of the curves of resampled
images have one too. If that is a property of the class, other networks show it for the same class; if it is one of the
network, each network has classes of its own. The probe images are the same for all networks, so what is said of a class
is said of its images here.
"""

from functools import reduce

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

from kd_lib.measures.statistics import PERMUTATIONS, RESAMPLES, holm, percentiles

CLASS, NETWORK, NONE, CANNOT_TELL = "class", "net", "none", "cannot tell"
LEVEL = 0.05
COLUMNS = ["class", "networks", "shown", "share", "low", "high", "p", "p (Holm)", "verdict"]


def second_shown(second: pd.DataFrame) -> pd.DataFrame:
    """Which networks show a second transition for which classes: bool, networks by classes.

    See `second_by_class`. Networks are left out whose curves have too few epochs for some class.
    """
    able = second.groupby("model")["able"].transform("all").astype(bool)
    second = second[able]
    found = second["second"].astype(bool) & ~(second["support"].astype(float) < 0.5)
    return second.assign(found=found).pivot(index="model", columns="class", values="found").astype(bool)


def second_by_class(second: pd.DataFrame) -> pd.DataFrame:
    """For each class, how many networks show a second transition, and what that makes it.

    `second` is what `learning.onsets` says of a curve a network and class: columns model, class, able, second, support.

    Gives a row a class: class; networks (that could show one); shown (how many do); share, low and high: the share of
    networks that do, and its exact 95 % interval (Clopper and Pearson); p, the probability that as many networks or
    more would if each showed it for as many classes as it does, but for any of them; p after Holm's correction;
    verdict.

    The verdict is 'class' if the interval lies above one half and p (Holm) is at most 0.05: most networks show it, and
    for this class more than for others. It is 'net' if the interval lies below one half and some network shows it,
    'none' if it lies there and no network does, and 'cannot tell' otherwise, also where curves have too few epochs.
    """
    table = second_shown(second)
    networks, rows = len(table), []
    for name in dict.fromkeys(second["class"]):
        if networks == 0:
            rows.append((name, 0, 0, np.nan, 0.0, 1.0, np.nan))
            continue
        count = int(table[name].sum())
        low, high = proportion_confint(count, networks, method="beta")
        chance = reduce(np.convolve, [[1 - rate, rate] for rate in table.to_numpy().mean(1)], np.ones(1))
        rows.append((name, networks, count, count / networks, low, high, min(1.0, float(chance[count:].sum()))))
    found = pd.DataFrame(rows, columns=COLUMNS[:-2])
    found["p (Holm)"] = holm(found["p"]) if len(found) else []
    minority = found["high"] < 0.5
    verdicts = {
        CLASS: (found["low"] > 0.5) & (found["p (Holm)"] <= LEVEL),
        NETWORK: minority & (found["shown"] > 0),
        NONE: minority & (found["shown"] == 0),
    }
    return found.assign(verdict=np.select(list(verdicts.values()), list(verdicts), CANNOT_TELL))


def second_overall(second: pd.DataFrame, *, seed: int = 0) -> pd.Series:
    """How far networks agree on the classes for which they show a second transition.

    Gives networks, classes, shown (number of curves), kappa (Fleiss; 0 is agreement by chance), low, high (95 %
    bootstrap over classes), p (of a permutation test that shuffles the classes within each network), verdict: 'class'
    if p is at most 0.05, 'net' if it is not and kappa's interval lies below one half, 'none' if no network shows one,
    and 'cannot tell' otherwise, also with fewer than two networks or classes.

    Fleiss (1971), "Measuring nominal scale agreement among many raters", Psychological Bulletin 76(5).
    """
    table = second_shown(second).to_numpy()
    networks, classes = table.shape
    found = {"networks": networks, "classes": classes, "shown": int(table.sum())}
    few = min(networks, classes) < 2
    if few or table.all() or not table.any():
        unknown = dict.fromkeys(("kappa", "low", "high", "p"), np.nan)
        return pd.Series(found | unknown | {"verdict": CANNOT_TELL if few or table.any() else NONE}, dtype=object)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.broadcast_to(table, (PERMUTATIONS, *table.shape)), axis=2)
    agreeing = np.square(shuffled.sum(1)).sum(1) >= np.square(table.sum(0)).sum()
    p = (1 + agreeing.sum()) / (1 + PERMUTATIONS)
    counts = np.column_stack([table.sum(0), networks - table.sum(0)])
    drawn = counts[rng.integers(classes, size=(RESAMPLES, classes))]
    varied = drawn[(drawn.sum(1) > 0).all(1)]
    low, high = percentiles([fleiss_kappa(each) for each in varied])
    verdict = CLASS if p <= LEVEL else NETWORK if high < 0.5 else CANNOT_TELL
    numbers = {"kappa": fleiss_kappa(counts), "low": low, "high": high, "p": p}
    return pd.Series(found | numbers | {"verdict": verdict}, dtype=object)


def second_in_words(second: pd.DataFrame, *, seed: int = 0) -> str:
    """Say what `second_overall` and `second_by_class` found, one sentence a line."""
    if second.empty:
        return "Second transitions: cannot tell, no network has maps of three epochs or more."
    if second_shown(second).empty:
        return "Second transitions: cannot tell, these curves have too few epochs to show one."
    found, classes = second_overall(second, seed=seed), second_by_class(second)
    counted = f"{found['shown']} of {found['networks'] * found['classes']} curves show one"
    if found["verdict"] == NONE:
        lines = [f"Second transitions: none, of {found['networks']} networks and {found['classes']} classes."]
    elif np.isnan(found["kappa"]):
        lines = [f"Second transitions: cannot tell whether of the class or of the network, {counted}."]
    else:
        what = {
            CLASS: "a property of the class: networks agree beyond chance on the classes that have one",
            NETWORK: "a property of the network: networks do not agree on the classes that have one",
            CANNOT_TELL: "cannot tell whether of the class or of the network",
        }[found["verdict"]]
        numbers = f"kappa {found['kappa']:.2f} ({found['low']:.2f} to {found['high']:.2f}), p = {found['p']:.2g}"
        lines = [f"Second transitions: {what} ({counted}; {numbers})."]
    for row in classes[classes["shown"] > 0].to_dict("records"):
        interval = f"95 % interval of the share of such networks {row['low']:.0%} to {row['high']:.0%}"
        lines.append(f"{row['class']}: {row['shown']} of {row['networks']} networks ({interval}): {row['verdict']}.")
    return "\n".join(lines)
