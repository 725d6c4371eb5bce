"""Squared error, PSNR and AUROC against closed forms and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.uses import psnr, roc_auc, squared_error


def test_squared_error_is_summed_over_an_image():
    x, y = numbers(3, 2, 4, 5, seed=1), numbers(3, 2, 4, 5, seed=2)
    expected = [sum((a - b) ** 2 for a, b in zip(u.ravel(), v.ravel(), strict=True)) for u, v in zip(x, y, strict=True)]
    np.testing.assert_allclose(squared_error(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("difference", [1.0, 0.1, 0.01])
def test_psnr_of_a_constant_difference(difference):
    """If all pixels are off by d, the PSNR is 20 log10(1 / d) for any number of pixels and images."""
    for shape in ((1, 1, 2, 2), (7, 3, 5, 4)):
        assert psnr(np.zeros(shape), np.full(shape, difference)) == pytest.approx(-20 * np.log10(difference), abs=1e-9)


def test_psnr_averages_errors_and_not_decibels():
    x, y = np.zeros((2, 1, 1, 1)), np.array([1.0, 0.0]).reshape(2, 1, 1, 1)
    assert psnr(x, y) == pytest.approx(10 * np.log10(2))
    assert psnr(x, x) == np.inf


@examples
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auroc_counts_pairs_and_halves_ties(pairs):
    scores, positive = np.array([s for s, _ in pairs], float), np.array([p for _, p in pairs])
    if positive.all() or not positive.any():
        with pytest.raises(ValueError, match="positive and negative"):
            roc_auc(scores, positive)
        return
    won = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert roc_auc(scores, positive) == pytest.approx(np.mean(won), abs=1e-12)


def test_auroc_equals_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = np.round(numbers(500, seed=1), 1), numbers(500, seed=2) > 0.5
    assert roc_auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: squared_error(np.zeros((2, 1, 3, 3)), np.zeros((2, 1, 3, 1))), ValueError, r"\(2, 1, 3, 1\)"),
        (lambda: psnr(np.zeros((0, 1, 2, 2)), np.zeros((0, 1, 2, 2))), ValueError, "no images"),
        (lambda: psnr(np.full((1, 1, 2, 2), 1.5), np.zeros((1, 1, 2, 2))), ValueError, r"\[0, 1\], got 1.5 to 1.5"),
        (lambda: roc_auc(np.zeros(3), np.array([0, 1, 1])), TypeError, "booleans"),
        (lambda: roc_auc(np.zeros(3), np.array([True, False])), ValueError, r"\(3,\) and \(2,\)"),
        (lambda: roc_auc(np.array([0, np.nan]), np.array([True, False])), ValueError, "NaN"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
