"""Which images are classified correctly, on a run of barely trained networks."""

import pytest

from kd_lib.networks import training
from kd_lib.study import gaps, reading
from tests import trained_run


def test_answers_come_from_the_networks(run):
    dataset = reading.load_data(run)
    found = gaps.right_answers(run, dataset, device="cpu")
    assert dict(zip(found["model"], found["kind"], strict=True)) == {
        "a": "component",
        "b": "component",
        "distilled": "distilled",
        "ensemble": "ensemble",
    }
    own = found.groupby("model")["right"].mean()
    history = reading.accuracies(run, dataset, device="cpu").groupby("model")["test_accuracy"].last()
    assert own[["a", "b", "distilled"]].tolist() == pytest.approx(history[["a", "b", "distilled"]].tolist())
    together = training.predict(reading.ensemble(run, device="cpu"), dataset, dataset.test)
    assert own["ensemble"] == pytest.approx(training.accuracy(together, dataset.test.labels))
    assert set(found["image"]) == set(dataset.test.index.tolist())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_run.make(tmp_path_factory.mktemp("run"))
