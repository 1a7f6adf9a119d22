"""RQ1's networks that learn at a constant rate, and whether the training images are fitted."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import learning
from kd_lib.networks.architectures import CONSTANT_RATE
from kd_lib.study import rq1

LABELS = np.array([0, 1])
EARLY = np.array([0.0, 0.9, 0.9, 0.9, 1.0])
LATE = np.array([0.0, 0.0, 0.0, 0.9, 1.0])


def similarity(*curves):
    """One curve an image, the same for both classes: (E, N, K)."""
    return np.repeat(np.stack(curves, axis=1)[..., None], 2, axis=2)


def study(explained=True):
    own = {CONSTANT_RATE: similarity(LATE, EARLY)}
    checkpoints = SimpleNamespace(epochs=lambda name: list(range(5)))
    here = SimpleNamespace(
        t_c=0.5,
        labels=LABELS,
        techniques=[CONSTANT_RATE],
        run=SimpleNamespace(checkpoints=checkpoints),
        store=SimpleNamespace(epochs=lambda name: list(range(5)) if explained else [4]),
        maps_of=lambda names: None,
        similarity_to_final=lambda name, epoch: own[name][epoch],
        keep=lambda frame, table: frame,
    )
    targets = {True: "on target", False: "off target"}
    here.named = lambda frame: frame.assign(target=frame["on_target"].map(targets))
    return here


def test_a_constant_rate_is_compared_half_way():
    here = study()
    components = {"a": similarity(EARLY, EARLY), "b": similarity(EARLY, LATE)}
    own = here.named(learning.arrivals(components, LABELS, here.t_c))
    found, said = rq1.constant_rate(here, own)
    assert found.set_index("target")["difference"].to_dict() == pytest.approx(
        {"on target": ((1 - 0) + (0.5 - 1)) / 2, "off target": ((1 - 0) + (0.5 - 1)) / 2}
    )
    assert "on target: +25.0 points" in said
    none, said = rq1.constant_rate(study(explained=False), own)
    assert none.empty
    assert "No network was trained at a constant rate" in said


@pytest.mark.parametrize(
    ("rates", "said"),
    [((0.99, 1.0), "they are fitted"), ((0.9, 1.0), "they are not fitted"), ((None, 1.0), "not known")],
)
def test_memorised_may_be_said_where_the_training_images_are_fitted(rates, said):
    history = pd.DataFrame({"model": ["a", "b", "c"], "train_accuracy": [*rates, 0.0]})
    run = SimpleNamespace(read_csv=lambda name, made_by: history)
    assert said in rq1.fitted(SimpleNamespace(run=run, explained_at_every_epoch=["a", "b"]))
