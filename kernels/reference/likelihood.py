"""Negative log-likelihoods (nll) in nats per example, summed over all axes but the first, and their gradients.

A nat is the unit of -log p with the natural logarithm: 1 nat = 1 / log 2 = 1.44 bits.

**Why logits.** The logit of a probability p is l = log(p / (1 - p)), any real number, and p = sigmoid(l). A network
that outputs l need not keep to [0, 1]. For a Bernoulli pixel x, which is 1 with probability p and otherwise 0,

    -log p(x) = -x log p - (1 - x) log(1 - p) = softplus(l) - x l        with softplus(l) = log(1 + exp(l)),

as minivae/nn/likelihoods.py derives. So no logarithm is taken of a number that may have been rounded to 0. The
derivative with respect to l is sigmoid(l) - x. For a grey pixel, x between 0 and 1, the same formula is the usual
cross-entropy.
"""

from __future__ import annotations

from math import log, pi

import numpy as np

from .activation import sigmoid, softplus
from .matrix import reduce_sum


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x logits, with p = sigmoid(logits)."""
    return _per_example(softplus(logits) - x * logits)


def bernoulli_nll_grad(dy: np.ndarray, logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dlogits (N, ...) = dy (sigmoid(logits) - x)."""
    return _along(dy, x) * (sigmoid(logits) - x)


def gaussian_nll(mean: np.ndarray, log_var: np.ndarray, x: np.ndarray) -> np.ndarray:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,):

    -log N(x; mean, exp(log_var)) = sum of (log(2 pi) + log_var + (x - mean)^2 exp(-log_var)) / 2.
    """
    return _per_example(log(2 * pi) + log_var + (x - mean) ** 2 * np.exp(-log_var)) / 2


def gaussian_nll_grad(
    dy: np.ndarray, mean: np.ndarray, log_var: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dy (N,) -> dmean = dy (mean - x) exp(-log_var), dlog_var = dy (1 - (x - mean)^2 exp(-log_var)) / 2.

    Both have the shape of mean; the operation sums dlog_var to the shape of log_var.
    """
    scaled = (mean - x) * np.exp(-log_var)
    dy = _along(dy, x)
    return dy * scaled, dy * (1 - scaled * (mean - x)) / 2


def softmax_cross_entropy(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target] for each row.

    The largest logit of a row is subtracted from all of them first. This does not change the result and keeps exp from
    overflowing.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(reduce_sum(np.exp(shifted), (1,), False)) - shifted[np.arange(len(target)), target]


def softmax_cross_entropy_grad(dy: np.ndarray, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dy (M,) -> dlogits (M, K) = dy (softmax(logits) - one_hot(target))."""
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= reduce_sum(probabilities, (1,), True)
    probabilities[np.arange(len(target)), target] -= 1
    return dy[:, None] * probabilities


def _per_example(terms: np.ndarray) -> np.ndarray:
    """The sum of each example's terms: (N, ...) -> (N,)."""
    return reduce_sum(terms, tuple(range(1, terms.ndim)), False)


def _along(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) as (N, 1, ...), which broadcasts with x (N, ...)."""
    return dy.reshape(-1, *(1,) * (x.ndim - 1))
