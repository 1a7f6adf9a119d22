"""A planted view, on networks whose answers are written by hand."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import planted, statistics

LABELS = np.array([0, 1, 0, 1])


def answers(weights):
    """Answers to the images, of three views, of a network that adds up a logit a view for an image's own class."""
    own = [sum(weights), *(sum(weights) - w for w in weights), *weights]
    return np.stack([np.where(LABELS[:, None] == np.arange(2), value, 0.5) for value in own])


def test_outcomes_are_what_the_weights_say():
    found = planted.outcomes(answers([3, 1, 0]), LABELS, 0)
    assert {name: set(value) for name, value in found.items()} == {
        planted.ALONE: {1.0},
        planted.IMPORTANCE: {3.0},
        planted.USED: {1.0},
        planted.EVERY_ALONE: {2 / 3},
    }
    found = planted.outcomes(answers([3, 1, 0]), LABELS, 1)
    assert (set(found[planted.IMPORTANCE]), set(found[planted.USED])) == ({1.0}, {0.0})
    assert set(planted.outcomes(answers([3, 1, 0]), LABELS, 1, view_share=0.3)[planted.USED]) == {1.0}
    assert set(planted.outcomes(answers([3, 1, 0]), LABELS, 2)[planted.ALONE]) == {0.0}


@pytest.mark.parametrize(
    ("given", "view", "message"),
    [(np.zeros((6, 4, 2)), 0, "expected"), (np.zeros((7, 3, 2)), 0, "expected"), (answers([1, 1, 1]), 3, "0 to 2")],
)
def test_what_is_no_answer_is_refused(given, view, message):
    with pytest.raises(ValueError, match=message):
        planted.outcomes(given, LABELS, view)


def test_a_lesion_holds_where_the_view_is_not_known():
    labels = np.repeat(np.arange(10), 20)
    at_chance, known = np.tile(np.arange(20) < 2, 10).astype(float), np.ones(200)
    blind, seeing = (0, "a", False), (0, "b", True)
    alone, importance = {blind: at_chance, seeing: known}, {blind: 0 * known, seeing: 3 * known}

    def holds(**changed):
        found = planted.lesions(changed.get("alone", alone), changed.get("importance", importance), labels, chance=0.1)
        return dict(zip(found["network"], found["holds"], strict=True))

    assert holds() == {"a": True, "b": True}
    assert holds(alone=alone | {blind: known * 0.5}) == {"a": False, "b": True}
    assert holds(importance=importance | {blind: known}) == {"a": False, "b": True}
    assert holds(importance=importance | {blind: 0.2 * known}) == {"a": True, "b": True}


def tidy(table, **ids):
    """Rows of a table (S, N)."""
    rows = pd.DataFrame(table).rename_axis("seed").melt(ignore_index=False, var_name="image").reset_index()
    return rows.assign(**{"arm": "x", "kind": "distilled", "known": 0, "quantity": planted.ALONE} | ids)


RNG = np.random.default_rng(0)
NONE, ONE, TOP = (RNG.random((4, 30)) + shift for shift in (0, 0.5, 0.1))
VALUES = pd.concat([tidy(NONE), tidy(ONE, known=1), tidy(TOP, arm="y", known=1), tidy(NONE, arm="y")])


def test_means_count_seeds_and_images():
    found = planted.means(VALUES).set_index(["arm", "known"])
    assert tuple(found.loc[("x", 1), ["mean", "low", "high"]]) == tuple(statistics.crossed_interval(ONE))
    assert (found["seeds"].eq(4) & found["images"].eq(30)).all()
    few = planted.means(tidy(NONE[:2])).iloc[0]
    assert tuple(few[["mean", "low", "high"]]) == tuple(statistics.interval(NONE[:2].mean(0)))
    each = planted.by_seed(VALUES).set_index(["arm", "known", "seed"])["mean"]
    assert each["x", 1, 2] == pytest.approx(ONE[2].mean())


def test_gaps_are_differences_of_the_same_seed_and_image():
    one, none = ("x", "distilled", 1), ("x", "distilled", 0)
    top, below = ("y", "distilled", 1), ("y", "distilled", 0)
    pairs = [
        ("x", "one", "none", [(1, *one), (-1, *none)]),
        ("x", "soft", "top", [(1, *one), (-1, *none), (-1, *top), (1, *below)]),
        ("x", "one", "nobody", [(1, *one), (-1, "z", "distilled", 0)]),
    ]
    found = planted.gaps(VALUES, pairs).set_index(["what", "less"])
    assert list(found.index) == [("one", "none"), ("soft", "top")]
    columns = ["difference", "low", "high"]
    np.testing.assert_allclose(
        found.loc[("one", "none"), columns].astype(float), statistics.crossed_interval(ONE - NONE)
    )
    np.testing.assert_allclose(
        found.loc[("soft", "top"), columns].astype(float), statistics.crossed_interval(ONE - TOP)
    )
    assert list(planted.gaps(VALUES, [])) == list(planted.GAPS)
