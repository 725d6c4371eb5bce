"""Negative log-likelihoods in nats per example, and their gradients, fused over blocks of examples.

The Bernoulli one is written with softplus(l) = log(1 + exp(l)) = max(l, 0) + log(1 + e), e = exp(-|l|) <= 1, which
neither overflows nor loses digits. The logarithms are the slow part, and only their sum is wanted, so factors are
multiplied first: log(1 + a) + log(1 + b) = log(1 + (a + b + a b)), again without loss of digits where both are small.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi, prod

import numpy as np

from .blocks import blocks, logical_order, memory_order
from .columns import workspace

FOLDS = 5  # 2^5 factors of at most 2 are multiplied, far from the overflow of float32 at 2^128


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x * logits, with p = sigmoid(logits)."""
    order = memory_order(logits, fixed=1)
    logits, x = logits.transpose(order), x.transpose(order)
    nll = np.empty(len(logits), logits.dtype)
    for block in _examples(logits):
        shape = logits[block].shape
        linear, product, e = (workspace(slot, shape, logits.dtype) for slot in (0, 1, 2))
        np.abs(logits[block], out=e)
        np.add(logits[block], e, out=linear)
        linear *= 0.5  # max(logits, 0), for NumPy's maximum with a scalar is slow
        linear -= np.multiply(x[block], logits[block], out=product)
        _sum(linear, nll[block])
        np.negative(e, out=e)
        np.exp(e, out=e)
        nll[block] += _sum_of_log1p(e)
    return nll


def _sum_of_log1p(e: np.ndarray) -> np.ndarray:
    """e (n, ...) in [0, 1], contiguous, overwritten -> (n,): sums of log(1 + e)."""
    e = _rows(e)
    width = e.shape[1]
    for _ in range(FOLDS):
        half = width // 2
        first, last = e[:, :half], e[:, width - half : width]  # of an odd width the middle one stays as it is
        both = np.multiply(first, last, out=workspace(1, first.shape, e.dtype))
        first += last
        first += both
        width -= half
    return np.log1p(e[:, :width]).sum(axis=1)


def bernoulli_nll_grad(dy: np.ndarray, logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dlogits (N, ...) = dy * (sigmoid(logits) - x)."""
    order = memory_order(logits, fixed=1)
    logits, x, dy = logits.transpose(order), x.transpose(order), _per_example(dy, logits.ndim)
    dlogits = np.empty(logits.shape, logits.dtype)
    with np.errstate(over="ignore"):  # exp(-logits) = inf is right: the sigmoid is 0
        for block in _examples(logits):
            d = dlogits[block]
            np.negative(logits[block], out=d)
            np.exp(d, out=d)
            d += 1
            np.reciprocal(d, out=d)
            d -= x[block]
            d *= dy[block]
    return logical_order(dlogits, order)


def gaussian_nll(mean: np.ndarray, log_var: np.ndarray, x: np.ndarray) -> np.ndarray:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,).

    1/2 sum of log(2 pi) + log_var + (x - mean)^2 exp(-log_var).
    """
    order = memory_order(mean, fixed=1)
    precision = np.broadcast_to(np.exp(-log_var), mean.shape).transpose(order)
    log_var = np.broadcast_to(log_var, mean.shape).transpose(order)
    mean, x = mean.transpose(order), x.transpose(order)
    nll = np.empty(len(mean), mean.dtype)
    for block in _examples(mean):
        d = workspace(0, mean[block].shape, mean.dtype)
        np.subtract(x[block], mean[block], out=d)
        d *= d
        d *= precision[block]
        d += log_var[block]
        _sum(d, nll[block])
    nll += prod(mean.shape[1:]) * log(2 * pi)
    nll *= 0.5
    return nll


def gaussian_nll_grad(
    dy: np.ndarray, mean: np.ndarray, log_var: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dy (N,) -> dmean = dy (mean - x) exp(-log_var), dlog_var = dy (1 - (x - mean)^2 exp(-log_var)) / 2.

    Both have the shape of mean.
    """
    order = memory_order(mean, fixed=1)
    precision = np.broadcast_to(np.exp(-log_var), mean.shape).transpose(order)
    mean, x, dy = mean.transpose(order), x.transpose(order), _per_example(dy, mean.ndim)
    dmean, dlog_var = np.empty(mean.shape, mean.dtype), np.empty(mean.shape, mean.dtype)
    for block in _examples(mean):
        d, v = dmean[block], dlog_var[block]
        difference = np.subtract(mean[block], x[block], out=workspace(0, d.shape, d.dtype))
        np.multiply(difference, precision[block], out=d)
        np.multiply(d, difference, out=v)
        np.subtract(1, v, out=v)
        v *= 0.5
        for gradient in (d, v):
            gradient *= dy[block]
    return logical_order(dmean, order), logical_order(dlog_var, order)


def softmax_cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target]."""
    nll = np.empty(len(logits), logits.dtype)
    for block in _examples(logits):
        shifted = workspace(0, logits[block].shape, logits.dtype)
        np.subtract(logits[block], logits[block].max(axis=1, keepdims=True), out=shifted)
        of_target = shifted[np.arange(len(shifted)), target[block]]
        np.exp(shifted, out=shifted)
        np.log(shifted.sum(axis=1), out=nll[block])
        nll[block] -= of_target
    return nll


def softmax_cross_entropy_grad(dy: np.ndarray, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dy (M,) -> dlogits (M, K) = dy * (softmax(logits) - one_hot(target))."""
    dlogits = np.empty(logits.shape, logits.dtype)
    for block in _examples(logits):
        d = dlogits[block]
        np.subtract(logits[block], logits[block].max(axis=1, keepdims=True), out=d)
        np.exp(d, out=d)
        d /= d.sum(axis=1, keepdims=True)
        d[np.arange(len(d)), target[block]] -= 1
        d *= dy[block, None]
    return dlogits


def _examples(x: np.ndarray) -> Iterator[slice]:
    """Blocks of the examples of x (N, ...)."""
    return blocks(len(x), prod(x.shape[1:]))


def _sum(terms: np.ndarray, out: np.ndarray) -> None:
    """terms (n, ...), contiguous -> out (n,)."""
    np.add.reduce(_rows(terms), axis=1, out=out)


def _rows(x: np.ndarray) -> np.ndarray:
    """(n, ...) -> (n, elements of an example)."""
    return x.reshape(len(x), prod(x.shape[1:]))


def _per_example(dy: np.ndarray, ndim: int) -> np.ndarray:
    return dy.reshape(-1, *(1,) * (ndim - 1))
