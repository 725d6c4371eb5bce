"""Exercise 8: a causal convolution over a row, its likelihood, and sampling.

Fill in the four functions, then run `minivae learn check 8`. A row k (T,) holds integers from 0 to K - 1.
"""

from collections.abc import Callable

import numpy as np


def shifted(x: np.ndarray) -> np.ndarray:
    """Return x (T, C) moved by one position to later ones: the first row is 0, and the last row of x is dropped."""
    raise NotImplementedError


def causal_convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return y (T, OC) with y[t] = sum over p of w[p] applied to x[t - p], for x (T, C) and w (R, C, OC).

    So y[t] depends on x[t] and the R - 1 positions before it. What lies before the beginning is 0.
    """
    raise NotImplementedError


def nll(logits: np.ndarray, k: np.ndarray) -> float:
    """Return -log P(k) in nats, the sum over the positions, for logits (T, K)."""
    raise NotImplementedError


def sample(logits_of: Callable[[np.ndarray], np.ndarray], T: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a row (T,) of integers. logits_of(k) gives the logits (T, K) of a row k (T,); it is causal: those at t
    depend on k[:t] alone."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close

RNG = np.random.default_rng(8)


def check_shifted(yours) -> None:
    x = RNG.normal(size=(4, 2))
    expect_close("the rows", yours.shifted(x), [[0, 0], *x[:3]])


def check_causal_convolution(yours) -> None:
    x, w = RNG.normal(size=(5, 2)), RNG.normal(size=(3, 2, 4))
    expected = [sum((x[t - p] @ w[p] for p in range(3) if t >= p), np.zeros(4)) for t in range(5)]
    expect_close("y", yours.causal_convolution(x, w), expected)


def check_nll(yours) -> None:
    logits, k = RNG.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expect_close("the nll", yours.nll(logits, k), -np.log(p[range(4), k]).sum())
    with np.errstate(all="ignore"):
        expect_close("the nll of logits that are 1000 larger", yours.nll(logits + 1000, k), yours.nll(logits, k))


def check_sample(yours) -> None:
    def logits_of(k: np.ndarray) -> np.ndarray:
        """The first integer is 0 or 1 or 2, with probabilities 0.2, 0.5, 0.3; each next one is one more."""
        next_ones = np.log(np.eye(3)[(np.concatenate([[0], k[:-1]]) + 1) % 3] + 1e-9)
        return np.concatenate([np.log([[0.2, 0.5, 0.3]]), next_ones[1:]])

    rng = np.random.default_rng(0)
    rows = np.array([yours.sample(logits_of, 4, rng) for _ in range(2000)])
    steps = (rows[:, 1:] - rows[:, :-1]) % 3
    expect(bool((steps == 1).all()), "each integer must be drawn given those before it, which were drawn already")
    share = np.bincount(rows[:, 0], minlength=3) / len(rows)
    told = f"the first must be 0, 1, 2 with probabilities 0.2, 0.5, 0.3, yours {share.round(2)}"
    expect(bool(np.abs(share - [0.2, 0.5, 0.3]).max() < 0.05), told)
