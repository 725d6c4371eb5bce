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
    raise NotImplementedError


def power(x: Value, n: int) -> Value:
    """Return the Value x^n for a whole number n >= 1."""
    raise NotImplementedError


def backward(result: Value) -> None:
    """Add to the grad of every Value below `result` the derivative of result by it; result.grad becomes 1.

    A Value that is used twice gets the sum of what comes back from both uses, and passes it on once, when it is whole.
    """
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close


class _Counted(tuple):
    """The parents of a Value, which count how often they are walked through: `visits` has that one number."""

    def __new__(cls, parents, visits):
        self = super().__new__(cls, parents)
        self.visits = visits
        return self

    def __iter__(self):
        self.visits[0] += 1
        expect(self.visits[0] < 10_000, "100 doublings are 101 Values, yours walks through their parents 10,000 times")
        return super().__iter__()


def check_tanh(yours) -> None:
    for x in (-1.3, 0.0, 0.4):
        y = yours.tanh(yours.Value(x))
        expect_close(f"tanh({x})", y.data, math.tanh(x))
        expect_close(f"the derivative of tanh at {x}", y.local[0], 1 - math.tanh(x) ** 2)


def check_power(yours) -> None:
    for x, n in ((1.5, 3), (-2.0, 2), (0.0, 1)):
        y = yours.power(yours.Value(x), n)
        expect_close(f"{x}^{n}", y.data, x**n)
        expect_close(f"the derivative of x^{n} at {x}", y.local[0], n * x ** (n - 1))


def check_backward(yours) -> None:
    Value = yours.Value
    a = Value(3.0)
    b = Value(2 * a.data, (a, a), (1.0, 1.0))  # b = a + a
    c = Value(a.data * b.data, (a, b), (b.data, a.data))  # c = a * b = 2 a^2
    yours.backward(c)
    expect_close("dc/da of c = a * (a + a) at a = 3", a.grad, 12.0)
    expect_close("dc/db", b.grad, 3.0)
    expect_close("dc/dc", c.grad, 1.0)
    a = Value(3.0)
    b = Value(2 * a.data, (a, a), (1.0, 1.0))
    square = Value(b.data**2, (b, b), (b.data, b.data))
    y = Value(b.data + square.data, (b, square), (1.0, 1.0))
    yours.backward(y)
    told = "in y = b + b * b with b = a + a, where b has its turn after b * b, not before: dy/d"
    expect_close(f"{told}b at a = 3", b.grad, 13.0)
    expect_close(f"{told}a at a = 3", a.grad, 26.0)
    x = y = Value(1.0)
    visits = [0]
    for _ in range(100):  # walked path by path this takes 2^100 steps
        y = Value(2 * y.data, _Counted((y, y), visits), (1.0, 1.0))
    yours.backward(y)
    expect(x.grad == 2.0**100, f"after 100 doublings dy/dx must be 2^100 = {2.0**100:.4g}, yours is {x.grad:.4g}")
