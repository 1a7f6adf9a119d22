"""What notebooks read from a run, on a run of two barely trained networks."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from kd_lib import data
from kd_lib.measures import bounds, similarity, transfer
from kd_lib.networks import architectures, training
from kd_lib.study import reading
from tests.trained_run import NAMES, make


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


def test_states_are_all_epochs_of_some_components_and_the_last_of_all(run):
    rest = [(name, 1) for name in ("distilled", "mixup", *architectures.CONTROLS)]
    assert reading.states(run, 1) == [("a", 0), ("a", 1), ("b", 1), *rest]
    assert reading.states(run, None) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), *rest]
    assert reading.explained_at_every_epoch(run) == ["a"]
    with pytest.raises(ValueError, match="every_epoch=3: expected 0 to 2"):
        reading.states(run, 3)


def test_the_last_epoch_is_like_itself_and_the_first_is_not(run):
    similarity = reading.similarity_to_final(run, "a")
    assert similarity.shape == (2, 20, 10)
    np.testing.assert_allclose(similarity[1], 1)
    assert similarity[0].mean() < 0.9
    several = reading.similarities_to_final(run, {"b": [1], "a": [0, 1]})
    np.testing.assert_array_equal(several["a"], similarity)
    np.testing.assert_allclose(several["b"], np.ones((1, 20, 10)))


def test_the_ensembles_map_is_the_mean_of_its_components_maps(run):
    outputs = [reading.occluded_outputs(run, name) for name in NAMES[:2]]
    together = reading.saliency_maps(run, np.mean(outputs, axis=0))
    np.testing.assert_allclose(together, np.mean([reading.maps(run, n) for n in NAMES[:2]], axis=0), atol=1e-5)


def test_the_threshold_is_the_one_given_or_the_one_in_use(run):
    assert reading.threshold(run, 0.25) == (0.25, "given as a parameter")
    with pytest.raises(FileNotFoundError, match="run threshold_determination first"):
        reading.threshold(run, None)


def test_other_images_than_the_networks_were_trained_on_are_refused(run):
    path = run.folder / "run.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries | {"dataset_fingerprint": "other"}))
    try:
        with pytest.raises(ValueError, match="are not those that .* was trained on"):
            reading.load_data(run)
    finally:
        path.write_text(json.dumps(entries))


def test_regime_table_holds_both_columns():
    table = reading.regime_table(training.Regime(**asdict(training.Regime())), networks=4)
    assert table.loc["components"].tolist() == [4, 10]


def test_controls_are_no_part_of_the_study(run):
    assert reading.networks(run) == NAMES
    assert reading.controls(run) == ["shuffled", "half-taught"]
    assert reading.halves(run) == (["a"], ["b"])
    assert not set(architectures.CONTROLS) & set(reading.to_ensemble(run).model)
    kinds = set(reading.references_of(run).kind)
    assert kinds == {*bounds.FLOORS, bounds.LAST_TWO}


def test_a_technique_is_compared_with_the_ensemble_under_its_own_name(run):
    assert reading.techniques(run) == ["mixup"]
    frame = reading.to_ensemble(run)
    assert set(frame.model) == {*NAMES, "mixup"}
    own = frame[frame.kind == "mixup"]
    assert set(own.model) == {"mixup"}
    together = reading.saliency_maps(run, np.mean([reading.occluded_outputs(run, name) for name in "ab"], axis=0))
    expected = similarity.pearson(reading.maps(run, "mixup"), together)
    np.testing.assert_allclose(own.pearson.to_numpy().reshape(expected.shape), expected, atol=1e-6)
    kinds = {"component", "distilled", "mixup", "control"}
    assert set(reading.kinds(run).values()) == kinds


def test_the_half_taught_network_is_compared_with_both_halves(run):
    found = reading.to_half_ensembles(run)
    assert set(zip(found.ensemble, found.model, strict=True)) == {
        (transfer.TEACHERS, "half-taught"),
        (transfer.STRANGERS, "half-taught"),
        (transfer.STRANGERS, "a"),
        (transfer.STRANGERS, "b"),
    }
    assert reading.own_part(run)["own part"].between(0.4, 1.1).all()


def test_shuffled_labels_are_the_same_ones_in_another_order(run):
    dataset = reading.load_data(run)
    shuffled = data.with_shuffled_labels(dataset, seed=0)
    assert shuffled.train.labels.bincount().equal(dataset.train.labels.bincount())
    assert (shuffled.train.labels == dataset.train.labels).float().mean() < 0.4
    assert shuffled.train.images is dataset.train.images
    assert shuffled.test is dataset.test
    assert shuffled.fingerprint != dataset.fingerprint
