"""Exercise 4: PCA, the gradients of a linear autoencoder by hand, and a corruption.

Fill in the three functions, then run `minivae learn check 4`.
"""

import numpy as np


def pca(x: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) of examples x (N, D), and K orthonormal axes (K, D) that span the nearest plane."""
    raise NotImplementedError


def linear_gradients(x: np.ndarray, W: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients by W (K, D) and V (D, K) of the mean over examples of ||x - V W x||^2, for x (N, D)."""
    raise NotImplementedError


def masked(x: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of x in which each number is 0 with probability `level` and as it was otherwise."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close, expect_gradient

RNG = np.random.default_rng(4)


def check_pca(yours) -> None:
    x = RNG.normal(size=(50, 2)) @ RNG.normal(size=(2, 5)) + 0.1 * RNG.normal(size=(50, 5)) + 3
    mean, axes = yours.pca(x, 2)
    expect_close("the mean", mean, x.mean(axis=0))
    expect(np.shape(axes) == (2, 5), f"the axes must have shape (2, 5), yours {np.shape(axes)}")
    expect_close("the products of the axes with each other", axes @ axes.T, np.eye(2))
    centred = x - x.mean(axis=0)
    left = ((centred - centred @ axes.T @ axes) ** 2).sum()
    least = (np.linalg.svd(centred, compute_uv=False)[2:] ** 2).sum()
    expect_close("the squared error of the projection", left, least)


def check_linear_gradients(yours) -> None:
    x, W, V = RNG.normal(size=(6, 4)), RNG.normal(size=(2, 4)), RNG.normal(size=(4, 2))

    def loss(W: np.ndarray, V: np.ndarray) -> np.ndarray:
        return ((x - x @ W.T @ V.T) ** 2).sum(axis=1).mean()

    dW, dV = yours.linear_gradients(x, W, V)
    expect_gradient("the gradient by W", lambda W: loss(W, V), W, 1.0, dW)
    expect_gradient("the gradient by V", lambda V: loss(W, V), V, 1.0, dV)


def check_masked(yours) -> None:
    x = 1 + RNG.random(size=(100, 100))
    before = x.copy()
    found = yours.masked(x, 0.3, np.random.default_rng(0))
    expect(np.array_equal(x, before), "x must stay as it is")
    kept = found != 0
    expect(np.array_equal(found[kept], x[kept]), "numbers that are kept must not change")
    expect(abs(kept.mean() - 0.7) < 0.03, f"about 0.7 of the numbers must be kept, yours {kept.mean():.2f}")
