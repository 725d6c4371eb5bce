"""Likelihoods against float64 formulas and SciPy's distributions; gradients against central differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

DTYPES = [np.float32, np.float64]
batches = st.tuples(st.integers(0, 4), st.lists(st.integers(1, 4), max_size=3)).map(lambda t: (t[0], *t[1]))
STEP = 1e-5


def permuted(x: np.ndarray, seed: int) -> np.ndarray:
    """An equal array with its axes in another order in memory."""
    order = np.random.default_rng(seed).permutation(x.ndim)
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def per_example(terms: np.ndarray) -> np.ndarray:
    return terms.reshape(len(terms), int(np.prod(terms.shape[1:]))).sum(1)


def differences(f, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The gradient of <dy, f(x)> by x, by central differences for one element after the other."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += STEP
        down[i] -= STEP
        gradient[i] = np.vdot(dy, f(up) - f(down)) / (2 * STEP)
    return gradient


def close(actual: np.ndarray, expected: np.ndarray, dtype: type, units: float = 30) -> None:
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=units * eps, atol=units * eps)


@examples
@given(shape=batches, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
def test_bernoulli_is_its_formula(shape, dtype, seed) -> None:
    logits = permuted(numbers(*shape, seed=seed, low=-5, high=5, dtype=dtype), seed)
    x = permuted(numbers(*shape, seed=seed + 1, low=0, high=1, dtype=dtype), seed + 1)
    dy = numbers(shape[0], seed=2, dtype=dtype)
    l, p = np.float64(logits), scipy.special.expit(np.float64(logits))  # noqa: E741
    close(k.bernoulli_nll(logits, x), per_example(np.logaddexp(0, l) - x * l), dtype)
    column = np.float64(dy).reshape(-1, *[1] * (len(shape) - 1))
    close(k.bernoulli_nll_grad(dy, logits, x), column * (p - x), dtype)


def test_bernoulli_is_minus_log_of_the_probability() -> None:
    logits = numbers(6, 50, low=-5, high=5)
    x = np.random.default_rng(0).integers(0, 2, logits.shape).astype(np.float64)
    expected = -scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).sum(1)
    np.testing.assert_allclose(k.bernoulli_nll(logits, x), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_keeps_relative_accuracy_and_does_not_overflow(dtype) -> None:
    """A certain pixel costs exp(-|logit|) nats if it is right, however little that is, and |logit| if it is wrong."""
    for width in (1, 2, 3, 31, 64, 785):
        for size in (0.25, 1.0, 20.0, 80.0, 1e4):
            logits = np.full((2, width), size, dtype)
            logits[1] *= -1
            right, wrong = (logits > 0).astype(dtype), (logits <= 0).astype(dtype)
            softplus = np.logaddexp(0, -size)
            np.testing.assert_allclose(k.bernoulli_nll(logits[1:], right[1:]), width * softplus, rtol=3e-6)
            np.testing.assert_allclose(k.bernoulli_nll(logits, wrong)[0], width * (size + softplus), rtol=3e-6)
            gradient = k.bernoulli_nll_grad(np.ones(2, dtype), logits, wrong)
            np.testing.assert_allclose(gradient[0], scipy.special.expit(size), rtol=3e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_block_of_a_large_batch_is_done(dtype) -> None:
    shape = (300, 783)
    logits, x = numbers(*shape, low=-9, high=9, dtype=dtype), numbers(*shape, seed=1, low=0, high=1, dtype=dtype)
    log_var, dy = numbers(*shape, seed=2, dtype=dtype), numbers(300, seed=3, dtype=dtype)
    target = np.random.default_rng(0).integers(0, 783, 300)
    parameters, levels, _ = mixture(300, 1, 2, 20, dtype)
    whole = [
        k.logistic_mixture_nll(parameters, levels),
        k.logistic_mixture_nll_grad(dy, parameters, levels),
        k.bernoulli_nll(logits, x),
        k.bernoulli_nll_grad(dy, logits, x),
        k.gaussian_nll(logits, log_var, x),
        *k.gaussian_nll_grad(dy, logits, log_var, x),
        k.softmax_cross_entropy(logits, target),
        k.softmax_cross_entropy_grad(dy, logits, target),
    ]
    for i in (0, 82, 83, 84, 299):
        one = slice(i, i + 1)
        alone = [
            k.logistic_mixture_nll(parameters[one], levels[one]),
            k.logistic_mixture_nll_grad(dy[one], parameters[one], levels[one]),
            k.bernoulli_nll(logits[one], x[one]),
            k.bernoulli_nll_grad(dy[one], logits[one], x[one]),
            k.gaussian_nll(logits[one], log_var[one], x[one]),
            *k.gaussian_nll_grad(dy[one], logits[one], log_var[one], x[one]),
            k.softmax_cross_entropy(logits[one], target[one]),
            k.softmax_cross_entropy_grad(dy[one], logits[one], target[one]),
        ]
        for of_all, of_one in zip(whole, alone, strict=True):
            close(of_all[one], np.float64(of_one), dtype)


@examples
@given(shape=batches, dtype=st.sampled_from(DTYPES), data=st.data(), seed=st.integers(0, 9))
def test_gaussian_equals_scipys(shape, dtype, data, seed) -> None:
    own = tuple(1 if data.draw(st.booleans()) else n for n in shape)[data.draw(st.integers(0, len(shape))) :]
    mean, x = (permuted(numbers(*shape, seed=seed + s, dtype=dtype), seed + s) for s in (0, 1))
    log_var, dy = numbers(*own, seed=seed + 2, dtype=dtype), numbers(shape[0], seed=3, dtype=dtype)
    m, v, wide = np.float64(mean), np.exp(np.float64(log_var)), np.float64(x)
    expected = -scipy.stats.norm.logpdf(wide, m, np.broadcast_to(np.sqrt(v), shape))
    close(k.gaussian_nll(mean, log_var, x), per_example(expected), dtype)
    column = np.float64(dy).reshape(-1, *[1] * (len(shape) - 1))
    dmean, dlog_var = k.gaussian_nll_grad(dy, mean, log_var, x)
    close(dmean, column * (m - wide) / v, dtype)
    close(dlog_var, column * (1 - (wide - m) ** 2 / v) / 2, dtype, units=100)


def mixture(N: int, C: int, K: int, D: int, dtype: type = np.float64, last: bool = False) -> list[np.ndarray]:
    """Parameters (N, C, 3, K, D), channels-last in memory or not, pixels with both ends of the range, and dy (N,)."""
    parameters = numbers(N, D, C, 3, K, dtype=dtype).transpose(0, 2, 3, 4, 1)
    x = (np.random.default_rng(1).integers(0, 256, (N, C, D)) / 255).astype(dtype)
    x[:, :, ::3], x[:, :, 1::4] = 0, 1
    return [parameters if last else np.ascontiguousarray(parameters), x, numbers(N, seed=2, dtype=dtype)]


def naive_mixture(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """-log sum_k pi_k (F(y + h) - F(y - h)), with the logistic distribution function of SciPy in float64."""
    logits, mean, raw = np.moveaxis(np.float64(parameters), 2, 0)
    y, scale = 2 * np.float64(x)[:, :, None] - 1, np.exp(raw) + np.exp(-7)
    upper = np.where(y > 1 - 1e-3, 1, scipy.stats.logistic.cdf(y + 1 / 255, mean, scale))
    lower = np.where(y < -1 + 1e-3, 0, scipy.stats.logistic.cdf(y - 1 / 255, mean, scale))
    return per_example(-np.log((scipy.special.softmax(logits, axis=2) * (upper - lower)).sum(2)))


@examples
@given(
    N=st.integers(0, 3),
    C=st.integers(1, 3),
    K=st.integers(1, 4),
    D=st.sampled_from([0, 1, 5, 16, 35]),
    dtype=st.sampled_from(DTYPES),
    last=st.booleans(),
)
def test_logistic_mixture_is_its_formula_and_its_gradient_the_derivative(N, C, K, D, dtype, last) -> None:
    parameters, x, dy = mixture(N, C, K, D, dtype, last)
    units = 30 if dtype == np.float32 else 5000  # small differences of sigmoids in the naive formula
    close(k.logistic_mixture_nll(parameters, x), naive_mixture(parameters, x), dtype, units)
    gradient = k.logistic_mixture_nll_grad(dy, parameters, x)
    assert (gradient.dtype, gradient.shape) == (dtype, parameters.shape)
    if dtype == np.float64 and parameters.size < 200:
        numeric = differences(lambda p: k.logistic_mixture_nll(p, x), parameters, dy)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
    else:
        wide = k.logistic_mixture_nll_grad(*(np.float64(a) for a in (dy, parameters, x)))
        np.testing.assert_allclose(gradient, wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("raw", [-30.0, -7.0, -4.0, 0.0, 6.0])
@pytest.mark.parametrize("mean", [-40.0, -1.0, 0.1, 1.0, 3.0])
def test_logistic_probabilities_of_all_levels_sum_to_one(dtype, raw, mean) -> None:
    """Bug: the density at the bin's centre in the place of a small difference of sigmoids, or edges without a tail."""
    parameters = np.zeros((256, 1, 3, 2, 1), dtype)
    parameters[:, 0, 0, 0], parameters[:, 0, 1, 0], parameters[:, 0, 2] = 0.7, mean, raw
    x = (np.arange(256) / 255).astype(dtype).reshape(256, 1, 1)
    p = np.exp(-np.float64(k.logistic_mixture_nll(parameters, x)))
    assert p.sum() == pytest.approx(1, abs=3e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_pixels_far_from_the_mean_cost_their_distance_and_small_bins_their_width(dtype) -> None:
    """In float32 sigmoid(b) - sigmoid(a) is 0 in both cases. With one component nll is -log P, where P is
    exp(-a) (1 - exp(-w)) for large a = (y - h - m) / s, and sigmoid'(0) w for small w = 2 h / s."""
    s = np.exp(-7) + np.exp(-30.0)
    far = np.array([0, -1, -30.0], dtype).reshape(1, 1, 3, 1, 1)
    x = np.full((1, 1, 1), 200 / 255, dtype)
    expected = (2 * 200 / 255 - 1 - 1 / 255 + 1) / s - np.log1p(-np.exp(-2 / 255 / s))
    assert k.logistic_mixture_nll(far, x)[0] == pytest.approx(expected, rel=1e-5)
    slope = k.logistic_mixture_nll_grad(np.ones(1, dtype), far, x)
    assert slope[0, 0, 1, 0, 0] == pytest.approx(-1 / s, rel=1e-5)
    wide = np.array([0, 2 * 200 / 255 - 1, 12.0], dtype).reshape(1, 1, 3, 1, 1)
    assert k.logistic_mixture_nll(wide, x)[0] == pytest.approx(np.log(4 * np.exp(12) * 255 / 2), rel=1e-6)
    assert k.logistic_mixture_nll_grad(np.ones(1, dtype), wide, x)[0, 0, 2, 0, 0] == pytest.approx(1, rel=1e-5)
    for edge, side in ((0, -1), (1, 1)):  # beyond the range a mean costs nothing on the pixel's side, else its distance
        x[:] = edge
        far[0, 0, 1] = 3 * side
        assert k.logistic_mixture_nll(far, x)[0] == 0
        far[0, 0, 1] = -3 * side
        assert k.logistic_mixture_nll(far, x)[0] == pytest.approx((4 - 1 / 255) / s, rel=1e-5)


@examples
@given(M=st.integers(0, 5), K=st.integers(1, 6), dtype=st.sampled_from(DTYPES), transposed=st.booleans())
def test_cross_entropy_is_minus_log_softmax(M, K, dtype, transposed) -> None:
    logits = numbers(K, M, low=-5, high=5, dtype=dtype).T if transposed else numbers(M, K, low=-5, high=5, dtype=dtype)
    target, dy = np.random.default_rng(M).integers(0, K, M), numbers(M, dtype=dtype)
    log_p = scipy.special.log_softmax(np.float64(logits), axis=1)
    close(k.softmax_cross_entropy(logits, target), -log_p[np.arange(M), target], dtype)
    expected = dy[:, None] * (np.exp(log_p) - np.eye(K)[target])
    close(k.softmax_cross_entropy_grad(dy, logits, target), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_huge_logits(dtype) -> None:
    logits, target = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], dtype), np.array([2, 1])
    np.testing.assert_allclose(k.softmax_cross_entropy(logits, target), [2e4, np.log(3)], rtol=1e-6)
    gradient = k.softmax_cross_entropy_grad(np.ones(2, dtype), logits, target)
    np.testing.assert_allclose(gradient, [[1, 0, -1], [1 / 3, -2 / 3, 1 / 3]], rtol=1e-6)


