"""The charts of the book. They compute nothing: each draws a tidy frame (Altair), and `render` puts it on a page.

Each is given its `title` and, as `description`, its alternative text; without rows it is a sentence that says so.
"""

import html
from collections.abc import Sequence
from functools import wraps

import altair as alt
import pandas as pd
from IPython.display import HTML

from kd_lib.figures import render

# One colour a kind of network throughout the book (Okabe & Ito's colour-blind-safe palette, then dark ones and sand).
COLOURS = {
    "component": "#0072B2",
    "leave-one-out": "#56B4E9",
    "distilled": "#D55E00",
    "plain": "#6A3D00",
    "label-smoothing": "#DDCC77",
    "ricap": "#44AA99",
    "mixup": "#332288",
    "cutmix": "#994455",
    "self-distillation": "#550022",
    "adam": "#FF5588",
    "constant-rate": "#000038",
    "ensemble": "#009E73",
    "other": "#CC79A7",
    "half-taught": "#000000",
    "control": "#999999",
    "floor": "#999999",
    "ceiling": "#777700",
    "on target": "#0072B2",
    "off target": "#E69F00",
    "first": "#0072B2",
    "lasting": "#D55E00",
}
MEASURE_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
TARGETS = ["on target", "off target"]
WIDTH = 560

render.enable()


def _chart(draw):
    """Let a chart take its title and its description, and say so where its frame has no rows."""

    @wraps(draw)
    def drawn(frame: pd.DataFrame, *more, title: str, description: str, **options):
        if len(frame):
            return draw(frame, *more, **options).properties(title=title, description=description)
        return HTML(f"<p>Nothing to draw for “{html.escape(title)}”: this run has none of it.</p>")

    return drawn


def _kinds(frame: pd.DataFrame, field: str = "kind") -> list[str]:
    """Kinds that a frame has, in the order of `COLOURS`."""
    return [kind for kind in COLOURS if kind in set(frame[field])]


def _colour(kinds: Sequence[str], field: str = "kind") -> alt.Color:
    scale = alt.Scale(domain=kinds, range=[COLOURS[kind] for kind in kinds])
    return alt.Color(f"{field}:N", title=None, scale=scale)


