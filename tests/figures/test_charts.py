import re

import numpy as np
import pandas as pd
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from kd_lib.figures import charts
from kd_lib.networks import architectures

WORDS = {"title": "What it shows", "description": 'Alt text with "quotes" & <tags>'}


def grid(**columns):
    return pd.DataFrame(columns)


KINDS = {"target": "on target", "kind": "component"}
CAT = {"class": "cat", "model": ["a", "b"]}
GROUPS = {"group": "g", "colour": "kind", "value_title": "v"}
CHARTS = {  # what is drawn, and how
    "training_curves": [grid(model="a", kind="component", epoch=[0, 1], loss=[np.nan, 1.0], accuracy=[10, 50])],
    "cumulative_share": [
        grid(panel="a", epoch=[0, 1], target="on target", crossing="first", share=[0.1, 1], low=0.05, high=1)
    ],
    "cumulative_by_class": [
        grid(**CAT, epoch=[0, 1], target="on target", share=[0.1, 1]),
        {"bends": grid(**CAT, target="on target", onset=1, proportion_memorised=0.0)},
    ],
    "onsets": [
        grid(**CAT, onset=3, onset_low=[2, np.nan], onset_high=[4, np.nan], proportion_memorised=0.1, phase="slower")
    ],
    "settling": [grid(use=[0, 1], map=[1, 1], images=[3, 4])],
    "heat_map": [grid(one=["a", "b"], two=["c", "c"], v=[0.25, 1.0]), {"x": "one", "y": "two", "value": "v"}],
    "boxes": [grid(**KINDS, g=["a", "b"], q05=0.1, q25=0.2, q50=0.3, q75=0.4, q95=0.5), GROUPS],
    "intervals": [grid(**KINDS, g=["a", "b"], share=0.5, low=0.4, high=0.6), GROUPS],
    "doses": [
        grid(arm="x", kind=["distilled", "component"], known=[0, 0], mean=[0.1, 0.5], low=[0.0, np.nan], high=0.6),
        {
            "points": grid(arm="x", kind="distilled", known=[0], seed=0, mean=[0.1]),
            "value_title": "accuracy",
            "chance": 0.1,
        },
    ],
    "threshold_sweep": [grid(**KINDS, threshold=[0.0, 0.5], share=[1, 0.4]), {"marks": [0.53], "colour": "kind"}],
    "similarity_by_kl": [
        grid(target="on target", kind=["distilled", "leave-one-out"], similarity=[0.9, 0.5], low=0.4, high=1.0).assign(
            **{"KL (nats)": [0.1, 1.0]}
        )
    ],
    "consensus": [
        grid(kind="component", model="a", epoch=[0, 1], similarity=[0.1, 0.9], last=[False, True]).assign(
            **{"accuracy (%)": [10.0, 80.0]}
        )
    ],
}


def draw(name):
    """What a notebook stores of a chart."""
    frame, options = (*CHARTS[name], {})[:2]
    return getattr(charts, name)(frame, **options, **WORDS)._repr_mimebundle_()[0]["text/html"]


@pytest.mark.parametrize("name", CHARTS)
def test_a_figure_is_one_picture_with_its_alternative_text_and_loads_nothing(name):
    text = draw(name)
    assert "Alt text with &quot;quotes&quot; &amp; &lt;tags&gt;" in text
    assert set(re.findall("<script([^>]*)>", text)) == {' type="application/json"'}  # nothing that runs
    assert not re.findall(r'(?:src|href)="https?:', text)


def test_marks_are_drawn():
    svg = draw("heat_map")
    assert "0.25" in svg
    assert "1.00" in svg
    assert "What it shows" in svg
    assert "mark-rect" in svg


def test_a_sweep_marks_its_thresholds():
    svg = draw("threshold_sweep")
    assert re.search('<g class="mark-rule role-mark[^>]*><line[^>]*/></g>', svg)
    assert re.search('<g class="mark-symbol role-mark[^>]*>(<path[^>]*/>){2}</g>', svg)


def test_where_there_is_nothing_to_draw_the_chart_says_so():
    text = charts.boxes(grid(g=[]), **GROUPS, **WORDS).data
    assert "Nothing to draw for “What it shows”" in text


# What people without red-sensitive and without green-sensitive cones see of linear red, green and blue.
# Machado, Oliveira & Fernandes (2009), "A Physiologically-based Model for Simulation of Color Vision Deficiency".
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


@pytest.mark.parametrize("sight", SIGHT)
def test_all_kinds_that_rq3_draws_together_are_told_apart(sight):
    kinds = ["component", "leave-one-out", "distilled", *architectures.TECHNIQUES]
    srgb = np.array([[int(charts.COLOURS[kind][i : i + 2], 16) / 255 for i in (1, 3, 5)] for kind in kinds])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHT[sight]), 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    apart = deltaE_ciede2000(lab[:, None], lab[None]) + 100 * np.eye(len(kinds))
    assert apart.min() > 15  # a difference of 2 is just noticeable


def test_the_same_chart_is_the_same_bytes():
    # A process numbers its gradients and clips, so that they differ on one page.
    first, second = (re.sub(r"(gradient_|clip)\d+", r"\1", draw("heat_map")) for _ in range(2))
    assert first == second
