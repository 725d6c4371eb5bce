"""Negative log-likelihoods in nats per example, and their gradients: the Python side of likelihood.c."""

from __future__ import annotations

from math import prod

import numpy as np

from .layout import in_memory_order, logical_order
from .library import Kernel

_bernoulli_nll, _bernoulli_nll_grad = Kernel("bernoulli_nll"), Kernel("bernoulli_nll_grad")
_gaussian_nll, _gaussian_nll_grad = Kernel("gaussian_nll"), Kernel("gaussian_nll_grad")
_mixture, _mixture_grad = Kernel("logistic_mixture_nll"), Kernel("logistic_mixture_nll_grad")
_softmax, _softmax_grad = Kernel("softmax_cross_entropy"), Kernel("softmax_cross_entropy_grad")


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x logits, with p = sigmoid(logits)."""
    (logits, x), _ = in_memory_order(logits, x, fixed=1)
    nll = np.empty(len(x), logits.dtype)
    _bernoulli_nll[logits.dtype](len(x), _size(x), logits, x, nll)
    return nll


def bernoulli_nll_grad(dy: np.ndarray, logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dlogits (N, ...) = dy (sigmoid(logits) - x)."""
    (logits, x), order = in_memory_order(logits, x, fixed=1)
    dlogits = np.empty_like(logits)
    _bernoulli_nll_grad[logits.dtype](len(x), _size(x), np.ascontiguousarray(dy), logits, x, dlogits)
    return logical_order(dlogits, order)


def gaussian_nll(mean: np.ndarray, log_var: np.ndarray, x: np.ndarray) -> np.ndarray:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,):

    -log N(x; mean, exp(log_var)) = sum of (log(2 pi) + log_var + (x - mean)^2 exp(-log_var)) / 2.
    """
    (mean, x), log_var, _ = _gaussian(mean, log_var, x)
    nll = np.empty(len(x), mean.dtype)
    _gaussian_nll[mean.dtype](len(x), _size(x), len(log_var), mean, log_var, x, nll)
    return nll


def gaussian_nll_grad(
    dy: np.ndarray, mean: np.ndarray, log_var: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dy (N,) -> dmean = dy (mean - x) exp(-log_var), dlog_var = dy (1 - (x - mean)^2 exp(-log_var)) / 2.

    Both have the shape of mean; the operation sums dlog_var to the shape of log_var.
    """
    (mean, x), log_var, order = _gaussian(mean, log_var, x)
    dmean, dlog_var = np.empty_like(mean), np.empty_like(mean)
    dy = np.ascontiguousarray(dy)
    _gaussian_nll_grad[mean.dtype](len(x), _size(x), len(log_var), dy, mean, log_var, x, dmean, dlog_var)
    return logical_order(dmean, order), logical_order(dlog_var, order)


def logistic_mixture_nll(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """parameters (N, C, 3, K, D), x (N, C, D) of integers / 255 -> (N,): -log of the probability of 8-bit pixels."""
    N, C, _, K, D = parameters.shape
    nll = np.empty(N, parameters.dtype)
    _mixture[parameters.dtype](N, C, K, D, parameters, np.ascontiguousarray(x), nll)
    return nll


def logistic_mixture_nll_grad(dy: np.ndarray, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dparameters (N, C, 3, K, D), in memory in the order of parameters."""
    N, C, _, K, D = parameters.shape
    dy, x, found = np.ascontiguousarray(dy), np.ascontiguousarray(x), np.empty_like(parameters)
    _mixture_grad[parameters.dtype](N, C, K, D, dy, parameters, x, found)
    return found


def softmax_cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target] for each row."""
    nll = np.empty(len(logits), logits.dtype)
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target, np.int64)
    _softmax[logits.dtype](*logits.shape, logits, target, nll)
    return nll


def softmax_cross_entropy_grad(dy: np.ndarray, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dy (M,) -> dlogits (M, K) = dy (softmax(logits) - one_hot(target))."""
    logits, target = np.ascontiguousarray(logits), np.ascontiguousarray(target, np.int64)
    dlogits = np.empty_like(logits)
    _softmax_grad[logits.dtype](*logits.shape, np.ascontiguousarray(dy), logits, target, dlogits)
    return dlogits


def _gaussian(
    mean: np.ndarray, log_var: np.ndarray, x: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, tuple[int, ...] | None]:
    """mean and x in the order of memory, log_var broadcast to the same axes, and that order.

    log_var gets the shape of mean or, if all examples share it, the shape of one example, (1, ...).
    """
    shared = log_var.ndim < mean.ndim or len(log_var) == 1
    log_var = np.broadcast_to(log_var, (1, *mean.shape[1:]) if shared else mean.shape)
    arrays, order = in_memory_order(mean, x, fixed=1)
    return arrays, np.ascontiguousarray(log_var if order is None else log_var.transpose(order)), order


def _size(x: np.ndarray) -> int:
    """The number of elements of an example."""
    return prod(x.shape[1:])
