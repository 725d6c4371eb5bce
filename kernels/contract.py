"""The contract: what every backend offers, so that an operation never asks which backend it runs on.

A *primitive* is a function on arrays that every backend offers; PRIMITIVES below lists all of them. There are three
backends. `kernels.reference` is the lesson and the specification: each primitive is written there in the shortest clear
NumPy, and its docstring states the mathematics, the shapes and the source. `kernels.native` (C) and `kernels.cuda`
(CUDA C++) offer the same functions, with the same names and parameters, and are tested against it.

What holds for every primitive, on every backend:

* Arrays are read, never changed, except where a function says "in place". It returns a new array. (For an array without
  axes the reference returns a NumPy scalar.)
* Results have the dtype of the inputs, float32 or float64. Index arrays are int64 unless stated otherwise.
* Inputs may have any memory layout. Images are (N, C, H, W) by shape. In memory they are best *channels-last*, an
  (N, H, W, C) buffer seen through transpose(0, 3, 1, 2), because then all channels of a pixel are neighbours.
  Convolutions return that layout. Element-wise functions of the native and the CUDA backend keep the input's layout.
* Two calls with equal inputs return bitwise equal results: on the native and the CUDA backend for any number of
  threads, on the reference as long as the number of BLAS threads stays the same.
* float32 sums (reduce_sum, norms, likelihoods) are accumulated at least as accurately as by pairwise summation. The
  sums inside a matrix product are accumulated in float32, in an order that the backend chooses.
* A primitive trusts the shapes of its arguments; the operation that calls it has checked them.
* `noise` names one draw of random numbers, see `Noise`. The same noise always gives the same random words, on every
  backend, and the same normal numbers up to rounding. So a backward pass draws its noise again instead of keeping it.

Besides the primitives a backend has

    device           'cpu' or 'cuda'
    xp               numpy or cupy, for what is not listed here (element-wise arithmetic, comparison, indexing, copies)
    asarray(array)   a NumPy array as an array of this backend
    to_host(array)   the way back
    session()        a context manager for a training or an evaluation, with the threads and the memory that it needs.
                     It returns a Session (session.py): prepare(step, state) returns the step as this backend runs it,
                     captured and replayed on a GPU; lag says how many steps' results may wait there to be looked at
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray


class Noise(NamedTuple):
    """Names one draw of random numbers, by the key and the counter of Philox4x32-10 (Salmon et al. 2011).

    Words 4i .. 4i+3 of a draw are Philox of the counter (i mod 2^32, i div 2^32, draw mod 2^32, draw div 2^32) under
    the key (seed mod 2^32, seed div 2^32).

    offset: None for 0 or, on the CUDA backend only, a uint64 array of one element on the GPU. It is added to draw (mod
    2^64) when the kernel runs, so that a kernel captured into a CUDA graph draws new noise at each replay of the graph.

    example: which example of a batch an array (N, ...) begins with. The noise of examples 32 to 63 is a part of that of
    the whole batch, so a batch that is computed in shards has the same noise as one that is not (minivae/shards.py).
    """

    seed: int
    draw: int
    offset: Array | None = None
    example: int = 0

    def first(self, shape: tuple[int, ...]) -> int:
        """Return the index, in the array of the whole batch, of the first number of an array of this shape."""
        return int(self.example) * prod(shape[1:])


# The primitives, by the file of a backend that holds them.
PRIMITIVES: dict[str, tuple[str, ...]] = {
    "activation": (
        "bias_relu",
        "relu_grad",
        "sigmoid",
        "sigmoid_grad",
        "tanh",
        "tanh_grad",
        "softplus",
        "softplus_grad",
        "silu",
        "silu_grad",
        "gelu",
        "gelu_grad",
        "erf",
    ),
    "conv": ("conv2d", "conv2d_input_grad", "conv2d_weight_grad"),
    "likelihood": (
        "bernoulli_nll",
        "bernoulli_nll_grad",
        "gaussian_nll",
        "gaussian_nll_grad",
        "logistic_mixture_nll",
        "logistic_mixture_nll_grad",
        "softmax_cross_entropy",
        "softmax_cross_entropy_grad",
    ),
    "matrix": ("matmul", "reduce_sum", "segment_sum"),
    "norm": ("batch_norm", "batch_norm_grad", "group_norm", "group_norm_grad"),
    "optim": ("sgd_step", "adam_step", "global_norm"),
    "quantize": ("nearest_code",),
    "random": ("random_bits", "uniform", "normal", "reparameterize", "reparameterize_grad"),
    "resample": ("max_pool2d", "max_pool2d_grad", "upsample", "upsample_grad"),
}
