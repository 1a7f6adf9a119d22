"""The numbers that are the study's result, by hand and beside what the notebooks compute."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.maps.store import MapStore
from kd_lib.measures import learning, transfer
from kd_lib.measures import threshold as thresholds
from kd_lib.measures.similarity import pairs_of_components
from kd_lib.measures.statistics import Interval
from kd_lib.networks import training
from kd_lib.study import headlines, reading, rq1, rq3, truth
from kd_lib.study import threshold as study_threshold
from tests.trained_run import make

T_C = Interval(0.4, 0.3, 0.5)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def of_maps(here):
    return headlines.of_maps(here, T_C).set_index("headline")


def test_shares_by_hand():
    frame = pd.DataFrame({"image": [0, 0, 0, 1, 1, 1], "target": [headlines.ON, headlines.OFF, headlines.OFF] * 2})
    rows = headlines.shares("Q", "x", frame.assign(above=[True, False, True, True, False, False]))
    assert [(question, name) for question, name, _ in rows] == [
        ("Q", "x, on target"),
        ("Q", "x, off target"),
        ("Q", "x, on less off target"),
    ]
    assert [numbers.estimate for *_, numbers in rows] == [1, 0.25, 0.75]
    assert (rows[2][2].low, rows[2][2].high) == (0.5, 1)  # twice the first image, or twice the second
    assert headlines.shares("Q", "x", frame.assign(above=False).iloc[:0]) == []


def test_what_maps_say_is_what_the_notebooks_say(here, of_maps):
    assert of_maps.loc["T_c", ["value", "low", "high"]].tolist() == list(T_C)
    frame = rq3.to_ensemble(here)
    for row in transfer.shares_above(frame, T_C.estimate, by=["kind", "target"]).itertuples():
        if row.kind in ("leave-one-out", "distilled"):
            found = of_maps.loc[f"{row.kind} like the ensemble, {row.target}", ["value", "low", "high"]]
            assert found.tolist() == pytest.approx([row.share, row.low, row.high])
    gains = transfer.gain(rq3.beside_the_same(here, frame), opponents=["leave-one-out"])
    assert len(gains) == 2
    for row in gains.itertuples():
        found = of_maps.loc[f"similarity, distilled less leave-one-out, {row.target}", ["value", "low", "high"]]
        assert found.tolist() == [row.difference, row.low, row.high]
    names, labels = here.compared, here.labels
    pairs = pairs_of_components([here.maps(n) for n in names], labels, models=names)
    for row in transfer.shares_above(here.named(pairs), T_C.estimate, by="target").itertuples():
        assert of_maps.loc[f"two components alike, {row.target}", "value"] == pytest.approx(row.share)
    arrivals = learning.arrivals({"a": rq1.similarity_to_final(here)["a"]}, labels, T_C.estimate)
    curves = learning.arrival_curves(arrivals, by=["on_target"])
    for row in curves[curves["epoch"] == 0].itertuples():  # half of one epoch
        target = headlines.ON if row.on_target else headlines.OFF
        assert of_maps.loc[f"arrived half-way, {target}", ["value", "low", "high"]].tolist() == pytest.approx(
            [row.share, row.low, row.high]
        )


def test_a_difference_is_that_of_its_parts(here, of_maps):
    for what in ("arrived half-way", "two components alike"):
        parts = [of_maps.loc[f"{what}, {target}", "value"] for target in (headlines.ON, headlines.OFF)]
        assert of_maps.loc[f"{what}, on less off target", "value"] == pytest.approx(parts[0] - parts[1])
    beside = rq3.beside_the_same(here, rq3.to_ensemble(here))
    share = (beside["pearson"] >= T_C.estimate).groupby([beside["kind"], beside["target"]]).mean()
    for target in (headlines.ON, headlines.OFF):
        gain = of_maps.loc[f"like the ensemble, distilled less leave-one-out, {target}", "value"]
        opponent = of_maps.loc[f"leave-one-out like the ensemble, {target}", "value"]
        assert gain == pytest.approx(share[transfer.BESIDE_OTHERS, target] - opponent)
    assert sum(map(headlines.is_difference, of_maps.index)) == 6


def test_what_networks_can_do_is_what_their_answers_say(here):
    dataset = here.dataset
    found = headlines.of_networks(here).set_index("headline")["value"]
    last = {n: training.predict(here.network(n), dataset, dataset.test) for n in ("a", "b", "distilled")}
    accuracy = {n: training.accuracy(logits, dataset.test.labels) for n, logits in last.items()}
    assert found["accuracy, component"] == pytest.approx((accuracy["a"] + accuracy["b"]) / 2)
    assert found["accuracy, distilled less component"] == pytest.approx(
        accuracy["distilled"] - (accuracy["a"] + accuracy["b"]) / 2
    )
    answers = truth.single_view_answers(here)
    by_view = answers.groupby(["network", "class", "view"])["right"].mean() > 0.5
    known = by_view.groupby("network").mean()
    assert found["views known, ensemble"] == pytest.approx(known["ensemble"])
    assert found["views known, component"] == pytest.approx(known[["a", "b"]].mean())


def test_the_threshold_is_that_of_the_notebook(here, monkeypatch):
    asked = []

    def fit(similarity, same, **options):
        asked.append((len(similarity), options["loss"]))
        return thresholds.Threshold(0.1, 0.0, 0.2, 0.3, len(similarity), 4.0)

    monkeypatch.setattr(thresholds, "fit_threshold", fit)
    assert study_threshold.determine(here, loss="mse") == (0.1, 0.0, 0.2)
    assert asked == [(3 * 20 * 10, "mse")]  # all pairs of three networks

    def separable(*_, **__):
        raise ValueError("labels are separable")

    monkeypatch.setattr(thresholds, "fit_threshold", separable)
    assert study_threshold.determine(here).estimate == thresholds.PUBLISHED


def test_one_network_has_a_threshold_and_nothing_else(here, monkeypatch):
    monkeypatch.setattr(here, "recipes", {"a": here.recipes["a"]})
    assert study_threshold.determine(here).estimate == thresholds.PUBLISHED
    found = headlines.of_maps(here, T_C)
    assert set(found["question"]) == {"threshold", "RQ1"}
    assert set(headlines.of_networks(here)["headline"]) == {
        "accuracy, component",
        "views known, component",
    }


def test_maps_that_are_no_numbers_count_as_unlike(here, monkeypatch):
    maps = MapStore.maps
    monkeypatch.setattr(MapStore, "maps", lambda *given, **more: np.full_like(maps(*given, **more), np.nan))
    here = reading.open(here.run)
    found = headlines.of_maps(here, T_C).set_index("headline")["value"]
    assert found["two components alike, on target"] == 0
    assert study_threshold.determine(here).estimate == thresholds.PUBLISHED
