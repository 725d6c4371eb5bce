"""Initial weights: PyTorch's defaults, from minivae's own generator.

Linear and convolution layers draw weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), where fan_in is the number
of weights behind one axis-1 slice of the weight: w.shape[1] * KH * KW. (PyTorch reaches the same bound through
kaiming_uniform with a = sqrt(5).) For a transposed convolution that is counted the same way, as PyTorch does, although
axis 1 are the outputs there.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import numpy as np

from minivae.random import current_generator

from .module import Parameter


def uniform(shape: tuple[int, ...], bound: float, dtype: Any) -> Parameter:
    """U(-bound, bound)."""
    numbers = current_generator().uniform(shape, dtype)
    return Parameter((2 * bound) * numbers - bound)


def normal(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """N(0, 1)."""
    return Parameter(current_generator().normal(shape, dtype))


def constant(shape: tuple[int, ...], value: float, dtype: Any) -> Parameter:
    """One value everywhere."""
    return Parameter(np.full(shape, value, dtype))


def weight_and_bias(shape: tuple[int, ...], outputs: int, bias: bool, dtype: Any) -> tuple[Parameter, Parameter | None]:
    """Weight of this shape and, if wanted, bias (outputs,)."""
    bound = 1 / sqrt(prod(shape[1:]))
    weight = uniform(shape, bound, dtype)
    return weight, uniform((outputs,), bound, dtype) if bias else None
