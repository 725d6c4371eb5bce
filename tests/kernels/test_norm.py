"""Batch and group normalisation, compared with a naive formula in float64; gradients, with central differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

DTYPES = [np.float32, np.float64]
EPS, STEP = 1e-3, 1e-5
layouts = st.sampled_from(["channels first", "channels last", "gaps"])


@st.composite
def images(draw: st.DrawFn, least: int) -> tuple[tuple[int, ...], int]:
    """A shape (N, C, ...) with any number of axes after the channels, and a number of groups that divides C."""
    groups = draw(st.integers(1, 3))
    rest = draw(st.lists(st.integers(1, 3), max_size=3))
    return (draw(st.integers(least, 3)), groups * draw(st.integers(1, 3)), *rest), groups


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "channels last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "gaps":
        gaps = np.full((*x.shape, 2), np.nan, x.dtype)[..., 0]
        gaps[...] = x
        return gaps
    return x


def naive(x: np.ndarray, weight, bias, groups: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise one channel (batch norm) or one group of an example (group norm) after the other."""
    y, C = np.empty(x.shape), x.shape[1]
    together = [(slice(None), slice(c, c + 1)) for c in range(C)]
    if groups is not None:
        size = C // groups
        together = [(slice(n, n + 1), slice(g * size, (g + 1) * size)) for n in range(len(x)) for g in range(groups)]
    means, variances = [], []
    for part in together:
        values = np.float64(x[part])
        means.append(values.mean())
        variances.append(np.mean((values - values.mean()) ** 2))
        y[part] = (values - means[-1]) / np.sqrt(variances[-1] + EPS)
    column = (-1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * np.float64(weight).reshape(column)
    y = y if bias is None else y + np.float64(bias).reshape(column)
    shape = (C,) if groups is None else (len(x), groups)
    return y, np.reshape(means, shape), np.reshape(variances, shape)


def forward(x, weight, bias, groups):
    return k.batch_norm(x, weight, bias, EPS) if groups is None else k.group_norm(x, weight, bias, groups, EPS)


def backward(dy, x, weight, mean, var, groups):
    return (k.batch_norm_grad if groups is None else k.group_norm_grad)(dy, x, weight, mean, var, EPS)


@examples
@given(
    shape_and_groups=images(1),
    batch=st.booleans(),
    affine=st.sampled_from([(True, True), (True, False), (False, True), (False, False)]),
    layout=layouts,
    dtype=st.sampled_from(DTYPES),
)
def test_forward_is_the_naive_formula(shape_and_groups, batch, affine, layout, dtype) -> None:
    shape, groups = shape_and_groups[0], None if batch else shape_and_groups[1]
    x = laid_out(numbers(*shape, dtype=dtype), layout)
    weight, bias = (numbers(shape[1], seed=s + 1, dtype=dtype) if given else None for s, given in enumerate(affine))
    before = x.copy()
    actual, expected = forward(x, weight, bias, groups), naive(x, weight, bias, groups)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == dtype
        assert a.shape == e.shape
        tolerance = 3e-4 if dtype == np.float32 else 1e-11  # 1 / sqrt(EPS) times rounding
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(x, before)


@examples
@given(shape_and_groups=images(1), batch=st.booleans(), affine=st.booleans(), layout=layouts, seed=st.integers(0, 9))
def test_gradients_are_derivatives(shape_and_groups, batch, affine, layout, seed) -> None:
    shape, groups = shape_and_groups[0], None if batch else shape_and_groups[1]
    x, dy = numbers(*shape, seed=seed), numbers(*shape, seed=seed + 1)
    weight, bias = (numbers(shape[1], seed=seed + s) if affine else None for s in (2, 3))
    _, mean, var = forward(x, weight, bias, groups)
    gradients = backward(laid_out(dy, layout), laid_out(x, layout), weight, mean, var, groups)
    own_weight = np.ones(shape[1]) if weight is None else weight
    own_bias = np.zeros(shape[1]) if bias is None else bias
    for which, actual in enumerate(gradients):
        inputs = [x, own_weight, own_bias]
        for i in np.ndindex(inputs[which].shape):
            moved = [[a.copy() for a in inputs] for _ in range(2)]
            moved[0][which][i] += STEP
            moved[1][which][i] -= STEP
            up, down = (np.vdot(dy, naive(*each, groups)[0]) for each in moved)
            np.testing.assert_allclose(actual[i], (up - down) / (2 * STEP), rtol=1e-5, atol=1e-5)


@examples
@given(shape_and_groups=images(2), batch=st.booleans(), layout=layouts)
def test_single_precision_gradients_are_those_of_double(shape_and_groups, batch, layout) -> None:
    shape, groups = shape_and_groups[0], None if batch else shape_and_groups[1]
    x, dy = (laid_out(numbers(*shape, seed=s, dtype=np.float32), layout) for s in (0, 1))
    weight = numbers(shape[1], seed=2, dtype=np.float32)
    _, mean, var = forward(np.float64(x), np.float64(weight), None, groups)
    expected = backward(np.float64(dy), np.float64(x), np.float64(weight), mean, var, groups)
    actual = backward(dy, x, weight, np.float32(mean), np.float32(var), groups)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, e, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("rest", [(), (3,), (3, 5)])
def test_empty_batch(dtype, groups, rest) -> None:
    x, weight = np.zeros((0, 4, *rest), dtype), np.ones(4, dtype)
    y, mean, var = forward(x, weight, weight, groups)
    assert y.shape == x.shape
    assert mean.shape == var.shape == ((4,) if groups is None else (0, groups))
    dx, dweight, dbias = backward(x, x, weight, mean, var, groups)
    assert dx.shape == x.shape
    assert {a.dtype for a in (y, mean, var, dx, dweight, dbias)} == {np.dtype(dtype)}
    np.testing.assert_array_equal([dweight, dbias], np.zeros((2, 4)))


@pytest.mark.parametrize("groups", [None, 4])
def test_a_large_mean_does_not_spoil_the_variance(groups) -> None:
    """The variance takes two passes over the data; E x^2 - (E x)^2 would lose all digits in float32."""
    x = numbers(32, 8, 16, 16, dtype=np.float32) + np.float32(1000)
    y, _, var = forward(x, None, None, groups)
    expected = naive(x, None, None, groups)
    np.testing.assert_allclose(var, expected[2], rtol=1e-4)
    np.testing.assert_allclose(y, expected[0], atol=1e-3)


@pytest.mark.usefixtures("keeps_layouts")
@pytest.mark.parametrize("groups", [None, 2])
def test_results_are_channels_last_where_the_input_was(groups) -> None:
    x, dy = (laid_out(numbers(3, 4, 5, 6, seed=s), "channels last") for s in (0, 1))
    y, mean, var = forward(x, None, None, groups)
    dx, _, _ = backward(dy, x, None, mean, var, groups)
    assert y.strides == dx.strides == x.strides
