"""Bias and ReLU in one pass over memory, and the backward pass of the ReLU.

A layer's output is read and written once: a block of it is in the cache while its bias is added and what is negative is
cut off. Two habits of NumPy are walked around. np.maximum with a scalar is seven times slower than with an array of
zeros, and a product of floats with a mask casts the mask in small pieces, which a copy does at once.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from .blocks import BLOCK, blocks, logical_order, memory_order
from .columns import workspace


def bias_relu(x: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """x (N, C, ...), b (C,) or None -> max(x + b, 0), in the memory layout of x."""
    order = memory_order(x)
    lengths = [x.shape[axis] for axis in order]
    shape = (x.size, 1, 1)
    if b is not None:
        channel = order.index(1)
        shape = prod(lengths[:channel]), lengths[channel], prod(lengths[channel + 1 :])
    y = np.empty(lengths, x.dtype)
    rows, out = np.ascontiguousarray(x.transpose(order)).reshape(shape), y.reshape(shape)  # (A, C, B)
    for block in blocks(len(rows), shape[1] * shape[2]):
        to = out[block]
        source = rows[block] if b is None else np.add(rows[block], b[:, None], out=to)
        np.maximum(source, _zeros(to.shape, x.dtype), out=to)
    return logical_order(y, order)


def relu_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dy, y of one shape, y = relu(x) -> dx = dy * (y > 0)."""
    order = memory_order(y)
    of_y, of_dy = (np.ascontiguousarray(a.transpose(order)).reshape(-1) for a in (y, dy))
    dx = np.empty_like(of_dy)
    for block in blocks(dx.size):
        to = dx[block]
        np.copyto(to, np.greater(of_y[block], 0, out=workspace(0, to.shape, np.dtype(bool))))
        to *= of_dy[block]
    return logical_order(dx.reshape([y.shape[axis] for axis in order]), order)


def cut_off(x: np.ndarray) -> None:
    """max(x, 0) in place; x (..., n) with long rows."""
    np.maximum(x, _zeros(x.shape[-1:], x.dtype), out=x)


def _zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = prod(shape)
    zeros = _zero_block(dtype) if size <= BLOCK else np.zeros(size, dtype)
    return zeros[:size].reshape(shape)


@lru_cache
def _zero_block(dtype: np.dtype) -> np.ndarray:
    zeros = np.zeros(BLOCK, dtype)
    zeros.flags.writeable = False
    return zeros
