"""`make report` on the smoke profile: the whole study, what Make then finds stale, and a killed run that goes on."""

import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from kd_lib.book import chapters, claims, editions, verdicts
from tests import in_process

PROJECT = Path(__file__).resolve().parents[2]
STUDY = ["train_models", "generate_saliency_maps", "threshold_determination", "rq1", "rq2", "rq3", "inheritance"]


def make(run, *arguments, target="report"):
    command = ["make", target, "PROFILE=smoke", f"RUN={run}", *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


def times(run):
    return {name: (run / "notebooks" / f"{name}.ipynb").stat().st_mtime_ns for name in STUDY}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A report that was killed in the middle of training, and made again."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    command = ["make", "report", "PROFILE=smoke", f"RUN={folder}"]
    first = subprocess.Popen(
        command, cwd=PROJECT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 300
    while not (folder / "checkpoints" / "b" / "epoch-000.safetensors").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    kept = (folder / "checkpoints" / "a" / "epoch-002.safetensors").stat().st_mtime_ns
    done = make(folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (folder / "checkpoints" / "a" / "epoch-002.safetensors").stat().st_mtime_ns == kept
    return folder


def test_the_report_has_every_page_and_no_traceback(run):
    assert (run / "report" / "index.html").is_file()
    for name in STUDY:
        page = (run / "report" / "notebooks" / f"{name}.html").read_text()
        assert "Traceback" not in page
        assert any(mark in page for mark in ("<table", "<svg", "data:image/png"))


def test_run_json_says_what_was_run(run):
    entries = json.loads((run / "run.json").read_text())
    assert entries["parameters"]["components"] == 3
    assert {"versions", "hardware", "threads", "commit", "dataset_fingerprint"} <= set(entries)


def test_results_are_tidy_tables(run):
    shares = pd.read_csv(run / "results" / "rq3_shares.csv")
    assert set(shares["kind"]) == {"component", "leave-one-out", "distilled"}
    assert (shares["low"] <= shares["share"]).all()
    assert (shares["share"] <= shares["high"]).all()


def test_every_claim_finds_its_table_and_columns(run):
    edition, found = claims.read_edition(run), claims.read_claims()
    lost = {c.id: verdicts.judge(dataclasses.replace(c, needs={}), edition).reason for c in found}
    assert not {name: reason for name, reason in lost.items() if "no table" in reason or "has no column" in reason}
    page = (run / "report" / "book" / "scorecard.html").read_text()
    assert edition.title in page
    assert verdicts.NO_EDITION not in page


@pytest.fixture(scope="module")
def edition(run, tmp_path_factory):
    """What is kept of the run."""
    folder = tmp_path_factory.mktemp("editions") / "tried"
    editions.keep(run, folder)
    return folder


def test_an_edition_keeps_what_the_book_needs_and_is_judged_as_its_run(run, edition):
    assert {path.name for path in edition.iterdir()} == {"run.json", "results", "notebooks", "explorer.js", "slice.csv"}
    assert str(run.parent) not in (edition / "run.json").read_text()
    once, again = claims.read_edition(run), claims.read_edition(edition)
    assert again.made == once.made
    assert again.made["occlusion"] == {"patch": 4, "stride": 4, "baseline": 0.0, "precision": "float32"}
    assert (once.parameters, once.class_names) == (again.parameters, again.class_names)
    for claim in claims.read_claims():
        assert repr(verdicts.judge(claim, once)) == repr(verdicts.judge(claim, again))


def test_keeping_it_again_replaces_it_whole(run, edition, monkeypatch):
    before = {path: path.read_bytes() for path in edition.rglob("*.*")}
    (edition / "results" / "of_an_earlier_run.csv").write_text("x\n1\n")
    monkeypatch.setattr(chapters, "PAGE_LIMIT", 10)
    with pytest.raises(ValueError, match="a page may have"):
        editions.keep(run, edition)
    assert (edition / "results" / "of_an_earlier_run.csv").exists()
    monkeypatch.undo()
    editions.keep(run, edition)
    assert {path: path.read_bytes() for path in edition.rglob("*.*")} == before
    assert [path.name for path in edition.parent.iterdir()] == ["tried"]


def test_an_edition_is_made_again_the_same_and_what_was_changed_is_told_apart(edition):
    found = editions.verify(edition, executor="")  # as the profile has it
    assert set(found["verdict"]) == {"the same"}
    assert {*found["epoch"]} == {0, 1, 2}
    assert {*found["quantity"]} == {"loss", "train_accuracy", "test_accuracy", "output", "fall"}
    kept = pd.read_csv(edition / "slice.csv")
    kept.loc[(kept["epoch"] == 2) & (kept["quantity"] == "loss"), "value"] *= 2
    again = editions.compare(kept, pd.read_csv(edition / "slice.csv"))
    assert list(again.loc[again["verdict"] == "differs", "quantity"]) == ["loss"]


def test_a_second_report_does_nothing(run):
    before = times(run)
    assert make(run).returncode == 0
    assert times(run) == before


def test_another_threshold_runs_only_what_depends_on_it(run):
    before = times(run)
    assert make(run, "THRESHOLD=0.25").returncode == 0
    after = times(run)
    assert {name for name in STUDY if after[name] != before[name]} == {"rq1", "rq2", "rq3"}
    assert "0.25 (given as a parameter)" in (run / "report" / "notebooks" / "rq3.html").read_text()


def test_an_answer_makes_stale_what_reads_it(run):
    assert "execute notebooks/" not in make(run, "THRESHOLD=0.25", "--dry-run").stdout
    for name, stale in (("rq2 - dogs", {"rq2"}), ("pairs - a rule", {"threshold_determination", "rq1", "rq2", "rq3"})):
        (run / "annotations").mkdir(exist_ok=True)
        (run / "annotations" / f"{name}.csv").write_text("made by a rule\n")
        planned = make(run, "THRESHOLD=0.25", "--dry-run").stdout
        (run / "annotations" / f"{name}.csv").unlink()
        assert {study for study in STUDY if f"execute notebooks/{study}.py" in planned} == stale


def test_a_wrong_parameter_is_refused_before_anything_runs(run):
    before = times(run)
    failed = make(run, "SET=threshold=1.5 epochs=3")
    assert failed.returncode != 0
    assert "error: threshold 1.5: expected a similarity between -1 and 1" in failed.stderr
    assert "papermill" not in failed.stdout + failed.stderr
    assert times(run) == before


def test_what_a_notebook_cannot_read_is_reported_and_the_last_result_stays(run):
    before = times(run)
    answers = run / "annotations" / "pairs.csv"
    answers.write_text("image\n0\n")
    failed = make(run, "THRESHOLD=0.25")
    answers.unlink()
    assert failed.returncode != 0
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("error: threshold_determination.py: "))
    error = line.removeprefix("error: threshold_determination.py: ").partition(" (see ")[0]
    assert str(answers) in error
    assert times(run) == before
    assert f"error: notebooks/threshold_determination failed: {error}" in failed.stderr
    for page in ("book/introduction", "notebooks/threshold_determination"):
        assert str(answers) in (run / "report" / f"{page}.html").read_text()


def test_a_run_with_other_parameters_is_refused(run):
    values = {"run": str(run), "train_size": 400, "test_size": 300, "probe_per_class": 3, "components": 3, "epochs": 3}
    with pytest.raises(ValueError, match=r"belongs to other parameters \(.*epochs: 2 there, 3 given"):
        in_process.execute("train_models", values)


def test_an_unknown_profile_is_refused_and_nothing_written(tmp_path):
    failed = subprocess.run(
        ["make", "report", "PROFILE=papre", f"RUN={tmp_path / 'x'}"], cwd=PROJECT, capture_output=True, text=True
    )
    assert failed.returncode != 0
    assert (
        "error: unknown profile 'papre'; the profiles are: cifar10, controlled, full, paper, photographs, quick, smoke"
        in failed.stderr
    )
    assert not (tmp_path / "x").exists()


def test_a_run_in_an_object_store_is_for_papermill():
    result = make("s3://bucket/quick")
    assert result.returncode != 0
    assert "RUN=s3://bucket/quick is no folder: give one, or run the notebooks with papermill" in result.stderr


@pytest.mark.parametrize(
    "name", ["my run", "run ", "it's", 'a"b', "a:b", "~/x", "a$b", "a#b", "50%", "a\\b", "a=b", "a;b", "a*"]
)
def test_a_run_whose_name_make_or_a_shell_would_misread_is_refused_and_nothing_is_removed(tmp_path, name):
    for folder in ("my", "run/report", "a", "50"):
        (tmp_path / folder / "precious").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for target in ("clean", "report", "parameters"):
        result = make(f"{tmp_path}/{name}", target=target)
        assert result.returncode == 2
        assert f"RUN={tmp_path}/{name} cannot be the name of a run" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["010", r"""my "own" $c $$d $(touch x) it's #1: 50% \ `id` ;&|<>*?[~]"""])
def test_images_and_models_may_have_any_name(tmp_path, name):
    values = (f"ROOT={tmp_path}/{name}", f"MODELS={name}", "SET=data_title='our \"dogs\"' executor=")
    result = make(tmp_path / "run", *values, target="parameters")
    assert result.returncode == 0, result.stderr
    found = yaml.safe_load((tmp_path / "run" / "parameters" / "train_models.yaml").read_text())
    assert (found["root"], found["models"]) == (f"{tmp_path}/{name}", str(PROJECT / name))
    assert (found["data_set"], found["data_title"], found["executor"]) == ("imagefolder", 'our "dogs"', "")


def test_networks_and_images_make_stale_what_reads_them(tmp_path):
    run, models = tmp_path / "run", tmp_path / "models.yaml"
    models.write_text("a: {}")
    values = (f"MODELS={models}", f"ROOT={tmp_path}/photos")
    assert make(run, *values, target="parameters").returncode == 0
    for name in STUDY:
        (run / "notebooks").mkdir(exist_ok=True)
        (run / "notebooks" / f"{name}.ipynb").touch()

    def planned():
        return make(run, *values, "--dry-run").stdout.count("execute notebooks/")

    assert planned() == 0
    models.write_text("a: {}\nb: {}")
    assert planned() == len(STUDY)
