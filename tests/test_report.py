"""Steps between notebooks and a rendered book."""

import os
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest

from kd_lib import report, store

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
def edition(tmp_path_factory):
    """A run of which a single result is known."""
    run = store.Run(tmp_path_factory.mktemp("runs") / "little")
    run.claim({"data_set": "multiview"}, dataset_fingerprint="f")
    run.record("class_names", ["class 0"])
    gap = {"what": ["ensemble"], "less": ["component"], "difference": [0.04], "low": [0.03], "high": [0.05]}
    run.write_csv(pd.DataFrame(gap), "accuracy_gaps")
    return run.folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, edition):
    output = tmp_path_factory.mktemp("site") / "html"
    report.build_book(PROJECT / "notebooks", output, [edition])
    return output


def test_the_committed_notebooks_render_without_a_warning(site):
    assert (site / "index.html").is_file()
    names = {path.stem for path in (site / "notebooks").glob("*.html")}
    assert names == {path.stem for path in (PROJECT / "notebooks").glob("*.py")}


def test_the_scorecard_shows_the_editions_verdicts(site):
    page = (site / "book" / "scorecard.html").read_text()
    assert "4.0 points (3.0 to 5.0)" in page
    assert page.count("✓ replicated") == 2  # in the head of the counts and in the one cell
    assert "<!-- thesis" not in page


def test_the_readme_gets_the_headlines_between_its_marks(edition, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text((PROJECT / "README.md").read_text())
    report.write_readme(edition, readme)
    before, after = (text.splitlines() for text in ((PROJECT / "README.md").read_text(), readme.read_text()))
    start, end = (line for line in before if line.startswith("<!-- "))
    assert before[: before.index(start)] == after[: after.index(start)]
    assert before[before.index(end) :] == after[after.index(end) :]
    table = after[after.index(start) + 1 : after.index(end)]
    assert "this study, little" in table[0]
    assert all(line.startswith("| ") for line in table)


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