@examples
@given(shape=batches, seed=st.integers(0, 9))
def test_gradients_are_derivatives(shape, seed) -> None:
    a, b, c = (numbers(*shape, seed=seed + s) for s in range(3))
    dy = numbers(shape[0], seed=seed + 3)
    near = {"rtol": 1e-6, "atol": 1e-8}
    numeric = differences(lambda v: k.bernoulli_nll(v, b), a, dy)
    np.testing.assert_allclose(k.bernoulli_nll_grad(dy, a, b), numeric, **near)
    dmean, dlog_var = k.gaussian_nll_grad(dy, a, b, c)
    np.testing.assert_allclose(dmean, differences(lambda v: k.gaussian_nll(v, b, c), a, dy), **near)
    np.testing.assert_allclose(dlog_var, differences(lambda v: k.gaussian_nll(a, v, c), b, dy), **near)
    rows = a.reshape(shape[0], int(np.prod(shape[1:])))
    target = np.random.default_rng(seed).integers(0, rows.shape[1], len(rows))
    numeric = differences(lambda v: k.softmax_cross_entropy(v, target), rows, dy)
    np.testing.assert_allclose(k.softmax_cross_entropy_grad(dy, rows, target), numeric, **near)


def test_inputs_stay_as_they_are_and_results_are_channels_last_where_the_inputs_were() -> None:
    logits, x, log_var = (numbers(3, 5, 6, 4, seed=s, low=0, high=1).transpose(0, 3, 1, 2) for s in range(3))
    dy, target = numbers(3), np.array([0, 1, 1])
    rows = logits.reshape(3, -1)
    inputs = [logits, x, log_var, dy, target, rows]
    before = [a.copy() for a in inputs]
    k.bernoulli_nll(logits, x)
    k.gaussian_nll(logits, log_var, x)
    k.softmax_cross_entropy(rows, target)
    k.softmax_cross_entropy_grad(dy, rows, target)
    for gradient in (k.bernoulli_nll_grad(dy, logits, x), *k.gaussian_nll_grad(dy, logits, log_var, x)):
        assert gradient.strides == logits.strides
    for a, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(a, b)
