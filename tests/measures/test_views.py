import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd_lib.measures.utilisation import utilisation
from kd_lib.measures.views import (
    confusion,
    importance,
    pointing,
    settled,
    used,
    used_by_size,
    view_tables,
    views_known,
    views_shown,
)


def test_views_shown_by_hand():
    masks = np.zeros((1, 2, 4, 4), bool)
    masks[0, 0, :2, :2] = True
    masks[0, 1, 2:, 2:] = True
    maps = np.zeros((1, 4, 4))
    maps[0, :2, :2] = 1.0  # all of the attribution: four times its share of the area
    maps[0, 2:, 2:] = -1.0
    assert views_shown(maps, masks, [[True, True]]).tolist() == [[True, False]]
    assert views_shown(maps, masks, [[False, True]]).tolist() == [[False, False]]
    maps[0, 2:, 2:] = 1.0  # half each: exactly twice the share is not more than twice
    assert views_shown(maps, masks, [[True, True]]).tolist() == [[False, False]]
    assert not views_shown(np.full((1, 4, 4), 3.0), masks, [[True, True]]).any()
    assert not views_shown(-maps, masks, [[True, True]]).any()


@given(arrays(np.float64, (2, 4, 4), elements=st.integers(-8, 8).map(float)), st.sampled_from([0.5, 2.0, 64.0]))
def test_views_shown_ignores_scale(maps, scale):
    masks = np.zeros((2, 2, 4, 4), bool)
    masks[:, 0, :2, :2] = masks[:, 1, 2:, 1:3] = True
    present = np.ones((2, 2), bool)
    np.testing.assert_array_equal(views_shown(maps * scale, masks, present), views_shown(maps, masks, present))


@pytest.mark.parametrize(
    ("maps", "masks", "present"),
    [((4, 4), (1, 2, 4, 4), (1, 2)), ((1, 4, 4), (2, 2, 4, 4), (2, 2)), ((1, 4, 4), (1, 2, 4, 5), (1, 2))]
    + [((1, 4, 4), (1, 2, 4, 4), (1, 3)), ((1, 4, 4), (1, 4, 4), (1,))],
)
def test_views_shown_refuses(maps, masks, present):
    with pytest.raises(ValueError, match="expected"):
        views_shown(np.zeros(maps), np.zeros(masks), np.zeros(present))


def test_view_tables_feed_utilisation():
    present = [[True, True], [True, False]]
    shown, visible = view_tables(
        {"a": [[True, False], [True, False]], "b": [[False, True], [True, False]]}, present, names=["view 1", "view 2"]
    )
    share = utilisation(shown, visible)
    assert share.loc["a"].tolist() == [1, 0]
    assert share.loc["b"].tolist() == [0.5, 1]
    with pytest.raises(ValueError, match=r"expected \(N, 2\)"):
        view_tables({"a": [[True]]}, present, names=["view 1", "view 2"])
    with pytest.raises(ValueError, match=r"expected \(N, 3\)"):
        view_tables({}, present, names=["view 1", "view 2", "view 3"])


