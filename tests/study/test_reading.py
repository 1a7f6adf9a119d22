"""What notebooks read from a run, on a run of two barely trained networks."""

import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from kd_lib import data
from kd_lib.maps.store import MapStore
from kd_lib.measures import bounds, similarity, transfer
from kd_lib.networks import architectures
from kd_lib.networks.regime import Regime
from kd_lib.study import pipeline, reading, rq1, rq2, rq3, training
from kd_lib.study.parameters import REPLACE
from kd_lib.study.run import Run
from tests.trained_run import NAMES, make


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


def test_states_are_all_epochs_of_some_components_and_the_last_of_all(here):
    rest = [(name, 1) for name in ("distilled", "mixup", *architectures.CONTROLS)]
    assert pipeline.states(here, 1) == [("a", 0), ("a", 1), ("b", 1), *rest]
    assert pipeline.states(here, None) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), *rest]
    assert here.explained_at_every_epoch == ["a"]
    with pytest.raises(ValueError, match="every_epoch=3: expected 0 to 2"):
        pipeline.states(here, 3)


@pytest.mark.parametrize("example", [-1, 20, 1000])
def test_an_image_that_there_is_not_is_refused(here, example):
    here.check_image(0)
    here.check_image(len(here.labels) - 1)
    with pytest.raises(ValueError, match=f"example={example}: expected the number of a probe image of .*, 0 to 19$"):
        here.check_image(example)


def test_the_last_epoch_is_like_itself_and_the_first_is_not(here):
    similarity = rq1.similarity_to_final(here)["a"]
    assert similarity.shape == (2, 20, 10)
    np.testing.assert_allclose(similarity[1], 1)
    assert similarity[0].mean() < 0.9
    several = rq1.similarity_to_final(here, {"b": [1], "a": [0, 1]})
    np.testing.assert_array_equal(several["a"], similarity)
    np.testing.assert_allclose(several["b"], np.ones((1, 20, 10)))


def test_the_ensembles_map_is_the_mean_of_its_components_maps(here):
    mean = np.mean([here.maps(n) for n in NAMES[:2]], axis=0)
    np.testing.assert_allclose(here.maps("ensemble"), mean, atol=1e-5)
    np.testing.assert_allclose(here.maps("ensemble", without="a"), here.maps("b"), atol=1e-5)
    np.testing.assert_allclose(here.maps("ensemble", of=["b"]), here.maps("b"), atol=1e-5)


def test_ensembles_of_three_are_means_that_leave_none_twice(here, monkeypatch):
    fresh = reading.open(here.run)
    monkeypatch.setattr(reading.Study, "components", NAMES)  # the student as a third member
    logits = np.stack([fresh.store.logits(name) for name in NAMES]).astype(np.float64)
    for left_out, rest in zip(NAMES, transfer.leave_one_out(logits), strict=True):
        np.testing.assert_array_equal(fresh.outputs("ensemble", without=left_out), rest.astype(np.float32))
    np.testing.assert_array_equal(fresh.outputs("ensemble"), logits.mean(0).astype(np.float32))
    expected = logits[[0, 2]].mean(0).astype(np.float32)
    np.testing.assert_array_equal(fresh.outputs("ensemble", of=["a", "distilled"]), expected)


def test_a_study_reads_its_record_once_and_derives_a_states_maps_once(here, monkeypatch):
    read, derived = [], []
    entries, maps = Run.entries, MapStore.maps
    monkeypatch.setattr(Run, "entries", lambda run: read.append(run) or entries(run))
    monkeypatch.setattr(MapStore, "maps", lambda *given, **more: derived.append(given) or maps(*given, **more))
    fresh = reading.open(here.run)
    for _ in range(2):
        rq3.to_ensemble(fresh)
        rq2.pairs(fresh)
    assert len(read) == 1
    assert len(derived) == 4 + 3  # two components, the student and a technique; the ensemble, and without each


def test_memory_is_bounded(here, monkeypatch):
    fresh = reading.open(here.run)
    size = fresh.maps("a").nbytes
    monkeypatch.setattr(reading, "MEMORY", int(2.5 * size))
    expected = {name: fresh.maps(name) for name in NAMES}
    assert sum(kept.nbytes for kept in fresh._memory.values()) <= 2.5 * size
    np.testing.assert_array_equal(fresh.maps("a"), expected["a"])


def test_the_threshold_is_the_one_given_or_the_one_in_use(here):
    given = reading.open(here.run, threshold=0.25)
    assert (given.t_c, given.source) == (0.25, "given as a parameter")
    with pytest.raises(FileNotFoundError, match="run threshold_determination first"):
        assert here.t_c


def made_with(run, name):
    return run.made_with(name, (run.results / f"{name}.csv").read_bytes())


