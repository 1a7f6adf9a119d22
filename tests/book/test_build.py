"""How a book is put together: parts, titles, what is lacking. Results are left out, to be quick."""

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from kd_lib.book import build
from kd_lib.study.run import Run

PROJECT = Path(__file__).resolve().parents[2]
STUDY = [path.stem for path in sorted((PROJECT / "notebooks").glob("*.py"))]


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The committed notebooks with a word for each result; what prose takes from a notebook stays."""
    folder = tmp_path_factory.mktemp("light")
    for name in STUDY:
        node = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in node.cells:
            if cell.get("outputs"):
                taken = [o for o in cell.outputs if "scrapbook" in o.get("metadata", {})]
                cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": "<p>result</p>"}), *taken]
        nbformat.write(node, folder / f"{name}.ipynb")
    return folder


def kept(folder, name, **parameters):
    """An edition of which a single result is known."""
    run = Run(folder / name)
    run.claim(parameters, dataset_fingerprint="f")
    run.record("class_names", ["class 0"])
    gap = {"what": ["ensemble"], "less": ["component"], "difference": [0.04], "low": [0.03], "high": [0.05]}
    run.write_csv(pd.DataFrame(gap), "accuracy_gaps")
    return run.folder


@pytest.fixture(scope="module")
def two_parts(light, tmp_path_factory):
    """A book of two studies, built as strictly as any."""
    folder = tmp_path_factory.mktemp("editions")
    editions = [kept(folder, "little", data_set="multiview"), kept(folder, "other", data_set="cifar10")]
    shutil.copytree(light, editions[1] / "notebooks")
    output = tmp_path_factory.mktemp("book") / "html"
    build.build(light, output, editions)
    return output


def test_each_study_is_a_part_and_says_so_in_its_titles(two_parts):
    assert {path.stem for path in (two_parts / "notebooks").glob("*.html")} == set(STUDY)
    assert {path.stem for path in (two_parts / "photographs").glob("*.html")} == set(STUDY)
    first, second = ((two_parts / folder / "rq1.html").read_text() for folder in ("notebooks", "photographs"))
    assert "Controlled images: given networks, multiview" in first
    assert "Photographs: given networks, cifar10" in first
    assert "(photographs)" not in first.split("<h1>")[1].split("</h1>")[0]
    assert "(photographs)" in second.split("<h1>")[1].split("</h1>")[0]
    assert 'id="fig-by-class"' in first
    assert 'id="photographs-fig-by-class"' in second


def test_an_edition_that_is_older_than_a_notebook_has_no_such_chapter(light, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "EDITIONS", tmp_path / "editions")
    for folder in ("editions/old", "run"):
        shutil.copytree(light, tmp_path / folder / "notebooks")
        (tmp_path / folder / "notebooks" / "rq3.ipynb").unlink()
    assert build._names(tmp_path / "editions" / "old" / "notebooks") == [name for name in STUDY if name != "rq3"]
    assert build._names(tmp_path / "run" / "notebooks") == STUDY  # whose report says what is missing


def test_a_runs_own_report_leaves_the_reference_to_the_published_book(two_parts):
    assert not (two_parts / "book" / "reference.html").exists()


def test_the_scorecard_shows_the_editions_verdicts(two_parts):
    page = (two_parts / "book" / "scorecard.html").read_text()
    assert "4.0 points (3.0 to 5.0)" in page
    assert "&lt;%" not in page


def test_a_warning_fails_the_build_and_keeps_the_old_pages(light, tmp_path):
    broken = shutil.copytree(light, tmp_path / "notebooks")
    node = nbformat.read(broken / "rq1.ipynb", as_version=4)
    node.cells[0].source += "\n\n{doc}`nowhere`"
    nbformat.write(node, broken / "rq1.ipynb")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("old")
    with pytest.raises(RuntimeError, match="the book was not built"):
        build.build(broken, tmp_path / "html")
    assert (tmp_path / "html" / "index.html").read_text() == "old"


def test_a_run_that_failed_has_a_book_that_says_what_and_why(light, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(light, run / "notebooks")
    failed = nbformat.read(run / "notebooks" / "rq1.ipynb", as_version=4)
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no `such` thing", traceback=["boom"])
    failed.cells[1].outputs = [error]
    failed.cells.insert(0, nbformat.v4.new_markdown_cell("papermill", metadata={"tags": ["papermill-error-cell-tag"]}))
    nbformat.write(failed, run / "notebooks" / "rq1.failed.ipynb")
    (run / "notebooks" / "rq3.ipynb").unlink()
    with pytest.raises(build.Incomplete) as raised:
        build.build(run / "notebooks", run / "report", [run])
    assert "rq1 failed: ValueError: no `such` thing" in str(raised.value)
    assert "rq3 was not executed" in str(raised.value)
    pages = {
        name: (run / "report" / f"{name}.html").read_text()
        for name in ("book/introduction", "notebooks/rq1", "notebooks/rq3")
    }
    assert "This report is not complete" in pages["book/introduction"]
    assert "ValueError: no `such` thing" in pages["book/introduction"]
    assert pages["notebooks/rq1"].index("ValueError: no") < pages["notebooks/rq1"].index("boom")
    assert "papermill-error" not in pages["notebooks/rq1"]
    assert "was not executed in this run" in pages["notebooks/rq3"]


def test_icons_stay_under_any_of_their_names():
    script = 'a={"x-mark":[1,1,["close"],"f0","M0"],bars:[1,1,[],"f1","M1"],sun:[1,1,[],"f2",["M2","M3"]]};'
    assert build.only_icons(script, {"close", "sun"}) == script.replace('bars:[1,1,[],"f1","M1"],', "")
