"""Exercise 1: two operations for the scalar engine of lesson 1, and the order of its backward pass.

Fill in the three functions, then run `minivae learn check 1`.

A Value holds a number. `parents` are the Values that it was made of, and `local` the derivative by each of them:
for y = a * b, parents = (a, b) and local = (b.data, a.data).
"""

import math


class Value:
    def __init__(self, data: float, parents: tuple = (), local: tuple = ()) -> None:
        self.data, self.parents, self.local = data, parents, local
        self.grad = 0.0


def tanh(x: Value) -> Value:
    """Return the Value tanh(x). Its derivative is 1 - tanh(x)^2."""
    y = math.tanh(x.data)
    return Value(y, (x,), (1 - y * y,))


def power(x: Value, n: int) -> Value:
    """Return the Value x^n for a whole number n >= 1."""
    return Value(x.data**n, (x,), (n * x.data ** (n - 1),))


def backward(result: Value) -> None:
    """Add to the grad of every Value below `result` the derivative of result by it; result.grad becomes 1.

    A Value that is used twice gets the sum of what comes back from both uses, and passes it on once, when it is whole.
    """

    def visit(v, g):
        v.grad += g
        for p, local in zip(v.parents, v.local, strict=True):
            visit(p, g * local)

    visit(result, 1.0)
