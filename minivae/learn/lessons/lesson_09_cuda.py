# %% [markdown]
# # Lesson 9: CUDA without a GPU
#
# A GPU runs one function, a *kernel*, on very many threads at once. This lesson runs kernels on a GPU in Python
# (`minivae/learn/gpu.py`, under 200 lines), which is slow, and counts: how many bytes a real one would have to move,
# and how often it would have to wait. These numbers, and not the additions, decide how fast a kernel is.
#
# ## Blocks, threads, warps
#
# Threads come in *blocks*, the blocks of a launch form a *grid*. A thread knows the number of its block and its own
# number there, and from them which part of the work is its own. The vector sum: one thread for each number.

# %%
import numpy as np

from minivae.learn.gpu import Memory, Thread, launch

rng = np.random.default_rng(0)


def vector_sum(t: Thread, a: Memory, b: Memory, c: Memory) -> None:
    i = t.block * t.block_size + t.thread
    if i < len(c):  # the last block is not full
        c[i] = a[i] + b[i]


a, b = (rng.normal(size=1000).astype(np.float32) for _ in range(2))
c = np.zeros_like(a)
counts = launch(vector_sum, 8, 128, a, b, c)  # 8 blocks of 128 threads
print(np.array_equal(c, a + b), counts.accesses)
# > True 3000

# %% [markdown]
# ## Coalescing
#
# 32 threads, a *warp*, execute one instruction together, and their loads are handled together: global memory comes in
# *sectors* of 32 bytes, 8 float32. If the 32 threads read 32 neighbours, that is 4 sectors. If they read every 32nd
# number, it is 32 sectors, of which an eighth is used. Same kernel, same numbers, eight times the traffic: let thread i
# take number i, or let each thread take 32 neighbours of its own.


# %%
def copy_by_thread(t: Thread, a: Memory, c: Memory) -> None:
    for k in range(32):
        c[t.thread * 32 + k] = a[t.thread * 32 + k]


def copy_coalesced(t: Thread, a: Memory, c: Memory) -> None:
    for k in range(32):
        c[k * 32 + t.thread] = a[k * 32 + t.thread]


a = rng.normal(size=1024).astype(np.float32)
c = np.zeros_like(a)
for kernel in (copy_by_thread, copy_coalesced):
    counts = launch(kernel, 1, 32, a, c)
    print(f"{kernel.__name__}: {counts.accesses} accesses, {counts.sectors} sectors")
# > copy_by_thread: 2048 accesses, 2048 sectors
# > copy_coalesced: 2048 accesses, 256 sectors

# %% [markdown]
# ## The naive product
#
# C = A B for matrices of N x N: one thread for each number of C, which reads a row of A and a column of B. Each number
# of A is read N times, by all threads of its row.

# %%
N, TILE = 32, 16


def naive(t: Thread, A: Memory, B: Memory, C: Memory) -> None:
    i, j = divmod(t.block * t.block_size + t.thread, N)
    total = np.float32(0)
    for k in range(N):
        total += A[i * N + k] * B[k * N + j]
    C[i * N + j] = total


