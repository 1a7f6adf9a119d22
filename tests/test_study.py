"""What notebooks read from a run, on a run of two barely trained networks. Labels in here are made by a rule."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from kd_lib import data, explaining, features, occlusion_store, store, study, training

SETTINGS = {
    "data_set": "multiview",
    "train_size": 60,
    "test_size": 60,
    "probe_per_class": 2,
    "image_size": 32,
    "mean": None,
    "std": None,
    "seed": 0,
    "components": 2,
    "arch": "resnet10",
    "epochs": 1,
    "ensemble_output": "logits",
}
NAMES = ["a", "b", "distilled"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = store.Run(tmp_path_factory.mktemp("run"))
    dataset = data.load("multiview", train_size=60, test_size=60, probe_per_class=2)
    run.claim(SETTINGS, dataset_fingerprint=dataset.fingerprint)
    run.record("class_names", list(dataset.class_names))
    run.record("root", None)
    run.record("networks", study.recipes(NAMES[:2], "resnet10", 10))
    regime = training.Regime(epochs=1, batch_size=30)
    for name in NAMES[:2]:
        training.train(name, dataset, regime, run=run, seed=0, verbose=False)
    training.train("distilled", dataset, regime, run=run, seed=0, teacher=study.ensemble(run), verbose=False)
    probe = dataset.probe
    occlusion_store.create_or_open(
        run.occlusion,
        states=study.states(run, 1),
        labels=probe.labels,
        index=probe.index,
        class_names=dataset.class_names,
        image_size=(32, 32),
        patch=8,
        stride=8,
    )
    images = dataset.normalise(probe.images)
    explaining.fill(run.occlusion, lambda *state: study.network(run, *state), images, progress=False)
    nets = {name: study.network(run, name) for name in NAMES}
    study.save_view_logits(run, {name: study.view_logits(net, dataset) for name, net in nets.items()})
    return run


@pytest.fixture(scope="module")
def pairs(run):
    return features.pairs_of_components([study.maps(run, name) for name in NAMES], study.labels(run), models=NAMES)


def test_states_are_all_epochs_of_some_components_and_the_last_of_all(run):
    assert study.states(run, 1) == [("a", 0), ("a", 1), ("b", 1), ("distilled", 1)]
    assert study.explained_at_every_epoch(run) == ["a"]
    with pytest.raises(ValueError, match="every_epoch=3: expected 0 to 2"):
        study.states(run, 3)


def test_the_last_epoch_is_like_itself_and_the_first_is_not(run):
    similarity = study.similarity_to_final(run, "a")
    assert similarity.shape == (2, 20, 10)
    np.testing.assert_allclose(similarity[1], 1)
    assert similarity[0].mean() < 0.9


def test_the_ensembles_map_is_the_mean_of_its_components_maps(run):
    outputs = [study.occluded_outputs(run, name) for name in NAMES[:2]]
    together = study.saliency_maps(run, np.mean(outputs, axis=0))
    np.testing.assert_allclose(together, np.mean([study.maps(run, n) for n in NAMES[:2]], axis=0), atol=1e-5)


def test_view_logits_differ_from_the_clean_ones_only_where_a_view_was_there(run):
    present = study.load_data(run).probe.views.present.numpy().reshape(20, 1, 30)
    clean = occlusion_store.logits_of(run.occlusion, "a")[:, 0]
    importance = features.importance(clean, study.read_view_logits(run)["a"])
    absent = np.broadcast_to(~present, importance.shape)
    np.testing.assert_allclose(importance[absent], 0, atol=1e-4)
    assert np.abs(importance[~absent]).max() > 1e-2


def test_labels_come_from_the_views_where_nobody_labelled(run, pairs):
    labelled, source = study.labelled_pairs(run, pairs, view_share=0.5)
    assert source.startswith("no people; ground truth of the multi-view images")
    assert len(labelled) == 3 * 20 * 10
    assert labelled["same"].dtype == bool


def test_peoples_labels_come_first_and_are_named(run, pairs):
    path = run.annotations / "pairs.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,1,a rule\n4,2,a,distilled,0,a rule\n")
    try:
        labelled, source = study.labelled_pairs(run, pairs, view_share=0.5)
        assert source == "1 people, 2 pairs (annotations/pairs.csv)"
        assert labelled["same"].tolist() == [True, False]
        rows = pairs.set_index(["image", "target", "model_a", "model_b"])["pearson"]
        assert labelled["pearson"].tolist() == [rows[3, 1, "a", "b"], rows[4, 2, "a", "distilled"]]
        path.write_text("image,target,model_a,model_b,same,annotator\n99,1,a,b,1,a rule\n")
        with pytest.raises(ValueError, match=r"pair that this run does not have \(image 99, target 1"):
            study.labelled_pairs(run, pairs, view_share=0.5)
    finally:
        path.unlink()


def test_utilisation_comes_from_the_views_or_from_what_people_ticked(run):
    found, source = study.utilisation(run, NAMES)
    assert source == "views of the multi-view images that the maps show"
    assert list(found["class 3"].columns) == ["class 3 view 1", "class 3 view 2", "class 3 view 3"]
    names = features.FEATURES["frog"]
    ticks = ",".join("1" * len(names))
    run.annotations.mkdir(exist_ok=True)
    shown, visible = (run.annotations / f"rq2 - frogs{end}.csv" for end in ("", " - visible"))
    shown.write_text(f"image,model,{','.join(names)}\n0,a,{ticks}\n")
    visible.write_text(f"image,{','.join(names)}\n0,{ticks}\n")
    try:
        found, source = study.utilisation(run, NAMES)
        assert source == "ticked by people"
        assert found["frogs"].loc["a"].tolist() == [1.0] * len(names)
    finally:
        shown.unlink()
        visible.unlink()


def test_the_threshold_is_the_one_given_or_the_one_in_use(run):
    assert study.threshold(run, 0.25) == (0.25, "given as a parameter")
    with pytest.raises(FileNotFoundError, match="run threshold_determination first"):
        study.threshold(run, None)


def test_other_images_than_the_networks_were_trained_on_are_refused(run):
    path = run.folder / "run.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries | {"dataset_fingerprint": "other"}))
    try:
        with pytest.raises(ValueError, match="are not those that .* was trained on"):
            study.load_data(run)
    finally:
        path.write_text(json.dumps(entries))


def test_regime_table_holds_both_columns():
    table = study.regime_table(training.Regime(**asdict(training.Regime())), networks=4)
    assert table.loc["components"].tolist() == [4, 10]
