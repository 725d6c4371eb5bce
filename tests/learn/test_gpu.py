"""The GPU of lesson 9 counts what the hardware would do, and refuses what would go wrong on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.learn.gpu import launch

pytestmark = pytest.mark.cpu_only("it is a GPU of its own")


@given(st.integers(1, 40), st.integers(1, 64))
def test_sectors_of_a_strided_load(stride, threads):
    def load(t, x):
        x[t.thread * stride]

    counts = launch(load, 1, threads, np.zeros(64 * 40, np.float32))
    warps = [range(threads)[i : i + 32] for i in range(0, threads, 32)]
    assert counts.sectors == sum(len({4 * i * stride // 32 for i in warp}) for warp in warps)
    assert counts.accesses == threads


@given(st.integers(1, 40))
def test_passes_of_a_strided_access(stride):
    def store(t):
        t.shared("x", 32 * 40)[t.thread * stride] = 1

    counts = launch(store, 1, 32)
    assert counts.passes == np.bincount([i * stride % 32 for i in range(32)]).max()  # words differ, banks may not
    assert counts.shared_accesses == 32


def test_one_word_for_all_is_one_pass():
    def load(t):
        t.shared("x", 4)[0]

    assert launch(load, 1, 32).passes == 1


def test_threads_of_a_block_share_memory_and_other_blocks_do_not():
    def kernel(t, out):
        x = t.shared("x", 1)
        if t.thread == 0:
            x[0] = t.block
        yield
        out[t.block * t.block_size + t.thread] = x[0]

    out = np.zeros(6, np.float32)
    counts = launch(kernel, 2, 3, out)
    assert out.tolist() == [0, 0, 0, 1, 1, 1]
    assert (counts.blocks, counts.barriers) == (2, 2)


def test_a_missing_barrier_is_seen():
    def kernel(t, out):
        x = t.shared("x", 2)
        x[t.thread] = 1
        out[t.thread] = x[1 - t.thread]

    out = np.zeros(2, np.float32)
    launch(kernel, 1, 2, out)
    assert np.isnan(out[0])


def test_a_barrier_that_some_threads_do_not_reach_is_an_error():
    def kernel(t):
        if t.thread:
            yield

    with pytest.raises(RuntimeError, match="1 threads ended where 1 wait at a barrier"):
        launch(kernel, 1, 2)


def test_bad_arguments():
    def load(t, x):
        x[5]

    with pytest.raises(IndexError, match="argument 0 has 2 numbers, a thread asked for number 5"):
        launch(load, 1, 1, np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="contiguous float32, argument 0 is float64"):
        launch(load, 1, 1, np.zeros(2))


def test_a_trace_has_every_access_in_order():
    def kernel(t, x):
        t.shared("s", 2)[t.thread] = x[1 - t.thread]
        yield
        x[t.thread] = 5

    trace = []
    launch(kernel, 1, 2, np.zeros(2, np.float32), trace=trace)
    first = [(0, 0, "argument 0", 1, 0), (0, 0, "s", 0, 0), (0, 1, "argument 0", 0, 0), (0, 1, "s", 1, 0)]
    assert trace == [*first, (0, 0, "argument 0", 0, 1), (0, 1, "argument 0", 1, 1)]
