"""Figures without data: what the study is about and how it goes, drawn by code whenever the book is built.

The same code gives the same bytes. Text is drawn as shapes, so that no font is needed, and every figure has a white
ground, so that it is legible in dark mode, too.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from scipy.special import expit

from kd_lib import _files
from kd_lib.figures.charts import COLOURS

STYLE = {"svg.hashsalt": "kd_lib", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10}
STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
COMPONENT, LEFT_OUT, DISTILLED = COLOURS["component"], COLOURS["leave-one-out"], COLOURS["distilled"]
ENSEMBLE = COLOURS["ensemble"]
INK, FAINT = "#333333", "#999999"


def write_all(folder: Path) -> None:
    """Write every diagram as ``folder/NAME.svg``."""
    for name, draw in DIAGRAMS.items():
        _files.write_bytes(folder / f"{name}.svg", svg(draw))


def svg(draw: Callable[[], Figure]) -> bytes:
    """Render one of `DIAGRAMS` as an SVG document; the same one gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        draw().savefig(buffer, format="svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
    return buffer.getvalue()


def dark_knowledge() -> Figure:
    """Draw three kinds of target for an image of a dog: a label, a smoothed label, an ensemble's soft answer."""
    names = ["dog", "cat", "horse", "frog", "truck"]
    targets = {
        "Label": [1, 0, 0, 0, 0],
        "Smoothed label": [0.84, 0.04, 0.04, 0.04, 0.04],
        "Ensemble's answer": [0.66, 0.21, 0.09, 0.03, 0.01],
    }
    figure = Figure(figsize=(7.5, 2.4), layout="constrained")
    panels = figure.subplots(1, len(targets), sharey=True)
    for axes, (title, values), colour in zip(panels, targets.items(), (INK, FAINT, ENSEMBLE), strict=True):
        axes.bar(names, values, color=colour)
        axes.set(title=title, ylim=(0, 1.05))
        axes.tick_params(axis="x", labelrotation=40)
    panels[0].set_ylabel("probability asked for")
    return figure


def ideal_maps() -> Figure:
    """Draw what maps would look like if the multi-view theory held exactly: who finds which of three views."""
    places = {"A": (0.26, 0.72), "B": (0.74, 0.68), "C": (0.5, 0.26)}
    found = {"component a": "A", "component b": "B", "component c": "C", "ensemble": "ABC", "distilled": "ABC"}
    y, x = np.mgrid[0:1:60j, 0:1:60j]
    figure = Figure(figsize=(7.5, 1.9), layout="constrained")
    panels = figure.subplots(1, 1 + len(found))
    _empty(panels[0], "image")
    panels[0].set_facecolor("#eeeeee")
    for name, (left, bottom) in places.items():
        panels[0].add_patch(Rectangle((left - 0.13, bottom - 0.13), 0.26, 0.26, facecolor="white", edgecolor=INK))
        panels[0].text(left, bottom, name, ha="center", va="center", color=INK)
    for axes, (title, views) in zip(panels[1:], found.items(), strict=True):
        height = sum(np.exp(-((x - places[v][0]) ** 2 + (y - places[v][1]) ** 2) / 0.022) for v in views)
        axes.imshow(height, cmap="RdBu_r", vmin=-1.2, vmax=1.2, origin="lower", extent=(0, 1, 0, 1))
        _empty(axes, title, colour=COLOURS[title.split()[0]])
    return figure


def _empty(axes: Axes, title: str, *, colour: str = INK) -> None:
    """Leave a square panel with a title and a frame of the network's colour."""
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, fontsize=9, color=colour)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.5)


