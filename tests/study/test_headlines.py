"""The numbers that are the study's result, by hand and beside what the notebooks compute."""

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import learning, transfer
from kd_lib.measures import threshold as thresholds
from kd_lib.measures.similarity import pairs_of_components
from kd_lib.measures.statistics import Interval
from kd_lib.networks import training
from kd_lib.study import headlines, reading, truth
from kd_lib.study.run import Run
from tests.trained_run import make

T_C = Interval(0.4, 0.3, 0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def of_maps(run):
    return headlines.of_maps(run, T_C).set_index("headline")


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


def test_what_maps_say_is_what_the_notebooks_say(run, of_maps):
    assert of_maps.loc["T_c", ["value", "low", "high"]].tolist() == list(T_C)
    frame = reading.to_ensemble(run)
    for row in transfer.shares_above(frame, T_C.estimate, by=["kind", "target"]).itertuples():
        if row.kind in ("leave-one-out", "distilled"):
            found = of_maps.loc[f"{row.kind} like the ensemble, {row.target}", ["value", "low", "high"]]
            assert found.tolist() == pytest.approx([row.share, row.low, row.high])
    for row in transfer.gain(frame, opponents=["leave-one-out"]).itertuples():
        found = of_maps.loc[f"similarity, distilled less leave-one-out, {row.target}", ["value", "low", "high"]]
        assert found.tolist() == [row.difference, row.low, row.high]
    names, labels = reading.compared(run), reading.labels(run)
    pairs = pairs_of_components([reading.maps(run, n) for n in names], labels, models=names)
    for row in transfer.shares_above(reading.named(pairs, run), T_C.estimate, by="target").itertuples():
        assert of_maps.loc[f"two components alike, {row.target}", "value"] == pytest.approx(row.share)
    arrivals = learning.arrivals({"a": reading.similarity_to_final(run, "a")}, labels, T_C.estimate)
    curves = learning.arrival_curves(arrivals, by=["on_target"])
    for row in curves[curves["epoch"] == 0].itertuples():  # half of one epoch
        target = headlines.ON if row.on_target else headlines.OFF
        assert of_maps.loc[f"arrived half-way, {target}", ["value", "low", "high"]].tolist() == pytest.approx(
            [row.share, row.low, row.high]
        )


def test_a_difference_is_that_of_its_parts(of_maps):
    for what in ("arrived half-way", "two components alike"):
        parts = [of_maps.loc[f"{what}, {target}", "value"] for target in (headlines.ON, headlines.OFF)]
        assert of_maps.loc[f"{what}, on less off target", "value"] == pytest.approx(parts[0] - parts[1])
    for target in (headlines.ON, headlines.OFF):
        student, opponent = (
            of_maps.loc[f"{k} like the ensemble, {target}", "value"] for k in ("distilled", "leave-one-out")
        )
        gain = of_maps.loc[f"like the ensemble, distilled less leave-one-out, {target}", "value"]
        assert gain == pytest.approx(student - opponent)
    assert sum(map(headlines.is_difference, of_maps.index)) == 6


def test_what_networks_can_do_is_what_their_answers_say(run):
    dataset = reading.load_data(run)
    found = headlines.of_networks(run, dataset).set_index("headline")["value"]
    last = {n: training.predict(reading.network(run, n), dataset, dataset.test) for n in ("a", "b", "distilled")}
    accuracy = {n: training.accuracy(logits, dataset.test.labels) for n, logits in last.items()}
    assert found["accuracy, component"] == pytest.approx((accuracy["a"] + accuracy["b"]) / 2)
    assert found["accuracy, distilled less component"] == pytest.approx(
        accuracy["distilled"] - (accuracy["a"] + accuracy["b"]) / 2
    )
    answers = truth.single_view_answers(run, dataset)
    by_view = answers.groupby(["network", "class", "view"])["right"].mean() > 0.5
    known = by_view.groupby("network").mean()
    assert found["views known, ensemble"] == pytest.approx(known["ensemble"])
    assert found["views known, component"] == pytest.approx(known[["a", "b"]].mean())


def test_the_threshold_is_that_of_the_notebook(run, monkeypatch):
    asked = []

    def fit(similarity, same, **options):
        asked.append((len(similarity), options["loss"]))
        return thresholds.Threshold(0.1, 0.0, 0.2, 0.3, len(similarity), 4.0)

    monkeypatch.setattr(thresholds, "fit_threshold", fit)
    assert headlines.threshold(run, loss="mse") == (0.1, 0.0, 0.2)
    assert asked == [(3 * 20 * 10, "mse")]  # all pairs of three networks

    def separable(*_, **__):
        raise ValueError("labels are separable")

    monkeypatch.setattr(thresholds, "fit_threshold", separable)
    assert headlines.threshold(run).estimate == thresholds.PUBLISHED


def test_one_network_has_a_threshold_and_nothing_else(run, monkeypatch):
    alone = {"a": run.entry("networks")["a"]}
    entry = Run.entry
    monkeypatch.setattr(Run, "entry", lambda self, key: alone if key == "networks" else entry(self, key))
    assert headlines.threshold(run).estimate == thresholds.PUBLISHED
    found = headlines.of_maps(run, T_C)
    assert set(found["question"]) == {"threshold", "RQ1"}
    assert set(headlines.of_networks(run, reading.load_data(run))["headline"]) == {
        "accuracy, component",
        "views known, component",
    }


def test_maps_that_are_no_numbers_count_as_unlike(run, monkeypatch):
    maps = reading.maps
    monkeypatch.setattr(reading, "maps", lambda *arguments: np.full_like(maps(*arguments), np.nan))
    found = headlines.of_maps(run, T_C).set_index("headline")["value"]
    assert found["two components alike, on target"] == 0
    assert headlines.threshold(run).estimate == thresholds.PUBLISHED
