"""Steps between notebooks and a rendered book."""

import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest

from kd_lib.book import __main__ as report
from kd_lib.study.run import Run

PROJECT = Path(__file__).resolve().parents[2]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
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


def alone(run, code):
    command = [sys.executable, "-m", "kd_lib.book", "alone", run, sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=PROJECT, start_new_session=True, **PIPES)


def test_one_report_at_a_time_is_made_of_a_run_and_a_killed_one_lets_go(tmp_path):
    first = alone(tmp_path / "run", "print('begun', flush=True); input()")
    assert first.stdout.readline() == "begun\n"
    second = alone(tmp_path / "run", "print('begun')")
    printed, told = second.communicate()
    assert (second.returncode, printed) == (1, "")
    who = rf"by process {first.pid} on {re.escape(platform.node())} since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"error: .*run is at work already, {who}\S*: let it end, or stop it, first\n", told)
    assert alone(tmp_path / "other", "").wait() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # nothing came of the other
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert alone(tmp_path / "run", "").wait() == 0


def test_what_is_started_under_a_lock_keeps_it(tmp_path):
    """A killed Make may leave a notebook that goes on."""
    first = alone(tmp_path, "print('begun', flush=True); input()")
    assert first.stdout.readline() == "begun\n"
    first.kill()
    first.wait()
    assert alone(tmp_path, "").wait() == 1
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert alone(tmp_path, "raise SystemExit(7)").wait() == 7


def test_a_folder_that_cannot_be_locked_is_worked_in(tmp_path):
    (tmp_path / ".lock").mkdir()
    assert alone(tmp_path, "raise SystemExit(7)").wait() == 7


def test_parameters_are_written_only_where_they_change(tmp_path):
    folder = tmp_path / "parameters"
    report.write_parameters("quick", folder, ["threshold=0.5"])
    written = {path.stem: path.read_text() for path in folder.iterdir()}
    assert written.pop("inputs") == "{}\n"
    needs_it = {"rq1", "rq2", "rq3"}
    assert {name for name, text in written.items() if text == "threshold: 0.5\n"} == needs_it
    assert {name for name, text in written.items() if text == "{}\n"} == set(written) - needs_it
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    report.write_parameters("quick", folder, ["threshold=0.6", "every_epoch=2"])
    changed = {path.stem for path in folder.iterdir() if path.stat().st_mtime_ns != 1}
    assert changed == needs_it | {"generate_saliency_maps"}


WRONG = [
    *("half", "treshold=0.5", "threshold=1.5", "threshold=.nan", "threshold=half", "view_share=0", "example=-1"),
    *("epochs=0", "epochs=1e1", "batch_size=1", "arch=resnet19", "optimiser=adamw", "max_lr=0", "max_lr=.inf"),
    *("momentum=1", "weight_decay=-1e-3", "crop_padding=-1", "components=0", "techniques=[mixing]", "seed=-1"),
    *(
        "temperature=0",
        "hard_weight=1.1",
        "ensemble_output=votes",
        "device=tpu",
        "precision=float16",
        "executor=local:0",
    ),
    *("single_view=2", "probe_per_class=0", "train_size=-1", "patch=33", "stride=5", "baseline=noise", "every_epoch=5"),
    *("measure=euclid", "loss=mae", "pairs_to_label=0", "annotator=../b", "choices=[patch]", "choices=[patch=99]"),
    *("choices=[{}]", "seed=18446744073709551616"),
]


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_parameter_of_any_notebook_is_named_before_the_first_one_starts(tmp_path, override):
    name = override.partition("=")[0]
    with pytest.raises((ValueError, TypeError), match=f"{name.removesuffix('s')}|{name.split('_')[0]} "):
        report.write_parameters("quick", tmp_path / "parameters", [override])
    assert not list(tmp_path.iterdir())


def test_parameters_of_networks_that_are_there_already_need_not_fit_a_training(tmp_path):
    report.write_parameters(
        "quick", tmp_path, ["models=x.yaml", "every_epoch=9"], more="root='a b' data_set=imagefolder"
    )
    with pytest.raises(ValueError, match=r"image_size=\[9\]"):
        report.write_parameters("quick", tmp_path, ["data_set=imagefolder", "image_size=[9]"])
    with pytest.raises(ValueError, match="cannot be read .No closing quotation"):
        report.write_parameters("quick", tmp_path, [], more="root='a")


@pytest.mark.parametrize("profile", [path.stem for path in (PROJECT / "profiles").glob("*.yaml")])
def test_every_profile_is_in_range(tmp_path, profile):
    report.write_parameters(profile, tmp_path, [])


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


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """A run of which a single result is known."""
    run = Run(tmp_path_factory.mktemp("runs") / "little")
    run.claim({"data_set": "multiview"}, dataset_fingerprint="f")
    run.record("class_names", ["class 0"])
    gap = {"what": ["ensemble"], "less": ["component"], "difference": [0.04], "low": [0.03], "high": [0.05]}
    run.write_csv(pd.DataFrame(gap), "accuracy_gaps")
    return run.folder


def test_the_readme_gets_the_headlines_between_its_marks(edition, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text((PROJECT / "README.md").read_text())
    report.write_readme(readme, [edition, edition])
    before, after = (text.splitlines() for text in ((PROJECT / "README.md").read_text(), readme.read_text()))
    start, end = (line for line in before if line.startswith("<!-- "))
    assert before[: before.index(start)] == after[: after.index(start)]
    assert before[before.index(end) :] == after[after.index(end) :]
    table = after[after.index(start) + 1 : after.index(end)]
    assert table[0].count("this study, little: given networks, multiview") == 2
    assert all(line.startswith("| ") for line in table)
