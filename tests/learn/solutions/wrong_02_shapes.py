"""Exercise 2: gradients of arrays, and the differences that check them.

Fill in the three functions, then run `minivae learn check 2`.
"""

from collections.abc import Callable

import numpy as np


def add_backward(dy: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of a and of b for y = a + b under broadcasting, each with the shape of its array."""
    return dy, dy


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dx (N, K) for y = softmax(x), each row by itself; y and dy are (N, K).

    The derivative of y_k by x_i is y_k (1 - y_k) for i = k, and -y_k y_i otherwise.
    """
    return dy * y * (1 - y)


def numerical_gradient(f: Callable, x: np.ndarray, dy: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Return the gradient of sum(dy * f(x)) by x, entry by entry, by central differences. x stays as it is."""
    g = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        x[at] += eps
        g[at] = (dy * f(x)).sum() / eps
    return g
