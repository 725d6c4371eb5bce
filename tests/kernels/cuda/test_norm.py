"""Normalisation on the GPU equals that of the CPU for any layout and shape, exactly where nothing is rounded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import reference
from minivae.kernels.cuda import launcher, norm

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
EPS = 1e-3
LAYOUTS = ["channels first", "channels last", "channels between", "examples last", "gaps"]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


@st.composite
def images(draw: st.DrawFn) -> tuple[tuple[int, ...], int]:
    """A shape (N, C, ...) with any number of axes after the channels, and a number of groups that divides C."""
    groups = draw(st.integers(1, 4))
    rest = draw(st.lists(st.integers(1, 7), max_size=3))
    return (draw(st.integers(1, 9)), groups * draw(st.integers(1, 20)), *rest), groups


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """An equal array in another memory layout, with NaN between its elements."""
    if layout == "channels last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "channels between" and x.ndim > 3:
        return np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2)
    if layout == "examples last":
        return np.asarray(x, order="F")
    if layout == "gaps":
        gaps = np.full((*x.shape, 2), np.nan, x.dtype)[..., 0]
        gaps[...] = x
        return gaps
    return x


def forward(k, x, weight, bias, groups):
    return k.batch_norm(x, weight, bias, EPS) if groups is None else k.group_norm(x, weight, bias, groups, EPS)


def backward(k, dy, x, weight, mean, var, groups):
    return (k.batch_norm_grad if groups is None else k.group_norm_grad)(dy, x, weight, mean, var, EPS)


def check(shape, groups, affine=(True, True), layouts=("channels first",) * 2, dtype=np.float32) -> None:
    """Compare both passes with those of the CPU in float64, which are tested by central differences."""
    x, dy = (laid_out(numbers(*shape, seed=s, dtype=dtype), layouts[s]) for s in (0, 1))
    weight, bias = (numbers(shape[1], seed=2 + s, dtype=dtype) if given else None for s, given in enumerate(affine))
    exact = [None if a is None else np.ascontiguousarray(a, np.float64) for a in (x, dy, weight, bias)]
    expected = forward(reference, exact[0], *exact[2:], groups)
    actual = forward(norm, x, weight, bias, groups)
    expected += backward(reference, exact[1], exact[0], exact[2], *expected[1:], groups)
    actual += backward(norm, dy, x, weight, *actual[1:], groups)
    for a, e in zip(actual, expected, strict=True):
        assert (a.dtype, a.shape) == (dtype, e.shape)
        scale = np.abs(e).max(initial=1)
        tolerance = scale * (1e-5 if dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance)


@examples
@given(
    shape_and_groups=images(),
    batch=st.booleans(),
    affine=st.tuples(st.booleans(), st.booleans()),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
)
def test_any_shape_and_layout(shape_and_groups, batch, affine, layouts) -> None:
    shape, groups = shape_and_groups
    check(shape, None if batch else groups, affine, layouts, np.float64)


# one element; one pixel; many channels and few; an odd number of them; long rows; lines shorter than the lanes
SHAPES = [(1, 2), (300, 2), (40, 66), (2, 6, 1500), (3, 40, 9, 7), (100, 4, 3), (2, 34, 20, 20), (1, 6, 70, 1)]


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_one_and_of_many_parts(shape, layout, groups, monkeypatch) -> None:
    """On a small device (FILL) each thread takes many rows; few rows per thread (ROWS) make many parts."""
    for fill, rows in ((1056, 64), (1, 64), (1, 4)):
        monkeypatch.setattr(norm, "FILL", fill)
        monkeypatch.setattr(norm, "ROWS", rows)
        check(shape, groups, layouts=(layout, layout))


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("shape", [(3, 6, 5, 7), (70, 4), (2, 38, 9)])
def test_nothing_depends_on_the_order_of_threads(shape, layout, groups) -> None:
    with launcher.use_engine(ALL_ORDERS):
        check(shape, groups, layouts=(layout, layout))


@pytest.mark.parametrize("guard", ["start", "end"])
@pytest.mark.parametrize("shape", [(3, 6, 5, 7), (2, 38, 9)])
def test_no_kernel_accesses_memory_outside_its_arrays(shape, guard) -> None:
    with launcher.use_engine(Emulator(guard=guard, check_bounds=True)):
        for layout in ("channels first", "channels last"):
            for groups in (None, 2):
                check(shape, groups, layouts=(layout, layout))


def exact_mean_and_var(x: np.ndarray, groups: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of integers, from sums of integers; they are exact if the number of elements is 2^n."""
    N, C = x.shape[:2]
    rows = np.int64(x).reshape(N, C, -1).swapaxes(0, 1) if groups is None else np.int64(x).reshape(N * groups, -1)
    rows = rows.reshape(len(rows), -1)
    m, shape = rows.shape[1], (C,) if groups is None else (N, groups)
    mean = rows.sum(1) / m
    return mean.reshape(shape), ((rows**2).sum(1) / m - mean**2).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_integers_are_exact(layout, groups, dtype) -> None:
    x = laid_out(np.random.default_rng(0).integers(-8, 9, (4, 6, 8, 4)).astype(dtype), layout)
    _, mean, var = forward(norm, x, None, None, groups)
    expected = exact_mean_and_var(x, groups)
    np.testing.assert_array_equal(mean, expected[0].astype(dtype))
    np.testing.assert_array_equal(var, expected[1].astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_gradients_of_integers_are_exact(layout, groups, dtype) -> None:
    """If mean 0 and variance 1 are passed, x is already normalised, and dx = g - E g - x E(g x) without rounding."""
    x, dy = (laid_out(np.random.default_rng(s).integers(-8, 9, (4, 6, 8, 4)).astype(dtype), layout) for s in (0, 1))
    weight = np.arange(-2, 4).astype(dtype)
    shape = (6,) if groups is None else (4, groups)
    grad = norm.batch_norm_grad if groups is None else norm.group_norm_grad
    dx, dweight, dbias = grad(dy, x, weight, np.zeros(shape, dtype), np.ones(shape, dtype), 0.0)
    g = dy * weight[:, None, None]
    of_g, of_gx = (
        np.repeat(exact_mean_and_var(a, groups)[0], 1 if groups is None else 2, axis=-1)[..., None, None]
        for a in (g, g * x)
    )
    np.testing.assert_array_equal(dx, g - of_g - x * of_gx)
    np.testing.assert_array_equal(dweight, (dy * x).sum((0, 2, 3)))
    np.testing.assert_array_equal(dbias, dy.sum((0, 2, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("rest", [(), (3,), (3, 5), (0, 2)])
def test_empty_batch(dtype, groups, rest) -> None:
    x, weight = np.zeros((2 if 0 in rest else 0, 4, *rest), dtype), np.ones(4, dtype)
    y, mean, var = forward(norm, x, weight, weight, groups)
    assert y.shape == x.shape
    assert mean.shape == var.shape == ((4,) if groups is None else (len(x), groups))
    dx, dweight, dbias = backward(norm, x, x, weight, mean, var, groups)
    assert dx.shape == x.shape
    assert {a.dtype for a in (y, mean, var, dx, dweight, dbias)} == {np.dtype(dtype)}
    np.testing.assert_array_equal([dweight, dbias], np.zeros((2, 4)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [None, 4])
def test_a_large_mean_does_not_spoil_the_variance(groups, dtype) -> None:
    """E x^2 - (E x)^2 would lose all digits even in float64; nor may an outlier as the first element spoil them."""
    offset = dtype(2**17 if dtype == np.float32 else 2**40)
    x = (np.round(8 * numbers(16, 8, 4, 4)) / 8).astype(dtype)
    for first in (0, 512):
        x[:, :, 0, 0] = first
        _, mean, var = forward(norm, x + offset, None, None, groups)
        expected = forward(reference, np.float64(x), None, None, groups)
        np.testing.assert_allclose(var, expected[2], rtol=1e-6 if dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(np.float64(mean) - offset, expected[1], rtol=0, atol=np.spacing(offset))


def test_a_channel_of_equal_elements_has_no_variance() -> None:
    x = np.full((5, 3, 7), 0.1, np.float32)
    y, mean, var = forward(norm, x, None, np.arange(3, dtype=np.float32), None)
    np.testing.assert_array_equal(mean, np.full(3, np.float32(0.1)))
    np.testing.assert_array_equal(var, np.zeros(3))
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(3)[:, None], x.shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_in_its_own_statistics_only(value) -> None:
    x = numbers(4, 3, 5)
    x[2, 1, 3] = value
    _, mean, var = norm.batch_norm(x, None, None, EPS)
    np.testing.assert_array_equal(np.isfinite(mean), [True, False, True])
    np.testing.assert_array_equal(np.isnan(var), [False, True, False])


@pytest.mark.parametrize("groups", [None, 2])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_results_have_the_layout_of_the_input_whatever_that_of_the_gradient(layout, groups) -> None:
    x, dy = laid_out(numbers(3, 4, 5, 6), layout), numbers(3, 4, 5, 6, seed=1)
    y, mean, var = forward(norm, x, None, None, groups)
    dx, _, _ = backward(norm, dy, x, None, mean, var, groups)
    assert y.strides == dx.strides == x.strides


@pytest.mark.parametrize("groups", [None, 2])
def test_both_passes_can_be_captured(groups) -> None:
    x, dy, weight = numbers(3, 4, 5, 6, seed=0), numbers(3, 4, 5, 6, seed=1), numbers(4, seed=2)
    device = [arrays.array(a) for a in (x, dy, weight)]
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        y, mean, var = forward(norm, device[0], device[2], None, groups)
        gradients = backward(norm, device[1], device[0], device[2], mean, var, groups)
    expected = forward(reference, x, weight, None, groups)
    expected += backward(reference, dy, x, weight, *expected[1:], groups)
    for a, e in zip((y, mean, var, *gradients), expected, strict=True):
        np.testing.assert_allclose(arrays.asnumpy(a), e, rtol=1e-11, atol=1e-11)
