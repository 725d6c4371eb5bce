"""Negative log-likelihoods in nats per example, summed over everything but the examples, and their gradients.

**Why logits.** A Bernoulli pixel x in [0, 1] with probability p has -log p(x) = -x log p - (1 - x) log(1 - p). With
p = sigmoid(l) we have log p = l - softplus(l) and log(1 - p) = -softplus(l), where softplus(l) = log(1 + exp(l)), so

    -log p(x) = softplus(l) - x l,

which needs no logarithm of a number that may have been rounded to 0. Its derivative is sigmoid(l) - x.
"""

from __future__ import annotations

from math import log, pi

import numpy as np

from .activation import sigmoid, softplus


def bernoulli_nll(logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """logits, x (N, ...) -> (N,): -log p(x) = sum of softplus(logits) - x logits, with p = sigmoid(logits)."""
    return _per_example(softplus(logits) - x * logits)


def bernoulli_nll_grad(dy: np.ndarray, logits: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dlogits (N, ...) = dy (sigmoid(logits) - x)."""
    return _along(dy, x) * (sigmoid(logits) - x)


def gaussian_nll(mean: np.ndarray, log_var: np.ndarray, x: np.ndarray) -> np.ndarray:
    """mean, x (N, ...), log_var of a shape that broadcasts to theirs -> (N,):

    -log N(x; mean, exp(log_var)) = 1/2 sum of log(2 pi) + log_var + (x - mean)^2 exp(-log_var).
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
    """logits (M, K), target (M,) in [0, K) -> (M,): logsumexp(logits) - logits[target].

    The largest logit is taken from all of them first, which changes nothing but keeps exp from overflowing.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target)), target]


def softmax_cross_entropy_grad(dy: np.ndarray, logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    """dy (M,) -> dlogits (M, K) = dy (softmax(logits) - one_hot(target))."""
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    probabilities[np.arange(len(target)), target] -= 1
    return dy[:, None] * probabilities


def _per_example(terms: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N,)."""
    return terms.sum(axis=tuple(range(1, terms.ndim)))


def _along(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) as (N, 1, ...), which broadcasts with x (N, ...)."""
    return dy.reshape(-1, *(1,) * (x.ndim - 1))