def test_importance_and_use_by_hand():
    clean = np.array([[3.0, -1.0]])
    without = np.array([[[1.0, 2.0, 5.0, 3.0], [-1.0, -1.0, -1.0, -1.0]]])
    found = importance(clean, without)
    assert found.tolist() == [[[2.0, 1.0, -2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]
    assert used(found).tolist() == [
        [[1, 1, -1, 0], [0, 0, 0, 0]]
    ]  # half is enough; nothing is used where nothing counts
    assert used(found, share=0.51).tolist() == [[[1, 0, -1, 0], [0, 0, 0, 0]]]
    assert (used(7 * found) == used(found)).all()  # networks of other scales are comparable


def test_importance_and_use_refuse():
    with pytest.raises(ValueError, match=r"expected \(N, K\) and \(N, K, V\)"):
        importance(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected \(N, K\) and \(N, K, V\)"):
        importance(np.zeros((2, 3)), np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match=r"expected \(N, K, V\)"):
        used(np.zeros((2, 3)))
    for share in (0, -1, 1.5, np.nan):
        with pytest.raises(ValueError, match="view share"):
            used(np.zeros((2, 3, 4)), share=share)


def test_pointing_by_hand():
    masks = np.zeros((4, 2, 4, 4), bool)
    masks[:, 0, :2, :2] = True  # a quarter of the image
    masks[:, 1, 2:, :] = True  # a half
    maps = np.zeros((4, 4, 4))
    maps[0, 0, 0], maps[0, 0, 3], maps[0, 3, 3] = 3.0, 1.0, -9.0
    maps[1, 3, 3], maps[1, 0, 0] = 3.0, 2.0
    maps[2] = -1.0  # no positive attribution
    maps[3, 0, 0] = 1.0
    used = [[True, False], [True, False], [True, False], [False, False]]
    found = pointing(maps, masks, used)
    assert found.image.tolist() == [0, 1]
    assert found.hit.tolist() == [1, 0]
    assert found["mass"].tolist() == pytest.approx([3 / 4, 2 / 5])
    assert found.area.tolist() == [1 / 4, 1 / 4]
    both = pointing(maps, masks, np.ones((4, 2), bool))
    assert both.hit.tolist() == [1, 1, 1]
    assert both["mass"].tolist() == pytest.approx([3 / 4, 1, 1])
    with pytest.raises(ValueError, match=r"expected \(N, H, W\), \(N, V, H, W\) and \(N, V\)"):
        pointing(maps, masks[:, 0], used)


def test_a_map_of_noise_points_by_chance():
    rng = np.random.default_rng(0)
    masks = np.zeros((2000, 1, 8, 8), bool)
    masks[:, 0, :4, :4] = True
    found = pointing(rng.normal(size=(2000, 8, 8)), masks, np.ones((2000, 1), bool))
    assert found.hit.mean() == pytest.approx(0.25, abs=0.04)
    assert found["mass"].mean() == pytest.approx(found.area.mean(), abs=0.01)


def test_settled_is_the_epoch_after_the_last_change():
    history = np.array([[[1, 0], [0, 0], [0, 1]], [[0, 0], [0, 0], [1, 1]], [[1, 0], [0, 0], [0, 1]]])
    assert settled(history).tolist() == [2, 0, 2]
    assert settled(history[:1]).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"expected \(E, N, V\)"):
        settled(history[0])


def test_confusion_by_hand():
    found = confusion([1, 1, 1, 0, 0], [1, 1, 0, 1, 0])
    assert found[:4].tolist() == [2, 1, 1, 1]
    assert found[4:].tolist() == pytest.approx([2 / 3, 2 / 3, 3 / 5, 3 / 5])
    assert np.isnan(confusion([0, 0], [0, 0])["precision"])


def test_a_view_is_known_if_more_than_half_of_its_images_are_right():
    right = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 1]])
    known = views_known(right, ["u", "u", "u", "v", "v"])
    assert known.shape == (1001, 2)
    assert known[0].tolist() == [0.5, 0.5]  # 2 of 3 and 1 of 2; 1 of 3 and 2 of 2
    assert set(np.unique(known)) <= {0, 0.5, 1}
    assert views_known(np.ones((4, 1)), [0, 0, 1, 1])[:, 0].max() == 1


def test_pointing_at_any_view_hits_the_share_of_the_views_that_is_used():
    masks = np.zeros((1, 3, 4, 4), dtype=bool)
    masks[0, 0, :2, :2], masks[0, 1, 2:, 2:] = True, True  # the third view is not there
    found = pointing(np.eye(4)[None], masks, [[True, False, False]])
    assert found[["area", "any view"]].iloc[0].tolist() == [4 / 16, 4 / 8]


def test_by_size_a_view_is_used_that_moves_the_logit_by_part_of_its_spread():
    clean = np.array([[0.0, 0.0], [2.0, 20.0]])  # standard deviations 1 and 10
    importance = np.array([[[0.6, -0.4]], [[0.6, 0.0]]]).repeat(2, axis=1)
    assert used_by_size(importance, clean, share=0.5)[:, 0].tolist() == [[1, 0], [1, 0]]
    assert not used_by_size(importance, clean, share=0.5)[:, 1].any()