A, B = (rng.integers(-3, 4, size=(N, N)).astype(np.float32) for _ in range(2))
C = np.zeros_like(A)
counts = launch(naive, N * N // 256, 256, A, B, C)
print(np.array_equal(C, A @ B), f"{counts.accesses:,} accesses, {counts.sectors:,} sectors")
# > True 66,560 accesses, 5,248 sectors

# %% [markdown]
# ## The tiled product
#
# A block computes a *tile* of C, 16 x 16 numbers. For these it needs 16 rows of A and 16 columns of B, and takes them
# tile by tile: its 256 threads copy a tile of A and one of B into *shared memory*, which is small, fast and seen by the
# whole block; wait until all have copied (a *barrier*); multiply; and wait again before the next tiles overwrite these.
# Now each number is read from global memory once for each tile and not for each number of C: 16 times less.


# %%
def tiled(t: Thread, A: Memory, B: Memory, C: Memory):
    tile_i, tile_j = divmod(t.block, N // TILE)
    i, j = divmod(t.thread, TILE)
    row, column = tile_i * TILE + i, tile_j * TILE + j
    a, b = t.shared("a", TILE * TILE), t.shared("b", TILE * TILE)
    total = np.float32(0)
    for k in range(0, N, TILE):
        a[i * TILE + j] = A[row * N + k + j]
        b[i * TILE + j] = B[(k + i) * N + column]
        yield  # a barrier: the tiles are whole
        for p in range(TILE):
            total += a[i * TILE + p] * b[p * TILE + j]
        yield  # all have read them
    C[row * N + column] = total


C = np.zeros_like(A)
counts = launch(tiled, (N // TILE) ** 2, TILE * TILE, A, B, C)
print(np.array_equal(C, A @ B), f"{counts.accesses:,} accesses, {counts.sectors:,} sectors, {counts.barriers} barriers")
# > True 5,120 accesses, 640 sectors, 16 barriers

# %% [markdown]
# One block, traced. Block 1 of 4 has tile row 0 and tile column 1: rows 0 to 15 and columns 16 to 31 of C. Its thread
# 35 is i = 2, j = 3: it computes C[2, 19]. In the first round it copies A[2, 3] and B[2, 19], waits, and adds 16
# products: A[2, 0] to A[2, 15], which row 2's threads copied, times B[0, 19] to B[15, 19]. In the second round it
# copies A[2, 19] and B[18, 19] and adds the other 16.
#
# The kernels of minivae go on from here: a thread computes 8 x 8 numbers, so that it uses each number from shared
# memory 8 times too, and the next tiles are on their way while these are multiplied.
#
# ## Bank conflicts
#
# Shared memory lies in 32 *banks*, word i in bank i mod 32, and a bank gives one word at a time. 32 threads that read a
# row of a 32 x 32 tile find 32 banks: one pass. If they read a column, all its words lie in one bank: 32 passes. The
# cure is a tile with rows of 33 words, of which one is never used: now a column is spread over all banks.


# %%
def transpose(t: Thread, A: Memory, C: Memory, width: int):
    tile = t.shared("tile", 32 * width)
    for k in range(32):
        tile[k * width + t.thread] = A[k * 32 + t.thread]  # a row of the tile
    yield
    for k in range(32):
        C[k * 32 + t.thread] = tile[t.thread * width + k]  # a column of it


for width in (32, 33):
    C = np.zeros_like(A)
    counts = launch(transpose, 1, 32, A, C, width)
    print(f"{np.array_equal(C, A.T)}, rows of {width}: {counts.passes} passes for {counts.shared_accesses} accesses")
# > True, rows of 32: 1056 passes for 2048 accesses
# > True, rows of 33: 64 passes for 2048 accesses

# %% [markdown]
# ## Split-K
#
# A GPU has about 130 multiprocessors. A product of 128 x 784 by 784 x 64, with tiles of 64 x 64, has 2 blocks: the
# others idle. But each block adds 784 products. Cut this long sum into 10 parts, the *splits*: 20 blocks, each of which
# writes its part, and a second kernel adds the parts.
#
# ## Why float sums depend on their order
#
# Rounding is not associative: (a + b) + c and a + (b + c) differ in the last digits. If blocks add their parts to one
# number by *atomic* additions, the order is that in which they happen to finish, and two runs with one seed differ. So
# minivae uses no floating-point atomics: the parts are stored and added in a fixed order.

# %%
parts = rng.normal(size=1000).astype(np.float32)
sums = set()
for _ in range(20):
    total = np.float32(0)
    for part in rng.permutation(parts):  # the order in which blocks happen to finish
        total += part
    sums.add(float(total))
print(f"20 orders of a sum give more than 5 results: {len(sums) > 5}; a fixed order gives one")
# > 20 orders of a sum give more than 5 results: True; a fixed order gives one

# %% [markdown]
# ## A captured graph
#
# To launch a kernel takes the processor several microseconds, and a training step has some two hundred of them, each of
# which may take less than that. A *CUDA graph* records the launches of a step once, with all their arguments, and
# replays them as one. The recording holds *addresses* and the numbers of that moment. So what changes must lie in
# memory that stays where it is: new images are copied into the old place, and a learning rate is an array of one
# number.


# %%
class Graph:
    """A recording of launches."""

    def __init__(self) -> None:
        self.launches: list[tuple] = []

    def record(self, *launched: object) -> None:
        self.launches.append(launched)

    def replay(self) -> None:
        for kernel, grid, block, *arguments in self.launches:
            launch(kernel, grid, block, *arguments)


def step(t: Thread, w: Memory, g: Memory, lr: Memory, frozen_lr: float) -> None:
    w[t.thread] -= (lr[0] + frozen_lr) * g[t.thread]


w, g, lr = np.zeros(4, np.float32), np.ones(4, np.float32), np.array([0.5], np.float32)
rate = 0.25
graph = Graph()
graph.record(step, 1, 4, w, g, lr, rate)
graph.replay()
lr[0], rate = 0.0, 0.0  # the array is seen by the next replay, the number is not
graph.replay()
print(w)
# > [-1. -1. -1. -1.]

# %% [markdown]
# ## Random numbers without a state
#
# A generator with a state would have to hand it from thread to thread. *Philox* has none: it is a function that
# scrambles (seed, number of the draw, index) so well that the results pass for random. So thread i computes the i-th
# number alone, in any order, on any device, and the same seed gives the same noise on the CPU and on the GPU. A
# backward pass that needs the noise again does not keep it: it draws it again.

# %%
from minivae.kernels.contract import Noise
from minivae.kernels.reference import random_bits

first = random_bits(8, Noise(seed=1, draw=0))
again = random_bits(8, Noise(seed=1, draw=0))
other = random_bits(8, Noise(seed=1, draw=1))
print(
    np.array_equal(first, again), np.array_equal(first, other), np.array_equal(first[:4], random_bits(4, Noise(1, 0)))
)
# > True False True

# %% [markdown]
# ## Where it stands in minivae
#
# * `kernels/cuda/ladder/__init__.py`: the words again, and a ladder of products: `kernels/cuda/ladder/naive.cu`,
#   `kernels/cuda/ladder/shared.cu`, `kernels/cuda/ladder/registers.cu`, `kernels/cuda/ladder/tensor_cores.cu`.
# * `kernels/cuda/gemm.cu`: the product that minivae uses, with split-K; `kernels/cuda/tile.cuh`: a block's tile.
# * `kernels/cuda/steps.py`: what a CUDA graph is, and how a training step is captured.
# * `kernels/reference/random.py`: Philox. `tests/cuda_emulator/__init__.py`: the real kernels, run on a CPU by the
#   tests.
#
# Exercise: `minivae learn exercise 9`, then `minivae learn check 9`.
