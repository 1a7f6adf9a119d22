import errno
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from kd_lib.study import run as run_of_a_study
from kd_lib.study.run import Run


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
    (tmp_path / "run.json").write_text('{"parameters"')
    with pytest.raises(ValueError, match=r"run.json is not valid JSON .* delete the run folder"):
        _ = run.parameters


def test_tables_come_back(tmp_path):
    run = Run(tmp_path)
    frame = pd.DataFrame({"model": ["a", "b"], "accuracy": [0.1, 1 / 3]})
    run.write_csv(frame, "accuracy")
    pd.testing.assert_frame_equal(run.read_csv("accuracy"), frame)
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
