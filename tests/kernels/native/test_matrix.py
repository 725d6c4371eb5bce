"""Products and sums in C: close to the reference in float64, and exact on small integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minivae.kernels import native, reference

DTYPES = [np.float32, np.float64]


def integers(rng: np.random.Generator, *shape: int, dtype: Any) -> np.ndarray:
    return rng.integers(-4, 5, shape).astype(dtype)


def matrix(rng: np.random.Generator, *shape: int, dtype: Any) -> np.ndarray:
    """A matrix of integers with contiguous rows, contiguous columns, neither, or reversed rows."""
    *leading, M, N = shape
    layout = rng.integers(4)
    if layout == 0:
        return integers(rng, *leading, N, M, dtype=dtype).swapaxes(-1, -2)
    if layout == 1:
        return integers(rng, *leading, M, 2 * N, dtype=dtype)[..., ::2]
    return integers(rng, *shape, dtype=dtype)[..., :: -1 if layout == 2 else 1, :]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(60))
def test_products(dtype: Any, seed: int) -> None:
    """Sizes from 0 to more than a block, and sums that are split into parts."""
    rng = np.random.default_rng(seed)
    M, K, N = (int(rng.integers(0, rng.choice([3, 20, 130]))) for _ in range(3))
    K = int(rng.integers(1000, 5000)) if seed % 10 == 0 else K
    leading: tuple[int, ...] = ((), (), (3,), (2, 1), (50,))[seed % 5]
    other = ((), leading, (1,) * len(leading))[seed % 3]
    a, b = matrix(rng, *leading, M, K, dtype=dtype), matrix(rng, *other, K, N, dtype=dtype)
    bias = integers(rng, N, dtype=dtype) if seed % 2 else None
    relu = bool(seed % 4 > 1)
    found = native.matmul(a, b, bias, relu)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, reference.matmul(a, b, bias, relu))


def test_offsets_beyond_32_bits() -> None:
    """Rows are 2^28 elements apart, so that the last row starts more than 2^31 elements after the first."""
    try:
        whole = np.zeros(9 * 2**28 + 40, np.float32)  # untouched pages take no memory
    except MemoryError:
        pytest.skip("no address space for 10 GB")
    a = np.lib.stride_tricks.as_strided(whole, (10, 40), (4 * 2**28, 4))
    a[:] = np.arange(400).reshape(10, 40) % 7
    b = np.arange(40 * 5, dtype=np.float32).reshape(40, 5) % 5
    np.testing.assert_array_equal(native.matmul(a, b), a.copy() @ b)
    np.testing.assert_array_equal(native.matmul(b.T, a.T), b.T @ a.T.copy())


def test_relu_keeps_nan() -> None:
    a = np.full((9, 4), np.nan, np.float32)
    for N in (1, 16, 48):  # stored as single numbers and as vectors
        assert np.isnan(native.matmul(a, np.ones((4, N), np.float32), None, True)).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"matmul: shapes \(2, 3\) and \(4, 5\) do not fit"):
        native.matmul(np.ones((2, 3)), np.ones((4, 5)))
    with pytest.raises(TypeError, match="float64, got float32 array"):
        native.matmul(np.ones((2, 3)), np.ones((3, 5), np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(40))
def test_sums(dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(rng.integers(0 if seed % 9 == 0 else 1, 25)) for _ in range(seed % 5))
    x = integers(rng, *shape, dtype=dtype).transpose(rng.permutation(len(shape)))
    axis = tuple(a for a in range(x.ndim) if rng.random() < 0.5)
    for keepdims in (False, True):
        found = native.reduce_sum(x, axis, keepdims)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, reference.reduce_sum(x, axis, keepdims))


@pytest.mark.parametrize("columns", [1, 3, 16, 17, 100])
def test_long_sums_are_exact_to_rounding(columns: int) -> None:
    """The largest error for 100,000 terms is below the bound of pairwise summation, 2^-24 log2(100,000)."""
    x = np.random.default_rng(0).random((100_000, columns), np.float32)
    exact = x.sum(axis=0, dtype=np.float64)
    error = np.abs(native.reduce_sum(x, (0,), False) - exact) / exact
    assert error.max() < 17 * 2**-24


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_by_index(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for M, D, count in ((0, 3, 4), (7, 0, 2), (500, 5, 1), (1000, 33, 200), (10, 2, 5000)):
        rows, index = integers(rng, M, D, dtype=dtype), rng.integers(0, count, M)
        np.testing.assert_array_equal(native.segment_sum(rows, index, count), reference.segment_sum(rows, index, count))


@pytest.mark.parametrize("wrong", [-1, 3])
def test_an_index_outside_of_the_table_is_refused(wrong: int) -> None:
    with pytest.raises(IndexError, match="an index lies outside of its table"):
        native.segment_sum(np.ones((2, 4)), np.array([0, wrong]), 3)
