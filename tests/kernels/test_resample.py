"""Max pooling and upsampling are compared with explicit loops; their gradients are tested as transposes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

DTYPES = [np.float32, np.float64]


@st.composite
def poolings(draw: st.DrawFn) -> tuple:
    """An image shape, kernel, stride and padding that fit together."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    size = tuple(draw(st.integers(max(1, size - 2 * p), 7)) for size, p in zip(kernel, padding, strict=True))
    return (draw(st.integers(0, 3)), draw(st.integers(1, 5)), *size), kernel, stride, padding


def loops(x: np.ndarray, kernel, stride, padding) -> tuple[np.ndarray, np.ndarray]:
    """The largest element of each window and the number of its tap; of equal elements the first."""
    N, C, H, W = x.shape
    OH, OW = ((n + 2 * p - size) // s + 1 for n, size, s, p in zip((H, W), kernel, stride, padding, strict=True))
    y, winner = np.full((N, C, OH, OW), -np.inf, x.dtype), np.zeros((N, C, OH, OW), np.int64)
    for i, j, p, q in np.ndindex(OH, OW, *kernel):
        h, v = i * stride[0] + p - padding[0], j * stride[1] + q - padding[1]
        if 0 <= h < H and 0 <= v < W:
            larger = x[:, :, h, v] > y[:, :, i, j]
            y[:, :, i, j][larger] = x[:, :, h, v][larger]
            winner[:, :, i, j][larger] = p * kernel[1] + q
    return y, winner


@examples
@given(pooling=poolings(), dtype=st.sampled_from(DTYPES), last=st.booleans(), seed=st.integers(0, 99))
def test_max_pooling_is_its_loops_with_ties(pooling, dtype, last, seed) -> None:
    shape, *window = pooling
    x = np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)  # few different values, so many ties
    laid_out = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    y, winner = k.max_pool2d(laid_out, *window)
    expected = loops(x, *window)
    assert (y.dtype, winner.dtype) == (dtype, np.int32)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(winner, expected[1])


@examples
@given(pooling=poolings(), seed=st.integers(0, 99))
def test_the_gradient_of_max_pooling_is_the_transpose_of_the_choice(pooling, seed) -> None:
    """If the winners are fixed, pooling is a linear map: <pool(z), dy> = <z, grad(dy)>, exactly on integers."""
    shape, *window = pooling
    rng = np.random.default_rng(seed)
    y, winner = k.max_pool2d(rng.standard_normal(shape), *window)
    dy = rng.integers(-8, 9, y.shape).astype(np.float64)
    dx = k.max_pool2d_grad(dy, winner, shape, *window)
    assert dx.shape == shape
    z = rng.integers(-8, 9, shape).astype(np.float64)
    (_, KW), (sh, sw), (ph, pw) = window
    chosen = 0.0
    for n, c, i, j in np.ndindex(*y.shape):
        p, q = divmod(int(winner[n, c, i, j]), KW)
        chosen += z[n, c, i * sh + p - ph, j * sw + q - pw] * dy[n, c, i, j]
    assert np.vdot(z, dx) == chosen


def test_a_nan_is_the_largest() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    x[0, 0, 1, 0] = np.nan
    y, winner = k.max_pool2d(x, (2, 2), (2, 2), (0, 0))
    np.testing.assert_array_equal(y[0, 0], [[np.nan, 7], [13, 15]])
    np.testing.assert_array_equal(winner[0, 0], [[2, 3], [3, 3]])


@examples
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)),
    scale=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dtype=st.sampled_from(DTYPES),
    last=st.booleans(),
)
def test_upsampling_repeats_pixels_and_its_gradient_is_the_transpose(shape, scale, dtype, last) -> None:
    x = np.random.default_rng(0).integers(-8, 9, shape).astype(dtype)
    laid_out = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if last else x
    y = k.upsample(laid_out, scale)
    np.testing.assert_array_equal(y, np.kron(x, np.ones((1, 1, *scale), dtype)))
    dy = np.random.default_rng(1).integers(-8, 9, y.shape).astype(dtype)
    dx = k.upsample_grad(dy, scale)
    assert y.dtype == dx.dtype == dtype
    assert dx.shape == shape
    assert np.vdot(y, dy) == np.vdot(x, dx)


@pytest.mark.usefixtures("keeps_layouts")
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_stay_channels_last(dtype) -> None:
    x = numbers(2, 6, 8, 5, dtype=dtype).transpose(0, 3, 1, 2)
    for y in (k.max_pool2d(x, (2, 2), (2, 2), (0, 0))[0], k.upsample(x, (2, 2)), k.upsample_grad(x, (2, 2))):
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous
