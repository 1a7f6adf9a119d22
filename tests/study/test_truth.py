"""What is known of a run's features, on a run of two barely trained networks. Labels in here are made by a rule."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr

from kd_lib.measures.similarity import pairs_of_components
from kd_lib.networks import training
from kd_lib.people.features import FEATURES
from kd_lib.study import reading, rq2, rq3, truth
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


def test_student_and_component_are_held_against_the_same_ensembles_views(here):
    table, gaps, said = rq3.importances(here, view_share=0.5)
    known, present = truth.Importances(here), here.dataset.probe.views.present.numpy().reshape(20, 30)
    own = {name: known.of(name)[np.arange(20), here.labels] for name in NAMES}

    def close(x, y):
        pairs = zip(own[x], own[y], present, strict=True)
        return np.mean([pearsonr(one[there], other[there]).statistic for one, other, there in pairs])

    mean = table.set_index(["what", "quantity", "target"])["mean"]
    left_out, student = close("a", "b"), (close("distilled", "a") + close("distilled", "b")) / 2
    assert mean["leave-one-out", "correlation", "on target"] == pytest.approx(left_out)
    assert mean["distilled", "correlation", "on target"] == pytest.approx(student)
    assert set(table["what"]) == {"leave-one-out", "distilled", "mixup"}
    difference = gaps.set_index(["what", "less", "quantity", "target"])["difference"]
    assert difference["distilled", "leave-one-out", "correlation", "on target"] == pytest.approx(student - left_out)
    assert len(said) == len(gaps) == 4
    pairs = pairs_of_components([here.maps(name) for name in ("a", "b")], here.labels, models=["a", "b"])
    same = truth.same_views(here, pairs, view_share=0.5)
    assert mean["leave-one-out", "same views", "on target"] == pytest.approx(same[pairs["on_target"]].mean())


def test_runs_that_cannot_say_which_views_count_say_so(here):
    def found(data_set="multiview", output="logits", without=()):
        other = reading.open(here.run)
        other.parameters = other.parameters | {"data_set": data_set, "ensemble_output": output}
        other.recipes = {name: recipe for name, recipe in other.recipes.items() if name not in without}
        return rq3.importances(other, view_share=0.5)

    for options, why in (
        ({"data_set": "cifar10"}, "Nobody knows which views"),
        ({"output": "probs"}, "averages probabilities"),
        ({"without": ["b"]}, "two components"),
    ):
        table, gaps, said = found(**options)
        assert table.empty
        assert gaps.empty
        assert why in said[0]
    table, gaps, said = found(without=["distilled"])
    assert set(table["what"]) == {"leave-one-out", "mixup"}
    assert gaps.empty
    assert said == ["No distilled network beside an ensemble whose importances are known: nothing to compare."]


def test_the_lottery_is_of_the_views_that_components_use(here):
    answers, _ = rq2.single_view_accuracy(here)
    by_view, summary, said = rq2.lottery(here, answers, view_share=0.5)
    used = truth.own_views_used(here, ["a", "b"], view_share=0.5)
    use = truth.view_use(here, view_share=0.5).set_index(["network", "image"])
    counted = used.groupby(["network", "image"])["used"].agg(["sum", "size"])
    assert counted["sum"].tolist() == use.loc[counted.index, "used"].tolist()
    assert counted["size"].tolist() == use.loc[counted.index, "present"].tolist()
    assert set(by_view["what"]) == {"used", "single-view accuracy"}
    shown = answers.groupby(["class", "view"])["image"].nunique() > 1  # of two views of a class, a summary can be made
    enough = shown.groupby("class").sum().gt(1).any()
    assert set(summary["what"]) == {"used", "single-view accuracy"} - (
        {"single-view accuracy"} if not enough else set()
    )
    assert by_view["networks"].eq(2).all()
    assert by_view[by_view["what"] == "used"]["images"].sum() == len(used) / 2
    assert len(said) == 2
    alone = reading.open(here.run)
    alone.recipes = {name: recipe for name, recipe in alone.recipes.items() if name != "b"}
    _, summary, said = rq2.lottery(alone, answers, view_share=0.5)
    assert summary.empty
    assert all("fewer than two components" in one for one in said)
