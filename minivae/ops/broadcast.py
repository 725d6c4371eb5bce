"""Broadcasting backwards: where the forward pass repeated an element, the backward pass sums over the repetitions."""

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
    """g as the gradient of input i of a broadcasting operation: of its shape and dtype."""
    shape, dtype = function.inputs[i]
    return sum_to_shape(function, g, shape).astype(dtype, copy=False)
