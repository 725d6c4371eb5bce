"""Exercise 7: a vector quantiser.

Fill in the four functions, then run `minivae learn check 7`. z (N, D) are latents, e (K, D) the codebook.
"""

import numpy as np


def nearest(z: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return the index (N,) of the nearest code of each latent."""
    return (z @ e.T).argmax(axis=1)


def gradients(
    z: np.ndarray, e: np.ndarray, index: np.ndarray, dz_q: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of z (N, D) and of e (K, D), for the dz_q (N, D) that the decoder sends to the codes chosen.

    The quantiser is straight-through, and the loss has the terms ||sg[z] - e||^2 + beta ||z - sg[e]||^2, summed over
    the latents, besides the decoder's.
    """
    distance = z - e[index]
    de = np.zeros(e.shape)
    np.add.at(de, index, -2 * beta * distance)
    return dz_q + 2 * distance, de


def moving_averages(
    N: np.ndarray, m: np.ndarray, z: np.ndarray, index: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the new moving averages of the number (K,) and of the sum (K, D) of the latents that chose each code."""
    chosen = np.eye(len(N))[index]
    return decay * N + (1 - decay) * chosen.sum(axis=0), m + chosen.T @ z


def perplexity(counts: np.ndarray) -> float:
    """Return the perplexity of codes that were chosen so many times each, (K,). A count may be 0."""
    p = counts / counts.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
