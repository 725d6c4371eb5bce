"""Exercise 2: gradients of arrays, and the differences that check them.

Fill in the three functions, then run `minivae learn check 2`.
"""

from collections.abc import Callable

import numpy as np


def add_backward(dy: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of a and of b for y = a + b under broadcasting, each with the shape of its array."""
    raise NotImplementedError


def softmax_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return dx (N, K) for y = softmax(x), each row by itself; y and dy are (N, K).

    The derivative of y_k by x_i is y_k (1 - y_k) for i = k, and -y_k y_i otherwise.
    """
    raise NotImplementedError


def numerical_gradient(f: Callable, x: np.ndarray, dy: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Return the gradient of sum(dy * f(x)) by x, entry by entry, by central differences. x stays as it is."""
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close, expect_gradient

RNG = np.random.default_rng(1)


def check_add_backward(yours) -> None:
    for left, right in (((2, 3), (3,)), ((2, 1), (2, 3)), ((4, 1, 3), (2, 1)), ((), (2, 2))):
        a, b = RNG.normal(size=left), RNG.normal(size=right)
        dy = RNG.normal(size=(a + b).shape)
        da, db = yours.add_backward(dy, a, b)
        shapes = f"for shapes {left} and {right}"
        expect_gradient(f"da {shapes}", lambda a, b=b: a + b, a, dy, da)
        expect_gradient(f"db {shapes}", lambda b, a=a: a + b, b, dy, db)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def check_softmax_backward(yours) -> None:
    x, dy = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    expect_gradient("dx", _softmax, x, dy, yours.softmax_backward(dy, _softmax(x)))


def check_numerical_gradient(yours) -> None:
    x, dy = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 3))
    before = x.copy()
    found = yours.numerical_gradient(lambda x: x**3, x, dy)
    expect(np.array_equal(x, before), "x must stay as it is")
    expect_close("the gradient of x^3", found, 3 * x**2 * dy, tolerance=1e-4)
    found = yours.numerical_gradient(np.exp, x, dy, eps=1e-3)
    told = "central differences leave an error of eps^2, yours a larger one"
    expect(np.abs(found / (np.exp(x) * dy) - 1).max() < 1e-5, told)
