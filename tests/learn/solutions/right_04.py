"""Exercise 4: PCA, the gradients of a linear autoencoder by hand, and a corruption.

Fill in the three functions, then run `minivae learn check 4`.
"""

import numpy as np


def pca(x: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) of examples x (N, D), and K orthonormal axes (K, D) that span the nearest plane."""
    mean = x.mean(axis=0)
    return mean, np.linalg.svd(x - mean, full_matrices=False)[2][:K]


def linear_gradients(x: np.ndarray, W: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients by W (K, D) and V (D, K) of the mean over examples of ||x - V W x||^2, for x (N, D)."""
    z = x @ W.T  # (N, K)
    dy = 2 * (z @ V.T - x) / len(x)  # (N, D)
    return (dy @ V).T @ x, dy.T @ z


def masked(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of x in which each number is 0 with probability `level` and as it was otherwise."""
    return x * (rng.random(x.shape) >= level)
