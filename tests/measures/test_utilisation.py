import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kd_lib.measures.utilisation import cosine_matrix, utilisation


def test_never_visible_is_nan():
    shown = pd.DataFrame({"image": [0], "model": ["a"], "eyes": [False], "nose": [True]})
    visible = pd.DataFrame({"image": [0], "eyes": [False], "nose": [True]})
    share = utilisation(shown, visible)
    assert np.isnan(share.loc["a", "eyes"])
    assert share.loc["a", "nose"] == 1


def test_cosine_matrix_by_hand():
    share = pd.DataFrame([[1.0, 0.0, 0.3], [0.6, 0.8, np.nan], [0.0, 0.0, 0.5]], index=["a", "b", "c"])
    matrix = cosine_matrix(share)  # the third feature is unknown for b, and left out for all
    assert matrix.loc["a", "b"] == pytest.approx(0.6)
    assert matrix.loc["b", "b"] == pytest.approx(1)
    assert matrix["c"].isna().all()
    assert matrix.loc["c"].isna().all()
    assert list(matrix.index) == list(matrix.columns) == ["a", "b", "c"]
    assert cosine_matrix(share[[2]]).isna().all(axis=None)


@given(arrays(np.float64, (3, 4), elements=st.integers(1, 9).map(float)))
def test_cosine_matrix_is_symmetric_and_ignores_scale(values):
    matrix = cosine_matrix(pd.DataFrame(values)).to_numpy()
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix, cosine_matrix(pd.DataFrame(values * [[1], [2], [3]])), atol=1e-12)
