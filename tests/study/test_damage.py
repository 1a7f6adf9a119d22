"""Any file of a run, damaged: what is read is what it was, or an error names the file."""

import hashlib
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kd_lib import _files, study
from kd_lib.maps import open_logits
from kd_lib.study import pipeline, truth
from kd_lib.study.reading import images
from kd_lib.study.run import Run
from tests import trained_run

SETTINGS = trained_run.SETTINGS | {"arch": "shufflenet_v2_x0_5", "controls": False, "techniques": []}
MAPS = {"patch": 8, "stride": 8, "baseline": 0.0, "precision": "float32"}
DAMAGES = ("flipped", "cut", "emptied", "gone")
DRAWN = images(SETTINGS)


def make(folder):
    """Train and explain what is lacking, on images that are drawn once."""
    here = pipeline.begin(folder, SETTINGS, DRAWN)
    pipeline.train(here, verbose=False)
    states = pipeline.states(here, 1)
    pipeline.explain(here, states, MAPS, progress=False)
    return here, states


def digest(*things):
    return hashlib.sha256(pickle.dumps(things)).hexdigest()


def read(run):
    """Read all of a run that anything reads, and put together what it says."""
    here = study.open(run)
    here.dataset = DRAWN
    found = [here.recipes, here.parameters, here.class_names, here.run.entry("occlusion")]
    for name in here.recipes:
        for epoch in here.run.checkpoints.epochs(name):
            weights = here.network(name, epoch, device="cpu").state_dict()
            found.append([name, epoch, *(value.numpy().tobytes() for value in weights.values())])
    found += [[state, here.store.logits(*state).tobytes()] for state in here.store.states]
    found.append(here.store.settings | {"labels": here.store.labels.tobytes(), "index": here.store.index.tobytes()})
    found.append(open_logits(here.occlusion).isel(window=0).values.tobytes())
    found += [truth.Importances(here).of(name).tobytes() for name in here.recipes]
    found.append(here.run.read_csv("history").to_csv())
    again = pipeline.begin(run, SETTINGS, DRAWN)  # what goes on from it
    found.append(pipeline.train(again, verbose=False).to_csv())
    pipeline.explain(again, pipeline.states(again, 1), MAPS, progress=False)
    return digest(*found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    here, states = make(tmp_path_factory.mktemp("whole") / "run")
    truth.remove_views(here, states)
    return here.run, read(here.run)


def damaged(data, how, place):
    """Give the content of a file that was damaged at some place of it."""
    at = int(place * len(data))
    if not data:
        return data
    if how == "flipped":
        return data[:at] + bytes([data[at] ^ 1 << int(place * 1e6) % 8]) + data[at + 1 :]
    return data[:at] if how == "cut" else b""


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), how=st.sampled_from(DAMAGES), place=st.floats(0, 1, exclude_max=True))
def test_a_damaged_file_is_named_or_changes_nothing(whole, tmp_path_factory, data, how, place):
    run, expected = whole
    name = data.draw(st.sampled_from(_files.names_in(run.folder)))
    copy = shutil.copytree(run.folder, tmp_path_factory.mktemp("damaged") / "run")
    content = (copy / name).read_bytes()
    (copy / name).unlink() if how == "gone" else (copy / name).write_bytes(damaged(content, how, place))
    try:
        assert read(Run(copy)) == expected
    except (ValueError, OSError) as error:
        assert name in str(error) or how == "gone"  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        shutil.rmtree(copy)


def test_a_lost_run_json_is_written_again_over_what_is_there(whole, tmp_path):
    run, expected = whole
    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (copy / "run.json").unlink()
    weights = {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}
    make(copy)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")} == weights
    assert read(Run(copy)) == expected


def test_a_lost_run_json_mixes_no_networks(whole, tmp_path):
    run, _ = whole
    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (copy / "run.json").unlink()
    here = pipeline.begin(copy, SETTINGS | {"max_lr": 0.01}, DRAWN)
    with pytest.raises(ValueError, match="'a' was trained in another way .*max_lr: .* there, 0.01 given"):
        pipeline.train(here, verbose=False)
    pipeline.train(here, verbose=False, recompute=True)
    states = pipeline.states(here, 1)
    store = pipeline.explain(here, states, MAPS, progress=False)
    fresh = pipeline.begin(tmp_path / "fresh", SETTINGS | {"max_lr": 0.01}, DRAWN)
    pipeline.train(fresh, verbose=False)
    again = pipeline.explain(fresh, states, MAPS, progress=False)
    for state in states:
        np.testing.assert_array_equal(store.logits(*state), again.logits(*state))


def test_a_damaged_teacher_is_named_and_made_again_alone(whole, tmp_path):
    run, expected = whole
    copy = Path(shutil.copytree(run.folder, tmp_path / "run"))
    file = copy / "checkpoints" / "a" / "epoch-001.safetensors"
    file.write_bytes(damaged(file.read_bytes(), "flipped", 0.9))
    here = pipeline.begin(copy, SETTINGS, DRAWN)
    with pytest.raises(ValueError, match=r"a/epoch-001.safetensors is damaged .*: delete this network's folder and"):
        pipeline.train(here, verbose=False)
    shutil.rmtree(file.parent)
    kept = {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}
    pipeline.train(here, verbose=False)
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in copy.rglob("*.safetensors")}.items()
    assert file.read_bytes() == (run.folder / file.relative_to(copy)).read_bytes()
