"""Exercise 9: three kernels for the GPU of lesson 9.

Fill in the three kernels, then run `minivae learn check 9`. A kernel is called for each thread t: t.thread is its
number in its block, t.block that of the block, t.block_size and t.grid_size are how many there are of both. `yield` is
a barrier. Arrays are flat.
"""

from collections.abc import Iterator

from minivae.learn.gpu import Memory, Thread


def scale(t: Thread, x: Memory, y: Memory, factor: float) -> None:
    """y = factor * x, for any number of numbers: each thread takes several if there are more of them than threads.

    Neighbouring threads must take neighbouring numbers.
    """
    raise NotImplementedError


def block_sum(t: Thread, x: Memory, out: Memory) -> Iterator[None]:
    """out[b] = the sum of the numbers of x that the threads of block b stand for, one for each thread.

    The block size is a power of two. Add in shared memory, in pairs, so that it takes log2(block size) rounds: the
    first half of the threads adds the numbers of the second half to its own, then the first quarter of them, ...
    """
    raise NotImplementedError
    yield  # it is a kernel with barriers


def transpose(t: Thread, A: Memory, C: Memory) -> Iterator[None]:
    """C = A^T for 32 x 32 matrices, by one block of 32 threads, with loads and stores of neighbours and without bank
    conflicts."""
    raise NotImplementedError
    yield  # it is a kernel with barriers


# ---- checks ----

from collections import Counter

import numpy as np

from minivae.learn.exercise import expect, expect_close
from minivae.learn.gpu import Access, launch

RNG = np.random.default_rng(9)


def _expect_result(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    told = "is NaN somewhere: shared memory was read before a thread wrote there; is a barrier missing?"
    expect(not np.isnan(found).any(), f"{what} {told}")
    expect_close(what, found, expected)


def check_scale(yours) -> None:
    for n in (1000, 1024, 7):
        x = RNG.normal(size=n).astype(np.float32)
        y = np.zeros_like(x)
        counts = launch(yours.scale, 2, 64, x, y, 3.0)
        expect_close(f"y for {n} numbers, 2 blocks of 64 threads", y, np.float32(3) * x)
    most = 2 * 1024 // 8
    counts = launch(yours.scale, 2, 64, *(np.zeros(1024, np.float32) for _ in range(2)), 3.0)
    told = f"1,024 numbers in and out are {most} sectors of 32 bytes, yours touches {counts.sectors}"
    expect(counts.sectors == most, told)


def check_block_sum(yours) -> None:
    x = RNG.integers(-9, 10, size=256).astype(np.float32)
    out = np.zeros(4, np.float32)
    trace: list[Access] = []
    counts = launch(yours.block_sum, 4, 64, x, out, trace=trace)
    _expect_result("out, for 4 blocks of 64 threads,", out, x.reshape(4, 64).sum(axis=1))
    told = "each number is to be read once from global memory, and each sum written once: 260 accesses, yours"
    expect(counts.accesses == 260, f"{told} {counts.accesses}")
    expect(counts.barriers <= 4 * 8, f"64 numbers take 6 rounds, yours has {counts.barriers // 4} barriers a block")
    most = max(Counter((access.block, access.thread) for access in trace).values())
    expect(
        most <= 6 * 4 + 4, f"one thread loads and stores {most} numbers; adding in pairs takes 4 in each of 6 rounds"
    )


def check_transpose(yours) -> None:
    A = RNG.normal(size=(32, 32)).astype(np.float32)
    C = np.zeros_like(A)
    counts = launch(yours.transpose, 1, 32, A, C)
    _expect_result("C", C, A.T)
    expect(counts.sectors == 256, f"A and C are 256 sectors of 32 bytes, yours touches {counts.sectors}")
    told = f"without bank conflicts there are 64 passes, yours has {counts.passes}"
    expect(counts.passes <= 64, told)