def _by_target(layers: alt.LayerChart) -> alt.FacetChart:
    """Draw one panel for targets that are an image's own class, one beside it for others."""
    return layers.properties(width=WIDTH // 2 - 60).facet(column=alt.Column("target:N", title=None, sort=TARGETS))


def _order(frame: pd.DataFrame, field: str) -> list:
    """Values of a column as they come."""
    return list(dict.fromkeys(frame[field]))


@_chart
def training_curves(history: pd.DataFrame) -> alt.HConcatChart:
    """Training loss, where known, and held-out accuracy by epoch (columns model, kind, epoch, loss, accuracy)."""
    base = alt.Chart(history).mark_line(strokeWidth=1.5)
    base = base.encode(x=alt.X("epoch:Q", title="epoch"), detail="model:N", color=_colour(_kinds(history)))
    base = base.properties(width=WIDTH // 2 - 40, height=200)
    panels = [base.encode(y=alt.Y("accuracy:Q", title="test accuracy (%)", scale=alt.Scale(zero=False)))]
    if "loss" in history:
        loss = base.transform_filter("datum.epoch > 0").encode(y=alt.Y("loss:Q", title="training loss (nats)"))
        panels.insert(0, loss)
    return alt.hconcat(*panels)


@_chart
def response_curves(binned: pd.DataFrame, curves: pd.DataFrame, thresholds: pd.DataFrame) -> alt.FacetChart:
    """Share of pairs called "same" by similarity, the fitted logistic curves and where each crosses one half.

    Parameters
    ----------
    binned : DataFrame
        Columns measure, similarity, same (share in the bin), pairs (number in the bin).
    curves : DataFrame
        Columns measure, loss, similarity, same (fitted probability).
    thresholds : DataFrame
        Columns measure, loss, value.
    """
    x = alt.X("similarity:Q", title="similarity of the two maps", scale=alt.Scale(domain=[-1, 1]))
    y = alt.Y("same:Q", title="share of pairs with the same features", scale=alt.Scale(domain=[0, 1]))
    loss = alt.Color("loss:N", title="fitted by", scale=alt.Scale(range=["#D55E00", "#009E73"]))
    frames = {"bin": binned, "curve": curves, "at": thresholds}
    base = alt.Chart(pd.concat([frame.assign(layer=name) for name, frame in frames.items()]))
    layers = alt.layer(
        base.mark_point(filled=True, color="#777")
        .encode(x=x, y=y, size=alt.Size("pairs:Q", title="pairs"))
        .transform_filter("datum.layer == 'bin'"),
        base.mark_line().encode(x=x, y=y, color=loss).transform_filter("datum.layer == 'curve'"),
        base.mark_rule(strokeDash=[4, 3]).encode(x="value:Q", color=loss).transform_filter("datum.layer == 'at'"),
    ).properties(width=WIDTH // 2 - 50, height=220)
    return layers.facet(column=alt.Column("measure:N", title=None))


@_chart
def roc(curves: pd.DataFrame) -> alt.LayerChart:
    """ROC curves (columns measure, false positive rate, true positive rate); dashed is a measure that tells nothing."""
    order, base = _order(curves, "measure"), alt.Chart(curves).mark_line()
    lines = base.encode(
        x=alt.X("false positive rate:Q", title="share of different pairs that reach the threshold"),
        y=alt.Y("true positive rate:Q", title="share of same pairs that reach it"),
        color=alt.Color("measure:N", title=None, sort=order, scale=alt.Scale(domain=order, range=MEASURE_COLOURS)),
        order="false positive rate:Q",
    )
    chance = alt.Chart(pd.DataFrame({"x": [0, 1]})).mark_line(strokeDash=[4, 3], color="#777").encode(x="x:Q", y="x:Q")
    return alt.layer(chance, lines).properties(width=280, height=280)


@_chart
def cumulative_share(shares: pd.DataFrame) -> alt.FacetChart:
    """Share of maps that have reached the threshold, by epoch, with its band: a panel a ``panel``.

    Columns panel, target, crossing (first or lasting), epoch, share, low, high. Dashed is the lasting crossing.
    """
    base = alt.Chart(shares).encode(
        x=alt.X("epoch:Q", title="epoch"), color=_colour(TARGETS, "target"), detail="crossing:N"
    )
    y = {"title": "share of maps arrived", "scale": alt.Scale(domain=[0, 1])}
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", **y), y2="high:Q").transform_filter("isValid(datum.low)")
    line = base.mark_line().encode(
        y=alt.Y("share:Q", **y),
        strokeDash=alt.StrokeDash("crossing:N", title="arrival", scale=alt.Scale(domain=["first", "lasting"])),
    )
    panels = alt.Facet("panel:N", title=None, sort=_order(shares, "panel"))
    return alt.layer(band, line).properties(width=170, height=140).facet(facet=panels, columns=3)


@_chart
def cumulative_by_class(shares: pd.DataFrame, *, bends: pd.DataFrame) -> alt.FacetChart:
    """Draw a panel a class (columns class, model, target, epoch, share): thin lines are networks, thick their mean.

    On the networks' lines lie their bends (columns class, model, target, onset, proportion_memorised).
    """
    dots = bends[["class", "model", "target"]].assign(epoch=bends["onset"], share=1 - bends["proportion_memorised"])
    chart = alt.Chart(pd.concat([shares.assign(layer="line"), dots.assign(layer="bend")])).encode(
        x=alt.X("epoch:Q", title="epoch"),
        y=alt.Y("share:Q", title="share arrived", scale=alt.Scale(domain=[0, 1])),
        color=_colour(TARGETS, "target"),
    )
    lines = chart.transform_filter("datum.layer == 'line'")
    single = lines.mark_line(strokeWidth=0.7, opacity=0.5).encode(detail="model:N")
    mean = lines.mark_line(strokeWidth=2).encode(y=alt.Y("mean(share):Q"))
    bend = chart.mark_circle(size=60, opacity=1, stroke="white").transform_filter("datum.layer == 'bend'")
    layers = alt.layer(single, mean, bend).properties(width=110, height=90)
    return layers.facet(facet=alt.Facet("class:N", title=None), columns=5)


@_chart
def onsets(found: pd.DataFrame) -> alt.FacetChart:
    """Onsets with their intervals (columns class, model, onset, onset_low, onset_high, proportion_memorised, phase)."""
    base = alt.Chart(found).encode(y=alt.Y("model:N", title=None), color=alt.Color("phase:N", title=None))
    x = alt.X("onset:Q", title="epoch")
    size = alt.Size("proportion_memorised:Q", title="share still to come", scale=alt.Scale(range=[25, 200]))
    rule = base.mark_rule().encode(x=alt.X("onset_low:Q", title="epoch"), x2="onset_high:Q")
    layers = alt.layer(rule.transform_filter("isValid(datum.onset_low)"), base.mark_circle().encode(x=x, size=size))
    return layers.properties(width=110, height=alt.Step(11)).facet(facet=alt.Facet("class:N", title=None), columns=5)


@_chart
def settling(counts: pd.DataFrame) -> alt.LayerChart:
    """How many images settle when (columns use and map, both epochs, and images); on the line both do at once."""
    last = float(counts[["use", "map"]].max(axis=None))
    line = alt.Chart(pd.DataFrame({"use": [0, last], "map": [0, last]}))
    x = alt.X("use:Q", title="epoch at which the use of views settles")
    y = alt.Y("map:Q", title="epoch at which the map settles")
    layers = alt.layer(
        line.mark_line(strokeDash=[4, 3], color="#777").encode(x=x, y=y),
        alt.Chart(counts).mark_circle(color="#0072B2").encode(x=x, y=y, size=alt.Size("images:Q", title="maps")),
    )
    return layers.properties(width=280, height=280)


@_chart
def boxes(
    numbers: pd.DataFrame, *, group: str, colour: str, value_title: str, bands: pd.DataFrame | None = None
) -> alt.FacetChart:
    """Draw box plots from quantiles (q05, q25, q50, q75, q95): a panel a target, a box a ``group`` and ``colour``.

    Behind them, a grey band for each row of ``bands`` (columns target, band: its name, low, high).
    """
    kinds = _kinds(numbers, colour)
    x = alt.X(f"{group}:N", title=None, axis=alt.Axis(labelAngle=-40))
    offset = alt.XOffset(f"{colour}:N", sort=kinds)
    scale = alt.Scale(domain=[min(0.0, float(numbers["q05"].min())), 1])
    tint = _colour(kinds, colour)
    grey = [] if bands is None else [bands.assign(layer="band")]
    chart = alt.Chart(pd.concat([numbers.assign(layer="box"), *grey]))
    base = chart.encode(x=x, xOffset=offset).transform_filter("datum.layer == 'box'")
    behind = chart.transform_filter("datum.layer == 'band'").encode(y=alt.Y("low:Q", title=value_title, scale=scale))
    area = behind.mark_rect(color="#888", opacity=0.18).encode(y2="high:Q")
    name = behind.mark_text(color="#666", align="left", dx=3, dy=-6, fontSize=10).encode(x=alt.value(0), text="band:N")
    low_high = base.mark_rule().encode(y=alt.Y("q05:Q", title=value_title, scale=scale), y2="q95:Q", color=tint)
    box = base.mark_bar(size=90 / (len(kinds) * len(set(numbers[group]))) + 3).encode(y="q25:Q", y2="q75:Q", color=tint)
    median = base.mark_tick(color="white", thickness=2, size=9).encode(y="q50:Q")
    layers = alt.layer(area, name, low_high, box, median).properties(width=WIDTH, height=190)
    return layers.facet(row=alt.Row("target:N", title=None, sort=TARGETS))


@_chart
def intervals(shares: pd.DataFrame, *, group: str, colour: str, value_title: str) -> alt.FacetChart:
    """Estimates with their intervals (columns share, low, high, target): a panel a target."""
    kinds = _kinds(shares, colour)
    base = alt.Chart(shares).encode(
        y=alt.Y(f"{group}:N", title=None),
        yOffset=alt.YOffset(f"{colour}:N", sort=kinds),
        color=_colour(kinds, colour),
    )
    domain = alt.Scale(domain=[min(0.0, float(shares["low"].min())), 1])
    layers = alt.layer(
        base.mark_rule().encode(x=alt.X("low:Q", title=value_title, scale=domain), x2="high:Q"),
        base.mark_point(filled=True, size=45).encode(x=alt.X("share:Q", scale=domain)),
    )
    return _by_target(layers.properties(height=alt.Step(9)))


@_chart
def doses(curve: pd.DataFrame, points: pd.DataFrame, *, value_title: str, chance: float) -> alt.FacetChart:
    """Draw what networks have of a feature by how many teachers know it: a panel an arm, a line a kind of network.

    Columns arm, kind, known, mean, and, of the curve, low and high; a small dot of `points` is one seed. Components and
    the floor do not depend on teachers, and are dashed, as is `chance`.
    """
    chart = alt.Chart(pd.concat([curve.assign(layer="curve"), points.assign(layer="seed")]))
    ticks = alt.Axis(format="d", values=sorted(set(curve["known"])))
    base = chart.encode(
        x=alt.X("known:Q", title="teachers that know the view", axis=ticks),
        color=_colour(_kinds(curve)),
    )
    scale = alt.Scale(domain=[min(0.0, float(curve["low"].min())), max(0.1, float(curve["high"].max()))])
    y = alt.Y("mean:Q", title=value_title, scale=scale)
    mean = base.transform_filter("datum.layer == 'curve'")
    taught = "datum.kind == 'distilled' || datum.kind == 'ensemble'"
    layers = alt.layer(
        chart.mark_rule(color="#777", strokeDash=[2, 2]).encode(y=alt.YDatum(chance, scale=scale)),
        mean.transform_filter(f"!({taught})").mark_line(strokeDash=[4, 3]).encode(y=y),
        mean.transform_filter(taught).mark_line(point=True).encode(y=y),
        mean.transform_filter(taught).mark_rule().encode(y=alt.Y("low:Q", title=value_title, scale=scale), y2="high:Q"),
        base.transform_filter(f"datum.layer == 'seed' && ({taught})").mark_circle(size=14, opacity=0.5).encode(y=y),
    ).properties(width=WIDTH // 2 - 60, height=220)
    return layers.facet(facet=alt.Facet("arm:N", title=None, sort=_order(curve, "arm")), columns=2)


@_chart
def by_choice(numbers: pd.DataFrame) -> alt.FacetChart:
    """Draw a panel a headline: its value and interval under each choice, and a line at the run's own value.

    Columns question, headline, choice, value, low, high, default, differs: see `sensitivity.beside_default`.
    """
    panels = numbers.assign(panel=numbers["question"] + ": " + numbers["headline"])
    base = alt.Chart(panels).encode(
        y=alt.Y("choice:N", title=None, sort=_order(panels, "choice")),
        color=alt.condition("datum.differs", alt.value(COLOURS["off target"]), alt.value(COLOURS["on target"])),
    )
    scale = alt.Scale(zero=False)
    layers = alt.layer(
        alt.Chart(panels).mark_rule(color="#777").encode(x=alt.X("default:Q", scale=scale)),
        base.mark_rule().encode(x=alt.X("low:Q", title="share or similarity", scale=scale), x2="high:Q"),
        base.mark_point(filled=True, size=40).encode(x=alt.X("value:Q", scale=scale)),
    ).properties(width=WIDTH // 4, height=alt.Step(12))
    header = alt.Header(labelLimit=WIDTH // 2, labelFontSize=9)
    chart = layers.facet(facet=alt.Facet("panel:N", title=None, sort=_order(panels, "panel"), header=header), columns=2)
    return chart.resolve_scale(x="independent")


@_chart
def threshold_sweep(
    shares: pd.DataFrame, marks: Sequence[float], *, colour: str, value_title: str = "share of maps above it"
) -> alt.FacetChart:
    """Share of maps by the threshold it counts from (columns threshold, share, target), with some thresholds marked."""
    rules = pd.DataFrame({"at": marks}).merge(shares[["target"]].drop_duplicates(), how="cross")
    base = alt.Chart(pd.concat([shares, rules]))
    layers = alt.layer(
        base.mark_line(point=True)
        .encode(
            x=alt.X("threshold:Q", title="threshold T_c"),
            y=alt.Y("share:Q", title=value_title, scale=alt.Scale(domain=[0, 1])),
            color=_colour(_kinds(shares, colour), colour),
        )
        .transform_filter("isValid(datum.threshold)"),
        base.mark_rule(strokeDash=[4, 3], color="#777").encode(x="at:Q").transform_filter("isValid(datum.at)"),
    )
    return _by_target(layers.properties(height=200))


@_chart
def heat_map(cells: pd.DataFrame, *, x: str, y: str, value: str, diverging: bool = False) -> alt.LayerChart:
    """Draw a matrix of numbers, each written in its cell (long-form columns ``x``, ``y``, ``value``).

    Colours are for numbers from 0 to 1, or, if they are ``diverging``, from -1 to 1.
    """
    base = alt.Chart(cells).encode(
        x=alt.X(f"{x}:N", sort=_order(cells, x), title=x, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y(f"{y}:N", sort=_order(cells, y), title=y),
    )
    scheme, domain = ("redblue", [-1, 1]) if diverging else ("viridis", [0, 1])
    dark = f"abs(datum['{value}']) > 0.6" if diverging else f"datum['{value}'] < 0.5"
    scale = alt.Scale(scheme=scheme, domain=domain, reverse=diverging)
    rect = base.mark_rect().encode(color=alt.Color(f"{value}:Q", title=value, scale=scale))
    text = base.mark_text(fontSize=10).encode(
        text=alt.Text(f"{value}:Q", format=".2f"),
        color=alt.condition(dark, alt.value("white"), alt.value("black")),
    )
    return alt.layer(rect, text).properties(width=alt.Step(40), height=alt.Step(30))


@_chart
def similarity_by_kl(bins: pd.DataFrame) -> alt.FacetChart:
    """Mean similarity of maps by how far outputs are (columns target, kind, KL (nats), similarity, low, high)."""
    at = alt.X("KL (nats):Q", title="KL(ensemble || network) (nats)", scale=alt.Scale(type="log"))
    base = alt.Chart(bins).encode(x=at, color=_colour(_kinds(bins)))
    scale = alt.Scale(domain=[min(0.0, float(bins["low"].min())), 1])
    layers = alt.layer(
        base.mark_rule().encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(point=True).encode(y=alt.Y("similarity:Q", title="Pearson similarity of maps", scale=scale)),
    )
    return _by_target(layers.properties(height=200))


@_chart
def consensus(states: pd.DataFrame) -> alt.LayerChart:
    """Accuracy (%) by similarity to the consensus (columns kind, model, epoch, similarity, accuracy (%)).

    A line follows a network through its epochs; a large point is its last one (column last).
    """
    base = alt.Chart(states).encode(
        x=alt.X("similarity:Q", title="Pearson similarity to the consensus, own class", scale=alt.Scale(zero=False)),
        y=alt.Y("accuracy (%):Q", title="test accuracy (%)", scale=alt.Scale(zero=False)),
        color=_colour(_kinds(states)),
        detail="model:N",
    )
    path = base.mark_line(strokeWidth=1, opacity=0.5, point=alt.OverlayMarkDef(size=15)).encode(order="epoch:Q")
    last = base.mark_point(filled=True, size=90).transform_filter("datum.last")
    return alt.layer(path, last).properties(width=WIDTH, height=260)
