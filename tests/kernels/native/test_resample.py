"""Pooling and upsampling are exact: only sums are rounded, and here they are sums of integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_same_for_any_threads, laid_out
from strategies import examples, numbers

from minivae.kernels import native, reference

channels = st.sampled_from([1, 2, 3, 8, 16, 17, 40])


@st.composite
def pools(draw: st.DrawFn):
    """A kernel, stride, padding, and an image size into which the window fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return (
        kernel,
        stride,
        padding,
        tuple(draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True)),
    )


def whole_numbers(*shape: int, dtype: type, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


@examples
@given(
    pool=pools(), N=st.integers(0, 3), C=channels, nans=st.booleans(), layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)  # fmt: skip
def test_max_pool2d_and_its_gradient(pool, N, C, nans, layout, dtype) -> None:
    *geometry, size = pool
    x = whole_numbers(N, C, *size, dtype=dtype)
    if nans:
        x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    y, winner = native.max_pool2d(laid_out(x, layout), *geometry)
    expected, expected_winner = reference.max_pool2d(x, *geometry)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winner, expected_winner)
    assert (y.dtype, winner.dtype) == (dtype, np.int32)
    dy = whole_numbers(*y.shape, dtype=dtype, seed=2)
    dx = native.max_pool2d_grad(laid_out(dy, layout), winner, x.shape, *geometry)
    np.testing.assert_array_equal(dx, reference.max_pool2d_grad(dy, winner, x.shape, *geometry))
    assert dx.dtype == dtype


def test_the_padding_never_wins() -> None:
    y, winner = native.max_pool2d(np.full((1, 1, 2, 2), -np.inf), (2, 2), (2, 2), (1, 1))
    assert y.tolist() == [[[[-np.inf] * 2] * 2]]
    assert winner.tolist() == [[[[3, 2], [1, 0]]]]


def test_the_gradient_goes_to_the_winner_alone() -> None:
    x = np.array([[[[1.0, 2.0], [0.0, 2.0]]]])
    _, winner = native.max_pool2d(x, (2, 2), (2, 2), (0, 0))
    dx = native.max_pool2d_grad(np.full((1, 1, 1, 1), np.inf), winner, x.shape, (2, 2), (2, 2), (0, 0))
    assert dx.tolist() == [[[[0, np.inf], [0, 0]]]]


@examples
@given(
    shape=st.tuples(st.integers(0, 3), channels, st.integers(1, 5), st.integers(1, 5)),
    scale=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_upsample_and_its_gradient(shape, scale, layout, dtype) -> None:
    x = whole_numbers(*shape, dtype=dtype)
    y = native.upsample(laid_out(x, layout), scale)
    np.testing.assert_array_equal(y, reference.upsample(x, scale))
    dy = whole_numbers(*y.shape, dtype=dtype, seed=1)
    dx = native.upsample_grad(laid_out(dy, layout), scale)
    np.testing.assert_array_equal(dx, reference.upsample_grad(dy, scale))
    assert y.dtype == dx.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_channels_last(dtype) -> None:
    x = laid_out(numbers(2, 5, 4, 4, dtype=dtype), "channels last")
    y, winner = native.max_pool2d(x, (1, 1), (1, 1), (0, 0))
    assert y.strides == native.upsample(x, (1, 1)).strides == x.strides
    assert winner.transpose(0, 2, 3, 1).flags.c_contiguous


def test_threads_change_nothing() -> None:
    x = numbers(3, 20, 33, 31, dtype=np.float32)

    def run():
        y, winner = native.max_pool2d(x, (3, 3), (2, 2), (1, 1))
        dx = native.max_pool2d_grad(y, winner, x.shape, (3, 3), (2, 2), (1, 1))
        return [y, winner, dx, native.upsample(x, (2, 3)), native.upsample_grad(x[:, :, :32, :30], (2, 3))]

    assert_same_for_any_threads(run)
