import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr, softmax
from scipy.stats import ortho_group

from kd_lib.measures import outputs
from kd_lib.measures.outputs import ACCURACY, AGREEMENT, KL, by_image, cka, cka_by_image, gram, kl_divergence, together
from kd_lib.networks import architectures

LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-30, 30))


def test_by_image_by_hand():
    reference = np.log([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25]])
    logits = np.log([[0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [0.25, 0.5, 0.25]])
    found = by_image(reference, logits, [0, 1, 1])
    assert found[AGREEMENT].tolist() == [0, 1, 0]
    assert found[ACCURACY].tolist() == [0, 1, 1]
    first = 0.5 * np.log(2) - 0.25 * np.log(2)  # 1/2 log((1/2)/(1/4)) + 1/4 log((1/4)/(1/2)) + 1/4 log 1
    np.testing.assert_allclose(found[KL], [first, 0, first], atol=1e-15)


@given(LOGITS, LOGITS)
def test_kl_is_scipys_and_torchs(reference, logits):
    found = kl_divergence(reference, logits)
    np.testing.assert_allclose(found, rel_entr(softmax(reference, -1), softmax(logits, -1)).sum(-1), atol=1e-9)
    p, q = (torch.as_tensor(a).log_softmax(-1) for a in (reference, logits))
    theirs = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    np.testing.assert_allclose(found, theirs, atol=1e-9)
    assert (found >= 0).all()


@given(LOGITS, st.floats(-100, 100))
def test_a_constant_added_to_all_logits_changes_nothing(logits, shift):
    np.testing.assert_allclose(kl_divergence(logits, logits + shift), 0, atol=1e-9)


def test_outputs_that_are_not_finite_are_not_compared():
    reference, logits = np.eye(3), np.eye(3)
    logits[0, 0], reference[1, 1] = np.nan, np.inf
    found = by_image(reference, logits, [0, 1, 0])
    assert found[[AGREEMENT, KL]].isna().to_numpy().tolist() == [[True] * 2, [True] * 2, [False] * 2]
    assert found[ACCURACY].tolist()[1:] == [1, 0]
    assert np.isnan(found[ACCURACY][0])


def test_by_image_refuses():
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\), labels of shape \(2,\)"):
        by_image(np.zeros((2, 3)), np.zeros((2, 4)), [0, 1])
    with pytest.raises(ValueError, match=r"labels of shape \(3,\): expected"):
        by_image(np.zeros((2, 3)), np.zeros((2, 3)), [0, 1, 2])


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_together_is_the_ensemble_of_models(output):
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Says(torch.nn.Module):
        def __init__(self, answer):
            super().__init__()
            self.answer = answer

        def forward(self, _):
            return self.answer

    ensemble = architectures.Ensemble([Says(own) for own in logits], output)
    np.testing.assert_allclose(together(logits, output=output), ensemble(torch.zeros(6)), atol=1e-12)


def hsic(k, m):
    """The unbiased estimator as a sum over images that are all different: no matrix identity is used."""
    n = len(k)
    count = 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        count += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
    return count / (n * (n - 1) * (n - 2) * (n - 3))


def test_cka_is_the_sum_over_four_different_images():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(7, 5))
    k, m = a @ a.T, b @ b.T
    assert cka(k, m) == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))
    assert cka(gram(a), gram(b)) == pytest.approx(cka(k, m))


def test_with_many_images_cka_is_kornblith_and_others_linear_cka():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(2000, 4))
    a, b = shared + 0.5 * rng.normal(size=(2000, 4)), shared @ rng.normal(size=(4, 3))
    a, b = a - a.mean(0), b - b.mean(0)
    plain = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert cka(gram(a), gram(b)) == pytest.approx(plain, abs=0.005)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_cka_does_not_change_with_rotation_scale_and_shift(seed, scale, shift):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(12, 4)), rng.normal(size=(12, 6))
    turned = scale * b @ ortho_group.rvs(6, random_state=seed) + shift
    assert cka(gram(a), gram(turned)) == pytest.approx(cka(gram(a), gram(b)), abs=1e-9)
    assert cka(gram(b), gram(turned)) == pytest.approx(1)
    assert cka(gram(a), gram(b)) == pytest.approx(cka(gram(b), gram(a)))


def test_unrelated_features_have_no_cka_however_many_they_are():
    rng = np.random.default_rng(2)
    found = [cka(*(gram(rng.normal(size=(30, 500))) for _ in "ab")) for _ in range(50)]
    assert abs(np.mean(found)) < 0.05


def test_the_shares_of_images_are_those_of_a_jackknife():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(9, 4))
    k, m = gram(a), gram(a + rng.normal(size=(9, 4)))
    without = np.array([cka(*(np.delete(np.delete(g, i, 0), i, 1) for g in (k, m))) for i in range(9)])
    shares = cka_by_image(k, m)
    np.testing.assert_allclose(shares, cka(k, m) + 8 * (without.mean() - without))
    assert shares.mean() == pytest.approx(cka(k, m))


def test_the_spread_of_shares_is_that_of_cka():
    rng = np.random.default_rng(4)
    found, spread = [], []
    for _ in range(200):
        a = rng.normal(size=(60, 3))
        k, m = gram(a), gram(a + 0.7 * rng.normal(size=(60, 3)))
        found.append(cka(k, m))
        spread.append(cka_by_image(k, m).std(ddof=1) / np.sqrt(60))
    assert np.mean(spread) == pytest.approx(np.std(found), rel=0.2)


def test_an_ensemble_whose_members_a_network_shares_is_closer_than_one_member_of_it():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(2, 80, 3))
    both = gram(np.hstack([one, other]))
    ensemble = gram(one) + gram(1000 * other)  # a larger scale counts for no more
    assert cka(both, ensemble) > 0.95
    assert cka(gram(one), ensemble) < 0.85


def test_cka_of_what_cannot_be_compared():
    assert np.isnan(cka(gram(np.ones((6, 2))), np.eye(6)))
    assert np.isnan(cka(gram(np.full((6, 2), np.nan)), gram(np.eye(6)))).all()
    with pytest.raises(ValueError, match="at least 4 images"):
        cka(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="at least 5 images"):
        cka_by_image(np.eye(4), np.eye(4))
    with pytest.raises(ValueError, match=r"shapes \(5, 5\) and \(6, 6\)"):
        cka(np.eye(5), np.eye(6))


def test_the_error_of_logits_does_not_heed_what_all_have_in_common():
    found = outputs.error_of_logits([[1.0, 2.0, 3.0]] * 3, [[1.0, 2.0, 3.0], [6.0, 7.0, 8.0], [2.0, 2.0, 2.0]])
    assert found.tolist() == pytest.approx([0, 0, 2 / 3])
    assert np.isnan(outputs.error_of_logits([1.0, np.inf], [0.0, 0.0]))


def test_a_temperature_softens_both():
    reference, own = np.array([[0.0, 4.0]]), np.array([[4.0, 0.0]])
    soft = outputs.by_image(reference, own, [1], temperature=4.0)[outputs.KL].item()
    assert soft == pytest.approx(outputs.kl_divergence(reference / 4, own / 4).item())
