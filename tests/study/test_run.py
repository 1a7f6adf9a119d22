import errno
import importlib.metadata
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kd_lib.book.claims import read_edition
from kd_lib.study import run as run_of_a_study
from kd_lib.study.run import Run, surroundings


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_relative_run_is_one_of_the_project_wherever_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = Path(__file__).resolve().parents[2]
    assert Run("runs/quick").occlusion == project / "runs" / "quick" / "occlusion.zarr"
    assert Run(tmp_path / "elsewhere").folder == tmp_path / "elsewhere"
    assert Run("~/it").folder == tmp_path / "home" / "it"
    monkeypatch.setattr(run_of_a_study, "PROJECT", tmp_path / "site-packages")
    assert Run("runs/quick").folder == tmp_path / "runs" / "quick"


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file: give a folder"):
        Run(tmp_path / "file")


def test_claim_records_and_compares(tmp_path):
    run = Run(tmp_path / "run")
    run.claim({"epochs": 8, "sizes": (1, 2)}, dataset_fingerprint="abc")
    first = (run.folder / "run.json").read_text()
    run.claim({"sizes": [1, 2], "epochs": 8}, dataset_fingerprint="abc")
    assert (run.folder / "run.json").read_text() == first
    assert run.parameters == {"epochs": 8, "sizes": [1, 2]}
    entries = json.loads(first)
    assert entries["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert entries["hardware"]["cores"] >= 1
    assert entries["hardware"]["cpu"]


def test_a_copy_of_the_project_that_is_not_installed_begins_a_run(monkeypatch):
    def version(name, of=importlib.metadata.version):
        return of(name if name != "kd_lib" else "kd_lib of nobody")

    monkeypatch.setattr(importlib.metadata, "version", version)
    versions = surroundings()["versions"]
    assert versions["kd_lib"] == "not installed"
    assert versions["torch"] == torch.__version__.partition("+")[0]


def test_a_run_of_other_parameters_is_refused_and_left_alone(tmp_path):
    run = Run(tmp_path)
    run.claim({"epochs": 8, "seed": 0, "old": 1}, dataset_fingerprint="abc")
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(ValueError, match="belongs to other parameters") as error:
        run.claim({"epochs": 9, "seed": 0, "new": "x"}, dataset_fingerprint="xyz")
    message = str(error.value)
    for part in ("epochs: 8 there, 9 given", "old: 1 there, absent given", "new: absent there, 'x' given"):
        assert part in message
    assert "data fingerprint: 'abc' there, 'xyz' given" in message
    assert message.endswith("give another run folder, or delete this one")
    assert "seed" not in message
    assert "\n" not in message
    assert (tmp_path / "run.json").read_bytes() == before


def test_record_adds_an_entry(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"run.json is missing: run train_models first"):
        run.record("seconds", 1.5)
    assert files(tmp_path) == []
    run.claim({"epochs": 8}, dataset_fingerprint="abc")
    run.record("seconds", 1.5)
    run.record("seconds", 2.5)
    assert run.entry("seconds") == 2.5
    assert run.parameters == {"epochs": 8}


@pytest.mark.parametrize(
    ("torn", "reason"),
    [
        (lambda text: "", "Expecting value.*"),
        (lambda text: text[:-9], "Expecting.*|Invalid.*|Unterminated.*"),
        (lambda text: text.replace("8", "9", 1), "its content is not what was written"),
        (lambda text: "[]", "it holds no entries"),
        (lambda text: "{}", "it names no parameters"),
    ],
)
def test_a_run_json_that_is_torn_is_named_with_what_loses_least(tmp_path, torn, reason):
    run = Run(tmp_path)
    run.claim({"epochs": 8}, dataset_fingerprint="abc")
    run.record("what", "é ½")
    path = tmp_path / "run.json"
    path.write_text(torn(path.read_text()))
    with pytest.raises(ValueError, match=rf"run.json is damaged \(({reason})\): put a copy back, or delete this file"):
        _ = run.parameters
    with pytest.raises(ValueError, match="run.json is damaged"):
        run.claim({"epochs": 8}, dataset_fingerprint="abc")


def test_a_run_json_written_by_hand_is_taken_as_it_is(tmp_path):
    (tmp_path / "run.json").write_text('{"parameters": {"epochs": 8}, "dataset_fingerprint": "abc"}')
    Run(tmp_path).claim({"epochs": 8}, dataset_fingerprint="abc")
    assert Run(tmp_path).parameters == {"epochs": 8}


LIKE_VALUES = [
    "",
    "1",
    "01",
    "1.0",
    "1e5",
    "inf",
    "NA",
    "N/A",
    "<NA>",
    "nan",
    "NaN",
    "null",
    "None",
    "True",
    "false",
    "-",
]
names = st.sampled_from(LIKE_VALUES) | st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(st.lists(st.tuples(names, names, names, st.integers(-(2**53), 2**53), st.floats(), st.booleans()), min_size=1))
def test_tables_come_back_whatever_classes_and_networks_are_called(tmp_path_factory, rows):
    run = Run(tmp_path_factory.getbasetemp() / "tables")
    frame = pd.DataFrame(rows, columns=["model", "class", "choice", "epoch", "accuracy", "used"])
    run.write_csv(frame, "accuracy")
    pd.testing.assert_frame_equal(run.read_csv("accuracy"), frame, check_exact=True)


def test_an_edition_reads_its_tables_as_its_run_does(tmp_path):
    run = Run(tmp_path)
    run.claim({}, dataset_fingerprint="abc")
    run.write_csv(pd.DataFrame({"class": LIKE_VALUES, "share": 0.5}), "rq1_second_by_class")
    table = read_edition(tmp_path).tables["rq1_second_by_class"]
    assert table["class"].tolist() == LIKE_VALUES
    pd.testing.assert_frame_equal(table, run.read_csv("rq1_second_by_class"))


def test_a_table_that_is_missing_names_its_notebook(tmp_path):
    run = Run(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"threshold.csv is missing: run threshold_determination first"):
        run.read_csv("threshold", made_by="threshold_determination")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_device_leaves_what_was_there(tmp_path, monkeypatch, step):
    run = Run(tmp_path)
    run.write_csv(pd.DataFrame({"x": [1]}), "table")
    monkeypatch.setattr(os, step, no_room)
    with pytest.raises(OSError, match=r"no space left to write .*table.csv \(0.6 MB needed\): free") as error:
        run.write_csv(pd.DataFrame({"x": range(100_000)}), "table")
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r"no space left to write .*epoch-000.safetensors"):
        run.checkpoints.save("a", 0, nn.Linear(2, 2))
    monkeypatch.undo()
    assert files(tmp_path) == ["results/table.csv"]
    assert run.read_csv("table")["x"].tolist() == [1]
    assert run.checkpoints.epochs("a") == []
