"""Exercise 7: a vector quantiser.

Fill in the four functions, then run `minivae learn check 7`. z (N, D) are latents, e (K, D) the codebook.
"""

import numpy as np


def nearest(z: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return the index (N,) of the nearest code of each latent."""
    raise NotImplementedError


def gradients(
    z: np.ndarray, e: np.ndarray, index: np.ndarray, dz_q: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of z (N, D) and of e (K, D), for the dz_q (N, D) that the decoder sends to the codes chosen.

    The quantiser is straight-through, and the loss has the terms ||sg[z] - e||^2 + beta ||z - sg[e]||^2, summed over
    the latents, besides the decoder's.
    """
    raise NotImplementedError


def moving_averages(
    N: np.ndarray, m: np.ndarray, z: np.ndarray, index: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the new moving averages of the number (K,) and of the sum (K, D) of the latents that chose each code."""
    raise NotImplementedError


def perplexity(counts: np.ndarray) -> float:
    """Return the perplexity of codes that were chosen so many times each, (K,). A count may be 0."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect_close

RNG = np.random.default_rng(7)


def check_nearest(yours) -> None:
    z, e = RNG.normal(size=(20, 3)), 3 * RNG.normal(size=(5, 3))
    expected = [min(range(5), key=lambda k: ((row - e[k]) ** 2).sum()) for row in z]
    expect_close("the indices", yours.nearest(z, e), expected)


def check_gradients(yours) -> None:
    z, e, dz_q = RNG.normal(size=(6, 2)), RNG.normal(size=(4, 2)), RNG.normal(size=(6, 2))
    index = np.array([0, 0, 1, 2, 2, 2])
    dz, de = yours.gradients(z, e, index, dz_q, 0.25)
    expect_close("the gradient of z", dz, dz_q + 0.25 * 2 * (z - e[index]))
    expected = [sum((2 * (e[k] - row) for row in z[index == k]), np.zeros(2)) for k in range(4)]
    expect_close("the gradient of e, to which the decoder sends nothing,", de, expected)


def check_moving_averages(yours) -> None:
    z = np.array([[0.8], [0.6], [5.0]])
    N, m = yours.moving_averages(np.ones(3), np.array([[1.0], [4.0], [7.0]]), z, np.array([0, 0, 1]), 0.9)
    expect_close("N", N, [1.1, 1.0, 0.9])
    expect_close("m", m, [[1.04], [4.1], [6.3]])


def check_perplexity(yours) -> None:
    for counts, expected in (([5, 5, 5, 5], 4), ([7, 0, 0], 1), ([3, 3, 0], 2), ([1, 3], 4 / 3**0.75)):
        with np.errstate(all="ignore"):
            expect_close(f"the perplexity of {counts}", yours.perplexity(np.array(counts)), expected)
