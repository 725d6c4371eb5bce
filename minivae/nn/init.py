"""Initial weights: the distributions are PyTorch's defaults, the random numbers come from minivae's own generator.

Linear and convolution layers draw weight and bias from U(-b, b) with b = 1 / sqrt(fan_in). fan_in is how many products
are summed for one output, w.shape[1] * KH * KW: for a 4x4 convolution of 64 channels 64 * 4 * 4 = 1024, and b is 1/32.
(PyTorch reaches the same bound through kaiming_uniform with a = sqrt(5).) The weight of a transposed convolution has
its output channels on axis 1; PyTorch uses the same formula there all the same, and so does minivae.
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
    """A context in which at most `count` initial weights can be made in all.

    Making more raises ValueError before memory is allocated for them. A model whose sizes come from a file can thus not
    be larger than the weights that the file has for it.
    """
    token = _left.set([count])
    try:
        yield
    finally:
        _left.reset(token)


def _take(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape, and count its elements as made under at_most().

    Raises ValueError for more elements than an array may have or than at_most() has left.
    """
    count, left = prod(map(int, elements("a weight", shape))), _left.get()
    if left is not None:
        if count > left[0]:
            raise ValueError(f"weights of shape {shape} are more than the {left[0]:,} that there are for them")
        left[0] -= count
    return shape


def uniform(shape: tuple[int, ...], bound: float, dtype: Any) -> Parameter:
    """A Parameter drawn from U(-bound, bound)."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    numbers = current_generator().uniform(shape, dtype)
    return Parameter((2 * bound) * numbers - bound)


def normal(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """A Parameter drawn from N(0, 1)."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    return Parameter(current_generator().normal(shape, dtype))


def constant(shape: tuple[int, ...], value: float, dtype: Any) -> Parameter:
    """A Parameter with one value everywhere."""
    shape, dtype = _take(shape), float_dtype("dtype", dtype)
    return Parameter(np.full(shape, value, dtype))


def weight_and_bias(shape: tuple[int, ...], outputs: int, bias: bool, dtype: Any) -> tuple[Parameter, Parameter | None]:
    """The weight of a layer, of this shape, and its bias (outputs,), or None in its place if bias is False."""
    bias = flag("bias", bias)
    bound = 1 / sqrt(prod(shape[1:]))
    weight = uniform(shape, bound, dtype)
    return weight, uniform((outputs,), bound, dtype) if bias else None
