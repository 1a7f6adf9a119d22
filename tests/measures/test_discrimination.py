"""Labels in here are made by a rule."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from kd_lib.measures import discrimination
from kd_lib.measures.similarity import spearman, ssim


def frame(similarity, same, **more):
    return pd.DataFrame({"image": range(len(same)), "same": same, "pearson": similarity} | more)


def test_area_is_the_share_of_pairs_in_the_right_order():
    found = discrimination.areas_under_curve(
        frame([0.1, 0.4, 0.35, 0.8], [False, False, True, True]), measures=["pearson"]
    )
    assert found["AUC"].item() == pytest.approx(3 / 4)  # of four pairs of one of each kind, one is the wrong way round


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=4, max_size=30))
def test_area_equals_the_mann_whitney_statistic(pairs):
    values, same = np.array([v for v, _ in pairs]) / 5, np.array([s for _, s in pairs])
    found = discrimination.areas_under_curve(frame(values, same), measures=["pearson"], resamples=2)
    if same.all() or not same.any():
        assert np.isnan(found["AUC"].item())
    else:
        expected = mannwhitneyu(values[same], values[~same]).statistic / (same.sum() * (~same).sum())
        assert found["AUC"].item() == pytest.approx(expected)


def test_areas_of_weighted_samples_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    same, value = rng.random(60) < 0.5, rng.integers(0, 20, 60) / 10  # with ties
    weights = rng.integers(0, 3, (20, 60)).astype(float)
    expected = [roc_auc_score(same, value, sample_weight=row) for row in weights]
    np.testing.assert_allclose(discrimination._areas(same, value, weights), expected)


def test_a_measure_that_knows_more_is_told_from_one_that_knows_less():
    rng = np.random.default_rng(0)
    same = rng.random(400) < 0.4
    good, poor = same + rng.normal(scale=0.5, size=400), same + rng.normal(scale=3.0, size=400)
    labelled = frame(poor, same, ssim=good, cosine=poor).assign(image=np.arange(400) // 4)
    found = discrimination.areas_under_curve(labelled, measures=["pearson", "ssim", "cosine"]).set_index("measure")
    assert found.loc["ssim", "less low"] > 0
    assert found.loc["cosine", ["less pearson", "less low", "less high"]].tolist() == [0, 0, 0]
    assert np.isnan(found.loc["pearson", "less pearson"])
    assert (found["low"] < found["AUC"]).all()
    assert (found["AUC"] < found["high"]).all()


def test_curves_run_from_corner_to_corner_and_there_is_none_for_equal_labels():
    rng = np.random.default_rng(0)
    labelled = frame(rng.random(500), rng.random(500) < 0.5)
    found = discrimination.roc_curves(labelled, measures=["pearson"])
    assert len(found) <= discrimination.POINTS
    rates = found[["false positive rate", "true positive rate"]].to_numpy()
    assert rates[0].tolist() == [0, 0]
    assert rates[-1].tolist() == [1, 1]
    assert (np.diff(rates, axis=0) >= 0).all()
    assert discrimination.roc_curves(labelled.assign(same=True)).empty


def test_pairs_are_measured_and_a_sample_where_there_are_many(monkeypatch):
    maps = dict(zip("ab", np.random.default_rng(0).normal(size=(2, 3, 2, 8, 8)), strict=True))
    maps["a"][2, 1] = 0  # constant
    labelled = pd.DataFrame({"model_a": "a", "model_b": "b", "image": [0, 1, 2], "target": [1, 0, 1], "same": True})
    found = discrimination.measured(labelled, maps)
    assert found.image.tolist() == [0, 1]
    assert found.spearman.tolist() == [spearman(maps["a"][i, k], maps["b"][i, k]) for i, k in ((0, 1), (1, 0))]
    assert found.ssim.tolist() == [ssim(maps["a"][i, k], maps["b"][i, k]) for i, k in ((0, 1), (1, 0))]
    monkeypatch.setattr(discrimination, "MOST", 2)
    assert len(discrimination.measured(labelled[:2], maps)) == 2
    assert len(discrimination.measured(labelled, maps, seed=1)) <= 2


def test_the_area_within_images_is_the_mean_of_their_own():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"image": np.repeat(np.arange(30), 20), "same": rng.random(600) < 0.4})
    frame["pearson"] = 0.1 * frame["same"] + rng.normal(scale=0.2, size=600).round(1) + frame["image"]
    areas, weights = [], []
    for _, own in frame.groupby("image"):
        areas.append(roc_auc_score(own["same"], own["pearson"]))
        weights.append(own["same"].sum() * (~own["same"]).sum())
    found = discrimination.area_within_images(frame)
    assert found.estimate == pytest.approx(np.average(areas, weights=weights))
    assert found.low < found.estimate < found.high
    assert np.isnan(discrimination.area_within_images(frame.assign(same=True)).estimate)
