"""Exercise 6: the importance-sampled bound and its gradient.

log_w (k, N) are the logarithms of k importance weights for each of N images. Fill in the three functions, then run
`minivae learn check 6`.
"""

import numpy as np


def log_weight(log_p_x_given_z: np.ndarray, z: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return log w = log p(x | z) + log p(z) - log q(z | x), (N,), for z ~ q = N(mu, sigma^2) and the prior N(0, I).

    log_p_x_given_z is (N,); z, mu, sigma are (N, D).
    """
    log_prior = -0.5 * (np.log(2 * np.pi) + z**2).sum(axis=1)
    log_q = -0.5 * (np.log(2 * np.pi * sigma**2) + ((z - mu) / sigma) ** 2).sum(axis=1)
    return log_p_x_given_z + log_prior - log_q


def bound(log_w: np.ndarray) -> np.ndarray:
    """Return L_k = log of the mean of the k weights for each image, (N,). Weights may be as small as exp(-10000)."""
    top = log_w.max(axis=0)
    return top + np.log(np.exp(log_w - top).mean(axis=0))


def bound_gradient(log_w: np.ndarray) -> np.ndarray:
    """Return the gradient of the sum of all L_k by log_w, (k, N)."""
    w = np.exp(log_w - log_w.max(axis=0))
    return w / w.sum(axis=0)
