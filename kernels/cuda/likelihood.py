"""Negative log-likelihoods in nats per example, and their gradients (kernels in likelihood.cu).

All of them visit the elements of an example, in any order. So images are read in the order in which they lie in memory,
and nothing is copied as long as all operands have the same layout.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from ..contract import Array
from . import launcher
from .arrays import contiguous, empty, in_memory_order, logical_order, xp
from .launcher import ceil_div

MODULE = launcher.Module(Path(__file__).with_name("likelihood.cu"))
REGISTERS = {
    "bernoulli_nll": 40,
    "bernoulli_nll_grad": 32,
    "gaussian_nll": 64,
    "gaussian_nll_grad": 32,
    "logistic_mixture_nll": 64,
    "logistic_mixture_nll_grad": 80,
    "softmax_cross_entropy": 48,
    "softmax_cross_entropy_grad": 64,
}

SUM_THREADS, MAP_THREADS = 512, 256
ROW_WARPS = 4


def bernoulli_nll(logits: Array, x: Array) -> Array:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x logits, with p = sigmoid(logits)."""
    _, (logits, x) = in_memory_order(logits, x, fixed=1)
    N, size = len(logits), prod(logits.shape[1:])
    nll = empty(N, logits.dtype)
    MODULE.kernel("bernoulli_nll", logits.dtype)[N, _threads(size, SUM_THREADS)](logits, x, nll, size)
    return nll


def bernoulli_nll_grad(dy: Array, logits: Array, x: Array) -> Array:
    """dy (N,) -> dlogits (N, ...) = dy (sigmoid(logits) - x)."""
    order, (logits, x) = in_memory_order(logits, x, fixed=1)
    dlogits = empty(logits.shape, logits.dtype)
    grid, block, size = _map(logits.shape)
    MODULE.kernel("bernoulli_nll_grad", logits.dtype)[grid, block](contiguous(dy), logits, x, dlogits, size)
    return logical_order(dlogits, order)


def gaussian_nll(mean: Array, log_var: Array, x: Array) -> Array:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,):

    -log N(x; mean, exp(log_var)) = sum of (log(2 pi) + log_var + (x - mean)^2 exp(-log_var)) / 2.
    """
    _, mean, log_var, x = _gaussian(mean, log_var, x)
    N, size = len(mean), prod(mean.shape[1:])
    nll = empty(N, mean.dtype)
    run = MODULE.kernel("gaussian_nll", mean.dtype)[N, _threads(size, SUM_THREADS)]
    run(mean, log_var, x, nll, size, log_var.shape != mean.shape)
    return nll


def gaussian_nll_grad(dy: Array, mean: Array, log_var: Array, x: Array) -> tuple[Array, Array]:
    """dy (N,) -> dmean = dy (mean - x) exp(-log_var), dlog_var = dy (1 - (x - mean)^2 exp(-log_var)) / 2.

    Both have the shape of mean; the operation sums dlog_var to the shape of log_var.
    """
    order, mean, log_var, x = _gaussian(mean, log_var, x)
    dmean, dlog_var = empty(mean.shape, mean.dtype), empty(mean.shape, mean.dtype)
    grid, block, size = _map(mean.shape)
    run = MODULE.kernel("gaussian_nll_grad", mean.dtype)[grid, block]
    run(contiguous(dy), mean, log_var, x, dmean, dlog_var, size, log_var.shape != mean.shape)
    return logical_order(dmean, order), logical_order(dlog_var, order)


def _gaussian(mean: Array, log_var: Array, x: Array) -> tuple[tuple[int, ...], Array, Array, Array]:
    """The order of mean's axes in memory, and mean, log_var and x in that order.

    log_var gets the shape of mean, unless it is a single number: then it gets the shape (1,).
    """
    if log_var.size == 1:
        order, (mean, x) = in_memory_order(mean, x, fixed=1)
        return order, mean, log_var.reshape(1), x
    order, (mean, log_var, x) = in_memory_order(mean, xp().broadcast_to(log_var, mean.shape), x, fixed=1)
    return order, mean, log_var, x


def logistic_mixture_nll(parameters: Array, x: Array) -> Array:
    """parameters (N, C, 3, K, D), x (N, C, D) of integers / 255 -> (N,): -log of the probability of 8-bit pixels."""
    N, C, _, K, D = parameters.shape
    nll = empty(N, parameters.dtype)
    run = MODULE.kernel("logistic_mixture_nll", parameters.dtype)[N, _threads(C * D, SUM_THREADS)]
    run(contiguous(parameters), contiguous(x), nll, C, K, D)
    return nll


def logistic_mixture_nll_grad(dy: Array, parameters: Array, x: Array) -> Array:
    """dy (N,) -> dparameters (N, C, 3, K, D)."""
    _, C, _, K, D = parameters.shape
    slopes = empty(parameters.shape, parameters.dtype)
    grid, block, _ = _map(x.shape)
    run = MODULE.kernel("logistic_mixture_nll_grad", parameters.dtype)[grid, block]
    run(contiguous(dy), contiguous(parameters), contiguous(x), slopes, C, K, D)
    return slopes


def softmax_cross_entropy(logits: Array, target: Array) -> Array:
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target] for each row."""
    M, K = logits.shape
    nll = empty(M, logits.dtype)
    run = MODULE.kernel("softmax_cross_entropy", logits.dtype)[ceil_div(M, ROW_WARPS), ROW_WARPS * 32]
    run(contiguous(logits), contiguous(target), nll, M, K)
    return nll


def softmax_cross_entropy_grad(dy: Array, logits: Array, target: Array) -> Array:
    """dy (M,) -> dlogits (M, K) = dy (softmax(logits) - one_hot(target))."""
    M, K = logits.shape
    dlogits = empty((M, K), logits.dtype)
    run = MODULE.kernel("softmax_cross_entropy_grad", logits.dtype)[ceil_div(M, ROW_WARPS), ROW_WARPS * 32]
    run(contiguous(dy), contiguous(logits), contiguous(target), dlogits, M, K)
    return dlogits


def _threads(size: int, most: int) -> int:
    """How many threads a block for `size` numbers has: whole warps, at most `most` threads."""
    return min(32 * max(1, ceil_div(size, 32)), most)


def _map(shape: tuple[int, ...]) -> tuple[tuple[int, int], int, int]:
    """The grid, the block and the size of an example for a kernel that visits each element of (N, ...)."""
    size = prod(shape[1:])
    block = _threads(size, MAP_THREADS)
    return (shape[0], min(ceil_div(size, block), launcher.GRID_LIMIT[1])), block, size
