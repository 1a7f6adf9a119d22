"""What annotators are asked, of made-up pairs."""

from collections import Counter

import numpy as np
import pytest

from kd_lib.people import tasks
from kd_lib.people.tasks import Pair, draw_features, draw_pairs, pair_of


@pytest.mark.parametrize("pair", [Pair(3, 1, "a", "b"), Pair(0, 0, "my net/1#2", "x y", again=True)])
def test_names_of_pairs_are_read_back(pair):
    assert pair_of(str(pair)) == pair


@pytest.mark.parametrize("item", ["", "1/2/a", "1/2/a/b/c", "x/2/a/b", "1/2/a/b#3", "-1/2/a/b"])
def test_other_names_are_refused(item):
    with pytest.raises(ValueError, match="expected image/class/network/network"):
        pair_of(item)


def test_names_of_questions_about_features_are_read_back():
    assert tasks.feature_of(tasks.feature_item(12)) == (12, None)
    assert tasks.feature_of(tasks.feature_item(12, "my net/1")) == (12, "my net/1")
    assert tasks.ticked(tasks.ticks(["eyes", "tail"])) == ("eyes", "tail")
    assert tasks.ticked(tasks.ticks([])) == ()


def test_the_draw_is_stratified_over_side_and_similarity(pairs):
    table = pairs.set_index(["image", "target", "model_a", "model_b"])
    drawn = [pair_of(item) for item in draw_pairs(pairs, number=60, repeats=0)]
    rows = table.loc[[(p.image, p.target, p.model_a, p.model_b) for p in drawn]]
    assert rows["on_target"].sum() == 30
    bins = Counter(np.digitize(rows["pearson"], tasks.BINS[1:-1]))
    everywhere = Counter(np.digitize(table["pearson"], tasks.BINS[1:-1]))
    rare = [b for b, n in everywhere.items() if n >= 10]
    assert max(bins[b] for b in rare) - min(bins[b] for b in rare) <= 10 < 60 * 0.3
    assert set(rows.index.get_level_values("target")) == set(range(5))


def test_the_draw_depends_on_the_seed_alone_and_grows(pairs):
    assert draw_pairs(pairs, number=20) == draw_pairs(pairs, number=20)
    assert draw_pairs(pairs.sample(frac=1, random_state=1).sort_index(), number=20) == draw_pairs(pairs, number=20)
    assert draw_pairs(pairs, number=20) != draw_pairs(pairs, number=20, seed=1)
    assert set(draw_pairs(pairs, number=20, repeats=0)) < set(draw_pairs(pairs, number=50, repeats=0))
    assert len(draw_pairs(pairs, number=10**6, repeats=0)) == len(pairs)


@pytest.mark.parametrize(
    ("number", "repeats", "again"), [(60, 0.1, 6), (1, 1, 1), (7, 1, 7), (10, 0.1, 1), (4, 0.1, 0)]
)
def test_repeats_come_after_their_pair_with_sides_swapped(pairs, number, repeats, again):
    items = draw_pairs(pairs, number=number, repeats=repeats)
    assert len(items) == len(set(items)) == number + again
    for at, item in enumerate(items):
        if pair_of(item).again:
            first = items.index(item.removesuffix(tasks.AGAIN))
            assert first < at
            assert at - first >= number // 3 or repeats == 1
            assert pair_of(items[first]).swapped(0) != pair_of(item).swapped(0)


def test_sides_are_drawn(pairs):
    swapped = [pair_of(item).swapped(3) for item in draw_pairs(pairs, number=100, repeats=0)]
    assert 25 < sum(swapped) < 75


def test_constant_maps_are_never_asked(pairs):
    some = pairs.assign(pearson=np.where(pairs["image"] == 4, np.nan, pairs["pearson"]))
    assert 4 not in {pair_of(item).image for item in draw_pairs(some, number=10**6)}
    with pytest.raises(ValueError, match="nothing to label"):
        draw_pairs(pairs.assign(pearson=np.nan), number=3)


@pytest.mark.parametrize(("number", "repeats"), [(0, 0.1), (5, 1.1), (5, -0.1)])
def test_numbers_out_of_range_are_refused(pairs, number, repeats):
    with pytest.raises(ValueError, match=f"number {number} and repeats {repeats}"):
        draw_pairs(pairs, number=number, repeats=repeats)


def test_features_are_asked_image_by_image_the_image_first():
    items = draw_features([4, 7, 9], ["a", "b", "distilled"], seed=2)
    assert len(items) == 3 * 4
    blocks = [[tasks.feature_of(item) for item in items[k : k + 4]] for k in (0, 4, 8)]
    assert sorted(block[0] for block in blocks) == [(4, None), (7, None), (9, None)]
    for block in blocks:
        assert {image for image, _ in block} == {block[0][0]}
        assert {model for _, model in block[1:]} == {"a", "b", "distilled"}
    assert len(draw_features([4, 7, 9], ["a"], number=2)) == 4


def test_a_log_of_pairs_is_checked_against_the_run():
    check = tasks.pair_check(10, 3, ["a", "b"])
    check("9/2/a/b#2", "answer", "cannot tell")
    for item, answer, message in [
        ("10/2/a/b", "same", "image 10 is not in this run"),
        ("9/3/a/b", "same", "class 3 is not in this run"),
        ("9/2/a/c", "same", "network 'c' is not in this run"),
        ("9/2/a/a", "same", "needs two networks"),
        ("9/2/a/b", "smae", "answer is 'smae'; expected same, different, cannot tell"),
    ]:
        with pytest.raises(ValueError, match=message):
            check(item, "answer", answer)


def test_a_log_of_features_is_checked_against_the_run():
    check = tasks.feature_check([3, 5], ["a"], ["eyes", "tail"])
    check("shown/3/a", "answer", "eyes|tail")
    check("visible/5", "answer", "none")
    for item, answer, message in [
        ("visible/4", "none", "image 4 is no image of this class"),
        ("shown/3/b", "none", "network 'b' is not in this run"),
        ("shown/3/a", "eyes|wings", "feature is 'wings'; expected eyes, tail, or none"),
        ("seen/3", "none", "expected visible/image or shown/image/network"),
    ]:
        with pytest.raises(ValueError, match=message):
            check(item, "answer", answer)


@pytest.mark.parametrize("bad", [[], ["eyes", "eyes"], ["a|b"], ["none"], ["image"], [" x"], ["x"] * 19, [""]])
def test_lists_of_features_that_cannot_be_asked_are_refused(bad):
    with pytest.raises(ValueError, match="features? '"):
        tasks.check_features(bad)
    assert tasks.check_features(["front-leg", "left eye"]) == ("front-leg", "left eye")
