"""The way to a fast product of matrices, in steps. Each .cu file is one step, and can be read without the others.

    naive.cu          one thread for each number of C: every multiplication reads both operands through the caches
    shared.cu         a block copies tiles of A and B to shared memory, where each number is used 32 times
    registers.cu      a thread computes 8 x 8 numbers, so that it uses each number it reads from shared memory 8 times
    tensor_cores.cu   a warp multiplies 16x8 by 8x8 matrices in one instruction, with operands rounded to TF32. Three
                      such products instead of one restore almost all of the precision ("3xtf32")

    convolution.cu    the convolution by its definition, one thread for each number

The words: a *kernel* is a function that very many threads run at once. The threads come in *blocks*, and all blocks of
a launch form its *grid*. The threads of a block run on one multiprocessor, can wait for each other at a *barrier*
(__syncthreads), and have *shared memory*, which is small and fast. It lies in 32 *banks*; numbers in different banks
are read at the same time, numbers in the same bank one after the other (a *bank conflict*). 32 threads form a *warp*,
which executes one instruction for all of them; a thread of a warp is also called a *lane*. The *tile* of a block is the
part of C that it computes, for example 128 x 128 numbers; the parts of A and B that it holds in shared memory meanwhile
are also called tiles. *Occupancy* is how many threads run on a multiprocessor at the same time, as a share of the most
it could hold. Registers and shared memory limit it, because all these threads have to share them. The blocks that run
at the same time are a *wave*: a launch of 300 blocks on a GPU that holds 264 takes two waves, the second nearly empty.
Global memory is moved in *sectors* of 32 bytes; loads of a warp that lie side by side share sectors: they are
*coalesced*.

In the sources, __global__ marks a kernel, __device__ a function that kernels call, and __shared__ an array in shared
memory. __launch_bounds__(256, 2) promises that a block has at most 256 threads and asks that two blocks fit on one
multiprocessor; so the compiler knows how many registers a thread may use. A kernel that needs more must *spill* them to
slow memory. __restrict__ promises that no other pointer leads to the same memory, and ALIGNED(16) that the address is a
multiple of 16 (the launcher checks it, see ../source.py). A thread finds its place by threadIdx (in the block) and
blockIdx (in the grid). #pragma unroll asks for a loop to be written out.

The kernels that the backend uses, ../gemm.cu and ../conv.cu, go on from the last steps. They read 16 bytes at once, one
tile ahead of the arithmetic (../pipeline.cuh), and arrange the lanes so that their loads share addresses (../tile.cuh).
They cut a long sum over K into *splits*, whose results are added afterwards (*split-K*: there are more blocks, so that
a small product still fills the GPU), and read transposed operands where they are. ../conv.cu gathers its tiles straight
from an image.
"""

from .conv import conv2d
from .gemm import STEPS, gemm

__all__ = ["STEPS", "conv2d", "gemm"]
