import numpy as np
import pandas as pd
import pytest

from kd_lib import rivals

IMAGES = 12


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


EVERY = {"leave_one_out": {"a": 0.50, "b": 0.54}, "distilled": 0.8, "plain": 0.5, "mixup": 0.7, "ricap": 0.3}


def test_each_technique_is_compared_with_the_distilled_and_the_plain_network():
    compared = rivals.compare(frame(**EVERY), ["plain", "mixup", "ricap"])
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


def said(techniques, **levels):
    numbers = frame(**levels)
    (sentence,) = rivals.answer(rivals.compare(numbers, techniques), rivals.seed_spread(numbers))
    return sentence


def test_the_closest_technique_is_told_apart_from_plain():
    sentence = said(["plain", "mixup", "ricap"], **EVERY)
    assert sentence.startswith("on target: mixup comes closest to the distilled network, which is 0.1")
    assert "closer to the ensemble than it." in sentence
    assert "It is told apart from plain training, than which it is 0.2" in sentence
    assert sentence.endswith("lie up to 0.040 apart.") or sentence.endswith("lie up to 0.041 apart.")


def test_a_technique_beyond_the_distilled_network_and_one_like_plain():
    beyond = said(["plain", "mixup"], **EVERY | {"mixup": 0.9})
    assert "which is 0.1" in beyond
    assert "further from the ensemble than it." in beyond
    assert "-0." not in beyond
    alike = said(["plain", "mixup"], **EVERY | {"plain": 0.7})
    assert "is not told apart from plain training" in alike or "No technique comes closer than plain" in alike


def test_plain_may_be_the_closest():
    assert "plain comes closest" in said(["plain", "ricap"], **EVERY)
    assert "No technique comes closer than plain training." in said(["plain", "ricap"], **EVERY)
    assert "No other technique was trained." in said(["plain"], **EVERY)


def test_without_a_plain_network_or_without_techniques_it_says_so():
    assert "cannot be told: no plain network was trained" in said(["mixup", "ricap"], **EVERY)
    numbers = frame(**EVERY)
    nothing = rivals.compare(numbers, [])
    assert nothing.empty
    assert "the profile full trains them" in rivals.answer(nothing, rivals.seed_spread(numbers))[0]
    empty = numbers.iloc[:0]
    assert "the profile full trains them" in rivals.answer(rivals.compare(empty, []), rivals.seed_spread(empty))[0]
    undistilled = numbers[numbers["kind"] != "distilled"]
    compared = rivals.compare(undistilled, ["plain", "mixup"])
    assert "takes an ensemble, its distilled network" in rivals.answer(compared, rivals.seed_spread(undistilled))[0]
