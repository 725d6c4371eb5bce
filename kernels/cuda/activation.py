"""Bias and ReLU in one pass over memory, and the backward pass of the ReLU (activation.cu)."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ..contract import Array
from ..cpu.blocks import logical_order
from . import launcher
from .arrays import empty, in_memory_order
from .launcher import ceil_div

_COUNTERS = ("unsigned", "long long")
MODULE = launcher.Module(
    Path(__file__).with_name("activation.cu"), {"bias_relu": [(t, i) for t in ("float", "double") for i in _COUNTERS]}
)
REGISTERS = {"bias_relu": 40, "relu_grad": 32}

THREADS = 256
MOST_FOR_32_BITS = 2**32 - THREADS  # numbers that an unsigned counts, with those of the last block that are none


def bias_relu(x: Array, b: Array | None) -> Array:
    """x (N, C, ...), b (C,) or None -> max(x + b, 0), in the memory layout of x."""
    order, (source,) = in_memory_order(x)
    y = empty(source.shape, x.dtype)
    channels, inner = 1, 1
    if b is not None:
        channels, inner = x.shape[1], prod(source.shape[order.index(1) + 1 :])
    kernel = MODULE.kernel("bias_relu", x.dtype, _COUNTERS[y.size > MOST_FOR_32_BITS])
    kernel[ceil_div(y.size, THREADS), THREADS](source, b, y, y.size, channels, max(inner, 1))
    return logical_order(y, order)


def relu_grad(dy: Array, y: Array) -> Array:
    """dy, y of one shape, y = relu(x) -> dx = dy * (y > 0)."""
    order, (of_y, of_dy) = in_memory_order(y, dy)
    dx = empty(of_y.shape, y.dtype)
    MODULE.kernel("relu_grad", y.dtype)[ceil_div(dx.size, THREADS), THREADS](of_dy, of_y, dx, dx.size)
    return logical_order(dx, order)
