"""The page of RQ1 on runs that leave it little or nothing to say: its cells, with maps that a test made up."""

import ast
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from kd_lib.study import rq1, truth
from kd_lib.study.reading import Study
from kd_lib.study.run import Run

PAGE = Path(__file__).resolve().parents[2] / "notebooks" / "rq1.py"


def arriving(networks, epochs, images, classes):
    """Similarities that grow over training, at another speed for every map."""
    rng = np.random.default_rng(0)
    speed = rng.uniform(0.5, 3, (networks, 1, images, classes))
    grown = np.clip(np.arange(epochs)[None, :, None, None] / (epochs - 1) * speed, 0, 1)
    grown[:, -1] = 1
    return dict(zip("abcdefghij", grown, strict=False))


@pytest.fixture
def read(monkeypatch, tmp_path, capsys):
    """Run the cells, drawing every figure; give what was printed and the run."""

    def run(similarity, labels, *, settled=None):
        place = Run(tmp_path)
        place.claim({}, dataset_fingerprint="none")
        place.record("class_names", [f"class {k}" for k in range(10)])
        place.write_csv(pd.DataFrame({"model": list(similarity), "train_accuracy": 1.0}), "history")
        monkeypatch.setattr(Study, "labels", np.asarray(labels))
        monkeypatch.setattr(Study, "explained_at_every_epoch", list(similarity))
        monkeypatch.setattr(rq1, "similarity_to_final", lambda here: similarity)
        monkeypatch.setattr(Study, "drawn", settled is not None)
        monkeypatch.setattr(truth, "settling", lambda here, view_share: settled)

        def display(thing):
            for name in ("_repr_mimebundle_", "_repr_html_"):
                if hasattr(thing, name):
                    return getattr(thing, name)()

        names = {"display": display}
        for cell in jupytext.read(PAGE).cells:
            if cell.cell_type == "code":
                *body, last = ast.parse(cell.source).body
                exec(compile(ast.Module(body, []), "cell", "exec"), names)
                if isinstance(last, ast.Expr):
                    display(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
                else:
                    exec(compile(ast.Module([last], []), "cell", "exec"), names)
                if "parameters" in cell.metadata.get("tags", []):
                    names |= {"run": str(tmp_path), "threshold": 0.5}
        return capsys.readouterr().out, place

    return run


LABELS = np.repeat(np.arange(5), 4)


def test_every_table_of_a_whole_study(read):
    settled = pd.DataFrame({"model": "a", "image": range(20), "map": np.arange(20) % 7, "use": np.arange(20) % 6})
    said, place = read(arriving(3, 9, 20, 5), LABELS, settled=settled)
    columns = {
        "crossing_times": ["model", "target", "crossing", "median", "median_low", "share", "low", "high", "censored"],
        "curves": ["model", "target", "on_target", "crossing", "epoch", "share", "low", "high", "maps"],
        "curves_lasting": ["model", "target", "crossing", "epoch", "share"],
        "bands": ["target", "crossing", "epoch", "share", "low", "high", "lowest", "highest", "networks"],
        "curves_by_class": ["model", "class", "target", "on_target", "epoch", "share", "low", "high", "maps"],
        "curves_by_class_lasting": ["model", "class", "target", "epoch", "share"],
        "transitions": ["model", "class", "target", "transition", "onset", "proportion_memorised", "support"],
        "transitions_overall": ["model", "target", "transition", "onset", "onset_low", "onset_high", "support"],
        "onsets": ["class", "onset", "proportion_memorised", "support", "networks"],
        "second_transitions": ["model", "class", "target", "able", "second", "support"],
        "second_by_class": ["class", "networks", "shown", "low", "high", "p", "p (Holm)", "verdict"],
        "settling": ["model", "image", "map", "use"],
        "settling_agreement": ["quantity", "estimate", "low", "high"],
        "sweep": ["target", "crossing", "threshold", "share", "low", "high", "median", "censored"],
    }
    for name, expected in columns.items():
        table = place.read_csv(f"rq1_{name}", made_by="rq1")
        assert set(expected) <= set(table), name
        assert len(table), name
    assert "on target, first arrival: half of the maps by epoch " in said
    assert "Second transitions: cannot tell, these curves have too few epochs" in said
    assert "Maps and views: " in said


@pytest.mark.parametrize(
    ("similarity", "labels", "words"),
    [
        ({}, LABELS, ["networks with maps of every epoch: none", "cannot tell, no network has maps", "Nobody knows"]),
        (arriving(1, 30, 20, 5), LABELS, ["Second transitions: "]),
        (arriving(2, 9, 6, 1), [0] * 6, ["on target, lasting arrival"]),
        (arriving(2, 2, 20, 5), LABELS, ["half of the maps only with the last epoch, by construction"]),
        ({"a": np.full((9, 20, 5), np.nan)}, LABELS, ["100.0% constant in the end"]),
        ({"a": arriving(1, 9, 20, 5)["a"], "b": arriving(1, 4, 20, 5)["a"]}, LABELS, ["T_c = 0.50"]),
    ],
    ids=[
        "no epochs",
        "one network",
        "one class",
        "two epochs",
        "constant maps",
        "networks trained for different times",
    ],
)
def test_it_says_what_it_cannot_tell_and_finishes(read, similarity, labels, words):
    said, place = read(similarity, labels)
    for phrase in words:
        assert phrase in said
    assert "share" in place.read_csv("rq1_sweep", made_by="rq1")
