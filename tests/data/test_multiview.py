import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lib.data import multiview
from kd_lib.data.multiview import CLASSES, DISTRACTOR_STRENGTH, OWN_STRENGTH, TEXTURE, VIEWS, draw, textures


@pytest.fixture(scope="module")
def drawn():
    return draw(200, single_view=0.5, seed=3)


def test_images_labels_and_views_have_the_documented_shapes(drawn):
    images, labels, views = drawn
    assert (images.shape, images.dtype) == ((200, 3, 32, 32), torch.uint8)
    assert (labels.shape, labels.dtype) == ((200,), torch.int64)
    assert len(views) == 200
    assert (views.present.shape, views.present.dtype) == ((200, CLASSES, VIEWS), torch.bool)
    assert (views.masks().shape, views.masks().dtype) == ((200, CLASSES, VIEWS, 32, 32), torch.bool)
    assert torch.equal(views.images, images)
    assert torch.equal(views.labels, labels)


def test_a_draw_depends_on_its_arguments_alone(drawn):
    before = torch.get_rng_state()
    again = draw(200, single_view=0.5, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(again[0], drawn[0])
    assert torch.equal(again[2].ground, drawn[2].ground)
    assert not torch.equal(draw(200, single_view=0.5, seed=4)[0], drawn[0])


def test_texture_seed_changes_the_textures_and_nothing_else(drawn):
    images, labels, views = draw(200, single_view=0.5, seed=3, texture_seed=1)
    assert torch.equal(labels, drawn[1])
    assert torch.equal(views.strength, drawn[2].strength)
    assert torch.equal(views.ground, drawn[2].ground)
    assert not torch.equal(images, drawn[0])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 40),
    classes=st.integers(3, 6),
    views=st.integers(1, 4),
    distractors=st.integers(0, 5),
    single_view=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_every_image_shows_the_views_it_should(n, classes, views, distractors, single_view, seed):
    distractors = min(distractors, (classes - 1) * views)
    _, labels, known = draw(
        n, single_view=single_view, seed=seed, classes=classes, views=views, distractors=distractors
    )
    counts = torch.bincount(labels, minlength=classes)
    assert counts.max() - counts.min() <= 1

    own = torch.nn.functional.one_hot(labels, classes).bool()
    shown = known.present.sum(2)
    assert set(shown[own].tolist()) <= {1, views}
    assert torch.equal(known.single, shown[own] == 1)
    assert (shown.masked_fill(own, 0).sum(1) == distractors).all()

    own_strength, other_strength = known.strength[own], known.strength[~own]
    for strength, (low, high) in ((own_strength, OWN_STRENGTH), (other_strength, DISTRACTOR_STRENGTH)):
        strength = strength[strength > 0]
        assert ((strength >= low) & (strength <= high)).all()

    masks = known.masks()
    assert torch.equal(masks.sum((3, 4)), TEXTURE**2 * known.present)  # whole squares, all inside the image
    assert masks.sum((1, 2)).max() <= 1  # no two overlap


def test_single_view_is_the_share_of_images_that_show_one_own_view():
    assert draw(50, single_view=1.0)[2].single.all()
    assert not draw(50, single_view=0.0)[2].single.any()
    assert draw(4000, single_view=0.2)[2].single.float().mean() == pytest.approx(0.2, abs=0.03)


def test_without_noise_an_image_is_grey_and_its_textures():
    images, labels, views = draw(30, noise=0.0, seed=1, texture_seed=5)
    masks = views.masks()
    assert (views.ground == 128).all()
    assert (images[~masks.any(2).any(1)[:, None].expand_as(images)] == 128).all()
    for image, view_class, view in views.present.nonzero().tolist():
        texture = textures(5)[view_class, view] * views.strength[image, view_class, view]
        expected = ((0.5 + texture) * 255).round().clamp(0, 255)
        at = masks[image, view_class, view]
        assert torch.equal(images[image, :, at].float(), expected.flatten(1))


def test_noise_has_the_asked_standard_deviation():
    ground = draw(200, noise=0.05)[2].ground.float() / 255
    assert ground.std().item() == pytest.approx(0.05, rel=0.02)
    assert ground.mean().item() == pytest.approx(0.5, abs=0.002)


