"""Exercise 8: a causal convolution over a row, its likelihood, and sampling.

Fill in the four functions, then run `minivae learn check 8`. A row k (T,) holds integers from 0 to K - 1.
"""

from collections.abc import Callable

import numpy as np


def shifted(x: np.ndarray) -> np.ndarray:
    """Return x (T, C) moved by one position to later ones: the first row is 0, and the last row of x is dropped."""
    return np.concatenate([np.zeros((1, x.shape[1])), x[:-1]])


def causal_convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return y (T, OC) with y[t] = sum over p of w[p] applied to x[t - p], for x (T, C) and w (R, C, OC).

    So y[t] depends on x[t] and the R - 1 positions before it. What lies before the beginning is 0.
    """
    y = np.zeros((len(x), w.shape[2]))
    for tap in w:
        y += x @ tap
        x = shifted(x)
    return y


def nll(logits: np.ndarray, k: np.ndarray) -> float:
    """Return -log P(k) in nats, the sum over the positions, for logits (T, K)."""
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -float(log_p[np.arange(len(k)), k].sum())


def sample(logits_of: Callable[[np.ndarray], np.ndarray], T: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a row (T,) of integers. logits_of(k) gives the logits (T, K) of a row k (T,); it is causal: those at t
    depend on k[:t] alone."""
    k = np.zeros(T, np.int64)
    for t in range(T):
        logits = logits_of(k)[t]
        p = np.exp(logits - logits.max())
        k[t] = rng.choice(len(p), p=p / p.sum())
    return k
