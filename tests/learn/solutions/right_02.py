"""Exercise 2: gradients of arrays, and the differences that check them.

Fill in the three functions, then run `minivae learn check 2`.
"""

from collections.abc import Callable

import numpy as np


def add_backward(dy: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of a and of b for y = a + b under broadcasting, each with the shape of its array."""

    def to(g, shape):
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))
        return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 != g.shape[i]), keepdims=True)

    return to(dy, a.shape), to(dy, b.shape)


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dx (N, K) for y = softmax(x), each row by itself; y and dy are (N, K).

    The derivative of y_k by x_i is y_k (1 - y_k) for i = k, and -y_k y_i otherwise.
    """
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


def numerical_gradient(f: Callable, x: np.ndarray, dy: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Return the gradient of sum(dy * f(x)) by x, entry by entry, by central differences. x stays as it is."""
    g = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = eps
        g[at] = (dy * (f(x + step) - f(x - step))).sum() / (2 * eps)
    return g
