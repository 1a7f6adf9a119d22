"""What is kept of a run for the published book, and what `make verify` says of it. A real one: see `test_make`."""

import csv
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from kd_lib.book import build, chapters, claims, editions, verdicts

PROJECT = Path(__file__).resolve().parents[2]
SLICE = pd.DataFrame(
    {
        "epoch": [0, 0, 0, 1, 1],
        "quantity": ["output", "output", "fall", "loss", "output"],
        "image": [7, 7, 7, np.nan, 7],
        "target": [0, 1, 0, np.nan, 0],
        "value": [3.0, 4.0, 1.0, 2.0, 5.0],
    }
)


def test_an_editions_notebooks_are_kept_without_what_differs_each_time(tmp_path):
    (tmp_path / "run" / "notebooks").mkdir(parents=True)
    stream = nbformat.v4.new_output
    outputs = [stream("stream", name="stderr", text="50 %"), stream("stream", name="stdout", text="result")]
    given = nbformat.v4.new_code_cell(
        '# Parameters\nroot = "/my/images"\nrun = "/my/run"\nseed = 1\n', metadata={"tags": ["injected-parameters"]}
    )
    cell = nbformat.v4.new_code_cell("x", outputs=outputs, metadata={"papermill": {"duration": 1}, "tags": ["a"]})
    node = nbformat.v4.new_notebook(cells=[cell, given], metadata={"papermill": {"start_time": "now"}})
    for source in (PROJECT / "notebooks").glob("*.py"):
        nbformat.write(node, tmp_path / "run" / "notebooks" / f"{source.stem}.ipynb")
    editions._keep_notebooks(tmp_path / "run", tmp_path / "kept", "mine")
    kept = nbformat.read(tmp_path / "kept" / "rq1.ipynb", as_version=4)
    assert [output.text for output in kept.cells[0].outputs] == ["result"]
    assert kept.cells[0].metadata == {"tags": ["a"]}
    assert kept.cells[1].source == '# Parameters\nrun = "runs/mine"\nseed = 1\n'
    assert set(kept.metadata) == {"kernelspec"}
    cell.outputs[1].text = "x" * 3_000_001
    nbformat.write(node, tmp_path / "run" / "notebooks" / "rq2.ipynb")
    with pytest.raises(ValueError, match="rq2.ipynb has 3.0 MB; a page may have 3"):
        editions._keep_notebooks(tmp_path / "run", tmp_path / "again", "mine")


def outcomes(changed, **options):
    return list(editions.compare(SLICE, SLICE.assign(value=changed), **options)["verdict"])


def test_a_slice_is_compared_epoch_by_epoch_and_quantity_by_quantity():
    frame = editions.compare(SLICE, SLICE.assign(value=[3.0, 4.5, 1.0, 2.2, 6.0]))
    assert np.allclose(frame["difference"], [0.1, 0, 0.1, 0.2])  # 0.5 of the root of 9 + 16; 0.2 of 2; 1 of 5
    assert list(frame["values"]) == [2, 1, 1, 1]
    assert list(frame["verdict"]) == ["differs", "the same", "close", "cannot tell"]


def test_before_training_only_rounding_may_differ_and_after_it_answers_may():
    assert outcomes([3.0, 4.0, 1.0 + 1e-7, 2.0, 5.0]) == ["the same"] * 4
    assert outcomes([3.0, 4.0, 1.0 + 1e-4, 2.1, 5.1]) == ["the same", "close", "close", "cannot tell"]
    assert outcomes([3.0, 4.0, 1.1, 4.0, 50.0]) == ["the same", "differs", "differs", "cannot tell"]
    assert outcomes([3.0, 4.0, 1.1, 2.0, 5.0], precision="bfloat16")[1] == "close"


def test_what_was_not_made_again_differs():
    assert list(editions.compare(SLICE, SLICE.iloc[:4])["verdict"]) == ["the same"] * 3 + ["differs"]


def test_the_summary_says_the_worst():
    same, close, differs = editions.SAME, editions.CLOSE, editions.DIFFERS
    assert editions.summary("x", [same, same]) == "edition x: made again, the same but for rounding"
    for other in (close, editions.CANNOT_TELL):
        assert "as closely as another processor" in editions.summary("x", [same, other])
    assert editions.summary("x", [same, differs]) == "edition x: NOT made again, 1 of 2 quantities differ"


def test_an_edition_that_is_not_there_or_keeps_no_slice_is_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="no edition 'three'; there are: one, two"):
        editions.verify(tmp_path / "three")
    with pytest.raises(FileNotFoundError, match="edition 'one' keeps no slice"):
        editions.verify(tmp_path / "one")


