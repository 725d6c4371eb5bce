# %% [markdown]
# # Lesson 10: Make it fast
#
# Three loops multiply two matrices. The last version of this lesson does the same about a hundred times faster, on the
# same processor, and no step of it changes what is computed. The steps are functions in C,
# `kernels/native/ladder/ladder.c`; this lesson says what each is for, checks them, and times them on your machine. (It
# needs a C compiler, as minivae's own C kernels do: `cc`, `clang` or `gcc`.)
#
# ## What a processor could do
#
# A core has a few *vector units*, each of which takes 8 float32 (AVX2) or 16 (AVX-512), multiplies and adds them to
# others in one instruction, a *fused multiply-add* or FMA. With two such units of 8 numbers, at 3 GHz, that is 2 * 8 *
# 2 * 3 = 96 billion operations a second, from one core. Memory gives perhaps 20 billion bytes a second, 5 billion
# float32. So each number that is read has to take part in about 20 operations, or the units wait.
#
# A product of N x N matrices has N^3 multiplications and N^2 numbers in each matrix: each number is used N times. There
# is enough to do for each; it has to be arranged so that a number is near when it is used.

# %%
N = 768
print(f"{2 * N**3:,} operations on {2 * N * N:,} numbers: {2 * N**3 / (2 * N * N):.0f} operations for each")
# > 905,969,664 operations on 1,179,648 numbers: 768 operations for each

# %% [markdown]
# ## The steps
#
# 0. *three_loops*: for each i, j the sum over k. B is read down a column: each step jumps by a whole row, 3 kB, to
#   another *cache line* (64 bytes), of which it uses 4 bytes.
# 1. *along_rows*: the loop over j goes inside. Now B and C are read along rows: every byte of a line is used.
# 2. *register_block*: a small block of C stays in *registers* while k runs. A number of A is used for all columns of
#   the block, a number of B for all its rows. Loads and stores of C disappear.
# 3. *vectors*: 8 or 16 numbers of a row of C at once, by FMA.
# 4. *packed*: the parts of A and B that a block reads are copied together first, in the order in which they are read.
#   The processor fetches ahead what comes in order, and a page of memory is looked up once.
# 5. *cache_blocks*: the loops are cut so that a part of B stays in the first cache, one of A in the second, while they
#   are used again and again.
# 6. *threads*: each core computes some rows.
#
# All of them give the same matrix, up to the order of the additions. For whole numbers, exactly:

# %%
import tempfile
from pathlib import Path

import numpy as np

from minivae.kernels.native.ladder.__main__ import STEPS, seconds, steps

folder = tempfile.TemporaryDirectory()
functions = steps(Path(folder.name))
rng = np.random.default_rng(0)
a, b = (rng.integers(-4, 5, size=(N, N)).astype(np.float32) for _ in range(2))
c = np.empty_like(a)
for name in STEPS:
    c[:] = np.nan
    functions[name](N, a, b, c)
    print(name, np.array_equal(c, a @ b))
# > three_loops True
# > along_rows True
# > register_block True
# > vectors True
# > packed True
# > cache_blocks True
# > threads True

# %% [markdown]
# ## How fast, on your machine
#
# The table below is measured now; it differs from machine to machine, and from minute to minute on a busy one.

# %%
first = None
for name in STEPS:
    best = seconds(lambda name=name: functions[name](N, a, b, c))
    first = first or best
    print(f"{name:15} {best * 1e3:8.1f} ms  {2 * N**3 / best / 1e9:6.1f} Gflop/s  {first / best:6.1f} times as fast")
folder.cleanup()
# > ...

# %% [markdown]
# ## Why not let the compiler do it
#
# A compiler may use vectors, but it may not change the order of float additions, because the result would differ in the
# last digits (lesson 9), unless it is told that this is allowed. It does not pack, and it does not know the caches.
# (The steps are compiled with its own vectors switched off, so that each shows its own gain.)
#
# ## Convolutions
#
# By lesson 3 a convolution is a product with the matrix of patches. Written out, that matrix is 9 times as large as the
# image, for a kernel of 3 x 3, and memory is what is slow. So the C kernels never write it: the packing of step 4
# gathers the patches straight from the image, a few at a time. Where the kernel is 3 x 3 and the stride 1, *Winograd's*
# trick needs 2.25 times fewer multiplications: it transforms tiles of 4 x 4 pixels so that the convolution becomes a
# product for each of 16 numbers.
#
# ## Where it stands in minivae
#
# * `kernels/native/README.md`: the ladder with measured times. `kernels/native/ladder/ladder.c`: its steps.
# * `kernels/native/product.c`: the product that everything uses. `kernels/native/conv.c`: packing from images.
# * `kernels/native/winograd.c`: the transforms, derived.
# * benchmarks/RESULTS.md: how fast all of it is beside NumPy and PyTorch.
#
# Exercise: `minivae learn exercise 10`, then `minivae learn check 10`.
