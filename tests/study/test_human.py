"""Networks' soft answers beside people's, on a run whose test images are made to look like files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from kd_lib.measures import soft_labels
from kd_lib.study import human, reading
from tests.little_run import NAMES, make

PATHS = [f"test/class/{n:04}" for n in range(40)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return make(tmp_path_factory.mktemp("run"))


@pytest.fixture
def here(drawn, monkeypatch):
    """The run, as if its test images were files, and networks' answers were drawn at random."""
    test = replace(drawn.dataset.test, paths=np.array(PATHS))
    monkeypatch.setitem(vars(drawn), "dataset", replace(drawn.dataset, test=test))
    logits = dict(zip(NAMES, torch.randn(3, 40, 10, generator=torch.Generator().manual_seed(0)), strict=True))
    monkeypatch.setattr(reading.Study, "answers", lambda _, name, device: logits[name])
    return drawn


def write(folder, here, counts):
    table = pd.DataFrame(counts, columns=here.class_names)
    table.insert(0, "path", [f"{path}.jpg" for path in PATHS[: len(counts)]])
    table.to_csv(folder / "labels.csv", index=False)
    return str(folder / "labels.csv")


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_people_who_answer_as_a_network_are_nearest_to_it(here, tmp_path, monkeypatch, output):
    monkeypatch.setitem(here.parameters, "ensemble_output", output)
    answers = torch.stack([here.answers(name, device="cpu") for name in NAMES]).double()
    mean = answers[:2].mean(0) if output == "logits" else answers[:2].softmax(-1).mean(0).log()
    labels = write(tmp_path, here, (1e6 * mean[:30].softmax(-1)).long())
    found, said = human.by_image(here, labels, device="cpu")
    assert "Human labels of 30 of the 40 test images" in said
    assert list(found) == list(soft_labels.BY_IMAGE)
    agreement = human.agreement(here, found).set_index("kind")
    assert list(agreement.index) == ["component", "distilled", "ensemble"]
    assert agreement.loc["ensemble", ["rank correlation", "temperature"]].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert agreement["cross-entropy"].idxmin() == "ensemble"
    gaps, words = human.gaps(here, found)
    assert "is the distilled network nearer" in words
    kept = pd.read_csv(here.run.results / "human_gaps.csv")
    assert kept["difference"].tolist() == pytest.approx(gaps["difference"].tolist())


def test_further_students_count_as_distilled(here, tmp_path, monkeypatch):
    monkeypatch.setattr(reading.Study, "roles", {"a": "component", "b": "student", "distilled": "distilled"})
    assert here.students == ["distilled", "b"]
    found, _ = human.by_image(here, write(tmp_path, here, np.ones((40, 10), int)), device="cpu")
    assert found.groupby("kind")["model"].unique().map(list).to_dict() == {
        "component": ["a"],
        "distilled": ["distilled", "b"],
    }


def test_without_human_labels_the_tables_are_empty_and_it_is_said(drawn):
    found, said = human.by_image(drawn, "")
    assert said.startswith("No human labels:")
    assert "give human_labels=" in said
    assert human.agreement(drawn, found).empty
    gaps, words = human.gaps(drawn, found)
    assert "cannot be told" in words
    kept = pd.read_csv(drawn.run.results / "human_gaps.csv")
    assert list(kept) == list(gaps)


def test_drawn_images_have_no_paths(drawn, tmp_path):
    with pytest.raises(ValueError, match=r"human_labels='labels.csv': the images of 'multiview' are drawn"):
        human.by_image(drawn, "labels.csv")
