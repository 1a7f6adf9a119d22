"""Planted views: what is taken out of which images, held against the drawing itself."""

import pytest
import torch

from kd_lib import data
from kd_lib.data import planting
from kd_lib.data.multiview import draw

N = 120


@pytest.fixture(scope="module")
def split():
    images, labels, views = draw(N, single_view=0.3, seed=4)
    return data.Split(images, labels, torch.arange(N), views)


def own(split):
    return split.views.present[torch.arange(len(split)), split.labels]


def check_images(split, whole):
    """Each image is the drawn one with grey ground where a view was, and untouched elsewhere."""
    before = whole.select(split.index)
    gone = before.views.present & ~split.views.present
    mask = (before.views.masks() & gone[..., None, None]).any(1).any(1)[:, None].expand_as(split.images)
    assert torch.equal(split.images[mask], before.views.ground[mask])
    assert torch.equal(split.images[~mask], before.images[~mask])
    assert not (split.views.present & ~before.views.present).any()


def test_a_view_that_is_never_shown_is_nowhere_and_the_rest_is_as_drawn(split):
    found = planting.never(split, 1)
    assert not found.views.present[:, :, 1].any()
    assert torch.equal(found.views.present[:, :, [0, 2]], split.select(found.index).views.present[:, :, [0, 2]])
    lost = sorted({*range(N)} - {*found.index.tolist()})
    assert lost == own(split)[:, [0, 2]].any(1).logical_not().nonzero().squeeze(1).tolist()
    check_images(found, split)


def test_a_view_alone_is_the_only_one_of_its_class_and_others_stay_mixed_in(split):
    found = planting.alone(split, 2)
    assert own(found).tolist() == [[False, False, True]] * len(found)
    assert torch.equal(found.index, own(split)[:, 2].nonzero().squeeze(1))
    others = split.select(found.index).views.present.clone()
    others[torch.arange(len(found)), found.labels] = own(found)
    assert torch.equal(found.views.present, others)
    check_images(found, split)


def test_apart_is_alone_or_not_at_all(split):
    found = planting.apart(split, 0, seed=1)
    assert len(found) == N
    shows = own(found)[:, 0]
    assert own(found)[shows].sum(1).eq(1).all()
    assert not own(found)[~shows][:, 0].any()
    others = found.views.present.clone()
    others[torch.arange(N), found.labels] = False
    assert not others[:, :, 0].any()
    several = own(split)[:, 0] & (own(split).sum(1) > 1)
    assert 0.35 < shows[several].float().mean() < 0.65
    assert shows[own(split)[:, 0] & ~several].all()
    check_images(found, split)
    assert torch.equal(found.images, planting.apart(split, 0, seed=1).images)
    assert not torch.equal(found.images, planting.apart(split, 0, seed=2).images)


def test_only_training_images_are_planted():
    dataset = data.load("multiview", train_size=60, test_size=60, probe_per_class=2)
    changed = planting.planted(dataset, planting.NEVER, 0)
    assert changed.test is dataset.test
    assert torch.equal(changed.mean, dataset.mean)
    assert changed.fingerprint != dataset.fingerprint
    assert planting.planted(dataset, planting.WHOLE, 0).fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: planting.never(s, 3), "view=3: expected the number of a view, 0 to 2"),
        (lambda s: planting.alone(s, True), "view=True: expected the number of a view"),
        (lambda s: planting.without(s, torch.zeros(N, 10)), r"gone has shape \(120, 10\): expected \(120, 10, 3\)"),
        (lambda s: planting.apart(data.Split(s.images, s.labels, s.index), 0), "only be taken out of drawn images"),
    ],
)
def test_what_cannot_be_planted_is_refused(split, call, message):
    with pytest.raises(ValueError, match=message):
        call(split)


def test_an_unknown_way_to_plant_is_refused():
    dataset = data.load("multiview", train_size=30, test_size=60, probe_per_class=2)
    with pytest.raises(ValueError, match="shown='sometimes': expected one of 'whole', 'never', 'apart'"):
        planting.planted(dataset, "sometimes", 0)
