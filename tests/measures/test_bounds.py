import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import bounds

LABELS = np.array([0, 1, 0, 1, 1, 2])


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(6, 3, 4, 4))


def test_the_other_image_is_the_next_of_its_class(maps):
    maps[2] = maps[0]  # of class 0 there are these two
    found = bounds.floors(maps, LABELS, model="a")
    other = found[found.kind == bounds.OTHER_IMAGE]
    assert sorted(other.image.unique()) == [0, 1, 2, 3, 4]  # class 2 has one image
    assert other[other.label == 0].pearson.to_numpy() == pytest.approx(1)
    assert (other[other.label == 1].pearson < 0.99).all()


def test_the_other_class_is_the_next_one(maps):
    maps[:, 0] = -maps[:, 2]
    found = bounds.floors(maps, LABELS, model="a")
    other = found[found.kind == bounds.OTHER_CLASS]
    assert len(other) == 18
    assert other[other.target == 2].pearson.to_numpy() == pytest.approx(-1)
    assert (other[other.target == 0].pearson.abs() < 0.99).all()


def test_training_is_seen_from_its_first_and_its_last_but_one_epoch(maps):
    stored = {0: -maps, 2: maps, 1: np.random.default_rng(1).normal(size=maps.shape), 3: 2 * maps + 1}
    found = bounds.over_training(stored, LABELS, model="a").set_index("kind").pearson
    assert found[bounds.UNTRAINED].to_numpy() == pytest.approx(-1)
    assert found[bounds.LAST_TWO].to_numpy() == pytest.approx(1)


def test_bands_hold_the_middle_half_of_floors_and_ceiling():
    values = {bounds.OTHER_IMAGE: 0.0, bounds.OTHER_CLASS: 0.2, bounds.LAST_TWO: 0.8}
    rows = [(kind, "own", value + step / 10) for kind, value in values.items() for step in range(5)]
    frame = pd.DataFrame([*rows, (bounds.UNTRAINED, "own", np.nan)], columns=["kind", "target", "pearson"])
    found = bounds.bands(frame).set_index(["target", "band"])
    assert found.loc[("own", "floor")].tolist() == pytest.approx([0.2, 0.4])  # of 0.1 to 0.3 and of 0.3 to 0.5
    assert found.loc[("own", "ceiling")].tolist() == pytest.approx([0.9, 1.1])
    assert bounds.bands(frame[:0]).empty
