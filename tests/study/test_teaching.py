"""Planted networks: trained once, asked once, and what is asked of them."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import planted
from kd_lib.networks.checkpoints import Checkpoints
from kd_lib.study import inheritance, lessons, pipeline, reading, teaching
from tests.study.test_lessons import CHOSEN
from tests.trained_run import SETTINGS
from tests.trainings import SMALL

TINY = CHOSEN | {"teachers": 2, "planted_epochs": 1, "experiments": ["alone", "top"]}


def sound(alone, importance, labels, **_):
    """Take all lesions for sound: barely trained networks know nothing, by luck or not."""
    return pd.DataFrame([(*who, 0.1, 0, 1, 0.0, True) for who in alone], columns=list(planted.LESIONS))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    settings = SETTINGS | {"arch": SMALL}
    return pipeline.begin(tmp_path_factory.mktemp("run"), settings, reading.images(settings))


@pytest.fixture(scope="module")
def planned(here):
    return lessons.plan(here, TINY)


@pytest.fixture(scope="module")
def taught(here, planned):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "lesions", sound)
        return teaching.train(here, planned, device="cpu")


def test_all_are_trained_and_the_last_weights_and_the_answers_kept(here, planned, taught):
    assert len(taught) == 4
    assert {path.name for path in here.run.results.glob("inheritance_*")} >= {"inheritance_lesions.csv"}
    for key, network in planned.networks.items():
        place = Checkpoints(here.run.folder / "inheritance" / key.rpartition("/")[0])
        assert place.epochs(network.name) == [1 if network.trained else 0]
        assert not (place.folder / network.name / "resume.pt").exists()
    answers = teaching.Answers(here, planned)
    assert answers.of("seed-0/knows/a").shape == (7, len(answers.labels), 10)
    mean = (answers.of("seed-0/knows/a") + answers.of("seed-0/lacks-0/b")) / 2
    np.testing.assert_allclose(answers.ensemble(["seed-0/knows/a", "seed-0/lacks-0/b"]), mean, rtol=1e-6)


def test_nothing_is_trained_twice_and_the_same_again_gives_the_same_tables(here, planned, taught, monkeypatch):
    monkeypatch.setattr(planted, "lesions", sound)
    once = inheritance.tables(here, planned, taught, view_share=0.5)
    monkeypatch.setattr(teaching.training, "train", None)
    again = inheritance.tables(here, planned, teaching.train(here, planned, device="cpu"), view_share=0.5)
    for one, other in zip(once, again, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_values_are_what_the_networks_answer(here, planned, taught):
    values = teaching.values(here, planned, taught, view_share=0.5)
    assert list(values) == ["arm", "kind", "known", "quantity", "seed", "image", "value"]
    answers = teaching.Answers(here, planned)

    def of(kind, arm, known, quantity):
        rows = values.query("kind == @kind and arm == @arm and known == @known and quantity == @quantity")
        return rows["value"].to_numpy()

    found = answers.of(planned.students[0, "alone or never", 1])
    at = np.arange(len(answers.labels)), answers.labels
    np.testing.assert_allclose(
        of("distilled", "alone or never", 1, planted.IMPORTANCE), found[0][at] - found[1][at], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(
        of("distilled", "alone or never", 1, planted.ALONE), found[4].argmax(1) == answers.labels
    )
    own = [answers.of(f"seed-0/lacks-0/{name}")[4].argmax(1) == answers.labels for name in "ab"]
    np.testing.assert_allclose(of("component", "teachers", 0, planted.ALONE), np.mean(own, axis=0))
    both = (answers.of("seed-0/knows/a") + answers.of("seed-0/lacks-0/b"))[4].argmax(1) == answers.labels
    np.testing.assert_array_equal(of("ensemble", "alone or never", 1, planted.ALONE), both)


def test_a_network_trained_in_another_way_is_refused_and_one_that_is_damaged(here, planned, taught, tmp_path):
    other = planned._replace(regime=lessons.replace(planned.regime, max_lr=0.02))
    with pytest.raises(ValueError, match=r"'seed-0/knows/a' was trained in another way \(max_lr: 0.01 there, 0.02 giv"):
        teaching.train(here, other, device="cpu")
    place = here.run.folder / "inheritance" / "seed-0" / "knows" / "b.npz"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b.npz is damaged .* give recompute=True, which trains it anew"):
        teaching.train(here, planned, device="cpu")
    place.write_bytes(whole)


def test_nothing_is_distilled_from_a_teacher_that_knows_what_it_never_saw(here, planned, taught, monkeypatch):
    monkeypatch.setattr(planted, "lesions", lambda *a, **k: sound(*a, **k).assign(holds=False))
    made = []
    monkeypatch.setattr(teaching, "make", lambda key, *_, **__: made.append(key))
    lesions = teaching.train(here, planned, device="cpu")
    assert not [key for key in made if planned.networks[key].teachers]
    assert teaching.values(here, planned, lesions, view_share=0.5).empty
    tables = inheritance.tables(here, planned, lesions, view_share=0.5)
    assert all(table.empty for table in tables)
    assert inheritance.in_words(*tables[2:]) == []


def test_where_nothing_is_planned_nothing_is_done(here):
    empty = lessons.Plan({}, {}, 2, lessons.Regime(), {}, 10, lacking=lessons.NO_VIEWS)
    lesions = teaching.train(here, empty)
    assert lesions.empty
    assert all(table.empty for table in inheritance.tables(here, empty, lesions, view_share=0.5))