def test_other_images_are_refused(tmp_path):
    kept = tmp_path / "drawn"
    kept.mkdir()
    sizes = {"train_size": 40, "test_size": 60, "probe_per_class": 3, "image_size": 32, "single_view": 0.2}
    parameters = sizes | {"data_set": "multiview", "mean": None, "std": None, "seed": 1}
    (kept / "run.json").write_text(json.dumps({"parameters": parameters, "dataset_fingerprint": "of others"}))
    SLICE.to_csv(kept / editions.SLICE, index=False)
    with pytest.raises(ValueError, match="these images are not those of edition drawn"):
        editions.verify(kept)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "less than a second"), (59.6, "1 min"), (252, "4 min 12 s"), (3600, "1 h"), (90061, "25 h 1 min")],
)
def test_durations(seconds, text):
    assert editions.duration(seconds) == text


# ---- what is published -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    """Folders of the editions that are committed."""
    return build.published()[1]


def test_what_is_published_is_whole_and_says_how_it_was_made(published):
    assert published
    for folder in published:
        entries = json.loads((folder / "run.json").read_text())
        wanted = {"parameters", "versions", "hardware", "threads", "commit", "dataset_fingerprint", "occlusion"}
        assert not wanted - set(entries)
        assert isinstance(entries["parameters"]["seed"], int)
        study = {path.stem for path in (PROJECT / "notebooks").glob("*.py")}
        kept = {path.stem for path in (folder / "notebooks").glob("*.ipynb")}
        assert study - {"inheritance"} <= kept <= study  # no feature can be planted in photographs
        assert all(path.stat().st_size < chapters.PAGE_LIMIT for path in folder.rglob("*"))
        texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
        assert not [place for text in texts for place in re.findall(r"[\"' ]/(?:home|tmp|root|work|Users)/\S+", text)]


def test_what_was_found_on_copies_of_images_is_not_called_the_original():
    for folder in build.published()[1]:
        edition = claims.read_edition(folder)
        if edition.parameters["data_set"] == "imagefolder":
            assert edition.made["data_title"] not in ("", "imagefolder", "CIFAR-10", "cifar10")
            assert edition.made["data_title"] in edition.title


# What the scorecard and the README show of a claim: a quantity and its interval.
SHOWN = re.compile(r"(−?[\d.]+)[^\d(<|]*\((−?[\d.]+) to (−?[\d.]+)\)")
QUANTITY = {"estimate": "difference", "low": "low", "high": "high"}  # their columns unless a claim says otherwise


def numbers(claim, folder):
    """Find a claim's numbers in an edition's files anew, with nothing of the project: estimate, low, high a row."""
    path = folder / "results" / f"{claim['table']}.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if all(row.get(k) == str(v) for k, v in claim["rows"].items())]
    divisor = json.loads((folder / "run.json").read_text())["parameters"].get(claim.get("over")) or 1
    scale = (100 if claim.get("unit") else 1) / divisor
    columns = [claim.get(key, default) for key, default in QUANTITY.items()]
    return [[scale * float(row.get(column) or "nan") for column in columns] for row in rows]


def shown(lines, claim, editions):
    """Numbers that the next line of a claim shows, an entry an edition: None where it shows no interval."""
    line = next(line for line in lines if line.startswith(f"| {claim['says']} |"))
    cells = line.strip("|").split(" | ")[-editions:]
    return [found and [number.replace("−", "-") for number in found.groups()] for found in map(SHOWN.search, cells)]


@pytest.mark.parametrize("where", ["scorecard", "readme"])
def test_every_number_shown_is_one_of_the_committed_tables(published, where):
    parts = yaml.safe_load(claims.CLAIMS.read_text()).values()
    listed = [claim for part in parts for chapter in part.values() for claim in chapter]
    text, least = (PROJECT / "README.md").read_text(), 7  # of fifteen rows; an edition may be of before some were asked
    if where == "scorecard":
        template, known = (PROJECT / "book" / "scorecard.md").read_text(), claims.read_claims()
        judged = verdicts.Verdicts(known, [claims.read_edition(folder) for folder in published])
        text, least = build.fill(template, verdicts=judged), 30
    lines, compared = iter(text.splitlines()), dict.fromkeys(published, 0)
    for claim in listed if where == "scorecard" else [claim for claim in listed if claim.get("headline")]:
        for folder, given in zip(published, shown(lines, claim, len(published)), strict=True):
            wanted = numbers(claim, folder)
            if given is None:
                assert not np.isfinite(wanted).all(1).any() if wanted else True
                continue
            places = max(len(number.partition(".")[2]) for number in given)
            close = np.isclose(np.array(wanted), np.array(given, dtype=float), rtol=0, atol=0.501 * 10**-places)
            assert close.all(1).any(), (claim["id"], given, wanted)
            compared[folder] += 1
    assert all(count >= least for count in compared.values())
