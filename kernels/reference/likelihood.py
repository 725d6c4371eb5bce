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

from math import exp, log, pi

import numpy as np

from .activation import sigmoid, softplus
from .matrix import reduce_sum

HALF_LEVEL, LEAST_SCALE = 1 / 255, exp(-7)  # of pixels in [-1, 1]; 1/9 of a level


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


def logistic_mixture_nll(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """parameters (N, C, 3, K, D), x (N, C, D) of integers / 255 -> (N,): -log of the probability of 8-bit pixels.

    parameters[:, :, 0] are logits of the weights of K logistic distributions, [:, :, 1] their means m and [:, :, 2]
    numbers r that give their scales s = LEAST_SCALE + exp(r), for pixels y = 2 x - 1 in [-1, 1]. Component k gives a
    pixel the probability P_k of its bin [y - h, y + h], h = 1/255; all below -1 counts for the level 0, all above 1 for
    255. With softmax(logits) = exp(logits) / sum exp(logits) a pixel costs

        -log sum_k softmax(logits)_k P_k = logsumexp(logits) - logsumexp(logits + log P).

    The bin of the distribution function sigmoid((y - m) / s) has a = (y - h - m) / s below and b = a + 2 h / s above:

        P = sigmoid(b) - sigmoid(a) = (exp(b) - exp(a)) / ((1 + exp(a)) (1 + exp(b))),
        log P = log(1 - exp(-2 h / s)) - softplus(a) - softplus(-b),

    in which nothing cancels. Level 0 has only the last of the three terms, log sigmoid(b), and level 255 the second.
    """
    logits, mean, raw = (parameters[:, :, i] for i in range(3))  # (N, C, K, D) each
    log_p, _, _ = _log_bin(mean, raw, x)
    return _per_example(_logsumexp(logits) - _logsumexp(logits + log_p))


def logistic_mixture_nll_grad(dy: np.ndarray, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dy (N,) -> dparameters (N, C, 3, K, D).

    With q_k = softmax(logits + log P)_k, the probability that component k made the pixel, they are dy times
    softmax(logits) - q for the logits, and -q d log P / dm and -q d log P / dr for the others.
    """
    logits, mean, raw = (parameters[:, :, i] for i in range(3))
    log_p, by_mean, by_raw = _log_bin(mean, raw, x)
    joint = logits + log_p
    q = np.exp(joint - _logsumexp(joint))  # (N, C, K, D)
    weights = np.exp(logits - _logsumexp(logits))
    return _along(dy, parameters) * np.stack([weights - q, -q * by_mean, -q * by_raw], axis=2)


def _log_bin(mean: np.ndarray, raw: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log P of pixels x (N, C, D) under each component, and its derivatives by mean and raw, (N, C, K, D) each.

    d log P / da = -sigmoid(a), d log P / db = sigmoid(-b), and by the width w = 2 h / s it is 1 / (exp(w) - 1). a, b
    and w are multiples of 1 / s, whose derivative by r is -exp(r) / s^2.
    """
    x = x[:, :, None]  # (N, C, 1, D)
    above, below = x > HALF_LEVEL / 2, x < 1 - HALF_LEVEL / 2  # whether the bin ends below, and above
    exp_raw = np.exp(raw)
    scale = exp_raw + LEAST_SCALE
    a, b = ((2 * x - 1 + half - mean) / scale for half in (-HALF_LEVEL, HALF_LEVEL))
    width = 2 * HALF_LEVEL / scale
    filled = -np.expm1(-width)  # 1 - exp(-w)
    log_p = np.where(above & below, np.log(filled), 0) - above * softplus(a) - below * softplus(-b)
    of_a, of_b = above * sigmoid(a), below * sigmoid(-b)
    by_log_scale = of_a * a - of_b * b - (above & below) * width * np.exp(-width) / filled
    return log_p, (of_a - of_b) / scale, by_log_scale * exp_raw / scale


def _logsumexp(rows: np.ndarray) -> np.ndarray:
    """log of the sum of exp over components: (N, C, K, D) -> (N, C, 1, D)."""
    top = rows.max(axis=2, keepdims=True)
    return np.log(reduce_sum(np.exp(rows - top), (2,), True)) + top


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
