from itertools import combinations

import numpy as np
import pwlf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from kd_lib.measures.piecewise import MAX_SEGMENTS, able, fits, most_segments, slope_falls, transitions


def log_likelihood(counts, edges):
    """Of arrivals at a constant rate between every two edges, by the definition."""
    return sum(xlogy(c, c / (b - a)) for a, b, c in zip(edges, edges[1:], np.diff(counts[list(edges)]), strict=False))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=11, max_size=11))
def test_the_best_of_all_knots_is_found(increments):
    counts = np.cumsum([0, *increments]).astype(float)
    images = max(counts[-1], 1)
    for segments, fit in enumerate(fits(counts[None] / images, images), start=1):
        every = [
            log_likelihood(counts, (0, *knots, 11))
            for knots in combinations(range(2, 10), segments - 1)
            if (np.diff([0, *knots, 11]) >= 2).all()
        ]
        assert fit.criterion[0] == pytest.approx((2 * segments - 1) * np.log(images) - 2 * max(every))
        assert log_likelihood(counts, (0, *fit.knots[0], 11)) == pytest.approx(max(every))


def test_knots_and_slopes_by_hand():
    curve = np.interp(np.arange(13), [0, 4, 12], [0.1, 0.5, 0.9])
    two = fits(curve[None], 100)[1]
    assert two.knots.tolist() == [[4]]
    np.testing.assert_allclose(two.slopes, [[0.1, 0.05]])
    later = fits(curve[None], 100, epochs=np.arange(13) * 2 + 1)[1]
    np.testing.assert_allclose(later.slopes, [[0.05, 0.025]])


def test_without_noise_the_knots_are_those_of_least_squares():
    curve = np.interp(np.arange(31), [0, 7, 18, 30], [0, 0.5, 0.9, 1])
    peer = pwlf.PiecewiseLinFit(np.arange(31), curve, seed=0)
    peer.fitfast(3, pop=5)
    fit = fits(curve[None], 1000)[2]
    np.testing.assert_allclose(fit.knots[0], peer.fit_breaks[1:-1], atol=1e-3)
    np.testing.assert_allclose(fit.slopes[0], peer.calc_slopes(), atol=1e-4)


def test_many_curves_are_fitted_as_one_is():
    curves = np.sort(np.random.default_rng(0).random((5, 20)), axis=1)
    together = fits(curves, 50)
    for row, curve in enumerate(curves):
        for one, all_ in zip(fits(curve[None], 50), together, strict=True):
            assert (one.knots[0] == all_.knots[row]).all()
            assert one.criterion[0] == pytest.approx(all_.criterion[row])


@pytest.mark.parametrize(("points", "most"), [(2, 1), (5, 1), (6, 2), (11, 3), (12, 4), (64, MAX_SEGMENTS)])
def test_a_segment_takes_three_points(points, most):
    assert most_segments(points) == most
    assert able(points) == (points >= 12)
    assert len(fits(np.zeros((1, points)), 10)) == most


def test_falls_and_falls_after_a_rise():
    falls, again = slope_falls(np.array([[4, 1, 3, 1, 0], [1, 2, 1, 0, 0], [1, 1, 1, 1, 1]]))
    assert falls.tolist() == [[1, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert again.tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_transitions_of_samples_by_hand():
    curve = np.interp(np.arange(21), [0, 8, 20], [0, 0.8, 0.92])
    sooner, later = (np.interp(np.arange(21), [0, bend, 20], [0, 0.8, 0.92]) for bend in (6, 10))
    found, second = transitions(np.stack([curve, sooner, curve, later]), 1000)
    (row,) = found.to_dict("records")
    assert (row["onset"], row["onset_low"], row["onset_high"], row["support"]) == (8, 6, 10, 1)
    assert (row["proportion_memorised"], row["proportion_low"]) == pytest.approx((0.12, 0.12))
    assert not second.any()
    straight = np.linspace(0, 0.92, 21)
    assert transitions(np.stack([curve, curve, straight]), 1000)[0]["support"].tolist() == [0.5]
    assert transitions(straight[None], 1000)[0].empty


@pytest.mark.parametrize("curves", [[0.1, 0.2], [[0.1]], [[0.1, np.nan]]])
def test_curves_refuse(curves):
    with pytest.raises(ValueError, match="at least two finite shares"):
        fits(curves, 10)
