import errno
import json
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest

from kd_lib import _files


def test_what_is_written_is_there_folders_included(tmp_path):
    _files.write_bytes(tmp_path / "a" / "b" / "bytes", b"abc")
    _files.write_text(tmp_path / "text", "T_c ≥ ½")
    _files.write_json(tmp_path / "json", {"n": 1})
    assert (tmp_path / "a" / "b" / "bytes").read_bytes() == b"abc"
    assert (tmp_path / "text").read_bytes() == "T_c ≥ ½".encode()
    assert json.loads((tmp_path / "json").read_text()) == {"n": 1}


def test_what_is_not_there_is_none_and_what_cannot_be_read_an_error(tmp_path):
    assert _files.read_bytes(tmp_path / "none") is None
    assert not _files.is_there(tmp_path / "none")
    assert _files.names_in(tmp_path / "none") == []
    _files.delete(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        _files.read_bytes(tmp_path)
    _files.write_bytes(tmp_path / "a" / "b", b"abc")
    assert _files.read_bytes(tmp_path / "a" / "b") == b"abc"
    assert _files.names_in(tmp_path) == ["a/b"]
    _files.delete(tmp_path / "a" / "b")
    assert _files.names_in(tmp_path) == []


def test_a_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    _files.write_folder(tmp_path / "whole", {"a/b": b"1", "c": b"2"})
    assert _files.names_in(tmp_path / "whole") == ["a/b", "c"]
    write_bytes = _files.write_bytes

    def full_at_c(path, data):
        if path.name == "c":
            raise OSError(errno.ENOSPC, "full")
        write_bytes(path, data)

    monkeypatch.setattr(_files, "write_bytes", full_at_c)
    with pytest.raises(OSError, match=r"no space left to write .*half \(0.0 MB needed\)"):
        _files.write_folder(tmp_path / "half", {"a/b": b"1", "c": b"2"})
    assert _files.names_in(tmp_path) == ["whole/a/b", "whole/c"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_device_is_named_and_the_old_file_stays(tmp_path, monkeypatch, step, code):
    _files.write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, step, Mock(side_effect=OSError(code, "full")))
    with pytest.raises(OSError, match=r"no space left to write .*file \(2.0 MB needed\): free some space") as error:
        _files.write_bytes(tmp_path / "file", b"x" * 2_000_000)
    assert error.value.errno == code
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "old"}


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_may_not_be_written_is_named(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(code, "denied", str(tmp_path / ".file.1.partial"))))
    with pytest.raises(OSError, match="no permission to write .*/file: make its folder writable") as error:
        _files.write_bytes(tmp_path / "file", b"abc")
    assert error.value.errno == code
    assert not list(tmp_path.iterdir())


LEFT = {
    "checkpoints/a/.epoch-001.safetensors.7.partial": True,
    "results/.rq1_curves.csv.7.partial": True,
    ".run.json.7.partial": True,
    ".occlusion.zarr.7.partial/zarr.json": True,
    "occlusion.zarr/logits/c/0/0/0/0.0123456789abcdef0123456789abcdef.partial": True,
    ".book-x1/source/page.md": True,
    "occlusion.zarr/logits/c/0/0/0/0": False,
    "results/partial.csv": False,
    "annotations/a.partial.csv": False,
    "checkpoints/a.partial/epoch-000.safetensors": False,
}


def test_what_killed_writers_left_goes_once_nobody_can_be_writing_it(tmp_path):
    for name in LEFT:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    _files.sweep(tmp_path)
    assert _files.names_in(tmp_path) == sorted(LEFT)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    alive = tmp_path / ".book-x1" / "source" / "page.md"
    os.utime(alive)
    _files.sweep(tmp_path)
    assert _files.names_in(tmp_path) == sorted(name for name in LEFT if not LEFT[name] or "book-" in name)
    os.utime(alive, (1, 1))
    _files.sweep(tmp_path)
    assert _files.names_in(tmp_path) == sorted(name for name in LEFT if not LEFT[name])
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_another_error_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        _files.write_bytes(tmp_path / "file", b"abc")


def test_it_imports_nothing_heavy():
    code = "import sys, kd_lib._files; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1.5E+2", -150.0),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("'1'", "1"),
        ("TRUE", True),
        ("", None),
        ("a: {b: 1, <<: {b: 2, c: 3}}", {"a": {"b": 1, "c": 3}}),
    ],
)
def test_yaml_says_what_people_mean(text, value):
    found = _files.parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 1", "the key 'a' is there twice"),
        ("x: {1: 0, 1: 0}", "the key 1 is"),
        ("[", "while parsing"),
        ("[" * 9999, "maximum"),
    ],
)
def test_yaml_that_is_wrong_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=f"^not valid YAML: {message}.*$"):
        _files.parse_yaml(text)
