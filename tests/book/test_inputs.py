"""Which changes of the files that a study reads are seen."""

import os
import shutil

import pytest

from kd_lib.book import inputs

MODELS = """
a: {factory: "mine:net", weights: a.pt, role: component}
b: {factory: "package.module:net", weights: [~/b/0.pt, b/1.pt], role: component}
"""


def write(file, text="x"):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def values(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "models.yaml", MODELS)
    for name in ("mine.py", "package/module.py", "package/deep/er.py", "a.pt", "b/0.pt", "b/1.pt", "notes.txt"):
        write(tmp_path / name)
    write(tmp_path / "photos" / "train" / "my cat" / "1.png")
    return {"models": str(tmp_path / "models.yaml"), "data_set": "imagefolder", "root": str(tmp_path / "photos")}


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda here: write(here / "models.yaml", MODELS + "c: {weights: c.pt}"), {"networks"}),
        (lambda here: write(here / "models.yaml", "a: ["), {"networks"}),
        (lambda here: write(here / "a.pt", "xy"), {"networks"}),
        (lambda here: os.utime(here / "b" / "1.pt", (1, 1)), {"networks"}),
        (lambda here: (here / "b" / "0.pt").unlink(), {"networks"}),
        (lambda here: write(here / "mine.py", "xy"), {"networks"}),
        (lambda here: write(here / "helper.py"), {"networks"}),
        (lambda here: write(here / "package" / "deep" / "er.py", "xy"), {"networks"}),
        (lambda here: write(here / "photos" / "train" / "my cat" / "2.png"), {"images"}),
        (lambda here: shutil.rmtree(here / "photos"), {"images"}),
        (lambda here: write(here / "notes.txt", "xy"), set()),
        (lambda here: write(here / "__pycache__" / "mine.pyc"), set()),
    ],
)
def test_a_change_is_seen_where_it_counts(values, tmp_path, change, seen):
    before = inputs.digests(values)
    assert before == inputs.digests(values)
    assert before == inputs.digests(values | {"data_set": f"imagefolder:{values['root']}", "root": ""})
    change(tmp_path)
    after = inputs.digests(values)
    assert {what for what in before if after[what] != before[what]} == seen


def test_images_that_are_drawn_or_downloaded_are_no_files_of_the_user(tmp_path):
    assert inputs.digests({}) == inputs.digests({"data_set": "cifar10", "root": str(tmp_path)}) == {}
