"""Sums over axes and by index on the GPU, for any shape and layout: exact on integers, precise on other numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import reference
from minivae.kernels.cuda import launcher, matrix
from minivae.kernels.cuda.matrix import reduce_sum, segment_sum

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def integers(*shape: int, dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    """Small integers, whose sums are exact in every dtype."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(dtype)


# ---- over axes ----


@examples
@given(
    data=st.data(),
    shape=st.lists(st.integers(0, 6), max_size=5),
    keepdims=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    gaps=st.booleans(),
)
def test_reduce_sum_is_that_of_the_cpu_in_any_layout(data, shape, keepdims, dtype, gaps) -> None:
    axis = tuple(sorted(data.draw(st.sets(st.integers(0, len(shape) - 1)) if shape else st.just(set()))))
    layout = data.draw(st.permutations(range(len(shape))))
    x = integers(*(shape[a] for a in layout), dtype=dtype).transpose(np.argsort(layout))
    if gaps and x.ndim:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    y = reduce_sum(x, axis, keepdims)
    expected = reference.reduce_sum(x, axis, keepdims)
    assert (y.dtype, y.shape) == (dtype, expected.shape)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(y, expected)


# (A, R, B): one long row, rows of all lengths, many short ones, narrow and wide columns, a few terms, ragged in all
SHAPES = [
    (1, 70000, 1),
    (1, 16385, 1),
    (3, 1025, 1),
    (700, 9, 1),
    (5, 33, 1),
    (1, 9000, 3),
    (2, 5000, 64),
    (1, 300, 100),
]
SHAPES += [(9, 2, 64), (3, 2, 300), (40, 3, 33), (1, 1, 1), (2, 300, 31)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_reduce_sum_of_any_shape(shape, dtype) -> None:
    x = integers(*shape, dtype=dtype)
    np.testing.assert_array_equal(reduce_sum(x, (1,), False), np.int64(x).sum(1))


@pytest.mark.parametrize("shape", [(2, 900, 1), (5, 33, 1), (1, 600, 3), (9, 2, 40), (3, 70, 33)])
def test_reduce_sum_does_not_depend_on_the_order_of_threads(shape) -> None:
    x = numbers(*shape, dtype=np.float32)
    with launcher.use_engine(ALL_ORDERS):
        y = reduce_sum(x, (1,), False)
    np.testing.assert_array_equal(y, reduce_sum(x, (1,), False))


@pytest.mark.parametrize("shape", [(1, 300_000, 1), (1, 100_000, 3), (2, 50_000, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_reduce_sum_is_at_least_as_good_as_pairwise(shape, dtype) -> None:
    """In float32 a sum is rounded only when partial sums are stored, which happens two or three times.

    In float64 the terms are added in chains of 64, then in pairs. Adding them one by one would be wrong by hundreds of
    units of rounding.
    """
    x = numbers(*shape, low=0.9, high=1.1, dtype=dtype)
    exact = np.longdouble(x).sum(1)
    errors = np.abs(reduce_sum(x, (1,), False) / exact - 1) / np.finfo(dtype).eps
    assert errors.max() < (2 if dtype == np.float32 else 4)


@pytest.mark.parametrize("shape", [(5, 250, 1), (40, 100, 3), (2, 60, 70)])
def test_a_sum_in_one_pass_is_rounded_once(shape) -> None:
    x = numbers(*shape, dtype=np.float32)
    np.testing.assert_array_equal(reduce_sum(x, (1,), False), np.float32(np.float64(x).sum(1)))


@pytest.mark.parametrize("R", [1, 100, 5000, 10**6, 10**9])
def test_long_sums_are_split_into_parts(R) -> None:
    """A sum is split so that no thread adds more than CHAIN numbers; with only two blocks, so are shorter sums."""
    for lanes in (8, 256):
        parts = {blocks: matrix._parts(R, lanes, blocks) for blocks in (2, 10**6)}
        assert all(parts[blocks] * lanes * matrix.CHAIN >= R or parts[blocks] == 65535 for blocks in parts)
        assert (parts[2] > 1) == (lanes * matrix.CHAIN // 2 < R)
        assert parts[10**6] == min(65535, -(-R // (lanes * matrix.CHAIN)))


def test_reduce_sum_of_a_broadcast_view_and_of_channels_last_images() -> None:
    assert reduce_sum(np.broadcast_to(np.float32(3), (7, 5)), (0, 1), False) == 105
    x = integers(4, 6, 6, 8).transpose(0, 3, 1, 2)
    y = reduce_sum(x, (0,), True)
    assert y.strides[1] == y.itemsize  # still channels-last
    np.testing.assert_array_equal(reduce_sum(x, (0, 2, 3), False), np.int64(x).sum((0, 2, 3)))


# ---- by index ----


@pytest.mark.parametrize("count", [1, 2, 256, 257, 70_000])
@pytest.mark.parametrize("M", [1, 31, 256, 257, 70_001])
def test_the_order_is_that_of_a_stable_sort(M, count) -> None:
    index = np.random.default_rng(M).integers(0, count, M)
    np.testing.assert_array_equal(matrix._stable_order(index, count), np.argsort(index, kind="stable"))


def test_sorting_does_not_depend_on_the_order_of_threads(monkeypatch) -> None:
    monkeypatch.setattr(matrix, "CHUNKS", 3)  # so that each chunk takes several turns
    index = np.random.default_rng(0).integers(0, 300, 2000)
    with launcher.use_engine(ALL_ORDERS):
        order = matrix._stable_order(index, 300)
    np.testing.assert_array_equal(order, np.argsort(index, kind="stable"))


def test_the_order_of_rows_of_one_index() -> None:
    np.testing.assert_array_equal(matrix._stable_order(np.full(1000, 300), 301), np.arange(1000))


@examples
@given(M=st.integers(0, 300), D=st.integers(0, 70), count=st.integers(1, 300), dtype=st.sampled_from(DTYPES))
def test_segment_sum_is_the_transpose_of_a_lookup(M, D, count, dtype) -> None:
    rows, index = integers(M, D, dtype=dtype), np.random.default_rng(M).integers(0, count, M)
    sums = segment_sum(rows, index, count)
    assert (sums.dtype, sums.shape) == (dtype, (count, D))
    table = integers(count, D, dtype=dtype, seed=1)
    assert np.vdot(table[index], rows) == np.vdot(table, sums)  # <lookup(table), rows> = <table, transpose(rows)>
    np.testing.assert_array_equal(sums, reference.segment_sum(rows, index, count))


def test_segment_sum_adds_in_float64() -> None:
    rows, index = numbers(3000, 5, low=0.9, high=1.1, dtype=np.float32), np.arange(3000) % 3
    with launcher.use_engine(ALL_ORDERS):
        sums = segment_sum(rows, index, 4)
    exact = np.stack([np.float64(rows[k:3000:3]).sum(0) for k in range(3)])
    np.testing.assert_array_equal(sums[:3], np.float32(exact))
    assert not sums[3].any()


def test_segment_sum_of_views() -> None:
    rows, index = integers(6, 10).T[::2], np.array([9, 2, 9, 0, 9, 2, 9, 2, 9, 0])[1::2]
    np.testing.assert_array_equal(segment_sum(rows, index, 3)[2], rows[[0, 2, 3]].sum(0))


def test_nothing_is_copied_to_the_host_while_a_graph_is_captured() -> None:
    rows, index = integers(700, 5), np.random.default_rng(0).integers(0, 300, 700)
    on_device, index_on_device = arrays.array(rows), arrays.array(index)
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        total = reduce_sum(on_device, (0,), True)
        sums = segment_sum(on_device, index_on_device, 300)
    np.testing.assert_array_equal(arrays.asnumpy(total), rows.sum(0, keepdims=True))
    np.testing.assert_array_equal(arrays.asnumpy(sums), reference.segment_sum(rows, index, 300))
