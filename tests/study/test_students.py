"""Several students of one ensemble: trained, explained, and told apart from one."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures.similarity import pearson
from kd_lib.study import inherited, levels, pipeline, reading, rq3, sensitivity, students
from tests.trained_run import SETTINGS

MAPS = {"patch": 8, "stride": 8, "baseline": 0.0, "precision": "float32"}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    settings = SETTINGS | {"students": 3, "techniques": [], "controls": False}
    place = pipeline.begin(tmp_path_factory.mktemp("run"), settings, reading.images(settings))
    pipeline.train(place, verbose=False)
    pipeline.explain(place, pipeline.states(place, None), MAPS, progress=False)
    return reading.open(place.run, threshold=0.5)


def test_students_differ_and_only_the_first_is_the_studys(here):
    assert here.students == ["distilled", "distilled-2", "distilled-3"]
    assert here.networks == ["a", "b", "distilled"]
    answers = [here.answers(name) for name in here.students]
    assert not (answers[0] == answers[1]).any()
    assert rq3.to_ensemble(here)["model"].unique().tolist() == ["a", "b", "distilled"]


def test_gains_are_students_less_components(here):
    found = students.gains(here, rq3.to_ensemble(here)).set_index(["quantity", "less", "student"])["difference"]
    true = here.dataset.test.labels
    right = {name: (here.answers(name).argmax(1) == true).float().mean().item() for name in [*"ab", *here.students]}
    for name in here.students:
        expected = right[name] - (right["a"] + right["b"]) / 2
        assert found["accuracy", "component", name] == pytest.approx(expected)
    rest = pearson(here.maps("a"), here.maps("b")), pearson(here.maps("b"), here.maps("a"))
    own = np.eye(10, dtype=bool)[here.labels]
    beside = [pearson(here.maps("distilled-2"), here.maps(name)) for name in "ba"]  # without a, and without b
    expected = np.mean([close[own] - left_out[own] for close, left_out in zip(beside, rest, strict=True)])
    assert found["similarity on target", "leave-one-out", "distilled-2"] == pytest.approx(expected)
    pairs = zip(beside, rest, strict=True)
    expected = np.mean([(close[~own] >= 0.5).mean() - (left_out[~own] >= 0.5).mean() for close, left_out in pairs])
    assert found["share off target", "leave-one-out", "distilled-2"] == pytest.approx(expected)


def test_three_networks_of_each_kind_say_what_holds_of_students(here):
    table = students.gains(here, rq3.to_ensemble(here))
    every = table[table["student"] == students.EVERY].set_index(["quantity", "less"])
    assert every["students"].eq(3).all()
    assert every.loc[("accuracy", "ensemble"), "low"] < every.loc[("accuracy", "ensemble"), "high"]
    assert np.isnan(every.loc[("accuracy", "component"), "low"])  # two components
    above = table.assign(difference=0.05, low=0.01, high=0.09)
    said = students.in_words(above)
    assert said[0] == "accuracy: 3 students are above components: +5 points (+1 to +9)"
    assert "cannot tell what holds of students" in students.in_words(table[table["student"] == "distilled"])[0]


def test_shares_of_the_ensembles_gain_are_of_the_same_ensembles(here):
    found = inherited.shares(here, rq3.to_half_ensembles(here)).set_index("quantity")
    assert list(found.index) == ["accuracy", "similarity on target", "similarity off target"]  # nobody is half-taught
    assert found["students"].eq(3).all()
    own = np.eye(10, dtype=bool)[here.labels]
    rest = [pearson(here.maps("a"), here.maps("b"))[own].mean()] * 2
    close = np.mean([pearson(here.maps(s), here.maps(n))[own].mean() for s in here.students for n in "ab"])
    assert found.loc["similarity on target", "component"] == pytest.approx(np.mean(rest))
    assert found.loc["similarity on target", "share"] == pytest.approx((close - np.mean(rest)) / (1 - np.mean(rest)))
    right = {
        n: float((here.answers(n).argmax(1) == here.dataset.test.labels).float().mean()) for n in (*"ab", "ensemble")
    }
    assert found.loc["accuracy", "component"] == pytest.approx((right["a"] + right["b"]) / 2)
    assert found.loc["accuracy", "whole"] == pytest.approx(right["ensemble"])


def halves(taught, strange, components):
    rows = [
        ("half-taught", "its teachers", "half-taught", taught),
        ("half-taught", "strangers", "half-taught", strange),
    ]
    rows += [("component", "strangers", name, value) for name, value in components.items()]
    return pd.DataFrame(
        [
            (*row[:3], image, target, value)
            for *row, values in rows
            for target in ("on target", "off target")
            for image, value in enumerate(values)
        ],
        columns=["kind", "ensemble", "model", "image", "target", "pearson"],
    )


def test_what_any_ensemble_teaches_is_told_from_ones_own_teachers():
    frame = halves([0.8, 0.9, 0.8, 0.9], [0.7, 0.8, 0.7, 0.8], {"a": [0.4, 0.5, 0.4, 0.5], "b": [0.4, 0.5, 0.4, 0.5]})
    table = inherited.table(inherited.teaching(frame))
    assert table["quantity"].tolist() == [f"any ensemble's teaching, {where}" for where in ("on target", "off target")]
    assert table["share"].tolist() == pytest.approx([0.75, 0.75])  # 0.3 of 0.4
    said = inherited.in_words(table)[0]
    assert said.startswith("maps on target: 75 % (75 to 75) of the gain is what any ensemble teaches, 25 % (25 to 25)")
    level = inherited.table([("accuracy", np.ones((1, 4)), np.ones((2, 4)), np.ones(4))])
    assert inherited.in_words(level) == ["accuracy: one cannot tell, for it is not clear that there is a whole gain."]


def test_a_setting_is_computed_from_the_same_maps(here):
    choices = sensitivity.compare(here, ["output=probs", "output=centred"], threshold=0.5)
    frame = levels.shares(here, rq3.to_ensemble(here), choices)
    share = frame.set_index(["setting", "kind", "target"])["share"]
    whole, own = here.maps("ensemble"), np.eye(10, dtype=bool)[here.labels]
    expected = np.mean([pearson(here.maps(name), whole)[own] >= 0.5 for name in "ab"])
    assert share[sensitivity.DEFAULT, "component", "on target"] == pytest.approx(expected)
    left_out = share["each component left out of the ensemble", "component", "off target"]
    assert left_out == pytest.approx((pearson(here.maps("a"), here.maps("b"))[~own] >= 0.5).mean())
    assert share["a, b and their ensemble after 1 of 1 epochs", "component", "on target"] == pytest.approx(expected)
    unsigned = pearson(np.abs(here.maps("distilled")), np.abs(whole))
    assert share["size without sign", "distilled", "on target"] == pytest.approx((unsigned[own] >= 0.5).mean())
    assert levels.table(frame).iloc[0].tolist() == [78, 52, 98, 87]


def test_the_nearest_setting_is_the_one_whose_worst_share_is_nearest(here):
    frame = levels.shares(here, rq3.to_ensemble(here), sensitivity.compare(here, [], threshold=0.5))
    shares = dict(zip(levels.PUBLISHED, (0.76, 0.55, 0.97, 0.86), strict=True))
    near = [("near", 0.53, *which, share) for which, share in shares.items()]
    far = [("far", 0.53, *which, 0.5) for which in levels.PUBLISHED]
    thesis = frame[frame["setting"] == levels.THESIS].to_numpy().tolist()
    said = levels.in_words(type(frame)([*thesis, *far, *near], columns=frame.columns))
    assert said == (
        "Of 2 settings with all four shares, the nearest to the thesis is: near (the worst of the four is 3.0 points "
        "off), which gives the thesis's levels."
    )