def test_without_changes_the_view_and_nothing_else(drawn):
    images, labels, views = drawn
    for view in range(VIEWS):
        redrawn = views.without(labels, view)
        mask = views.masks()[torch.arange(len(labels)), labels, view][:, None].expand_as(images)
        assert torch.equal(redrawn[~mask], images[~mask])
        assert torch.equal(redrawn[mask], views.ground[mask])
        lacking = ~views.present[torch.arange(len(labels)), labels, view]
        assert lacking.any()
        assert torch.equal(redrawn[lacking], images[lacking])
        assert (redrawn[~lacking] != images[~lacking]).flatten(1).any(1).all()


def test_an_image_without_all_its_views_is_its_ground(drawn):
    images, _, views = drawn
    left = images.clone()
    for view_class in range(CLASSES):
        for view in range(VIEWS):
            redrawn = views.without(view_class, view)
            left = torch.where(redrawn != images, redrawn, left)
    assert torch.equal(left, views.ground)


def test_without_takes_a_number_or_one_for_each_image(drawn):
    _, _, views = drawn
    each = torch.arange(200) % VIEWS
    assert torch.equal(views.without(4, 2), views.without(torch.full((200,), 4), torch.full((200,), 2)))
    mixed = views.without(4, each)
    for view in range(VIEWS):
        assert torch.equal(mixed[each == view], views.without(4, view)[each == view])


@pytest.mark.parametrize(
    ("view_class", "view", "message"),
    [
        (CLASSES, 0, "view_class=10: expected integers from 0 to 9"),
        (-1, 0, "view_class=-1: expected integers from 0 to 9"),
        (0, VIEWS, "view=3: expected integers from 0 to 2"),
        (0, 0.5, "view=0.5: expected integers from 0 to 2"),
        (torch.zeros(3, dtype=torch.long), 0, r"view_class has shape \(3,\)"),
    ],
)
def test_without_refuses_views_there_are_not(drawn, view_class, view, message):
    with pytest.raises(ValueError, match=message):
        drawn[2].without(view_class, view)


@pytest.mark.parametrize("rows", [[5, 2, 2], torch.tensor([7, 0]), torch.arange(200) < 9, slice(3, 6)])
def test_select_keeps_rows_of_everything(drawn, rows):
    images, labels, views = drawn
    some = views.select(rows)
    assert torch.equal(some.images, images[rows])
    assert torch.equal(some.masks(), views.masks(rows))
    assert torch.equal(views.masks(rows), views.masks()[rows])
    assert torch.equal(some.single, views.single[rows])
    assert torch.equal(some.without(0, 1), views.without(0, 1)[rows])


def test_textures_are_zero_mean_equally_strong_and_distinct():
    drawn = textures(0)
    assert drawn.shape == (CLASSES, VIEWS, 3, TEXTURE, TEXTURE)
    assert drawn.mean((3, 4)).abs().max() < 1e-6
    flat = drawn.flatten(2).flatten(0, 1)
    strength = flat.square().mean(1).sqrt()
    torch.testing.assert_close(strength, torch.full_like(strength, multiview.CONTRAST))
    likeness = torch.corrcoef(flat).fill_diagonal_(0).abs()
    assert likeness.max() < 0.8
    assert not torch.equal(drawn, textures(1))


def test_names():
    assert multiview.class_names()[:2] == ("class 0", "class 1")
    assert len(set(multiview.class_names())) == CLASSES
    assert multiview.view_names(9) == ["view 1", "view 2", "view 3"]
    with pytest.raises(ValueError, match="class_index=10: expected 0 to 9"):
        multiview.view_names(10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"classes": 1}, "classes=1"),
        ({"views": 0}, "views=0"),
        ({"distractors": -1}, "distractors=-1"),
        ({"distractors": 7}, "expected at most 9 in one image"),
        ({"classes": 2, "distractors": 4}, "have only 3 views"),
        ({"single_view": 1.5}, "single_view=1.5: expected a probability"),
        ({"noise": -0.1}, "noise=-0.1: expected a standard deviation"),
        ({"noise": float("nan")}, "noise=nan"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        draw(**{"n": 10} | arguments)
    assert "\n" not in str(error.value)


def test_ten_thousand_images_take_less_than_five_seconds():
    start = time.process_time()
    draw(10_000)
    assert time.process_time() - start < 5
