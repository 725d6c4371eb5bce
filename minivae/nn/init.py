"""Initial weights: PyTorch's defaults, from minivae's own generator.

Linear and convolution layers draw weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), where fan_in is the number
of weights behind one axis-1 slice of the weight: w.shape[1] * KH * KW. (PyTorch reaches the same bound through
kaiming_uniform with a = sqrt(5).) For a transposed convolution that is counted the same way, as PyTorch does, although
axis 1 are the outputs there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod, sqrt
from typing import Any

import numpy as np

from minivae.kernels.checks import elements, flag, float_dtype
from minivae.random import current_generator

from .module import Parameter

_left: ContextVar[list[int] | None] = ContextVar("how many weights may be made yet", default=None)


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Inside, at most `count` initial weights are made in all: ValueError for more, before memory is taken for them.

    A model whose sizes come from a file can thus not be larger than the weights that the file has for it.
    """
    token = _left.set([count])
    try:
        yield
    finally:
        _left.reset(token)


def _take(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a weight that may be made; ValueError for more elements than an array or the model may have."""
    count, left = prod(map(int, elements("a weight", shape))), _left.get()
    if left is not None:
        if count > left[0]:
            raise ValueError(f"weights of shape {shape} are more than the {left[0]:,} that there are for them")
        left[0] -= count
    return shape


def uniform(shape: tuple[int, ...], bound: float, dtype: Any) -> Parameter:
    """U(-bound, bound)."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    numbers = current_generator().uniform(shape, dtype)
    return Parameter((2 * bound) * numbers - bound)


def normal(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """N(0, 1)."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    return Parameter(current_generator().normal(shape, dtype))


def constant(shape: tuple[int, ...], value: float, dtype: Any) -> Parameter:
    """One value everywhere."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    return Parameter(np.full(shape, value, dtype))


def weight_and_bias(shape: tuple[int, ...], outputs: int, bias: bool, dtype: Any) -> tuple[Parameter, Parameter | None]:
    """Weight of this shape and, if wanted, bias (outputs,)."""
    bias = flag("bias", bias)
    bound = 1 / sqrt(prod(shape[1:]))
    weight = uniform(shape, bound, dtype)
    return weight, uniform((outputs,), bound, dtype) if bias else None
