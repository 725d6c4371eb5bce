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

from minivae.kernels.checks import elements, flag, float_dtype
from minivae.random import default_generator

from .module import Parameter


def uniform(shape: tuple[int, ...], bound: float, dtype: Any) -> Parameter:
    """U(-bound, bound)."""
    shape, dtype = elements("a weight", shape), float_dtype("dtype", dtype)
    numbers = default_generator.uniform(shape, dtype)
    return Parameter((2 * bound) * numbers - bound)


def normal(shape: tuple[int, ...], dtype: Any) -> Parameter:
    """N(0, 1)."""
    shape, dtype = elements("a weight", shape), float_dtype("dtype", dtype)
    return Parameter(default_generator.normal(shape, dtype))


def constant(shape: tuple[int, ...], value: float, dtype: Any) -> Parameter:
    """One value everywhere."""
    return Parameter(np.full(elements("a weight", shape), value, float_dtype("dtype", dtype)))


def weight_and_bias(shape: tuple[int, ...], outputs: int, bias: bool, dtype: Any) -> tuple[Parameter, Parameter | None]:
    """Weight of this shape and, if wanted, bias (outputs,)."""
    bias = flag("bias", bias)
    bound = 1 / sqrt(prod(shape[1:]))
    weight = uniform(shape, bound, dtype)
    return weight, uniform((outputs,), bound, dtype) if bias else None
