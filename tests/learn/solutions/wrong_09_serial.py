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
    for i in range(t.block * t.block_size + t.thread, len(x), t.block_size * t.grid_size):
        y[i] = factor * x[i]


def block_sum(t: Thread, x: Memory, out: Memory) -> Iterator[None]:
    """out[b] = the sum of the numbers of x that the threads of block b stand for, one for each thread.

    The block size is a power of two. Add in shared memory, in pairs, so that it takes log2(block size) rounds: the
    first half of the threads adds the numbers of the second half to its own, then the first quarter of them, ...
    """
    if t.thread == 0:
        total = 0.0
        for i in range(t.block_size):
            total += x[t.block * t.block_size + i]
        out[t.block] = total
    yield


def transpose(t: Thread, A: Memory, C: Memory) -> Iterator[None]:
    """C = A^T for 32 x 32 matrices, by one block of 32 threads, with loads and stores of neighbours and without bank
    conflicts."""
    tile = t.shared("tile", 32 * 33)
    for k in range(32):
        tile[k * 33 + t.thread] = A[k * 32 + t.thread]
    yield
    for k in range(32):
        C[k * 32 + t.thread] = tile[t.thread * 33 + k]
