"""Likelihoods on the GPU, in any memory layout, against formulas in float64, SciPy and the CPU; and what they copy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import reference
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda import likelihood as k
from minivae.kernels.cuda.arrays import in_memory_order

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
batches = st.tuples(st.integers(0, 4), st.lists(st.integers(0, 4), max_size=3)).map(lambda t: (t[0], *t[1]))


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def permuted(x: np.ndarray, seed: int) -> np.ndarray:
    """An equal array with its axes in another order in memory."""
    order = np.random.default_rng(seed).permutation(x.ndim)
    return x.transpose(order).copy().transpose(np.argsort(order))


def per_example(terms: np.ndarray) -> np.ndarray:
    return terms.reshape(len(terms), int(np.prod(terms.shape[1:]))).sum(1)


def column(dy: np.ndarray, ndim: int) -> np.ndarray:
    return np.float64(dy).reshape(-1, *[1] * (ndim - 1))


def close(actual: np.ndarray, expected: np.ndarray, dtype: type, units: float = 8) -> None:
    assert (actual.dtype, actual.shape) == (dtype, expected.shape)
    tolerance = units * np.finfo(dtype).eps
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


# ---- Bernoulli ----


@examples
@given(shape=batches, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
def test_bernoulli_is_its_formula_in_any_layout(shape, dtype, seed) -> None:
    logits = permuted(numbers(*shape, seed=seed, low=-5, high=5, dtype=dtype), seed)
    x = permuted(numbers(*shape, seed=seed + 1, low=0, high=1, dtype=dtype), seed + 1)
    dy = numbers(shape[0], seed=2, dtype=dtype)
    l, p = np.float64(logits), scipy.special.expit(np.float64(logits))  # noqa: E741
    close(k.bernoulli_nll(logits, x), per_example(np.logaddexp(0, l) - x * l), dtype)
    close(k.bernoulli_nll_grad(dy, logits, x), column(dy, len(shape)) * (p - x), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 33, 785])
def test_bernoulli_keeps_relative_accuracy_and_does_not_overflow(dtype, width) -> None:
    """A certain pixel costs exp(-|logit|) nats if it is right, however little that is, and |logit| if it is wrong."""
    tolerance = {"rtol": 20 * np.finfo(dtype).eps}
    for size in (0.25, 1.0, 20.0, 80.0, 1e4):
        logits = np.full((2, width), size, dtype)
        logits[1] *= -1
        right, wrong = (logits > 0).astype(dtype), (logits <= 0).astype(dtype)
        tail = np.logaddexp(0, -size)
        np.testing.assert_allclose(k.bernoulli_nll(logits, right), [width * tail] * 2, **tolerance)
        np.testing.assert_allclose(k.bernoulli_nll(logits, wrong), [width * (size + tail)] * 2, **tolerance)
        gradient = k.bernoulli_nll_grad(np.ones(2, dtype), logits, wrong)
        np.testing.assert_allclose(
            gradient, np.array([[1], [-1]]) * np.full(width, scipy.special.expit(size)), **tolerance
        )


# ---- Gaussian ----


@examples
@given(shape=batches, dtype=st.sampled_from(DTYPES), data=st.data(), seed=st.integers(0, 9))
def test_gaussian_equals_scipys_in_any_layout(shape, dtype, data, seed) -> None:
    own = tuple(1 if data.draw(st.booleans()) else n for n in shape)[data.draw(st.integers(0, len(shape))) :]
    mean, x = (permuted(numbers(*shape, seed=seed + s, dtype=dtype), seed + s) for s in (0, 1))
    log_var, dy = permuted(numbers(*own, seed=seed + 2, dtype=dtype), seed + 2), numbers(shape[0], seed=3, dtype=dtype)
    m, v, wide = np.float64(mean), np.exp(np.float64(log_var)), np.float64(x)
    expected = -scipy.stats.norm.logpdf(wide, m, np.broadcast_to(np.sqrt(v), shape))
    close(k.gaussian_nll(mean, log_var, x), per_example(expected), dtype, units=20)
    dmean, dlog_var = k.gaussian_nll_grad(dy, mean, log_var, x)
    close(dmean, column(dy, len(shape)) * (m - wide) / v, dtype, units=30)
    close(dlog_var, column(dy, len(shape)) * (1 - (wide - m) ** 2 / v) / 2, dtype, units=100)


@pytest.mark.parametrize("own", [(), (1,), (1, 1), (3, 40)])
def test_gaussian_with_one_variance_and_with_a_full_array_of_it(own) -> None:
    mean, x, dy = numbers(3, 40), numbers(3, 40, seed=1), numbers(3, seed=2)
    log_var = np.full(own, 0.7)
    close(k.gaussian_nll(mean, log_var, x), reference.gaussian_nll(mean, log_var, x), np.float64)
    for found, expected in zip(
        k.gaussian_nll_grad(dy, mean, log_var, x), reference.gaussian_nll_grad(dy, mean, log_var, x), strict=True
    ):
        close(found, expected, np.float64)


# ---- categorical ----


@examples
@given(M=st.integers(0, 9), K=st.integers(1, 70), dtype=st.sampled_from(DTYPES), transposed=st.booleans())
def test_cross_entropy_is_minus_log_softmax(M, K, dtype, transposed) -> None:
    logits = numbers(K, M, low=-5, high=5, dtype=dtype).T if transposed else numbers(M, K, low=-5, high=5, dtype=dtype)
    target, dy = np.random.default_rng(M).integers(0, K, M), numbers(M, dtype=dtype)
    log_p = scipy.special.log_softmax(np.float64(logits), axis=1)
    close(k.softmax_cross_entropy(logits, target), -log_p[np.arange(M), target], dtype)
    expected = dy[:, None] * (np.exp(log_p) - np.eye(K)[target])
    close(k.softmax_cross_entropy_grad(dy, logits, target), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_huge_logits_and_of_tiny_losses(dtype) -> None:
    logits, target = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4], [0, -40, -99]], dtype), np.array([2, 1, 0])
    found = k.softmax_cross_entropy(logits[:2], target[:2])
    np.testing.assert_allclose(found, [2e4, np.log(3)], rtol=4 * np.finfo(dtype).eps)
    gradient = k.softmax_cross_entropy_grad(np.ones(3, dtype), logits, target)
    np.testing.assert_allclose(gradient[:2], [[1, 0, -1], [1 / 3, -2 / 3, 1 / 3]], rtol=4 * np.finfo(dtype).eps)
    tail = k.softmax_cross_entropy(np.array([[0, -30]], dtype), np.array([0]))
    np.testing.assert_allclose(tail, np.exp(-30), rtol=0.01)  # the sum is kept in float64, also for float32


# ---- mixture of logistic distributions ----


def mixture(N: int, C: int, K: int, D: int, dtype: type) -> list[np.ndarray]:
    x = np.random.default_rng(0).integers(0, 256, (N, C, D)) / 255
    x[..., ::5], x[..., 1::5] = 0, 1
    return [numbers(N, C, 3, K, D, dtype=dtype), x.astype(dtype), numbers(N, seed=1, dtype=dtype)]


@examples
@given(
    N=st.integers(0, 3),
    C=st.integers(1, 3),
    K=st.integers(1, 4),
    D=st.sampled_from([0, 1, 5, 33]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 9),
)
def test_logistic_mixture_equals_the_reference_in_any_layout(N, C, K, D, dtype, seed) -> None:
    parameters, x, dy = mixture(N, C, K, D, dtype)
    exact = [np.float64(a) for a in (dy, parameters, x)]
    parameters, x = permuted(parameters, seed), permuted(x, seed + 1)
    close(k.logistic_mixture_nll(parameters, x), reference.logistic_mixture_nll(*exact[1:]), dtype, units=30)
    expected = reference.logistic_mixture_nll_grad(*exact)
    scale = max(1, np.abs(expected).max(initial=0))
    close(k.logistic_mixture_nll_grad(dy, parameters, x) / dtype(scale), expected / scale, dtype, units=100)


@pytest.mark.parametrize("shape", [(2, 1, 2, 600), (1, 3, 1, 300)])
def test_logistic_mixture_of_examples_larger_than_a_block_or_a_grid(shape, monkeypatch) -> None:
    parameters, x, dy = mixture(*shape, np.float64)
    nll, gradient = (
        reference.logistic_mixture_nll(parameters, x),
        reference.logistic_mixture_nll_grad(dy, parameters, x),
    )
    np.testing.assert_allclose(k.logistic_mixture_nll(parameters, x), nll, rtol=1e-12)
    np.testing.assert_allclose(k.logistic_mixture_nll_grad(dy, parameters, x), gradient, rtol=1e-8, atol=1e-10)
    monkeypatch.setattr(launcher, "GRID_LIMIT", (2**31 - 1, 2, 65535))
    np.testing.assert_allclose(k.logistic_mixture_nll_grad(dy, parameters, x), gradient, rtol=1e-8, atol=1e-10)


# ---- all of them ----


def everything(logits: Any, x: Any, log_var: Any, dy: Any, target: Any, backend: Any = k) -> list[Any]:
    rows = logits.reshape(len(logits), -1)
    levels = x.reshape(len(x), 1, -1)
    parameters = (logits.reshape(len(x), 1, 1, 1, -1) / 9).repeat(3, axis=2)
    return [
        backend.logistic_mixture_nll(parameters, levels),
        backend.logistic_mixture_nll_grad(dy, parameters, levels),
        backend.bernoulli_nll(logits, x),
        backend.bernoulli_nll_grad(dy, logits, x),
        backend.gaussian_nll(logits, log_var, x),
        *backend.gaussian_nll_grad(dy, logits, log_var, x),
        backend.softmax_cross_entropy(rows, target),
        backend.softmax_cross_entropy_grad(dy, rows, target),
    ]


def operands(*shape: int, dtype: type = np.float32) -> list[np.ndarray]:
    size = int(np.prod(shape[1:]))
    return [
        numbers(*shape, low=-9, high=9, dtype=dtype),
        numbers(*shape, seed=1, low=0, high=1, dtype=dtype),
        numbers(*shape, seed=2, dtype=dtype),
        numbers(shape[0], seed=3, dtype=dtype),
        np.random.default_rng(0).integers(0, size, shape[0]),
    ]


@pytest.mark.parametrize("shape", [(2, 511), (2, 512), (2, 513), (1, 2100), (130, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_examples_larger_and_smaller_than_a_block(shape, dtype) -> None:
    inputs = operands(*shape, dtype=dtype)
    for found, expected in zip(everything(*inputs), everything(*map(wide, inputs), backend=reference), strict=True):
        tolerance = 20 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def test_examples_larger_than_a_grid(monkeypatch) -> None:
    inputs = operands(2, 1700)
    expected = everything(*inputs)
    monkeypatch.setattr(launcher, "GRID_LIMIT", (2**31 - 1, 3, 65535))
    assert k._map((2, 1700))[0] == (2, 3)  # 768 threads for a row
    for found, once in zip(everything(*inputs), expected, strict=True):
        np.testing.assert_array_equal(found, once)


@pytest.mark.parametrize("shape", [(2, 600), (5, 3, 2, 7)])
def test_results_do_not_depend_on_the_order_of_threads(shape) -> None:
    inputs = operands(*shape)
    with launcher.use_engine(ALL_ORDERS):  # compares the orders, bit by bit
        results = everything(*inputs)
    for found, again in zip(results, everything(*inputs), strict=True):
        np.testing.assert_array_equal(found, again)


def test_sums_of_large_examples_are_rounded_once() -> None:
    """A float32 sum of 2^24 and hundreds of ones would lose the ones, although float32 holds every term exactly."""
    x, mean = np.zeros((1, 700), np.float32), np.ones((1, 700), np.float32)
    mean[0, 0] = 2.0**12
    exact = 0.5 * (699 + 2.0**24 + 700 * np.log(2 * np.pi))
    assert k.gaussian_nll(mean, np.float32(0).reshape(()), x) == np.float32(exact)


def test_channels_last_images_are_neither_copied_nor_transposed() -> None:
    images = [numbers(2, 5, 4, 3, seed=s, dtype=np.float32).transpose(0, 3, 1, 2) for s in range(3)]
    order, buffers = in_memory_order(*images, fixed=1)
    assert order == (0, 2, 3, 1)
    for image, buffer in zip(images, buffers, strict=True):
        assert buffer.flags.c_contiguous
        assert np.shares_memory(image, buffer)
    dy = numbers(2, seed=3, dtype=np.float32)
    gradients = [k.bernoulli_nll_grad(dy, *images[:2]), *k.gaussian_nll_grad(dy, *images)]
    assert [gradient.strides for gradient in gradients] == [images[0].strides] * 3


def test_operands_of_another_layout_are_brought_to_that_of_the_first() -> None:
    first, other = numbers(2, 5, 4, 3).transpose(0, 3, 1, 2), numbers(2, 3, 5, 4, seed=1)
    _, buffers = in_memory_order(first, other, fixed=1)
    np.testing.assert_array_equal(buffers[1], other.transpose(0, 2, 3, 1))
    assert all(buffer.flags.c_contiguous for buffer in buffers)
    assert in_memory_order(other.T, fixed=1)[1][0].shape[0] == 4  # the axis of the examples stays first


def test_nothing_is_copied_to_the_host_while_a_graph_is_captured() -> None:
    inputs = operands(3, 2, 4, 4)
    on_device = [arrays.array(x) for x in inputs]
    scalar = arrays.array(np.float32(0.5))
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        results = everything(*on_device)
        shared = k.gaussian_nll(on_device[0], scalar, on_device[1])
    for found, expected in zip(results, everything(*inputs), strict=True):
        np.testing.assert_array_equal(arrays.asnumpy(found), expected)
    close(
        arrays.asnumpy(shared),
        reference.gaussian_nll(inputs[0], np.float32(0.5).reshape(()), inputs[1]),
        np.float32,
        30,
    )
