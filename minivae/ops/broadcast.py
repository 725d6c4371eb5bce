"""Broadcasting backwards: where the forward pass repeated an element, the backward pass sums over the repetitions.

In x + b with x (2, 3) and b (3,), each b_j is used in two rows: y_ij = x_ij + b_j. Gradients of several uses add up, so
db_j = dy_0j + dy_1j: dy (2, 3) is summed over axis 0, along which b was repeated. For b of shape (2, 1) it is summed
over axis 1, and keeps that axis with length 1. The gradient of x is dy as it is, for nothing of x was repeated.
"""

from __future__ import annotations

from minivae.autograd import Function
from minivae.kernels.contract import Array


def sum_to_shape(function: Function, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum g over the axes along which an array of this shape was broadcast to g's shape."""
    if g.shape == shape:
        return g
    new = g.ndim - len(shape)
    stretched = tuple(i for i in range(g.ndim) if i < new or (shape[i - new] == 1 and g.shape[i] != 1))
    return function.backend.reduce_sum(g, stretched, False).reshape(shape)


def to_input(function: Function, g: Array, i: int) -> Array:
    """Return g as the gradient of input i of a broadcasting operation, in that input's shape and dtype."""
    shape, dtype = function.inputs[i]
    return sum_to_shape(function, g, shape).astype(dtype, copy=False)
