"""The contract: every primitive that a backend must offer, with its mathematics, shapes and dtypes.

`kernels.cpu` and `kernels.cuda` offer exactly these functions with exactly these signatures (a test compares them), and
an operation of the engine calls the one by its name without asking which backend it was. A third backend would
implement this page.

What holds for all of them:

* Arrays are read, never changed, except where a function says "in place". What is returned is a new array.
* Results have the dtype of the inputs, float32 or float64; index arrays are int64 unless stated.
* Arrays have any memory layout. Images are logically (N, C, H, W); the CPU kernels prefer and return channels-last
  *memory*, an (N, H, W, C) buffer seen through transpose(0, 3, 1, 2), because then all channels of a pixel are one
  contiguous run. Element-wise functions of NumPy keep that layout.
* Two calls with equal inputs return bitwise equal results.
* Shapes have been checked by the operation that calls; a primitive trusts them.
* `noise` names one array of random numbers: (seed, draw), see `Noise`. The same noise gives the same numbers on every
  backend, as often as it is asked for, so a backward pass draws again instead of keeping what the forward pass drew.

All of them are written by hand, on the CPU in NumPy and on the GPU as CUDA kernels (kernels/cuda/*.cu); not one calls
cuBLAS, cuRAND or another library, so that a whole training step can be captured as a CUDA graph.

Besides the primitives a backend has `xp` (the array module: numpy or cupy), whose element-wise functions serve
everything that is not listed here (sums of two arrays, activations, comparison, indexing, copies), `asarray` (host
array to backend array) and `to_host` (the way back).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from .geometry import ConvGeometry

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray


class Noise(NamedTuple):
    """Names one draw of random numbers: key and counter of Philox4x32-10 (Salmon et al. 2011).

    Words 4i .. 4i+3 of a draw are Philox of the counter (i mod 2^32, i div 2^32, draw mod 2^32, draw div 2^32) under
    the key (seed mod 2^32, seed div 2^32).

    offset: a uint64 array of one element on the GPU, or None for 0. It is added to draw (mod 2^64) when the kernel
    runs, so that a kernel that was captured into a CUDA graph finds new noise each time the graph is launched.
    """

    seed: int
    draw: int
    offset: Array | None = None


# ---- matrices and reductions ----


def matmul(a: Array, b: Array) -> Array:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast. Operands may be transposed views."""
    raise NotImplementedError


