"""Activation functions against the reference, in all memory layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_close, assert_same_for_any_threads, laid_out
from strategies import examples, numbers, shapes

from minivae.kernels import native, reference

FUNCTIONS = ["sigmoid", "tanh", "softplus", "silu", "gelu", "erf"]
OF_Y = ["relu_grad", "sigmoid_grad", "tanh_grad"]
OF_X = ["softplus_grad", "silu_grad", "gelu_grad"]


@examples
@given(shape=shapes, layout=st.sampled_from(LAYOUTS), dtype=st.sampled_from(DTYPES), scale=st.sampled_from([1, 30]))
def test_activations_equal_those_of_the_reference(shape, layout, dtype, scale) -> None:
    x, dy = (numbers(*shape, seed=s, dtype=dtype) * dtype(scale) for s in (0, 1))
    laid, laid_dy = laid_out(np.asarray(x), layout), laid_out(np.asarray(dy), "as it is")
    for name in FUNCTIONS:
        y = getattr(native, name)(laid)
        assert type(y) is np.ndarray
        assert y.dtype == dtype
        assert_close(y, np.asarray(getattr(reference, name)(np.float64(x))))
    for name in OF_Y + OF_X:
        expected = getattr(reference, name)(np.float64(dy), np.float64(x))
        assert_close(getattr(native, name)(laid_dy, laid), np.asarray(expected))
    np.testing.assert_array_equal(laid, x)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 16_383, 16_384, 16_385, 50_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_of_arrays_of_any_size(size, dtype) -> None:
    x = numbers(size, dtype=dtype)
    np.testing.assert_array_equal(native.bias_relu(x, None), np.maximum(x, 0))
    assert_close(native.gelu(x), reference.gelu(np.float64(x)))
    assert_close(native.silu_grad(x, x), reference.silu_grad(np.float64(x), np.float64(x)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs(name, dtype) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0, -0.0], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(reference, name)(x)
    np.testing.assert_allclose(getattr(native, name)(x), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_keeps_nan_and_its_gradient_does_not_read_where_y_is_zero(dtype) -> None:
    x = np.array([np.nan, np.inf, -np.inf, -1, 0, 2], dtype)
    np.testing.assert_array_equal(native.bias_relu(x, None), [np.nan, np.inf, 0, 0, 0, 2])
    np.testing.assert_array_equal(
        native.relu_grad(np.full(4, 3, dtype), np.array([1, 0, np.inf, np.nan], dtype)), [3, 0, 3, 0]
    )


@examples
@given(
    rest=st.lists(st.integers(0, 5), max_size=2).map(tuple),
    N=st.integers(0, 4),
    C=st.sampled_from([1, 2, 3, 8, 16, 17, 40]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_bias_relu_is_exactly_the_formula(rest, N, C, layout, dtype) -> None:
    x, b = numbers(N, C, *rest, dtype=dtype), numbers(C, seed=1, dtype=dtype)
    y = native.bias_relu(laid_out(x, layout), b)
    np.testing.assert_array_equal(y, reference.bias_relu(x, b))
    assert y.dtype == dtype


@pytest.mark.parametrize("shape", [(1500, 40), (2500, 17), (3, 20_001), (5, 8, 40, 41)])
@pytest.mark.parametrize("layout", ["as it is", "channels last"])
def test_bias_relu_of_many_rows(shape, layout) -> None:
    x, b = numbers(*shape, dtype=np.float32), numbers(shape[1], seed=1, dtype=np.float32)
    np.testing.assert_array_equal(native.bias_relu(laid_out(x, layout), b), reference.bias_relu(x, b))


@pytest.mark.parametrize("name", [*FUNCTIONS, *OF_Y])
def test_results_have_the_memory_layout_of_their_inputs(name) -> None:
    x = laid_out(numbers(3, 4, 5, 6), "channels last")
    arguments = [numbers(3, 4, 5, 6), x] if name in OF_Y else [x]
    assert getattr(native, name)(*arguments).strides == x.strides


def test_threads_change_nothing() -> None:
    x = numbers(7, 10_007, dtype=np.float32)
    b = numbers(10_007, seed=1, dtype=np.float32)
    assert_same_for_any_threads(lambda: [native.gelu(x), native.gelu_grad(x, x), native.bias_relu(x, b)])
