"""How a chart gets on a page: as a picture that needs no script, and with what it takes to make it answer to touch.

The picture is inline SVG; it loads nothing and prints as it is. The specification beside it, small and with tooltips
and choices, is what the book's ``_static/charts.js`` draws in the picture's place where a page is read in a browser.
"""

import copy
import html
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import altair as alt
import vl_convert

VEGA_LITE = "6.4"  # the version of the pictures and of the script that the book serves
LINKED = "class"  # a choice of it is followed by all charts of a page
FEW_POINTS = 3000  # up to so many rows each point of a line shows its numbers
_NOISE = re.compile(r"(?<![\w#])(-?\d+\.\d{4,})")
_INNER_NAMES = re.compile(r' (?:role="graphics-\w+"|aria-(?:label|roledescription)="[^"]*")')


def enable() -> None:
    """Have Altair show charts this way, of as many rows as they have."""
    alt.data_transformers.disable_max_rows()
    alt.renderers.register("figure", figure)
    alt.renderers.enable("figure")


def figure(spec: dict, **_: Any) -> tuple[dict, dict]:
    """Render a Vega-Lite specification for a notebook; its description is the alternative text.

    `spec` is as Altair gives it, with its data in ``datasets``. Gives the output of a cell, data with ``text/html``,
    and its metadata.
    """
    # What is inside of a picture is hidden from screen readers: the names of its marks would only take up room.
    svg = _INNER_NAMES.sub("", vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))
    svg = _NOISE.sub(lambda number: f"{float(number[0]):.3f}".rstrip("0").rstrip("."), svg)
    svg = svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    text = html.escape(spec.get("description", ""), quote=True)
    live = json.dumps(pack(touchable(spec)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    picture = f'<div class="picture" role="img" aria-label="{text}">{svg}</div>'
    script = '<script type="application/json">' + live.replace("<", "\\u003c") + "</script>"
    return {"text/html": f'<div class="chart" style="background:#fff">{picture}{script}</div>'}, {}


def touchable(spec: dict) -> dict:
    """Let a chart show the numbers of a mark under the pointer, and fade what a reader did not choose.

    Choices are of a value of the colours' legend and, where there is one, of a class. Their names, fields and values
    are listed under ``usermeta``; each is a parameter of the chart that is null as long as nothing is chosen. The
    specification is left as it is; the one given back looks the same until it is touched.
    """
    spec = copy.deepcopy(spec)
    rows = [row for data in spec.get("datasets", {}).values() for row in data]
    # A line would tell its first number everywhere: its points tell theirs.
    spec.setdefault("config", {}).update(mark={"tooltip": True}, line={"tooltip": None}, area={"tooltip": None})
    units = list(_units(spec))
    choices = _choices(units, rows)
    for unit, channels, fields in units:
        _fade(channels, [choice for choice in choices if choice["field"] in fields])
        mark = unit["mark"] if isinstance(unit["mark"], dict) else {"type": unit["mark"]}
        if mark["type"] == "line" and "point" not in mark and "color" in channels and len(rows) <= FEW_POINTS:
            _tell_points(unit)
    spec["params"] = [{"name": choice["name"], "value": None} for choice in choices]
    spec["usermeta"] = {"choices": choices}
    return spec


def _choices(units: list[tuple[dict, dict, frozenset[str]]], rows: list[dict]) -> list[dict]:
    """List what can be chosen: the class, and the fields of legends of colours, with two or more values."""
    colours = [channels["color"] for _, channels, _ in units if "color" in channels]
    legends = [c["field"] for c in colours if c.get("type") == "nominal" and c.get("legend", True)]
    shown = set().union(*(fields for _, _, fields in units))
    choices = []
    for field in dict.fromkeys([LINKED, *legends]):
        values = _values(field, rows, colours)
        if field in shown and len(values) > 1:
            choices.append({"name": f"choice_{len(choices)}", "field": field, "values": values})
    return choices


def _values(field: str, rows: list[dict], colours: list[dict]) -> list:
    """Values of a field in the order of its colours, or as they come."""
    scales = (colour.get("scale", {}) for colour in colours if colour.get("field") == field)
    ordered = next((scale["domain"] for scale in scales if "domain" in scale), [])
    there = dict.fromkeys(row[field] for row in rows if row.get(field) is not None)
    return [*(value for value in ordered if value in there), *(value for value in there if value not in ordered)]


def _fade(channels: dict, choices: list[dict]) -> None:
    """Fade marks that are not of the values chosen, in place."""
    if choices:
        test = " && ".join(f"({c['name']} == null || datum['{c['field']}'] == {c['name']})" for c in choices)
        channels["fillOpacity"] = channels["strokeOpacity"] = {"condition": {"test": test, "value": 1}, "value": 0.12}
        details = channels.get("detail", [])
        # An aggregate knows only what its channels name: not the panel that it is in.
        named = [{"field": choice["field"], "type": "nominal"} for choice in choices]
        channels["detail"] = [*(details if isinstance(details, list) else [details]), *named]


def _tell_points(unit: dict) -> None:
    """Put invisible points on a line that tell its numbers, in place."""
    channels, line = unit["encoding"], {key: unit.pop(key) for key in ("mark", "encoding")}
    keys = ("field", "aggregate", "type", "title")
    words = {c["field"]: {key: c[key] for key in keys if c.get(key)} for c in _listed(channels) if "field" in c}
    details = [word for word in words.values() if word["type"] == "nominal"]
    place = {"x": channels["x"], "y": channels["y"], "detail": details, "tooltip": list(words.values())}
    unit["layer"] = [line, {"mark": {"type": "point", "opacity": 0, "size": 90, "filled": True}, "encoding": place}]


def _units(spec: dict, outer: frozenset[str] = frozenset()) -> Iterator[tuple[dict, dict, frozenset[str]]]:
    """Find what has a mark: itself, its channels, and the fields that they and the facets that it is in name."""
    facet = spec.get("facet", {})
    outer |= {part["field"] for part in (facet, facet.get("row", {}), facet.get("column", {})) if "field" in part}
    if "mark" in spec:
        channels = spec.setdefault("encoding", {})
        yield spec, channels, outer | {channel["field"] for channel in _listed(channels) if "field" in channel}
    for key in ("layer", "hconcat", "vconcat", "concat"):
        for part in spec.get(key, []):
            yield from _units(part, outer)
    if "spec" in spec:
        yield from _units(spec["spec"], outer)


def _listed(channels: dict) -> list[dict]:
    return [c for channel in channels.values() for c in (channel if isinstance(channel, list) else [channel])]


def pack(spec: dict) -> dict:
    """Make a specification small: only columns that it names, four significant digits, a word once.

    A data set becomes a mapping of columns; one of words is ``{"of": words, "at": their numbers}``.
    """
    said = json.dumps({key: value for key, value in spec.items() if key != "datasets"}, ensure_ascii=False)
    data = {}
    for name, rows in spec.get("datasets", {}).items():
        columns = dict.fromkeys(column for row in rows for column in row if column in said)
        data[name] = {column: _column([row.get(column) for row in rows]) for column in columns}
    small = {key: value for key, value in spec.items() if key not in ("$schema", "description")}
    return small | {"datasets": data}


def _column(values: list) -> list | dict:
    if all(isinstance(value, str) for value in values):
        words = list(dict.fromkeys(values))
        return {"of": words, "at": [words.index(value) for value in values]}
    return [_short(value) if isinstance(value, float) else value for value in values]


def _short(value: float) -> float | None:
    if not math.isfinite(value):
        return None  # JSON knows no other word for it
    value = float(f"{value:.4g}")
    return int(value) if value.is_integer() else value


def script() -> str:
    """JavaScript that gives a page Vega, and with it ``window.vegaEmbed``; takes seconds to put together."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return f"(() => {{\n{bundle}\n}})();\n"  # its names would collide with the theme's
