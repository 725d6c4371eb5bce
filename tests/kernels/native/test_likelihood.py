"""Likelihoods against the reference, and the accuracy of their sums."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_close, assert_same_for_any_threads, laid_out
from strategies import examples, numbers

from minivae.kernels import native, reference

example_shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)


@examples
@given(
    N=st.integers(0, 4),
    rest=example_shapes,
    layout=st.sampled_from(LAYOUTS),
    other=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_bernoulli(N, rest, layout, other, dtype) -> None:
    logits, x = 4 * numbers(N, *rest, dtype=dtype), numbers(N, *rest, seed=1, low=0, high=1, dtype=dtype)
    dy = numbers(N, seed=2, dtype=dtype)
    wide = [np.float64(a) for a in (dy, logits, x)]
    logits, x = laid_out(logits, layout), laid_out(x, other)
    assert_close(native.bernoulli_nll(logits, x), reference.bernoulli_nll(*wide[1:]))
    assert_close(native.bernoulli_nll_grad(dy, logits, x), reference.bernoulli_nll_grad(*wide))


@examples
@given(
    N=st.integers(0, 4),
    rest=example_shapes,
    dropped=st.integers(0, 4),
    ones=st.sets(st.integers(0, 3)),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_gaussian_with_every_broadcast_of_log_var(N, rest, dropped, ones, layout, dtype) -> None:
    shape = (N, *rest)
    mean, x, dy = numbers(*shape, dtype=dtype), numbers(*shape, seed=1, dtype=dtype), numbers(N, seed=2, dtype=dtype)
    small = [1 if axis in ones else n for axis, n in enumerate(shape)][dropped:]
    log_var = np.asarray(numbers(*small, seed=3, dtype=dtype))
    wide = [np.float64(a) for a in (dy, mean, log_var, x)]
    mean, x = laid_out(mean, layout), laid_out(x, layout)
    assert_close(native.gaussian_nll(mean, log_var, x), reference.gaussian_nll(*wide[1:]))
    for actual, expected in zip(
        native.gaussian_nll_grad(dy, mean, log_var, x), reference.gaussian_nll_grad(*wide), strict=True
    ):
        assert_close(actual, expected)


@examples
@given(
    M=st.integers(0, 5),
    K=st.sampled_from([1, 2, 10, 15, 16, 17, 64, 100, 300]),
    scale=st.sampled_from([1, 50]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_softmax_cross_entropy(M, K, scale, layout, dtype) -> None:
    logits, dy = numbers(M, K, dtype=dtype) * dtype(scale), numbers(M, seed=1, dtype=dtype)
    target = np.random.default_rng(0).integers(0, K, M)
    wide, laid = np.float64(logits), laid_out(logits, layout)
    assert_close(native.softmax_cross_entropy(laid, target), reference.softmax_cross_entropy(wide, target))
    expected = reference.softmax_cross_entropy_grad(np.float64(dy), wide, target)
    assert_close(native.softmax_cross_entropy_grad(dy, laid, target[::-1][::-1]), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_logits(dtype) -> None:
    logits, x = np.array([[1e4, -1e4], [np.inf, 0], [np.nan, 0], [-200, -200]], dtype), np.zeros((4, 2), dtype)
    with np.errstate(all="ignore"):
        expected = reference.bernoulli_nll(logits, x)
    np.testing.assert_allclose(native.bernoulli_nll(logits, x), expected, rtol=1e-14)
    rows = np.array([[1e4, 0], [0, 1e4], [np.nan, 0], [-np.inf, 0]], dtype)
    np.testing.assert_array_equal(native.softmax_cross_entropy(rows, np.zeros(4, np.int64)), [0, 1e4, np.nan, np.inf])


@pytest.mark.parametrize("K", [1, 7, 16, 40])
def test_nan_anywhere_in_a_row_is_not_lost(K) -> None:
    for place in range(K):
        logits = np.zeros((2, K), np.float32)
        logits[1, place] = np.nan
        nll = native.softmax_cross_entropy(logits, np.zeros(2, np.int64))
        assert list(np.isnan(nll)) == [False, True]
        assert list(np.isnan(native.bernoulli_nll(logits, 0 * logits))) == [False, True]


def test_sums_are_at_least_as_accurate_as_pairwise_summation() -> None:
    """In a sum of 2^21 numbers of one sign, one by one in float32, the fourth digit would be wrong."""
    logits = numbers(2, 1 << 21, dtype=np.float32, low=0, high=4)
    nll = native.bernoulli_nll(logits, np.zeros_like(logits))
    exact = np.logaddexp(0, np.float64(logits)).sum(axis=1)
    pairwise = np.log1p(np.exp(logits)).sum(axis=1)
    assert (np.abs(nll / exact - 1) <= np.maximum(np.abs(pairwise / exact - 1), 1e-7)).all()
    mean = np.zeros((1, 1 << 21))
    total = native.gaussian_nll(mean, mean, np.float64(logits[:1]))[0]
    assert total == pytest.approx(0.5 * (np.log(2 * np.pi) + np.float64(logits[0]) ** 2).sum(), rel=1e-15)
    rows = numbers(2, 1 << 20, dtype=np.float32)
    expected = scipy.special.logsumexp(np.float64(rows), axis=1) - rows[:, 0]
    np.testing.assert_allclose(native.softmax_cross_entropy(rows, np.zeros(2, np.int64)), expected, rtol=1e-6)


@examples
@given(
    N=st.integers(0, 3),
    C=st.integers(0, 3),
    K=st.integers(1, 6),
    D=st.sampled_from([0, 1, 15, 16, 17, 70]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_logistic_mixture(N, C, K, D, layout, dtype) -> None:
    parameters, dy = numbers(N, C, 3, K, D, dtype=dtype), numbers(N, seed=1, dtype=dtype)
    x = (np.random.default_rng(0).integers(0, 256, (N, C, D)) / 255).astype(dtype)
    x[..., ::5], x[..., 1::5] = 0, 1
    wide = [np.float64(a) for a in (dy, parameters, x)]
    parameters, x = laid_out(parameters, layout), laid_out(x, layout)
    assert_close(native.logistic_mixture_nll(parameters, x), reference.logistic_mixture_nll(*wide[1:]))
    expected = reference.logistic_mixture_nll_grad(*wide)
    tolerance = 100 * np.finfo(dtype).eps * max(1, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(native.logistic_mixture_nll_grad(dy, parameters, x), expected, rtol=1e-4, atol=tolerance)


def test_the_gradient_of_a_channels_last_mixture_is_channels_last() -> None:
    parameters = numbers(2, 9, 2, 3, 4).transpose(0, 2, 3, 4, 1)
    gradient = native.logistic_mixture_nll_grad(np.ones(2), parameters, np.zeros((2, 2, 9)))
    assert gradient.strides == parameters.strides


def test_threads_change_nothing() -> None:
    logits, x = numbers(3, 30_001, dtype=np.float32), numbers(3, 30_001, seed=1, low=0, high=1, dtype=np.float32)
    dy, target = numbers(3, seed=2, dtype=np.float32), np.array([5, 0, 30_000])
    parameters = numbers(3, 1, 3, 2, 30_001, dtype=np.float32)
    assert_same_for_any_threads(
        lambda: [
            native.logistic_mixture_nll(parameters, x[:, None]),
            native.logistic_mixture_nll_grad(dy, parameters, x[:, None]),
            native.bernoulli_nll(logits, x),
            native.bernoulli_nll_grad(dy, logits, x),
            native.gaussian_nll(logits, x, x),
            *native.gaussian_nll_grad(dy, logits, x, x),
            native.softmax_cross_entropy(logits, target),
            native.softmax_cross_entropy_grad(dy, logits, target),
        ]
    )
