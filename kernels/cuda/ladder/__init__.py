"""The way to a fast product of matrices, in steps. Each .cu file is one step, and can be read without the others.

    naive.cu          one thread for each number of C: every operand comes from the caches once per multiplication
    shared.cu         a block reads a tile of A and B into shared memory, where each number is used 32 times
    registers.cu      a thread computes 8 x 8 numbers, so that what it reads from shared memory is used 8 times
    tensor_cores.cu   a warp multiplies 16x8 by 8x8 matrices in one instruction, of operands rounded to TF32; and three
                      such products in the place of one restore almost all of the precision ("3xtf32")

    convolution.cu    the sum of the definition, one thread for each number

The words: a *kernel* is a function that very many threads run at once. They come in *blocks*; the threads of a block
run on one multiprocessor, can wait for each other at a *barrier* (__syncthreads) and have a small fast memory in
common, *shared memory*, which lies in 32 *banks*: numbers in different banks are read at the same time. 32 threads at a
time form a *warp*, which executes one instruction for all of them. The *tile* of a block is the part of C that it
computes, 128 x 128 numbers for example, and the parts of A and B that it holds in shared memory meanwhile.

The kernels that the backend uses, ../gemm.cu and ../conv.cu, go on from the last steps: they read 16 bytes at once, one
tile ahead of the arithmetic (../pipeline.cuh), lay out lanes so that their loads share addresses (../tile.cuh), cut a
long K into pieces whose results are added afterwards (split-K: more blocks, so that a small product still fills the
GPU), and read transposed operands where they are. ../conv.cu gathers its tiles straight from an image.
"""

from .conv import conv2d
from .gemm import STEPS, gemm

__all__ = ["STEPS", "conv2d", "gemm"]
