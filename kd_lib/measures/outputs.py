"""What networks answer and which features they have: agreement, Kullback-Leibler divergence, kernel alignment.

Two networks may have the same maps only because they give the same answers; these say whether they do.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp

AGREEMENT, KL, CKA, ACCURACY = "agreement", "KL (nats)", "CKA", "accuracy"
ERROR = "error of logits"


# ---- what networks answer --------------------------------------------------------------------------------------------


def together(logits: ArrayLike, *, output: str = "logits") -> np.ndarray:
    """Logits (N, K) of the ensemble of M networks, which averages their logits or their probabilities.

    Of `logits` (M, N, K) it averages 'logits' or 'probs'; of the mean probability the log is returned, as in
    `networks.Ensemble`.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if output == "logits":
        return logits.mean(0)
    return logsumexp(log_softmax(logits, axis=-1), axis=0) - np.log(len(logits))


def kl_divergence(reference: ArrayLike, logits: ArrayLike) -> np.ndarray:
    """Kullback-Leibler divergence of a network's probabilities from a reference's, KL(reference || network), in nats.

    Parameters
    ----------
    reference, logits : array_like, shape (..., K)
        Logits; the leading axes broadcast.

    Returns
    -------
    ndarray of float64, shape (...)
        At least 0; NaN where a logit is not finite.
    """
    reference, logits = np.asarray(reference, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        p, q = log_softmax(reference, axis=-1), log_softmax(logits, axis=-1)
        divergence = np.maximum((np.exp(p) * (p - q)).sum(-1), 0)  # rounding may leave it below
    return np.where(_known(reference) & _known(logits), divergence, np.nan)


def error_of_logits(reference: ArrayLike, logits: ArrayLike) -> np.ndarray:
    """Mean square (...) of what tells the logits (..., K) of a network from a reference's, each less their mean.

    It is what distillation at a high temperature makes small: Hinton, Vinyals & Dean (2015), arXiv:1503.02531,
    section 2.1. NaN where a logit is not finite.
    """
    apart = np.asarray(logits, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return apart.var(-1)


def by_image(reference: ArrayLike, logits: ArrayLike, labels: ArrayLike, *, temperature: float = 1.0) -> pd.DataFrame:
    """Compare a network's outputs with a reference's, image by image.

    `reference` (the ensemble's) and `logits` are (N, K), `labels` (N,) the true classes; a ValueError if the shapes do
    not match. Gives a row an image: image, agreement (1 where both put the same class first), KL (nats) of
    `kl_divergence`, of logits over `temperature`, accuracy (1 where the network is right). NaN where a logit needed is
    not finite.
    """
    reference, logits, labels = np.asarray(reference), np.asarray(logits), np.asarray(labels)
    if reference.ndim != 2 or reference.shape != logits.shape or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits of shapes {reference.shape} and {logits.shape}, labels of shape {labels.shape}: "
            "expected (N, K) twice and (N,)"
        )
    first, own = reference.argmax(-1), logits.argmax(-1)
    known, both = _known(logits), _known(logits) & _known(reference)
    columns = {
        "image": np.arange(len(labels)),
        AGREEMENT: np.where(both, first == own, np.nan),
        KL: kl_divergence(reference / temperature, logits / temperature),
        ACCURACY: np.where(known, own == labels, np.nan),
    }
    return pd.DataFrame(columns)


def _known(logits: np.ndarray) -> np.ndarray:
    return np.isfinite(logits).all(-1)


# ---- what features they have -----------------------------------------------------------------------------------------


def gram(features: ArrayLike) -> np.ndarray:
    """Gram matrix (N, N) of a network's features (N, D), centred and scaled to sum to one square.

    The features of an ensemble are those of its members side by side, since what it answers is a linear function of
    these: its Gram matrix is the sum of theirs. The scale keeps a member from counting for more because its activations
    are larger.
    """
    features = np.asarray(features, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = features - features.mean(0)
        own /= np.linalg.norm(own)
        return own @ own.T


def cka(a: ArrayLike, b: ArrayLike) -> float:
    """Centred kernel alignment of two Gram matrices, debiased: 1 for the same features up to rotation and scale.

    The plain estimator tends to 1 where there are more features than images, whatever they are; this one, with the
    unbiased estimator of the Hilbert-Schmidt independence criterion, has mean near 0 for unrelated features.

    Parameters
    ----------
    a, b : array_like, shape (N, N)
        Gram matrices of at least 4 images, for instance of `gram` (linear CKA).

    Returns
    -------
    float
        At most about 1; NaN where features are constant or not finite.

    Raises
    ------
    ValueError
        If the shapes differ or there are fewer than 4 images.

    References
    ----------
    Kornblith et al. (2019), arXiv:1905.00414; Song et al. (2012), "Feature Selection via Dependence Maximization",
    Journal of Machine Learning Research 13; both put together by Nguyen, Raghu and Kornblith (2021), arXiv:2010.15327.
    """
    return float(_alignment(*_off_diagonal(a, b, least=4), _hsic))


def cka_by_image(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Share of each image in `cka`: values (N,) whose mean it is, and whose spread is its uncertainty.

    A bootstrap that draws an image twice would count the two copies as alike and raise CKA; the jackknife has no
    copies. The value of an image is CKA, plus N - 1 times what CKA loses, against the mean, when the image is left out.
    a and b are as of `cka`, of at least 5 images.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 11.5 (pseudo-values, here centred at CKA).
    """
    a, b = _off_diagonal(a, b, least=5)
    without = _alignment(a, b, _hsic_without_each)
    return _alignment(a, b, _hsic) + (len(a) - 1) * (without.mean() - without)


def _off_diagonal(a: ArrayLike, b: ArrayLike, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.shape[0] != a.shape[1] or len(a) < least:
        raise ValueError(
            f"Gram matrices of shapes {a.shape} and {b.shape}: expected (N, N) twice, at least {least} images"
        )
    np.fill_diagonal(a, 0)
    np.fill_diagonal(b, 0)
    return a, b


def _alignment(a: np.ndarray, b: np.ndarray, hsic: Callable) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return hsic(a, b) / np.sqrt(hsic(a, a) * hsic(b, b))


def _hsic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    rows_a, rows_b = a.sum(1), b.sum(1)
    return _unbiased((a * b).sum(), rows_a.sum() * rows_b.sum(), rows_a @ rows_b, len(a))


def _hsic_without_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`_hsic` (N,) of the matrices without row and column i, for every i: the sums lose what i adds to them."""
    rows_a, rows_b, products = a.sum(1), b.sum(1), (a * b).sum(1)
    sums = (rows_a.sum() - 2 * rows_a) * (rows_b.sum() - 2 * rows_b)
    crossed = rows_a @ rows_b - rows_a * rows_b - b @ rows_a - a @ rows_b + products
    return _unbiased(products.sum() - 2 * products, sums, crossed, len(a) - 1)


def _unbiased(trace, sums, crossed, n: int):
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * crossed / (n - 2)) / (n * (n - 3))
