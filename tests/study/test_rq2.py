"""RQ2's comparisons, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kd_lib.measures import bounds
from kd_lib.study import rq2, threshold, truth


def study(**changes):
    kept = {}
    here = SimpleNamespace(t_c=0.5, drawn=False, class_names=["cat", "dog"], kept=kept, **changes)
    here.keep = lambda frame, table, **made_with: kept.setdefault(table, frame)
    return here


def pairs():
    """Two pairs of networks on two images, each for its own class alone."""
    rows = [(p, image, p, [[0.9, 0.2], [0.8, 0.4]][image][p]) for image in (0, 1) for p in (0, 1)]
    frame = pd.DataFrame(rows, columns=["model_a", "image", "model_b", "pearson"])
    return frame.assign(target="on target", on_target=True, **{"class": "dog"})


def test_photographs_hold_pairs_against_the_last_two_epochs_of_one_network():
    last = pd.DataFrame({"image": [0, 1], "pearson": [0.9, 0.3], "target": "on target", "kind": bounds.LAST_TWO})
    floor = last.assign(kind=bounds.OTHER_CLASS, pearson=0.0)
    here = study()
    found = rq2.differ(here, pairs(), pd.concat([last, floor]), view_share=0.5).iloc[0]
    assert (found["what"], found["less"]) == ("two components", bounds.LAST_TWO)
    assert found["difference"] == pytest.approx(((0.5 - 1) + (0.5 - 0)) / 2)
    assert here.kept["rq2_differ"] is not None


def test_drawn_images_hold_pairs_against_those_that_use_the_same_views(monkeypatch):
    seen = {}

    def same(here, pairs, *, view_share):
        seen.update(targets=set(pairs["target"]), view_share=view_share)
        return np.array([True, False, True, True])

    monkeypatch.setattr(truth, "same_views", same)
    here = study()
    here.drawn = True
    found = rq2.differ(here, pairs(), pd.DataFrame({"kind": []}), view_share=0.4).iloc[0]
    assert found["difference"] == pytest.approx(((0.5 - 1) + (0.5 - 0.5)) / 2)
    assert found["less"] == rq2.SAME_VIEWS
    assert seen == {"targets": {1}, "view_share": 0.4}  # the class's number
    shares = rq2.same_views(here, pairs(), view_share=0.4).iloc[0]
    assert shares[["share", "maps", "images"]].tolist() == [0.75, 4, 2]


def test_both_criteria_are_held_against_similarity(monkeypatch):
    labels = {False: [True, False, True, False], True: [False, True, True, True]}
    monkeypatch.setattr(truth, "same_views", lambda *_, by_size, **__: np.array(labels[by_size]))
    here = study()
    assert threshold.criteria(here, pairs(), view_share=0.5, seed=0).empty
    here = study()
    here.drawn = True
    found = threshold.criteria(here, pairs(), view_share=0.5, seed=0).set_index(["criterion", "target"])
    assert found.loc[("relative", "on target"), ["share same", "AUC"]].tolist() == [0.5, 1.0]
    assert found.loc[("absolute", "on target"), ["share same", "AUC"]].tolist() == [0.75, 0.0]
