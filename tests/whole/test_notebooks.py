"""The seven notebooks as files: source and generated pair agree, parameters are commented, bad ones are refused."""

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from kd_lib.book import __main__ as report
from kd_lib.study import parameters
from tests import in_process

PROJECT = Path(__file__).resolve().parents[2]
STUDY = ["train_models", "generate_saliency_maps", "threshold_determination", "rq1", "rq2", "rq3", "inheritance"]
SOURCES = [PROJECT / "notebooks" / f"{name}.py" for name in STUDY]


def test_there_are_seven_and_make_knows_them():
    assert sorted(path.stem for path in (PROJECT / "notebooks").glob("*.py")) == sorted(STUDY)
    assert re.search(r"^STUDY\s*= (.*)$", (PROJECT / "Makefile").read_text(), re.M)[1].split() == STUDY


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_source_and_generated_notebook_agree(source):
    generated = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    expected = report.read_source(source)
    assert len(generated.cells) == len(expected.cells)
    for ours, theirs in zip(generated.cells, expected.cells, strict=True):
        assert (ours.cell_type, ours.source, ours.metadata) == (theirs.cell_type, theirs.source, theirs.metadata)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_generated_notebook_keeps_its_outputs_and_no_error(source):
    cells = [c for c in nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells if c.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert all(cell.execution_count for cell in cells)
    assert outputs
    assert not [o for o in outputs if o.output_type == "error"]
    assert source.with_suffix(".ipynb").stat().st_size < 3e6


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_one_tagged_parameters_cell_with_a_comment_for_every_knob(source):
    tagged = [c for c in jupytext.read(source).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = tagged[0].source.splitlines()
    assert [line.split(":")[0] for line in lines] == list(parameters.declared(source))
    assert all("  # " in line for line in lines)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_figure_has_a_caption_title_and_alternative_text(source):
    for cell in jupytext.read(source).cells:
        calls = (
            [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)] if cell.cell_type == "code" else []
        )
        for call in calls:
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") in ("charts", "pictures"):
                assert {"title", "description"} <= {keyword.arg for keyword in call.keywords}
                assert cell.metadata["mystnb"]["figure"]["caption"]


BAD = pytest.mark.parametrize(
    ("notebook", "values", "message"),
    [
        ("rq3", {"treshold": 0.5}, "'treshold' is not a parameter of this notebook (did you mean 'threshold'?)"),
        ("rq3", {"threshold": "high"}, "parameter threshold = 'high' must be of type float | None"),
        ("train_models", {"epochs": 2.5}, "parameter epochs = 2.5 must be of type int"),
        ("train_models", {"data_set": "mnist"}, "unknown data set 'mnist'"),
        ("train_models", {"arch": "resnet1"}, "unknown architecture 'resnet1'"),
        ("train_models", {"optimiser": "sdg"}, "unknown optimiser 'sdg'"),
        ("train_models", {"techniques": ["mixup", "cutmx"]}, "unknown technique 'cutmx': expected a list of some of"),
        ("train_models", {"techniques": "mixup"}, "parameter techniques = 'mixup' must be of type list"),
        ("rq1", {}, "run train_models first"),
        ("inheritance", {}, "run train_models first"),
        ("generate_saliency_maps", {}, "run train_models first"),
    ],
)


@BAD
def test_bad_parameters_are_refused_before_anything_is_written(tmp_path, notebook, values, message):
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as failure:
        in_process.execute(notebook, values | {"run": str(tmp_path / "run")})
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "run").exists()


def test_a_notebook_that_fails_is_one_line_and_leaves_no_result(tmp_path):
    values = {"treshold": 0.5, "run": str(tmp_path / "run")}
    with pytest.raises(RuntimeError, match=r"rq3.py: ValueError: 'treshold' is not a parameter") as failure:
        report.execute(PROJECT / "notebooks" / "rq3.py", tmp_path / "out.ipynb", values)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out.ipynb").exists()