def test_tables_carry_what_they_were_computed_with(here, tmp_path):
    kept = reading.open(shutil.copytree(here.run.folder, tmp_path / "run"), threshold=0.25)
    table = pd.DataFrame({"x": [1]})
    kept.keep(table, "before", seed=3)
    assert kept.t_c == 0.25
    kept.keep(table, "after", view_share=0.5)
    before, after = (made_with(kept.run, name) for name in ("before", "after"))
    assert before == {"seed": 3}
    assert after == {"T_c": 0.25, "from": "given as a parameter", "view_share": 0.5}


def test_another_threshold_never_takes_the_place_of_the_runs(here, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(here.run.folder, tmp_path / "run")
    table, other = pd.DataFrame({"share": [0.5]}), pd.DataFrame({"share": [0.9]})
    chosen = {"run": str(run), "threshold": 0.25, "view_share": 0.5, "device": "cpu"}
    own = reading.open(run, threshold=0.25, chosen=chosen)
    assert own.t_c == 0.25
    own.keep(table, "shares")
    for changed, folder in (({"threshold": 0.5}, "T_c=0.5"), ({"view_share": 0.1}, "view_share=0.1")):
        asked = chosen | changed
        again = reading.open(run, threshold=asked["threshold"], chosen=asked)
        assert again.t_c
        for name in ("shares", "shares"):
            again.keep(other, name)
        assert again.run.read_csv("shares").equals(table)
        assert pd.read_csv(own.run.results / folder / "shares.csv").equals(other)
        assert capsys.readouterr().out.count("was made otherwise") == 1
    same = reading.open(run, threshold=0.25, chosen=chosen | {"device": "auto"})
    assert same.t_c
    same.keep(other, "shares")
    assert own.run.read_csv("shares").equals(other)
    monkeypatch.setenv(REPLACE, "all")
    again.keep(table, "shares")
    assert own.run.read_csv("shares").equals(table)


def test_other_images_than_the_networks_were_trained_on_are_refused(here):
    fingerprint = here.run.entry("dataset_fingerprint")
    here.run.record("dataset_fingerprint", "other")
    try:
        with pytest.raises(ValueError, match="are not those that .* was trained on"):
            assert reading.open(here.run).dataset
    finally:
        here.run.record("dataset_fingerprint", fingerprint)


def test_regime_table_holds_both_columns():
    table = training.regime_table(asdict(Regime()) | {"components": 4, "models": ""})
    assert table.loc["components"].tolist() == [4, 10]


def test_controls_are_no_part_of_the_study(here):
    assert here.networks == NAMES
    assert here.controls == ["shuffled", "half-taught", "half-taught-2"]
    assert here.halves == (["a"], ["b"])
    assert not set(architectures.CONTROLS) & set(rq3.to_ensemble(here).model)
    kinds = set(rq2.bounds(here).kind)
    assert kinds == {*bounds.FLOORS, bounds.LAST_TWO}


def test_a_technique_is_compared_with_the_ensemble_under_its_own_name(here):
    assert here.techniques == ["mixup"]
    frame = rq3.to_ensemble(here)
    assert set(frame.model) == {*NAMES, "mixup"}
    own = frame[frame.kind == "mixup"]
    assert set(own.model) == {"mixup"}
    expected = similarity.pearson(here.maps("mixup"), here.maps("ensemble"))
    np.testing.assert_allclose(own.pearson.to_numpy().reshape(expected.shape), expected, atol=1e-6)
    kinds = {"component", "distilled", "mixup", "control"}
    assert set(here.kinds.values()) == kinds


def test_the_half_taught_network_is_compared_with_both_halves(here):
    found = rq3.to_half_ensembles(here)
    assert set(zip(found.ensemble, found.model, strict=True)) == {
        (transfer.TEACHERS, "half-taught"),
        (transfer.STRANGERS, "half-taught"),
        (transfer.TEACHERS, "half-taught-2"),
        (transfer.STRANGERS, "half-taught-2"),
        (transfer.STRANGERS, "a"),
        (transfer.STRANGERS, "b"),
    }
    assert rq3.bias(reading.open(here.run, 0.5), rq3.to_ensemble(here))["own part"].between(0.4, 1.1).all()


def test_shuffled_labels_are_the_same_ones_in_another_order(here):
    dataset = here.dataset
    shuffled = data.with_shuffled_labels(dataset, seed=0)
    assert shuffled.train.labels.bincount().equal(dataset.train.labels.bincount())
    assert (shuffled.train.labels == dataset.train.labels).float().mean() < 0.4
    assert shuffled.train.images is dataset.train.images
    assert shuffled.test is dataset.test
    assert shuffled.fingerprint != dataset.fingerprint
