import json
import re

import altair as alt
import pandas as pd
import pytest

from kd_lib.figures import render

ROWS = {"class": ["cat", "dog"] * 4, "kind": ["one"] * 4 + ["two"] * 4, "epoch": [0, 0, 1, 1] * 2}
ROWS = pd.DataFrame(ROWS | {"share": 1 / 3, "unused": "word"})


@pytest.fixture(scope="module")
def chart():
    lines = alt.Chart(ROWS).encode(
        x="epoch:Q", y="mean(share):Q", color=alt.Color("kind:N", scale=alt.Scale(domain=["two", "one"]))
    )
    return lines.mark_line().facet("class:N", title="T").properties(description="a </script> & more")


@pytest.fixture(scope="module")
def output(chart):
    return render.figure(chart.to_dict())[0]["text/html"]


@pytest.fixture(scope="module")
def live(output):
    return json.loads(re.search('<script type="application/json">(.*)</script>', output)[1])


def test_choices_are_the_class_and_the_values_of_the_legend_in_its_order(live):
    assert [(c["field"], c["values"]) for c in live["usermeta"]["choices"]] == [
        ("class", ["cat", "dog"]),
        ("kind", ["two", "one"]),
    ]
    assert [p["name"] for p in live["params"]] == ["choice_0", "choice_1"]


def test_what_is_not_chosen_fades_and_an_aggregate_knows_its_panel(live):
    line, points = live["spec"]["layer"]
    assert "datum['class'] == choice_0" in line["encoding"]["strokeOpacity"]["condition"]["test"]
    assert {"field": "class", "type": "nominal"} in line["encoding"]["detail"]
    assert {told["field"] for told in points["encoding"]["tooltip"]} == {"epoch", "share", "kind", "class"}


def test_the_specification_is_small_and_the_picture_is_of_the_exact_numbers(live, chart):
    (data,) = live["datasets"].values()
    assert data["share"][0] == 0.3333
    assert data["kind"] == {"of": ["one", "two"], "at": [0] * 4 + [1] * 4}
    assert "unused" not in data
    assert "unused" in str(chart.to_dict())  # the chart is left as it is


def test_the_picture_is_hidden_from_nobody_and_its_marks_have_no_names(output):
    assert 'role="img" aria-label="a &lt;/script&gt; &amp; more"' in output
    assert (output.count("aria-label="), output.count("</script>")) == (1, 1)


def test_the_script_is_a_function_of_its_own():
    script = render.script()
    assert script.startswith("(() => {")
    assert "window.vegaEmbed" in script
    assert len(script) < 1e6


def test_what_is_no_number_is_null():
    assert render.pack({"encoding": "n", "datasets": {"a": [{"n": float("nan")}, {"n": 0.123456}, {"n": 2.0}]}})[
        "datasets"
    ] == {"a": {"n": [None, 0.1235, 2]}}
