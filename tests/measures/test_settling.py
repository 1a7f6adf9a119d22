import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from kd_lib.measures.settling import maps_and_views, maps_and_views_in_words, mean_rank_correlation


def frame(late, use):
    late, use = np.atleast_2d(late), np.atleast_2d(use)
    model, image = np.indices(late.shape)
    return pd.DataFrame({"model": model.ravel(), "image": image.ravel(), "map": late.ravel(), "use": use.ravel()})


def test_rank_correlation_is_the_mean_of_spearmans():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (2, 40, 3))
    estimate, low, high = mean_rank_correlation(x, y, resamples=100)
    assert estimate == pytest.approx(np.mean([spearmanr(a, b).statistic for a, b in zip(x.T, y.T, strict=True)]))
    assert low < estimate < high
    x[:, 0] = 2  # a network that does not vary is left out
    assert mean_rank_correlation(x, y)[0] == pytest.approx(
        np.mean([spearmanr(a, b).statistic for a, b in zip(x.T[1:], y.T[1:], strict=True)])
    )


def test_the_interval_covers_no_correlation():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(40):
        _, low, high = mean_rank_correlation(*rng.integers(0, 9, (2, 60, 2)), resamples=200)
        covered.append(low <= 0 <= high)
    assert np.mean(covered) >= 0.85


def test_agreement_by_hand():
    found = maps_and_views(frame([[1, 2, 3, 5]], [[1, 2, 3, 2]])).set_index("quantity")["estimate"]
    assert found["map less use (epochs)"] == 0.75
    assert found["at most one epoch apart"] == 0.75
    # Of 16 pairs of a map and a use: 1 is near 1 2 2, 2 near all, 3 near 2 3 2, 5 near none.
    assert found["the same by chance"] == 10 / 16


def test_words_follow_the_numbers():
    epochs = np.tile(np.arange(8), 10)
    words = maps_and_views_in_words(frame(np.minimum(epochs + 2, 8), epochs))
    assert "images whose views settle late have maps that settle late (" in words
    assert "epochs later than the use of views" in words
    assert "maps that settle early" in maps_and_views_in_words(frame(8 - epochs, epochs))
    rng = np.random.default_rng(0)
    assert "cannot tell whether images" in maps_and_views_in_words(frame(rng.integers(0, 8, 80), epochs))


@pytest.mark.filterwarnings("error")
def test_where_there_is_nothing_to_compare():
    assert maps_and_views_in_words(frame([[]], [[]])).startswith("Maps and views: cannot tell, no network")
    assert maps_and_views_in_words(frame([[np.nan, np.nan]], [[1.0, 2.0]])).startswith("Maps and views: cannot tell")
    same = maps_and_views_in_words(frame(np.full(5, 3.0), np.full(5, 3.0)))
    assert "unknown, all settle at one epoch" in same
    assert "cannot tell" in maps_and_views_in_words(frame([[2.0]], [[3.0]]))
