"""Steps between notebooks and a rendered book."""

import os
from pathlib import Path

import jupytext
import nbformat
import pytest

from kd_lib import report

PROJECT = Path(__file__).resolve().parent.parent
HEADER = (
    "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n#     display_name: x\n#     language: python\n# ---\n\n"
)


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "little.py"
    path.write_text(HEADER + '# %% tags=["parameters"]\nx: int = 1  # a number\n\n# %%\nprint(10 / x)\n')
    return path


def test_execute_runs_with_parameters_and_a_failure_keeps_the_last_result(notebook, tmp_path):
    output = tmp_path / "out.ipynb"
    report.execute(notebook, output, {"x": 4})
    assert nbformat.read(output, as_version=4).cells[-1].outputs[0].text == "2.5\n"
    before = output.read_bytes()
    with pytest.raises(RuntimeError, match="little.py: ZeroDivisionError: division by zero"):
        report.execute(notebook, output, {"x": 0})
    assert output.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["little.py", "out.failed.ipynb", "out.ipynb"]


def test_parameters_are_written_only_where_they_change(tmp_path):
    folder = tmp_path / "parameters"
    report.write_parameters("quick", folder, ["threshold=0.5"])
    written = {path.stem: path.read_text() for path in folder.iterdir()}
    needs_it = {"rq1", "rq2", "rq3"}
    assert {name for name, text in written.items() if text == "threshold: 0.5\n"} == needs_it
    assert {name for name, text in written.items() if text == "{}\n"} == set(written) - needs_it
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    report.write_parameters("quick", folder, ["threshold=0.6", "every_epoch=2"])
    changed = {path.stem for path in folder.iterdir() if path.stat().st_mtime_ns != 1}
    assert changed == needs_it | {"generate_saliency_maps"}


def test_wrong_parameters_write_nothing(tmp_path):
    for profile, override in (("quick", "half"), ("quick", "treshold=0.5"), ("nonsense", "threshold=0.5")):
        with pytest.raises(ValueError, match="half|treshold|nonsense"):
            report.write_parameters(profile, tmp_path / "parameters", [override])
    assert not list(tmp_path.iterdir())


def test_keep_outputs_takes_results_and_leaves_progress_bars(notebook, tmp_path):
    notebook.write_text(notebook.read_text() + '\nimport sys\nprint("progress", file=sys.stderr)\n')
    report.execute(notebook, tmp_path / "out.ipynb", {})
    report.keep_outputs(tmp_path / "out.ipynb", notebook)
    kept = nbformat.read(tmp_path / "little.ipynb", as_version=4)
    assert [o.text for o in kept.cells[-1].outputs] == ["10.0\n"]
    assert [c.source for c in kept.cells] == [c.source for c in jupytext.read(notebook).cells]
    report.execute(notebook, tmp_path / "out.ipynb", {"x": 2})
    with pytest.raises(ValueError, match="was not executed from .* with its default parameters"):
        report.keep_outputs(tmp_path / "out.ipynb", notebook)


def test_widgets_leave_their_picture_and_no_state():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<img>"}
    outputs = [nbformat.v4.new_output("display_data", view), nbformat.v4.new_output("stream", text="x")]
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("w", outputs=outputs)], metadata={"widgets": {}})
    report.without_widgets(node)
    assert node.cells[0].outputs[0].data == {"text/html": "<img>"}
    assert "widgets" not in node.metadata


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    output = tmp_path_factory.mktemp("site") / "html"
    report.build_book(PROJECT / "notebooks", output)
    return output


def test_the_committed_notebooks_render_without_a_warning(site):
    assert (site / "index.html").is_file()
    names = {path.stem for path in (site / "notebooks").glob("*.html")}
    assert names == {path.stem for path in (PROJECT / "notebooks").glob("*.py")}


def test_pages_load_no_script_style_or_font_from_elsewhere(site):
    import re

    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link rel="stylesheet"|img)[^>]+(?:src|href)="(https?:[^"]+)', page.read_text())
        assert not loaded, page.name


def test_a_warning_fails_the_build_and_keeps_the_old_pages(site, tmp_path):
    broken = tmp_path / "notebooks"
    broken.mkdir()
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        node = nbformat.read(path, as_version=4)
        node.cells[0].source += "\n\n{doc}`nowhere`"
        nbformat.write(node, broken / path.name)
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("old")
    with pytest.raises(RuntimeError, match="the book was not built"):
        report.build_book(broken, tmp_path / "html")
    assert (tmp_path / "html" / "index.html").read_text() == "old"
