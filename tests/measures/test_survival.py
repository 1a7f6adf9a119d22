import numpy as np

from kd_lib.measures import survival


def test_weights_are_the_data_and_then_samples():
    weights = survival.weights(7, 20)
    assert weights.shape == (21, 7)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 7).all()
    assert survival.weights(1, 20).shape == (1, 1)


def test_tally_by_hand():
    clusters, time = np.array([0, 0, 2, 2, 2]), np.array([0, 1, 1, 1, np.nan])
    found = survival.tally(clusters, time, ~np.isnan(time), 3)
    assert found.tolist() == [[1, 1, 0], [0, 0, 0], [0, 2, 0]]


def test_median_by_hand():
    # Four observations: one event at 0; one is lost after 0; of the two left one has its event at 2: 3/4 * 1/2 < 1/2.
    events, censored = np.array([[1, 0, 1, 0], [1, 0, 0, 0]]), np.array([[1, 0, 0, 1], [1, 0, 0, 2]])
    assert survival.median(events, censored).tolist() == [2, np.inf]
