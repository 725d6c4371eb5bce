"""Arithmetic of two arrays under NumPy's broadcasting, and choosing between them."""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import number
from minivae.kernels.contract import Array

from .broadcast import to_input


class Add(Function):
    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def backward(self, dy: Array) -> Any:
        return tuple(to_input(self, dy, i) if self.needs[i] else None for i in range(2))


class Sub(Function):
    def forward(self, a: Array, b: Array) -> Array:
        return a - b

    def backward(self, dy: Array) -> Any:
        da = to_input(self, dy, 0) if self.needs[0] else None
        db = to_input(self, -dy, 1) if self.needs[1] else None
        return da, db


class Mul(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a * b

    def backward(self, dy: Array) -> Any:
        a, b = self.saved
        da = to_input(self, dy * b, 0) if self.needs[0] else None
        db = to_input(self, dy * a, 1) if self.needs[1] else None
        return da, db


class Div(Function):
    def forward(self, a: Array, b: Array) -> Array:
        self.save(a, b)
        return a / b

    def backward(self, dy: Array) -> Any:
        a, b = self.saved
        da = to_input(self, dy / b, 0) if self.needs[0] else None
        db = to_input(self, -dy * a / (b * b), 1) if self.needs[1] else None
        return da, db


class Pow(Function):
    """y = a^b. The derivative with respect to b is a^b log a, which is 0 where a is 0 (the limit for b > 0)."""

    def forward(self, a: Array, b: Array) -> Array:
        y = a**b
        self.save(a, b, y)
        return y

    def backward(self, dy: Array) -> Any:
        a, b, y = self.saved
        da = db = None
        if self.needs[0]:
            # x^0 has derivative 0 everywhere; b a^(b-1) would be 0 * inf at a = 0, so the exponent is 0 there, not -1
            da = to_input(self, dy * (b * a ** (b - 1 + (b == 0))), 0)
        if self.needs[1]:
            db = to_input(self, dy * y * self.backend.xp.log(a + (a == 0)), 1)
        return da, db


class Neg(Function):
    def forward(self, x: Array) -> Array:
        return -x

    def backward(self, dy: Array) -> Array:
        return -dy


class Extremum(Function):
    """y = maximum(a, b) or minimum(a, b), by NumPy's name. Equal elements get half of the gradient each."""

    def forward(self, a: Array, b: Array, name: str) -> Array:
        y = getattr(self.backend.xp, name)(a, b)
        self.save(a, b, y)
        return y

    def backward(self, dy: Array) -> Any:
        a, b, y = self.saved
        share = dy / (1 + (a == b)).astype(dy.dtype)
        da = to_input(self, share * (a == y), 0) if self.needs[0] else None
        db = to_input(self, share * (b == y), 1) if self.needs[1] else None
        return da, db


class Where(Function):
    def forward(self, condition: Array, a: Array, b: Array) -> Array:
        self.save(condition)
        return self.backend.xp.where(condition, a, b)

    def backward(self, dy: Array) -> Any:
        (condition,) = self.saved
        xp = self.backend.xp
        da = to_input(self, xp.where(condition, dy, 0), 1) if self.needs[1] else None
        db = to_input(self, xp.where(condition, 0, dy), 2) if self.needs[2] else None
        return None, da, db


def add(a: Any, b: Any) -> Tensor:
    """Return a + b, with broadcasting."""
    return Add.apply(a, b)


def sub(a: Any, b: Any) -> Tensor:
    """Return a - b, with broadcasting."""
    return Sub.apply(a, b)


def mul(a: Any, b: Any) -> Tensor:
    """Return a * b, with broadcasting."""
    return Mul.apply(a, b)


def div(a: Any, b: Any) -> Tensor:
    """Return a / b, with broadcasting."""
    return Div.apply(a, b)


def pow(a: Any, b: Any) -> Tensor:
    """Return a ** b, with broadcasting. A gradient with respect to b needs a >= 0."""
    return Pow.apply(a, b)


def neg(x: Any) -> Tensor:
    """Return -x."""
    return Neg.apply(x)


def maximum(a: Any, b: Any) -> Tensor:
    """Return the larger of a and b, element by element. Equal elements share the gradient."""
    return Extremum.apply(a, b, name="maximum")


def minimum(a: Any, b: Any) -> Tensor:
    """Return the smaller of a and b, element by element. Equal elements share the gradient."""
    return Extremum.apply(a, b, name="minimum")


def clip(x: Any, low: float, high: float) -> Tensor:
    """Limit x to [low, high], where either may be infinite. Raise ValueError unless low <= high."""
    low, high = number("low", low, "[-inf, inf]"), number("high", high, "[-inf, inf]")
    if not low <= high:
        raise ValueError(f"clip needs low <= high, got {low} and {high}")
    return minimum(maximum(x, low), high)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Return a where condition holds, else b; all three broadcast. Raise TypeError unless condition is boolean."""
    condition = as_tensor(condition)
    if condition.dtype != bool:
        raise TypeError(f"where needs a boolean condition, got {condition.dtype}")
    return Where.apply(condition, a, b)