def reduce_sum(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """Sum over the axes named (non-negative, ascending); accumulated at least as well as pairwise summation."""
    raise NotImplementedError


def sum_rows_by_index(rows: Array, index: Array, count: int) -> Array:
    """rows (M, D), index (M,) in [0, count) -> (count, D); out[k] = sum of rows[m] where index[m] == k.

    The transpose of out[m] = table[index[m]], hence the backward pass of every lookup. Deterministic.
    """
    raise NotImplementedError


# ---- convolution, see geometry.py ----


def conv2d(x: Array, w: Array, b: Array | None, g: ConvGeometry, relu: bool = False) -> Array:
    """Cross-correlation of x (N, C, H, W) with w (O, C/groups, KH, KW), plus b (O,) -> y (N, O, OH, OW).

    y[n,o,i,j] = b[o] + sum_{c,p,q} w[o,c,p,q] * x[n, c0+c, i*sh - ph + p*dh, j*sw - pw + q*dw], zero outside x;
    c0 is the first channel of o's group. With relu max(y, 0).
    """
    raise NotImplementedError


def conv2d_input_grad(dy: Array, w: Array, b: Array | None, g: ConvGeometry, relu: bool = False) -> Array:
    """The transpose of conv2d as a map of x: dy (N, O, OH, OW) -> dx (N, C, H, W), plus b (C,).

    dx[n,c,h,v] = b[c] + sum of w[o,c,p,q] * dy[n,o,i,j] over all (o,p,q,i,j) in which conv2d reads x[n,c,h,v].
    As the gradient of a convolution it has no b; as the forward pass of the transposed convolution it may, and with
    relu it is max(dx, 0).
    """
    raise NotImplementedError


def conv2d_weight_grad(dy: Array, x: Array, g: ConvGeometry) -> Array:
    """The transpose of conv2d as a map of w: dy (N, O, OH, OW), x (N, C, H, W) -> dw (O, C/groups, KH, KW).

    dw[o,c,p,q] = sum_{n,i,j} dy[n,o,i,j] * x[n, c0+c, i*sh - ph + p*dh, j*sw - pw + q*dw].
    """
    raise NotImplementedError


# ---- activation ----


def bias_relu(x: Array, b: Array | None) -> Array:
    """x (N, C, ...), b (C,) per channel or None -> max(x + b, 0). Without b any shape."""
    raise NotImplementedError


def relu_grad(dy: Array, y: Array) -> Array:
    """dy, y of one shape, y = relu(x) -> dx = dy * (y > 0)."""
    raise NotImplementedError


# ---- normalisation ----


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """x (N, C, ...) -> y, mean (C,), var (C,): y = (x - mean) / sqrt(var + eps) * weight + bias per channel.

    var is the biased variance over all axes but the channel's (Ioffe & Szegedy 2015, algorithm 1).
    """
    raise NotImplementedError


def batch_norm_grad(
    dy: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx, dweight (C,), dbias (C,) of batch_norm, with mean and var as functions of x."""
    raise NotImplementedError


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """x (N, C, ...) -> y, mean (N, groups), var (N, groups): statistics per example and group of channels.

    Wu & He 2018. weight and bias are per channel.
    """
    raise NotImplementedError


def group_norm_grad(
    dy: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx, dweight (C,), dbias (C,) of group_norm; the number of groups is mean.shape[1]."""
    raise NotImplementedError


# ---- likelihoods, in nats, summed over everything but the examples ----


def bernoulli_nll(logits: Array, x: Array) -> Array:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x * logits, with p = sigmoid(logits)."""
    raise NotImplementedError


def bernoulli_nll_grad(dy: Array, logits: Array, x: Array) -> Array:
    """dy (N,) -> dlogits (N, ...) = dy * (sigmoid(logits) - x)."""
    raise NotImplementedError


def gaussian_nll(mean: Array, log_var: Array, x: Array) -> Array:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,):

    -log N(x; mean, exp(log_var)) = 1/2 sum of log(2 pi) + log_var + (x - mean)^2 exp(-log_var).
    """
    raise NotImplementedError


def gaussian_nll_grad(dy: Array, mean: Array, log_var: Array, x: Array) -> tuple[Array, Array]:
    """dy (N,) -> dmean = dy (mean - x) exp(-log_var), dlog_var = dy (1 - (x - mean)^2 exp(-log_var)) / 2.

    Both have the shape of mean; the operation sums dlog_var to the shape of log_var.
    """
    raise NotImplementedError


def softmax_cross_entropy(logits: Array, target: Array) -> Array:
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target]."""
    raise NotImplementedError


def softmax_cross_entropy_grad(dy: Array, logits: Array, target: Array) -> Array:
    """dy (M,) -> dlogits (M, K) = dy * (softmax(logits) - one_hot(target))."""
    raise NotImplementedError


# ---- random numbers ----


def random_bits(count: int, noise: Noise) -> Array:
    """The first `count` words of the draw, uint32 (count,)."""
    raise NotImplementedError


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """In [0, 1), equal on all backends. float32: (word >> 8) / 2^24, one word each.

    float64: ((word[2i] >> 5) * 2^26 + (word[2i+1] >> 6)) / 2^53, two words each.
    """
    raise NotImplementedError


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Standard normal by Box & Muller (1958), a pair from two words: with u = (word + 1/2) / 2^32,

    element 2i = r cos(t), element 2i+1 = r sin(t), r = sqrt(-2 log u[2i]), t = 2 pi u[2i+1].
    float32 and float64 are the same numbers, rounded; backends agree to rounding (2e-6 in float32).
    """
    raise NotImplementedError


def reparameterize(mu: Array, log_var: Array, noise: Noise) -> Array:
    """z = mu + exp(log_var / 2) * normal(noise): a sample of N(mu, exp(log_var)) that mu and log_var move.

    Kingma & Welling 2013, section 2.4. All shapes equal.
    """
    raise NotImplementedError


def reparameterize_grad(dz: Array, log_var: Array, noise: Noise) -> Array:
    """dlog_var = dz * exp(log_var / 2) * normal(noise) / 2, with the noise drawn again. (dmu is dz itself.)"""
    raise NotImplementedError


# ---- special functions ----


def erf(x: Array) -> Array:
    """The error function, to a few units in the last place."""
    raise NotImplementedError


# ---- vector quantisation ----


def nearest_code(x: Array, codebook: Array) -> Array:
    """x (M, D), codebook (K, D) -> (M,) int64: argmin_k ||x[m] - codebook[k]||^2, of equal ones the lowest index.

    Compared are ||c_k||^2 / 2 - x[m] . c_k, without a buffer of M x K numbers.
    """
    raise NotImplementedError


# ---- optimisers: in place on all parameters in one call; mathematics in minivae/optim.py ----
#
# `step` and `lr` are numbers; on the GPU they may be arrays of one element (int64, float64) too, read when the kernel
# runs, so that a captured step counts on.


def sgd_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    velocities: Sequence[Array],
    lr: float | Array,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """In place on params and velocities: g += weight_decay * p; v = momentum * v + g; p -= lr * v.

    With nesterov p -= lr * (g + momentum * v). Without momentum velocities is empty and v is g.
    """
    raise NotImplementedError


def adam_step(
    params: Sequence[Array],
    grads: Sequence[Array],
    first: Sequence[Array],
    second: Sequence[Array],
    step: int | Array,
    lr: float | Array,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """In place on params, first and second moments; `step` counts from 1 (Kingma & Ba 2014, algorithm 1).

    first = b1 first + (1-b1) g;  second = b2 second + (1-b2) g^2;
    p -= lr / (1-b1^step) * first / (sqrt(second / (1-b2^step)) + eps).
    weight_decay adds weight_decay * p to g (Adam) or, decoupled, first scales p by 1 - lr * weight_decay
    (AdamW, Loshchilov & Hutter 2017).
    """
    raise NotImplementedError


def global_norm(arrays: Sequence[Array]) -> Array:
    """The Euclidean norm of all elements of all arrays together, a float64 array without axes; squares are summed in
    float64."""
    raise NotImplementedError


PRIMITIVES: tuple[Callable[..., Any], ...] = (
    matmul,
    reduce_sum,
    sum_rows_by_index,
    conv2d,
    conv2d_input_grad,
    conv2d_weight_grad,
    bias_relu,
    relu_grad,
    batch_norm,
    batch_norm_grad,
    group_norm,
    group_norm_grad,
    bernoulli_nll,
    bernoulli_nll_grad,
    gaussian_nll,
    gaussian_nll_grad,
    softmax_cross_entropy,
    softmax_cross_entropy_grad,
    random_bits,
    uniform,
    normal,
    reparameterize,
    reparameterize_grad,
    erf,
    nearest_code,
    sgd_step,
    adam_step,
    global_norm,
)