def curves() -> Figure:
    """Draw the logistic curve whose middle is T_c, and a response curve with two transitions."""
    figure = Figure(figsize=(7.5, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = np.linspace(-0.2, 1, 200)
    left.plot(x, expit(11 * (x - 0.5)), color=COMPONENT, linewidth=2)
    left.plot([-0.2, 0.5, 0.5], [0.5, 0.5, 0], color=INK, linewidth=1, linestyle="--")
    left.text(0.52, 0.05, r"$T_c$", color=INK)
    left.text(-0.17, 0.53, "as often same as different", fontsize=8, color=INK)
    left.set(xlabel="similarity of two maps", ylabel="share labelled same", ylim=(0, 1.03), xlim=(-0.2, 1))

    knots = np.array([[0, 0], [1.5, 0.03], [6, 0.52], [12, 0.6], [16, 0.86], [24, 1.0]])
    right.plot(*knots.T, color=COMPONENT, linewidth=2)
    for epoch, share, text, beside in ((6, 0.52, "onset", (6, -14)), (16, 0.86, "second transition", (-96, 5))):
        right.plot(epoch, share, "o", color=DISTILLED)
        right.annotate(text, (epoch, share), beside, textcoords="offset points", color=DISTILLED, fontsize=9)
    right.annotate("", (22.5, 1.0), (22.5, 0.52), arrowprops={"arrowstyle": "<->", "color": INK})
    right.plot([6, 23.5], [0.52, 0.52], color=INK, linewidth=1, linestyle="--")
    right.text(22, 0.6, "proportion\nmemorised", ha="right", fontsize=8, color=INK)
    right.set(xlabel="epoch", ylabel="share of maps that have arrived", ylim=(0, 1.03), xlim=(0, 24))
    return figure


def design() -> Figure:
    """Draw the study as a whole: from seeds to networks, to maps, to the threshold and the three questions."""
    figure = Figure(figsize=(7.5, 4.3))
    axes = _canvas(figure, 15, 8.6)
    _box(axes, 1.9, 7.4, "training\nimages", INK, width=2.8)
    _box(axes, 6.2, 7.4, "components\na, b, c … one seed each", COMPONENT, width=4)
    _box(axes, 10.6, 7.4, "ensemble\ntheir mean", ENSEMBLE, width=2.8)
    _box(axes, 13.6, 7.4, "distilled\nnetwork", DISTILLED, width=2.2)
    _box(axes, 1.9, 4.9, "probe images\nused for this only", INK, width=2.8)
    _box(axes, 7.2, 4.9, "saliency maps of every network,\nepoch, probe image and class", INK, width=6.4)
    _box(axes, 13, 4.9, "labelled pairs\npeople, or views\ntaken away", INK, width=3.4, height=1.7)
    _box(axes, 13, 2.9, r"threshold $T_c$", INK, width=3.4, height=0.9)
    _box(axes, 2.4, 1, "RQ1  when are\nfeatures learnt?", COMPONENT, width=4)
    _box(axes, 7.5, 1, "RQ2  do components\nuse different ones?", COMPONENT, width=4.4)
    _box(axes, 12.4, 1, "RQ3  does the distilled\nnetwork inherit them?", DISTILLED, width=4.6)
    for start, end in (
        ((3.3, 7.4), (4.2, 7.4)),
        ((8.2, 7.4), (9.2, 7.4)),
        ((12, 7.4), (12.5, 7.4)),
        ((3.3, 4.9), (4, 4.9)),
        ((6.2, 6.8), (6.2, 5.5)),
        ((10.6, 6.8), (9.4, 5.5)),
        ((13.4, 6.8), (10.2, 5.5)),
        ((10.4, 4.9), (11.3, 4.9)),
        ((13, 4.05), (13, 3.35)),
        ((11.3, 2.9), (7.5, 2.9)),
        ((2.4, 2.2), (2.4, 1.6)),
        ((7.5, 4.3), (7.5, 1.6)),
        ((12.4, 2.2), (12.4, 1.6)),
    ):
        _arrow(axes, start, end)
    axes.plot([2.4, 12.4], [2.2, 2.2], color=INK, linewidth=1.2)
    return figure


def rq3() -> Figure:
    """Draw what RQ3 compares: the distilled network and the components, with and without themselves in the ensemble."""
    figure = Figure(figsize=(7.5, 3.5))
    axes = _canvas(figure, 15, 7)
    _box(axes, 2.2, 5.8, "map of\ncomponent a", COMPONENT, width=3.2)
    _box(axes, 2.2, 3.5, "map of\ncomponent a", COMPONENT, width=3.2)
    _box(axes, 2.2, 1.2, "map of the\ndistilled network", DISTILLED, width=3.4)
    _box(axes, 8, 5.8, "ensemble's map\nmean of a, b, c, d", ENSEMBLE, width=3.8)
    _box(axes, 8, 3.5, "leave-one-out map\nmean of b, c, d", LEFT_OUT, width=3.8)
    _box(axes, 8, 1.2, "leave-one-out map\nmean of b, c, d", LEFT_OUT, width=3.8)
    for level in (5.8, 3.5, 1.2):
        _arrow(axes, (3.95, level), (6.1, level), both=True)
        axes.text(5.0, level + 0.18, "similarity", ha="center", fontsize=8, color=INK)
    axes.text(10.3, 5.8, "flattered: a is a part\nof what it is compared with", va="center", fontsize=9, color=INK)
    axes.plot([10.3, 10.6, 10.6, 10.3], [3.5, 3.5, 1.2, 1.2], color=INK, linewidth=1.2)
    axes.text(
        10.9,
        2.35,
        "the fair comparison: neither\nis a part of it, both stand\nbeside the same ensemble",
        va="center",
        fontsize=9,
        color=INK,
    )
    return figure


def _canvas(figure: Figure, width: float, height: float) -> Axes:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    return axes


def _box(axes: Axes, x: float, y: float, text: str, colour: str, *, width: float, height: float = 1.2) -> None:
    """Draw a box around its middle."""
    corner = (x - width / 2, y - height / 2)
    rounded = "round,pad=0,rounding_size=0.18"
    axes.add_patch(FancyBboxPatch(corner, width, height, rounded, facecolor="white", edgecolor=colour, linewidth=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK)


def _arrow(axes: Axes, start: Sequence[float], end: Sequence[float], *, both: bool = False) -> None:
    style = "<->" if both else "->"
    axes.annotate("", end, start, arrowprops={"arrowstyle": style, "color": INK, "linewidth": 1.2, "shrinkA": 0})


DIAGRAMS = {"dark_knowledge": dark_knowledge, "ideal_maps": ideal_maps, "curves": curves, "design": design, "rq3": rq3}
