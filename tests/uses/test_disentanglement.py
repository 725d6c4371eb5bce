"""MIG and SAP: closed forms, what they are blind to, and the bias of the histogram."""

from itertools import permutations, product

import numpy as np
import pytest

import minivae as mv
from minivae.uses import disentanglement, latent_codes
from minivae.uses.disentanglement import _accuracy, _cut

pytestmark = pytest.mark.cpu_only("NumPy alone")
GRID = np.array(list(product(range(3), range(4), range(5))), float)  # every combination of three factors, once


def rng(seed=0):
    return np.random.default_rng(seed)


def uniform(n=5000, k=2, seed=0):
    return rng(seed).uniform(size=(n, k))


def test_a_code_that_is_the_factors_has_gaps_of_one():
    found = disentanglement(GRID, GRID, classes=(0,))
    np.testing.assert_allclose(found.information, np.diag(np.log([3, 4, 5])), atol=1e-12)
    np.testing.assert_allclose(found.entropy, np.log([3, 4, 5]), rtol=1e-12)
    np.testing.assert_allclose(found.information_gaps, 1, rtol=1e-12)
    assert found.mig == pytest.approx(1)
    np.testing.assert_allclose(found.predictability, [[1, 1 / 3, 1 / 3], [0, 1, 0], [0, 0, 1]], atol=1e-12)
    assert found.sap == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_a_code_turned_by_45_degrees_has_no_gap():
    factors = uniform() - 0.5
    turned = factors @ np.array([[1, 1], [-1, 1]]) / 2**0.5
    assert disentanglement(factors, factors).mig > 0.95
    assert disentanglement(factors, factors).sap > 0.95
    found = disentanglement(turned, factors)
    assert found.mig < 0.02
    assert found.sap < 0.05
    assert found.information.min() > 0.3  # though each latent tells of each factor


def test_a_factor_that_two_latents_tell_has_no_gap():
    assert disentanglement(np.repeat(GRID, 2, axis=1), GRID).mig == pytest.approx(0, abs=1e-12)


def test_permuted_scaled_and_negated_latents_score_the_same():
    factors = uniform(800, 3)
    codes = factors @ rng(1).normal(size=(3, 4)) + 0.1 * rng(2).normal(size=(800, 4))
    factors[:, 0] = np.floor(3 * factors[:, 0])
    expected = disentanglement(codes, factors, (0,))
    changed = codes[:, [2, 0, 3, 1]] * [-4.0, 0.5, 1e-3, -2.0]
    found = disentanglement(changed, factors, (0,))
    np.testing.assert_allclose(found.information, expected.information[:, [2, 0, 3, 1]], rtol=1e-9)
    np.testing.assert_allclose(found.predictability, expected.predictability[:, [2, 0, 3, 1]], rtol=1e-9)
    assert (found.mig, found.sap) == (pytest.approx(expected.mig), pytest.approx(expected.sap))


def test_an_independent_code_scores_zero_but_for_the_bias_of_the_histogram():
    """(A - 1)(B - 1) / (2 N) nats, as the head of the file says; over 40 repetitions within 4 standard errors."""
    found = [disentanglement(uniform(2000, 2, s), uniform(2000, 1, s + 100)).information.mean() for s in range(40)]
    assert np.mean(found) == pytest.approx(19 * 19 / 4000, abs=4 * np.std(found) / 40**0.5 + 0.002)
    found = disentanglement(uniform(5000, 4, 1), uniform(5000, 2, 2))
    assert found.mig < 0.01
    assert found.sap < 0.01


def test_the_information_is_that_of_the_table_of_counts():
    mutual_info_score = pytest.importorskip("sklearn.metrics").mutual_info_score
    a, b = uniform(300, 2).T
    found = disentanglement(np.column_stack([a, b]), np.column_stack([a**2 + 0.1 * b]), bins=7)
    v = _cut(a**2 + 0.1 * b, 7)
    expected = [mutual_info_score(_cut(column, 7), v) for column in (a, b)]
    np.testing.assert_allclose(found.information[0], expected, rtol=1e-9)


def test_values_are_cut_as_a_histogram_cuts_them():
    values = rng().normal(size=500)
    np.testing.assert_array_equal(np.bincount(_cut(values, 20), minlength=20), np.histogram(values, 20)[0])
    np.testing.assert_array_equal(_cut(np.array([5.0, -1.0, 5.0, 2.0]), 20), [2, 0, 2, 1])


