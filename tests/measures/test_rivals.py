import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import rivals

IMAGES = 8


def frame(**levels):
    """Similarity of each kind, the same level for every image but for a small, fixed unevenness."""
    rng = np.random.default_rng(0)
    rows = [
        {"kind": kind, "model": model, "image": image, "target": "on target", "pearson": level + rng.normal(0, 1e-3)}
        for kind, level in levels.items()
        for model, level in (level.items() if isinstance(level, dict) else [(kind, level)])
        for image in range(IMAGES)
    ]
    return pd.DataFrame(rows).replace({"kind": {"leave_one_out": "leave-one-out"}})


EVERY = {"leave_one_out": {"a": 0.50, "b": 0.54, "c": 0.52}, "distilled": 0.8, "plain": 0.5, "mixup": 0.7, "ricap": 0.3}


def test_each_technique_is_compared_with_the_distilled_and_the_plain_network():
    compared = rivals.technique_contrasts(frame(**EVERY), ["plain", "mixup", "ricap"])
    assert list(zip(compared["what"], compared["less"], strict=True)) == [
        ("distilled", "plain"),
        ("distilled", "mixup"),
        ("distilled", "ricap"),
        ("mixup", "plain"),
        ("ricap", "plain"),
    ]
    np.testing.assert_allclose(compared["difference"], [0.3, 0.1, 0.5, 0.2, -0.2], atol=2e-3)
    assert (compared["p (Holm)"] >= compared["p"]).all()
    assert (compared["low"] <= compared["difference"]).all()
    assert (compared["difference"] <= compared["high"]).all()


def test_the_spread_of_seeds_is_the_range_of_the_components_means():
    assert rivals.seed_spread(frame(**EVERY))["on target"] == pytest.approx(0.04, abs=2e-3)
    two = frame(leave_one_out={"a": 0.5, "b": 0.5})
    assert rivals.seed_spread(two).isna().all()
    assert "cannot be told from fewer than three components" in said(("distilled", "plain", 0.1, 0.5), spread=np.nan)
    assert "and is not told apart from it" in said(("distilled", "plain", 0.1, 0.5))


def said(*rows, spread=0.04):
    """What is said of rows (what, less, difference, adjusted p), whose intervals reach 0.01 to each side."""
    compared = pd.DataFrame(rows, columns=["what", "less", "difference", "p (Holm)"]).assign(target="on target")
    compared = compared.assign(low=compared["difference"] - 0.01, high=compared["difference"] + 0.01)
    (sentence,) = rivals.closest_technique(compared, pd.Series({"on target": spread}))
    return sentence


def test_the_closest_technique_is_told_apart_from_plain_or_not():
    rows = [("distilled", "plain", 0.3, 0.01), ("distilled", "mixup", 0.1, 0.01), ("distilled", "ricap", 0.5, 0.01)]
    assert said(*rows, ("mixup", "plain", 0.2, 0.01), ("ricap", "plain", -0.2, 0.01)) == (
        "on target: mixup comes closest to the distilled network and is told apart from it, which is 0.100 "
        "(0.090 to 0.110) closer to the ensemble than it. From plain training it is told apart: "
        "it is 0.200 (0.190 to 0.210) closer to the ensemble. "
        "Components, which differ in their seed alone, lie up to 0.040 apart when left out."
    )
    for p in (0.06, np.nan):  # of a single image there is no p-value
        assert "From plain training it is not told apart: it is 0.200" in said(*rows, ("mixup", "plain", 0.2, p))


def test_a_technique_may_be_closer_to_the_ensemble_than_the_distilled_network_or_further_than_plain():
    rows = [("distilled", "plain", -0.3, 0.01), ("distilled", "mixup", -0.1, 0.01), ("mixup", "plain", -0.2, 0.01)]
    sentence = said(*rows)
    assert "which is 0.100 (0.090 to 0.110) further from the ensemble than it." in sentence
    assert "told apart: it is 0.200 (0.190 to 0.210) further from the ensemble." in sentence


def test_plain_may_be_the_closest():
    rows = [("distilled", "plain", 0.1, 0.01), ("distilled", "ricap", 0.2, 0.01), ("ricap", "plain", -0.1, 0.01)]
    assert said(*rows).startswith("on target: plain comes closest")
    assert "No technique comes closer than plain training." in said(*rows)
    assert "No other technique was trained." in said(rows[0])


def test_without_a_plain_network_or_without_techniques_it_says_so():
    assert "cannot be told: no plain network was trained" in said(("distilled", "mixup", 0.1, 0.01))
    numbers = frame(**EVERY)
    nothing = rivals.technique_contrasts(numbers, [])
    assert nothing.empty
    assert "the profile full trains them" in rivals.closest_technique(nothing, rivals.seed_spread(numbers))[0]
    empty = numbers.iloc[:0]
    assert (
        "the profile full trains them"
        in rivals.closest_technique(rivals.technique_contrasts(empty, []), rivals.seed_spread(empty))[0]
    )
    undistilled = numbers[numbers["kind"] != "distilled"]
    compared = rivals.technique_contrasts(undistilled, ["plain", "mixup"])
    assert (
        "takes an ensemble, its distilled network"
        in rivals.closest_technique(compared, rivals.seed_spread(undistilled))[0]
    )
