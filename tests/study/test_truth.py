"""What is known of a run's features, on a run of two barely trained networks. Labels in here are made by a rule."""

from dataclasses import replace

import numpy as np
import pytest

from kd_lib.measures.similarity import pairs_of_components
from kd_lib.networks import training
from kd_lib.people.features import FEATURES
from kd_lib.study import reading, rq2, truth
from kd_lib.study import threshold as study_threshold
from kd_lib.study.run import Run
from tests.trained_run import NAMES, make


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def pairs(here):
    return pairs_of_components([here.maps(name) for name in NAMES], here.labels, models=NAMES)


def test_views_count_only_where_they_were(here):
    present = here.dataset.probe.views.present.numpy().reshape(20, 1, 30)
    importance = truth.Importances(here).of("a")
    absent = np.broadcast_to(~present, importance.shape)
    assert (importance[absent] == 0).all()
    assert np.abs(importance[~absent]).max() > 1e-2


def test_importance_is_that_of_removing_the_views_one_by_one(here):
    dataset = here.dataset
    probe = dataset.probe
    c, v = (int(n) for n in probe.views.present[7].nonzero()[3])
    without = replace(probe, images=probe.views.without(c, v))
    net = here.network("b")
    expected = training.predict(net, dataset, probe)[7] - training.predict(net, dataset, without)[7]
    np.testing.assert_allclose(truth.Importances(here).of("b")[7, :, 3 * c + v], expected, atol=1e-4)


def test_the_ensembles_importance_is_that_of_the_network_it_is(here):
    dataset = here.dataset
    rows, view, images = truth.without_each_view(dataset)
    ensemble = here.network("ensemble")
    clean, without = (training.predict(ensemble, dataset, part).numpy() for part in (dataset.probe, images))
    found = truth.Importances(here).of(reading.ENSEMBLE)[rows, :, view]
    np.testing.assert_allclose(found, clean[rows] - without, atol=1e-4)


def test_use_of_views_is_told_of_every_network_and_image(here):
    found = truth.view_use(here, view_share=0.5)
    assert found.groupby("network").size().to_dict() == dict.fromkeys([*NAMES, reading.ENSEMBLE], 20)
    assert (found.used <= found.present).all()
    assert found["mass"].dropna().between(0, 1).all()
    assert found.hit.dropna().isin([0, 1]).all()


def test_single_view_answers_are_of_such_test_images(here):
    dataset = here.dataset
    found = truth.single_view_answers(here)
    single = dataset.test.views.single
    own = found[found.network == "b"]
    assert own.image.tolist() == dataset.test.index[single].tolist()
    right = training.predict(here.network("b"), dataset, dataset.test).argmax(1) == dataset.test.labels
    assert own.right.tolist() == right[single].tolist()
    shown = dataset.test.views.present[single]
    assert shown.numpy()[np.arange(len(own)), own["class"], own["view"]].all()


def test_settling_is_told_of_networks_explained_at_every_epoch(here):
    found = truth.settling(reading.open(here.run, threshold=0.5), view_share=0.5)
    assert set(found.model) == {"a"}
    assert len(found) == 20
    assert found["use"].isin([0, 1]).all()


def test_without_the_answers_it_says_what_to_run(here, monkeypatch, tmp_path):
    monkeypatch.setattr(here, "run", Run(tmp_path))
    with pytest.raises(FileNotFoundError, match="run generate_saliency_maps first"):
        truth.Importances(here)


def test_labels_come_from_the_views_where_nobody_labelled(here, pairs):
    labelled, source = study_threshold.labelled(here, pairs, view_share=0.5)
    assert source.startswith("no people; ground truth of the multi-view images")
    assert len(labelled) == 3 * 20 * 10
    assert labelled["same"].dtype == bool


def test_peoples_labels_come_first_and_are_named(here, pairs):
    path = here.run.annotations / "pairs.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("image,target,model_a,model_b,same,annotator\n3,1,b,a,1,a rule\n4,2,a,distilled,0,a rule\n")
    try:
        labelled, source = study_threshold.labelled(here, pairs, view_share=0.5)
        assert source == "1 people, 2 pairs (annotations/pairs.csv)"
        assert labelled["same"].tolist() == [True, False]
        rows = pairs.set_index(["image", "target", "model_a", "model_b"])["pearson"]
        assert labelled["pearson"].tolist() == [rows[3, 1, "a", "b"], rows[4, 2, "a", "distilled"]]
        path.write_text("image,target,model_a,model_b,same,annotator\n99,1,a,b,1,a rule\n")
        with pytest.raises(ValueError, match=r"pair that this run does not have \(image 99, target 1"):
            study_threshold.labelled(here, pairs, view_share=0.5)
    finally:
        path.unlink()


def test_utilisation_comes_from_the_views_or_from_what_people_ticked(here):
    found, source = rq2.utilised(here)
    assert source == "views of the multi-view images that the maps show"
    assert list(found["class 3"].columns) == ["class 3 view 1", "class 3 view 2", "class 3 view 3"]
    names = FEATURES["frog"]
    ticks = ",".join("1" * len(names))
    here.run.annotations.mkdir(exist_ok=True)
    shown, visible = (here.run.annotations / f"rq2 - frogs{end}.csv" for end in ("", " - visible"))
    shown.write_text(f"image,model,{','.join(names)}\n0,a,{ticks}\n")
    visible.write_text(f"image,{','.join(names)}\n0,{ticks}\n")
    try:
        found, source = rq2.utilised(here)
        assert source == "ticked by people"
        assert found["frogs"].loc["a"].tolist() == [1.0] * len(names)
    finally:
        shown.unlink()
        visible.unlink()