def test_r_squared_is_that_of_a_line():
    z, noise = rng().normal(size=(2, 400))
    v = 2 * z + noise
    found = disentanglement(np.column_stack([z, np.zeros(400)]), v[:, None]).predictability[0]
    slope, offset = np.polyfit(z, v, 1)
    assert found[0] == pytest.approx(1 - np.var(v - slope * z - offset) / np.var(v))
    assert found[1] == 0  # a latent that is constant


def test_the_intervals_of_unordered_classes_are_the_best_there_are():
    """Against all orders of the classes and all pairs of thresholds; with ties, which no threshold can part."""
    for seed in range(5):
        z, v = rng(seed).integers(0, 8, 30).astype(float), rng(seed + 10).integers(0, 3, 30).astype(float)
        cuts = np.arange(-0.5, 8)
        best = 0.0
        for a, b, c in permutations(range(3)):
            for low, high in product(cuts, cuts):
                if low <= high:
                    hits = [(z[v == a] < low).mean(), ((z[v == b] > low) & (z[v == b] < high)).mean()]
                    best = max(best, sum(hits) + (z[v == c] > high).mean())
        assert _accuracy(z, v) == pytest.approx(best / 3)


def test_the_order_of_unordered_classes_does_not_count():
    z, v = np.repeat([0.0, 1.0, 2.0], 20), np.repeat([1.0, 2.0, 0.0], 20)
    assert _accuracy(z, v) == 1
    assert disentanglement(np.column_stack([z, 0 * z]), v[:, None]).predictability[0, 0] < 0.5  # a line sees little


def test_a_latent_that_is_not_used_says_nothing():
    """Its means carry the factor in their last digits, its posterior N(0, 1) does not: codes are drawn."""
    mv.manual_seed(0)
    model = mv.models.VAE((1, 1, 2), 2, "dense", "gaussian", hidden=())
    layer = model.encoder[1]
    layer.weight.inplace()[...] = np.array([[3, 0], [0, 1e-4], [0, 0], [0, 0]], np.float32)
    layer.bias.inplace()[...] = np.array([0, 0, -6, 0], np.float32)
    x = uniform().astype(np.float32).reshape(-1, 1, 1, 2)
    factors = x.reshape(-1, 2).astype(float)
    drawn, means = (disentanglement(z, factors) for z in (latent_codes(model, x), model.encode(x)))
    assert means.information_gaps[1] > 0.9
    assert drawn.information_gaps[1] < 0.02
    assert drawn.information_gaps[0] > 0.5
    np.testing.assert_array_equal(latent_codes(model, x), latent_codes(model, x))
    assert not np.array_equal(latent_codes(model, x), latent_codes(model, x, seed=1))


def test_the_draws_are_those_of_the_posterior():
    model = mv.models.VAE((1, 1, 2), 2, "dense", "gaussian", hidden=())
    model.encoder[1].weight.inplace()[...] = 0
    model.encoder[1].bias.inplace()[...] = np.array([1, -2, 2 * np.log(0.5), 0], np.float32)
    z = latent_codes(model, np.zeros((20000, 1, 1, 2), np.float32))
    np.testing.assert_allclose(z.mean(0), [1, -2], atol=0.03)
    np.testing.assert_allclose(z.std(0), [0.5, 1], rtol=0.03)


def test_an_autoencoder_has_codes_without_noise():
    model = mv.models.Autoencoder((1, 4, 4), 3, "dense", hidden=())
    x = uniform(5, 16).astype(np.float32).reshape(-1, 1, 4, 4)
    np.testing.assert_array_equal(latent_codes(model, x), model.encode(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: disentanglement(GRID[:, :1], GRID), ValueError, r"at least 2, got shape \(60, 1\)"),
        (lambda: disentanglement(GRID, GRID[:5]), ValueError, r"equally many rows.*\(60, 3\) and \(5, 3\)"),
        (lambda: disentanglement(GRID, GRID * [1, 0, 1] + 2), ValueError, "factor 1 is constant, 2"),
        (lambda: disentanglement(GRID, GRID, classes=(3,)), ValueError, r"columns in \[0, 3\), got \[3\]"),
        (lambda: disentanglement(GRID, uniform(60, 1), classes=(0,)), ValueError, "may have 10 classes, got 60"),
        (lambda: disentanglement(GRID, GRID, bins=1), ValueError, "bins must be at least 2"),
        (lambda: disentanglement(GRID * np.nan, GRID), ValueError, "codes"),
        (lambda: disentanglement(GRID[0], GRID), ValueError, "codes must be a table"),
        (lambda: disentanglement(GRID[:0], GRID[:0]), ValueError, "codes must be a table"),
        (lambda: latent_codes(mv.models.VQVAE((1, 4, 4)), uniform()), TypeError, "vectors, got VQVAE"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
