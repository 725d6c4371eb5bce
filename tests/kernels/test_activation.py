"""Activations against SciPy's functions, and their gradients against central differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from strategies import apart, examples, k, numbers

DTYPES = [np.float32, np.float64]
shapes = st.one_of(
    st.tuples(st.integers(0, 5), st.integers(1, 5)),
    st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)

# name -> (the function in float64, whether its gradient takes y = f(x) instead of x)
FUNCTIONS = {
    "sigmoid": (scipy.special.expit, True),
    "tanh": (np.tanh, True),
    "softplus": (lambda x: np.logaddexp(0, x), False),
    "silu": (lambda x: x * scipy.special.expit(x), False),
    "gelu": (lambda x: x * scipy.stats.norm.cdf(x), False),
}
EDGES = [0.0, -0.0, 1e-6, -1e-6, 20.0, -20.0, 88.0, -88.0, 500.0, -500.0, 1e30, -1e30]


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=shapes, last=st.booleans(), with_bias=st.booleans())
@examples
def test_bias_relu_is_the_maximum_of_x_plus_b_and_0(dtype, shape, last, with_bias) -> None:
    x, b = numbers(*shape, dtype=dtype), numbers(shape[1], seed=1, dtype=dtype) if with_bias else None
    last = last and x.ndim == 4
    y = k.bias_relu(channels_last(x) if last else x, b)
    expected = x if b is None else x + b.reshape(-1, *[1] * (x.ndim - 2))
    np.testing.assert_array_equal(y, np.maximum(expected, 0))
    assert y.dtype == dtype
    assert not last or y.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=shapes, last=st.booleans())
@examples
def test_the_gradient_of_relu_passes_where_the_result_is_positive(dtype, shape, last) -> None:
    y, dy = np.maximum(apart(*shape, dtype=dtype), 0), numbers(*shape, seed=1, dtype=dtype)
    laid_out = channels_last(y) if last and y.ndim == 4 else y
    np.testing.assert_array_equal(k.relu_grad(dy, laid_out), dy * (y > 0))


def test_relu_of_large_arrays() -> None:
    x, b = numbers(3, 2, 50_003, dtype=np.float32), np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(k.bias_relu(x, b), np.maximum(x + b[:, None], 0))
    np.testing.assert_array_equal(k.relu_grad(x, np.maximum(x, 0)), x * (x > 0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_equal_scipys(name, dtype) -> None:
    x = np.concatenate([np.linspace(-12, 12, 4001), EDGES]).astype(dtype)
    y, exact = getattr(k, name)(x), FUNCTIONS[name][0](np.float64(x))
    assert y.dtype == dtype
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, exact, rtol=20 * eps, atol=20 * eps if name == "gelu" else np.finfo(dtype).tiny)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_derivatives(name) -> None:
    function, of_output = FUNCTIONS[name]
    x, dy, step = numbers(300, low=-6, high=6), numbers(300, seed=1), 1e-5
    numeric = dy * (function(x + step) - function(x - step)) / (2 * step)
    gradient = getattr(k, f"{name}_grad")(dy, function(x) if of_output else x)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)
    single = getattr(k, f"{name}_grad")(*(np.float32(a) for a in (dy, function(x) if of_output else x)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_at_the_edges_are_finite(name, dtype) -> None:
    x = np.array(EDGES[:-2], dtype)
    gradient = getattr(k, f"{name}_grad")(np.ones_like(x), getattr(k, name)(x) if FUNCTIONS[name][1] else x)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["bias_relu", *FUNCTIONS])
def test_nan_stays_and_layouts_and_inputs_are_kept(name) -> None:
    x = channels_last(numbers(2, 3, 4, 5, dtype=np.float32))
    x[1, 2, 3, 4] = np.nan
    before = x.copy()
    y = k.bias_relu(x, None) if name == "bias_relu" else getattr(k, name)(x)
    assert np.isnan(y[1, 2, 3, 4])
    assert np.isnan(y).sum() == 1
    assert y.strides == x.strides
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_shape(name, shape) -> None:
    x = np.zeros(shape, np.float32)
    y, dx = getattr(k, name)(x), getattr(k, f"{name}_grad")(x, x)
    assert y.shape == dx.shape == shape
    assert y.dtype == dx.dtype == np.float32
