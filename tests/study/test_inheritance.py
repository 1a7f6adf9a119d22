"""What is said of planted views, of numbers written by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import planted
from kd_lib.study import inheritance

SEEDS, N = 4, 50
RNG = np.random.default_rng(0)


def tidy(mean, **ids):
    """Answers right in a share `mean` of the images, more or less, by seed."""
    shared = np.random.default_rng(1).random((SEEDS, N))
    right = (shared < mean + 0.02 * RNG.standard_normal((SEEDS, 1))).astype(float)
    rows = pd.DataFrame(right).rename_axis("seed").melt(ignore_index=False, var_name="image").reset_index()
    return rows.assign(**{"quantity": planted.ALONE, "kind": "distilled"} | ids)


def values(one=0.5):
    known = {0: 0.05, 1: one, 2: 0.8}
    arms = [tidy(mean, arm="alone or never", known=d) for d, mean in known.items()]
    arms += [tidy(mean, arm="alone or never", kind="ensemble", known=d) for d, mean in ((0, 0.05), (1, 0.2), (2, 0.9))]
    arms += [tidy(mean, arm="alone or never, top answer", known=d) for d, mean in ((0, 0.05), (1, 0.1), (2, 0.6))]
    arms += [
        tidy(0.7, arm="teachers", kind="component", known=1),
        tidy(0.02, arm="teachers", kind="component", known=0),
    ]
    arms += [tidy(0.1, arm="untrained", kind="untrained", known=0), tidy(0.12, arm="permuted", known=1)]
    return pd.concat([*arms, tidy(0.05, arm="permuted", known=0)], ignore_index=True)


def found(**changes):
    planned = SimpleNamespace(teachers=2, arms=["alone or never", "alone or never, top answer"])
    frame = values(**changes)
    pairs = inheritance._pairs(planned)
    return frame, planted.gaps(frame, pairs), inheritance.shares(frame, 2), planned


def gap(gaps, arm, what, less):
    return gaps.set_index(["arm", "what", "less"]).loc[(arm, what, less)]


def test_gaps_are_of_one_teacher_of_all_and_of_what_soft_answers_add():
    frame, gaps, _, _ = found()
    mean = frame.groupby(["arm", "kind", "known"])["value"].mean()
    own = mean["alone or never", "distilled"]
    assert gap(gaps, "alone or never", inheritance.ONE, inheritance.NONE)["difference"] == pytest.approx(
        own[1] - own[0]
    )
    row = gap(gaps, "alone or never", inheritance.ONE, "its ensemble")
    assert row["difference"] == pytest.approx(own[1] - mean["alone or never", "ensemble", 1])
    top = mean["alone or never, top answer", "distilled"]
    row = gap(gaps, "alone or never", inheritance.GAIN, f"{inheritance.GAIN}: alone or never, top answer")
    assert row["difference"] == pytest.approx(own[1] - own[0] - top[1] + top[0])
    assert row["low over seeds"] == row["low"]
    row = gap(gaps, "alone or never", inheritance.EVERY, "a component that knows")
    assert row["difference"] == pytest.approx(own[2] - mean["teachers", "component", 1])


def test_shares_count_from_none_to_all():
    frame, _, doses, _ = found()
    own = frame.groupby(["arm", "kind", "known"])["value"].mean()["alone or never", "distilled"]
    row = doses.set_index("arm").loc["alone or never"]
    assert row["share"] == pytest.approx((own[1] - own[0]) / (own[2] - own[0]))
    assert row["parts"] == pytest.approx(2 * row["share"])
    assert row["parts low"] == pytest.approx(2 * row["low"])
    few = inheritance.shares(frame[frame["seed"] < 2], 2)
    assert few["parts low"].isna().all()
    assert few["share"].notna().all()


def test_the_title_is_what_came_out():
    _, gaps, doses, planned = found()
    assert inheritance.title(gaps, 2) == "A view that one teacher of 2 knows arrives in what the student recognises"
    assert "is not seen to arrive" in inheritance.title(found(one=0.05)[1], 2)
    assert inheritance.title(gaps[:0], 2).endswith("?")
    relied = gaps.assign(quantity=planted.IMPORTANCE, low=-2.0, high=-1.0)
    expected = "A view that one teacher of 2 knows is lost in what the student relies on"
    assert inheritance.title(relied, 2, planted.IMPORTANCE) == expected
    said = inheritance.in_words(gaps, doses)
    assert said[0].startswith("alone or never: one teacher knows is above no teacher knows, in accuracy alone: +")
    assert said[0].endswith("over seeds and images)")
    assert any("1 of 2 teachers bring" in line for line in said)


def test_the_figure_has_the_arms_with_every_dose_and_references_in_each():
    frame, *_ = found()
    curve, points = inheritance.curve(planted.means(frame), planted.by_seed(frame))
    assert list(curve) == list(inheritance.CHART)
    assert set(curve["arm"]) == {"alone or never", "alone or never, top answer"}
    own = curve[curve["arm"] == "alone or never"]
    assert own.groupby("kind")["known"].apply(list).to_dict() == {
        "component": [0, 1, 2],
        "distilled": [0, 1, 2],
        "ensemble": [0, 1, 2],
        "floor": [0, 1, 2],
    }
    assert own.loc[own["kind"] == "component", "mean"].nunique() == 1
    assert len(points) == SEEDS * len(curve)


def test_softness_has_what_one_teacher_brings_and_what_none_does():
    shown = inheritance.softness(planted.means(found()[0]))
    assert set(shown["arm"]) == {"alone or never", "alone or never, top answer", "permuted"}
    assert shown.groupby("arm")["target"].apply(set).eq({inheritance.ONE, inheritance.NONE}).all()
    assert {"share", "low", "high", "kind"} <= set(shown)


def test_checks_can_fail():
    _, gaps, _, _ = found()
    assert inheritance.checks(gaps) == [
        "where no teacher knows the view, the student knows it no better than an untrained network: True",
        "where every teacher knows the view, the student knows it: True",
        "it then knows it as well as a teacher that knows it, but for 5 points: True",
    ]
    assert inheritance.checks(gaps.assign(high=-0.1))[2].endswith("False")
    assert inheritance.checks(gaps.assign(low=0.1))[0].endswith("False")
    assert inheritance.checks(gaps.assign(low=-0.1))[1].endswith("False")
    assert inheritance.checks(gaps[:0]) == []


def test_lesions_that_fail_are_said():
    lesions = pd.DataFrame({"seed": [0, 0, 1], "knows": [True, False, False], "holds": [True, True, False]})
    assert inheritance.lesions_in_words(lesions) == [
        "1 of 2 networks that never saw the view answer as if they did not know it.",
        "Nothing is distilled with seed 1: a teacher knows what it never saw.",
    ]
    assert inheritance.lesions_in_words(lesions[:0]) == []
