"""RQ2: which features the networks use, and whether they differ between seeds."""

import numpy as np
import pandas as pd
from sklearn.metrics.pairwise import cosine_similarity


def utilisation(shown: pd.DataFrame, visible: pd.DataFrame) -> pd.DataFrame:
    """Share of the images in which a feature is visible whose map shows it.

    `shown` has the columns image, model and one bool a feature: whether the model's map shows it; `visible` has image
    and the same features: whether the image does. Gives float64, models by features, in the order of both; NaN where a
    feature is visible in none of the images whose maps of that model were looked at.
    """
    names = [name for name in visible.columns if name != "image"]
    seen = visible.set_index("image").loc[shown.image, names].set_axis(shown.index)
    model = shown.model
    maps = (shown[names] & seen).groupby(model, sort=False).sum()
    return maps / seen.groupby(model, sort=False).sum().replace(0, np.nan)


def cosine_matrix(utilisation: pd.DataFrame) -> pd.DataFrame:
    """Cosine similarity of the utilisation vectors of every two models.

    Parameters
    ----------
    utilisation : DataFrame
        Models by features. A feature that is NaN for a model is left out for all.

    Returns
    -------
    DataFrame of float64
        Models by models, in [0, 1]; NaN for a model that shows no feature.
    """
    known = utilisation.dropna(axis="columns")
    models = utilisation.index
    matrix = cosine_similarity(known) if known.shape[1] else np.full((len(models), len(models)), np.nan)
    frame = pd.DataFrame(matrix, index=models, columns=models.rename(None))
    blank = (known == 0).all(axis="columns")
    frame.loc[blank, :] = np.nan
    frame.loc[:, blank.to_numpy()] = np.nan
    return frame
