"""Matrix products, sums, and sums of rows by index: close to NumPy in float64, and exact on integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

DTYPES = [np.float32, np.float64]
lengths = st.integers(0, 5)


def integers(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    """Small integers, whose products and sums are exact in every dtype."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """An equal array in another memory layout."""
    if layout == "transposed":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "gaps":
        gaps = np.full([2 * n for n in x.shape], np.nan, x.dtype)[(..., *(slice(0, 2 * n, 2) for n in x.shape))]
        gaps[...] = x
        return gaps
    if layout == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    return x


LAYOUTS = ["plain", "transposed", "gaps", "reversed"]


@examples
@given(
    lead=st.lists(lengths, max_size=2),
    M=lengths,
    K=lengths,
    N=lengths,
    shared=st.sampled_from(["both", "left", "right", "ones"]),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
    dtype=st.sampled_from(DTYPES),
)
def test_matmul_is_exact_on_integers(lead, M, K, N, shared, layouts, dtype) -> None:
    of_a = lead if shared != "right" else []
    of_b = {"both": lead, "left": [], "right": lead, "ones": [1] * len(lead)}[shared]
    a = laid_out(integers(*of_a, M, K, dtype=dtype), layouts[0])
    b = laid_out(integers(*of_b, K, N, dtype=dtype, seed=1), layouts[1])
    y = k.matmul(a, b)
    expected = (np.int64(a)[..., :, :, None] * np.int64(b)[..., None, :, :]).sum(-2)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)


@examples
@given(
    data=st.data(),
    shape=st.lists(st.integers(0, 6), max_size=5),
    keepdims=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    gaps=st.booleans(),
)
def test_reduce_sum_is_exact_on_integers_in_any_layout(data, shape, keepdims, dtype, gaps) -> None:
    axis = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1)) if shape else st.just(set()))))
    layout = data.draw(st.permutations(range(len(shape))))
    x = integers(*(shape[a] for a in layout), dtype=dtype).transpose(np.argsort(layout))
    x = laid_out(x, "gaps") if gaps else x
    before = x.copy()
    y = k.reduce_sum(x, axis, keepdims)
    assert isinstance(y, np.ndarray)
    assert y.dtype == dtype
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(y, np.int64(x).sum(axis, keepdims=keepdims))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 256, 128 * 128, 128 * 128 + 1])
@pytest.mark.parametrize("columns", [1, 3, 64])
def test_reduce_sum_over_rows_in_blocks(rows, columns) -> None:
    x = integers(rows, columns)
    np.testing.assert_array_equal(k.reduce_sum(x, (0,), False), np.int64(x).sum(0))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1_000_000,), (0,)), ((300_000, 3), (0,)), ((300_000, 3, 2), (0, 2)), ((2, 300_000, 3), (1,))],
)
def test_reduce_sum_adds_pairwise(shape, axis) -> None:
    """The error is below the bound of pairwise summation in blocks of 128, which is 150 units of rounding.

    Most errors cancel, so the test allows 8 units; adding row after row would be wrong by hundreds of units.
    """
    x = numbers(*shape, low=0.9, high=1.1, dtype=np.float32)
    exact = np.float64(x).sum(axis)
    errors = np.abs(k.reduce_sum(x, axis, False) / exact - 1) / np.finfo(np.float32).eps
    assert errors.max() < 8


def test_reduce_sum_of_a_broadcast_view_and_of_channels_last_images() -> None:
    assert k.reduce_sum(np.broadcast_to(np.float32(3), (7, 5)), (0, 1), False) == 105
    x = integers(4, 6, 6, 8).transpose(0, 3, 1, 2)
    y = k.reduce_sum(x, (0,), True)
    assert y.strides[1] == y.itemsize  # still channels-last
    np.testing.assert_array_equal(k.reduce_sum(x, (0, 2, 3), False), np.int64(x).sum((0, 2, 3)))


@examples
@given(M=st.integers(0, 30), D=st.integers(1, 4), count=st.integers(1, 9), dtype=st.sampled_from(DTYPES))
def test_segment_sum_is_the_transpose_of_a_lookup(M, D, count, dtype) -> None:
    rows, index = integers(M, D, dtype=dtype), np.random.default_rng(M).integers(0, count, M)
    sums = k.segment_sum(rows, index, count)
    expected = np.zeros((count, D))
    for row, i in zip(rows, index, strict=True):
        expected[i] += row
    assert sums.dtype == dtype
    np.testing.assert_array_equal(sums, expected)
    table = integers(count, D, dtype=dtype, seed=1)
    assert np.vdot(table[index], rows) == np.vdot(table, sums)  # <lookup(table), rows> = <table, transpose(rows)>


def test_segment_sum_of_nothing_and_of_views() -> None:
    np.testing.assert_array_equal(k.segment_sum(np.zeros((0, 3)), np.zeros(0, np.int64), 2), np.zeros((2, 3)))
    np.testing.assert_array_equal(k.segment_sum(np.zeros((4, 0)), np.zeros(4, np.int64), 2), np.zeros((2, 0)))
    rows = integers(6, 10).T[::2]
    np.testing.assert_array_equal(k.segment_sum(rows, np.array([2, 0, 2, 2, 0]), 3)[2], rows[[0, 2, 3]].sum(0))
