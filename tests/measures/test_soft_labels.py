import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from kd_lib.measures import soft_labels
from kd_lib.measures.soft_labels import ACCURACY, ALL, CROSS_ENTROPY, RANKS, RIGHT, TEMPERATURE, TEMPERED


def test_cross_entropy_by_hand():
    logits = np.log([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
    found = soft_labels.cross_entropy([[0.5, 0.5, 0], [1, 0, 0]], logits + 7)
    np.testing.assert_allclose(found, [1.5 * np.log(2), np.log(2)])
    np.testing.assert_allclose(soft_labels.cross_entropy([[0, 1, 0]], logits[:1], 1e9), np.log(3))


@pytest.mark.parametrize("temperature", [0.2, 1, 5])
def test_the_temperature_of_too_sure_and_too_unsure_networks_is_found(temperature):
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=50)
    found = soft_labels.fitted_temperature(shares, temperature * np.log(shares))
    assert found == pytest.approx(temperature, rel=1e-4)


def test_ranks_of_the_other_classes_are_scipys():
    rng = np.random.default_rng(0)
    counts, logits, labels = rng.integers(0, 4, (6, 5)), rng.normal(size=(6, 5)), np.array([0, 1, 2, 3, 4, 0])
    counts[0] = [9, 0, 0, 0, 0]  # nobody doubts
    counts[1] = [2, 0, 2, 2, 2]  # all others were named as often
    logits[2, 0] = np.nan
    found = soft_labels.other_classes(counts / counts.sum(1, keepdims=True), logits, labels)
    assert np.isnan(found[:3]).all()
    for row in (3, 4, 5):
        other = np.arange(5) != labels[row]
        assert found[row] == pytest.approx(spearmanr(counts[row, other], logits[row, other]).statistic)


def test_the_temperature_is_tried_on_the_images_that_it_is_not_fitted_on():
    counts = np.random.default_rng(0).integers(1, 9, (40, 3))
    truth = np.log(counts / counts.sum(1, keepdims=True))
    found = soft_labels.by_image(counts, 3 * truth, counts.argmax(1))
    assert found[TEMPERED].isna().sum() == 20
    assert found[TEMPERATURE].unique() == pytest.approx(3, rel=1e-4)
    entropy = -(np.exp(truth) * truth).sum(1)
    fair = found[TEMPERED].notna()
    np.testing.assert_allclose(found[TEMPERED][fair], entropy[fair], rtol=1e-6)
    assert (found[CROSS_ENTROPY] > entropy - 1e-9).all()
    assert found[ACCURACY].all()


def test_a_diverged_network_has_no_numbers_and_no_rows_are_of_nobody():
    found = soft_labels.by_image(np.ones((4, 3)), np.full((4, 3), np.nan), [0, 1, 2, 0])
    assert found.drop(columns="image").isna().all().all()
    assert soft_labels.agreement(found.assign(kind="component", model="a")).loc[0, "accuracy low"] is not None
    with pytest.raises(ValueError, match="image 1: nobody's label is counted"):
        soft_labels.by_image([[1, 0], [0, 0]], np.zeros((2, 2)), [0, 1])
    with pytest.raises(ValueError, match=r"counts of shape \(1, 2\), logits of shape \(2, 2\)"):
        soft_labels.by_image([[1, 0]], np.zeros((2, 2)), [0, 1])


def rows(kind, model, values, right):
    """Make rows of images that a network gets right or not."""
    measured = dict.fromkeys((CROSS_ENTROPY, TEMPERED, RANKS), values)
    return pd.DataFrame({"kind": kind, "model": model, "image": range(len(values)), ACCURACY: right, **measured})


def test_gaps_by_hand():
    frame = pd.concat(
        [
            rows("component", "a", [4.0, 6.0, 2.0], [1, 1, 0]),
            rows("component", "b", [8.0, 4.0, 4.0], [0, 1, 1]),
            rows("distilled", "s", [1.0, 1.0, 1.0], [1, 1, 1]),
        ]
    )
    found = soft_labels.gaps(frame).set_index(["among", "quantity"])
    assert set(found["what"] + found["less"]) == {"distilledcomponent"}
    assert found.loc[(ALL, CROSS_ENTROPY), "difference"] == pytest.approx(1 - (6 + 5 + 3) / 3)
    assert found.loc[(RIGHT, CROSS_ENTROPY), "difference"] == pytest.approx(1 - (4 + 5 + 4) / 3)
    means = soft_labels.agreement(frame.assign(temperature=2.0)).set_index("kind")
    assert means.loc["component", [RANKS, "images", "networks"]].tolist() == pytest.approx([28 / 6, 3, 2])


@pytest.mark.parametrize(
    ("quantity", "low", "high", "said"),
    [
        (TEMPERED, -0.2, -0.1, "nearer"),
        (TEMPERED, 0.1, 0.2, "further away"),
        (TEMPERED, -0.1, 0.2, "cannot tell"),
        (TEMPERED, np.nan, np.nan, "cannot tell"),
        (RANKS, 0.1, 0.2, "nearer"),
        (RANKS, -0.2, -0.1, "further away"),
    ],
)
def test_every_answer_has_its_words(quantity, low, high, said):
    row = {"what": "distilled", "less": "component", "difference": (low + high) / 2, "low": low, "high": high}
    words = soft_labels.nearer_in_words(pd.DataFrame([row | {"among": RIGHT, "quantity": quantity, "images": 9}]))
    assert f"- {quantity}: " in words
    assert said in words.splitlines()[1]
    assert (said if quantity == TEMPERED else "no such images") in words.splitlines()[-1]


def test_without_rows_there_are_no_gaps_and_that_is_said():
    nothing = pd.DataFrame(columns=list(soft_labels.BY_IMAGE))
    found = soft_labels.gaps(nothing)
    assert found.empty
    assert {"what", "less", "among", "quantity", "difference", "low", "high", "p"} <= set(found)
    assert "cannot be told" in soft_labels.nearer_in_words(found)
    assert {"kind", TEMPERED, f"{RANKS} high", "networks"} <= set(soft_labels.agreement(nothing))
