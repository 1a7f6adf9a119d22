"""How close networks are to the ensemble, on a run of networks of one random layer."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from kd_lib import data
from kd_lib.maps.store import MapStore
from kd_lib.measures import beyond, outputs
from kd_lib.measures.similarity import pearson
from kd_lib.measures.transfer import BESIDE_OTHERS
from kd_lib.networks import architectures
from kd_lib.networks.architectures import penultimate_features
from kd_lib.study import reading, rq3
from tests.little_run import NAMES, make, network


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    found = make(tmp_path_factory.mktemp("run"))
    found.run.write_csv(pd.DataFrame({"model": NAMES, "epoch": 1, "test_accuracy": [0.1, 0.2, 0.3]}), "history")
    return found


@pytest.fixture(scope="module")
def dataset():
    return data.load("multiview", train_size=40, test_size=60, probe_per_class=2)


def load(_, name, epoch=1, device="auto"):
    return network(name, epoch)


class Squeezed(nn.Module):
    """Ends with a convolution, and has a linear layer before it."""

    def __init__(self):
        super().__init__()
        self.gate, self.last = nn.Linear(3, 3), nn.Conv2d(3, 10, 1)

    def forward(self, images):
        return self.last(images * self.gate(images.mean((2, 3)))[..., None, None]).mean((2, 3))


def test_features_are_what_the_last_linear_layer_is_given(dataset):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7), nn.ReLU(), nn.Dropout(0.5))
    model = nn.Sequential(body, nn.Linear(7, 10))
    found = penultimate_features(model, dataset, dataset.probe, batch_size=6)
    expected = body.eval()(dataset.normalise(dataset.probe.images))
    torch.testing.assert_close(found, expected.detach())
    assert not model[1]._forward_hooks
    resnet = architectures.build("resnet10", 10)
    assert penultimate_features(resnet, dataset, dataset.probe.select(torch.arange(2))).shape == (
        2,
        512,
    )
    for without in (Squeezed(), nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten())):
        assert penultimate_features(without, dataset, dataset.probe) is None


def test_every_network_is_beside_the_ensemble(here, monkeypatch):
    monkeypatch.setattr(reading.Study, "network", load)
    own, said = rq3.features(here)
    assert said == "Features: what the last linear layer is given."
    similarity = rq3.to_ensemble(here)
    found = rq3.closeness(here, similarity, own)
    assert list(found) == list(rq3.COLUMNS)
    assert len(found) == 5 * 20  # a and b as components and left out, and the distilled network
    clean = {name: here.clean(name) for name in NAMES}

    def of(kind, model):
        return found[(found["kind"] == kind) & (found["model"] == model)]

    np.testing.assert_allclose(of("leave-one-out", "a")[outputs.KL], outputs.kl_divergence(clean["b"], clean["a"]))
    mean = (clean["a"] + clean["b"]) / 2
    np.testing.assert_allclose(
        of("distilled", "distilled")[outputs.KL], outputs.kl_divergence(mean, clean["distilled"])
    )
    same = (clean["a"].argmax(1) == clean["b"].argmax(1)).mean()
    assert of("leave-one-out", "b")[outputs.AGREEMENT].mean() == same
    assert found[outputs.CKA].mean() == pytest.approx(1)  # all are given the pixels
    rows = similarity[(similarity["kind"] == "component") & (similarity["model"] == "b")]
    assert of("component", "b")[beyond.MAPS_ON].mean() == pytest.approx(rows[rows["on_target"]]["pearson"].mean())
    assert of("component", "b")[beyond.MAPS_OFF].mean() == pytest.approx(rows[~rows["on_target"]]["pearson"].mean())


def test_networks_without_features_have_no_cka_and_nothing_else_is_lost(here):
    found = rq3.closeness(here, rq3.to_ensemble(here), {"b": np.eye(20), "distilled": np.eye(20)})
    assert found[outputs.CKA].isna().all()  # a's are missing in every comparison
    assert found.drop(columns=outputs.CKA).notna().all().all()
    assert rq3.closeness(here, rq3.to_ensemble(here)[:0], {}).empty


def test_images_that_cannot_be_read_are_said(here, monkeypatch):
    def fail(*_):
        raise ValueError("no such folder")

    monkeypatch.setattr(reading, "images", fail)
    assert rq3.features(reading.open(here.run)) == (
        {},
        "No features, and no CKA: the images cannot be read (no such folder).",
    )


def test_the_network_without_a_linear_layer_is_named(here, monkeypatch):
    monkeypatch.setattr(reading.Study, "network", lambda _, n, **__: Squeezed() if n == "b" else network(n, 1))
    own, said = rq3.features(here)
    assert set(own) == {"a", "distilled"}
    assert said == "No features, and no CKA, of b: no linear layer at the end."


def test_the_consensus_leaves_the_network_out(here):
    found = rq3.to_consensus(here)
    assert list(found) == list(rq3.STATES)
    assert set(found["kind"]) == {"component", "distilled"}
    true = here.labels
    a, b, student = (here.maps(name)[np.arange(20), true] for name in NAMES)
    for name, expected in (("a", pearson(a, b)), ("b", pearson(a, b)), ("distilled", pearson(student, (a + b) / 2))):
        own = found[found["model"] == name]
        np.testing.assert_allclose(own["similarity"], expected, atol=1e-5)
        assert set(own["accuracy"]) == {{"a": 0.1, "b": 0.2, "distilled": 0.3}[name]}


def test_a_component_and_the_distilled_network_are_held_against_the_same_ensemble(here):
    found = rq3.to_the_rest(here)
    assert len(found) == 2 * 2 * 20
    true = here.labels
    clean = {name: here.clean(name) for name in NAMES}
    similarity = pearson(here.maps("distilled"), here.maps("a"))
    own = found[(found["kind"] == "distilled") & (found["without"] == "b")]
    np.testing.assert_allclose(own[beyond.MAPS_ON], similarity[np.arange(20), true], atol=1e-5)
    off = (similarity.sum(1) - similarity[np.arange(20), true]) / 9
    np.testing.assert_allclose(own[beyond.MAPS_OFF], off, atol=1e-5)
    np.testing.assert_allclose(own[outputs.KL], outputs.kl_divergence(clean["a"], clean["distilled"]))
    other = found[(found["kind"] == "leave-one-out") & (found["without"] == "b")]
    assert set(other["model"]) == {"b"}
    expected = pearson(here.maps("b"), here.maps("a"))[np.arange(20), true]
    np.testing.assert_allclose(other[beyond.MAPS_ON], expected, atol=1e-5)
    # Nobody taught this run's "distilled" network. Held against an ensemble of more networks it would look closer.
    assert beyond.beyond_verdict(beyond.beyond(found, similarity=beyond.MAPS_ON)) == "no gain"


def test_without_an_ensemble_there_is_nothing_and_the_analyses_say_so(here, monkeypatch):
    monkeypatch.setattr(reading.Study, "components", ["a"])
    assert rq3.to_consensus(here).empty
    close = rq3.closeness(here, rq3.to_ensemble(here), {})
    assert close.empty
    assert beyond.closeness_summary(close).empty
    assert "Cannot tell" in beyond.same_story(beyond.rank_correlations(close))
    rest = rq3.to_the_rest(here)
    assert "cannot be compared" in beyond.beyond_in_words(
        beyond.beyond(rest, similarity=beyond.MAPS_ON), beyond.MAPS_ON
    )
    assert beyond.similarity_by_kl(rest).empty
    assert beyond.tracking(beyond.track(rq3.to_consensus(here))).count("cannot tell") == 2


def test_a_diverged_network_is_left_out_and_the_analyses_go_on(here, monkeypatch):
    whole = MapStore.logits

    def diverged(store, model, epoch=None):
        found = whole(store, model, epoch)
        return np.full_like(found, np.nan) if model == "distilled" else found

    monkeypatch.setattr(MapStore, "logits", diverged)
    here = reading.open(here.run)
    close = rq3.closeness(here, rq3.to_ensemble(here), {})
    assert close[close["kind"] == "distilled"][[outputs.KL, beyond.MAPS_ON, outputs.ACCURACY]].isna().all().all()
    assert set(beyond.rank_correlations(close)["kind"]) == {"component", "leave-one-out"}
    rest = rq3.to_the_rest(here)
    assert "finite outputs" in beyond.beyond_in_words(beyond.beyond(rest, similarity=beyond.MAPS_ON), beyond.MAPS_ON)
    assert set(beyond.similarity_by_kl(rest)["kind"]) == {"leave-one-out"}
    assert (
        beyond.closeness_summary(close).set_index(["network", "measure"]).loc[("distilled", outputs.KL), "images"] == 0
    )
    assert not beyond.track(rq3.to_consensus(here))["states"].isna().any()


def test_the_distilled_network_stands_beside_the_ensembles_of_left_out_components():
    close = {"a": np.array([[0.1, 0.2], [0.3, 0.4]]), "b": np.array([[0.5, 0.6], [0.7, 0.8]])}
    here = SimpleNamespace(
        has_ensemble=True,
        distilled="student",
        components=["a", "b"],
        similarity_to_rest=lambda name, left_out: close[left_out],
    )
    columns = {"image": [0, 0, 1, 1], "class": ["cat", "dog"] * 2, "target": ["on", "off", "off", "on"]}
    frame = pd.DataFrame(columns | {"kind": "distilled", "pearson": 0.9, "cosine": 0.9})
    found = rq3.beside_the_same(here, pd.concat([frame, frame.assign(kind="component")]))
    beside = found[found["kind"] == BESIDE_OTHERS]
    assert beside.groupby(["image", "class"])["pearson"].mean().to_dict() == pytest.approx(
        {(0, "cat"): 0.3, (0, "dog"): 0.4, (1, "cat"): 0.5, (1, "dog"): 0.6}
    )
    assert len(found) == 8 + 8
    here.distilled = None
    assert len(rq3.beside_the_same(here, frame)) == 4
