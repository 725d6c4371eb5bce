"""Activation functions and their gradients (activation.cu). Results have the memory layout of the input."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ..contract import Array
from . import launcher
from .arrays import empty, in_memory_order, logical_order
from .launcher import ceil_div

FUNCTIONS = ("sigmoid", "tanh", "softplus", "silu", "gelu", "erf")  # in the order of activation.cu's numbers
_DTYPES, _COUNTERS = ("float", "double"), ("unsigned", "long long")
_INSTANCES = [(number, dtype) for number in range(len(FUNCTIONS)) for dtype in _DTYPES]
MODULE = launcher.Module(
    Path(__file__).with_name("activation.cu"),
    {
        "bias_relu": [(dtype, counter) for dtype in _DTYPES for counter in _COUNTERS],
        "apply": _INSTANCES,
        "apply_grad": _INSTANCES[:-2],  # all but erf, which has no gradient here
    },
)
REGISTERS = {"bias_relu": 40, "relu_grad": 32, "apply": 40, "apply_grad": 40}

THREADS = 256
MOST_FOR_32_BITS = 2**32 - THREADS  # the counters of the last block, which may go beyond the end, then fit into 32 bits


def bias_relu(x: Array, b: Array | None) -> Array:
    """x (N, C, ...), b (C,) per channel or None -> max(x + b, 0). If b is None, x may have any shape."""
    order, (source,) = in_memory_order(x)
    y = empty(source.shape, x.dtype)
    channels, inner = 1, 1
    if b is not None:
        channels, inner = x.shape[1], prod(source.shape[order.index(1) + 1 :])
    kernel = MODULE.kernel("bias_relu", x.dtype, _COUNTERS[y.size > MOST_FOR_32_BITS])
    kernel[ceil_div(y.size, THREADS), THREADS](source, b, y, y.size, channels, max(inner, 1))
    return logical_order(y, order)


def relu_grad(dy: Array, y: Array) -> Array:
    """dx = dy where y = relu(x) is positive, elsewhere dy * 0."""
    order, (y_, dy_) = in_memory_order(y, dy)
    dx = empty(y_.shape, y.dtype)
    MODULE.kernel("relu_grad", y.dtype)[ceil_div(dx.size, THREADS), THREADS](dy_, y_, dx, dx.size)
    return logical_order(dx, order)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return _apply("sigmoid", x)


def sigmoid_grad(dy: Array, y: Array) -> Array:
    """dx = dy y (1 - y), for y = sigmoid(x)."""
    return _apply_grad("sigmoid", dy, y)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return _apply("tanh", x)


def tanh_grad(dy: Array, y: Array) -> Array:
    """dx = dy (1 - y^2), for y = tanh(x)."""
    return _apply_grad("tanh", dy, y)


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return _apply("softplus", x)


def softplus_grad(dy: Array, x: Array) -> Array:
    """dx = dy sigmoid(x)."""
    return _apply_grad("softplus", dy, x)


def silu(x: Array) -> Array:
    """x sigmoid(x)."""
    return _apply("silu", x)


def silu_grad(dy: Array, x: Array) -> Array:
    """dx = dy (s + x s (1 - s)), with s = sigmoid(x)."""
    return _apply_grad("silu", dy, x)


def gelu(x: Array) -> Array:
    """x Phi(x), with the distribution function Phi of the standard normal."""
    return _apply("gelu", x)


def gelu_grad(dy: Array, x: Array) -> Array:
    """dx = dy (Phi(x) + x phi(x))."""
    return _apply_grad("gelu", dy, x)


def erf(x: Array) -> Array:
    """The error function, by CUDA's own erf, whose error is a few units in the last place."""
    return _apply("erf", x)


def _apply(name: str, x: Array) -> Array:
    order, (source,) = in_memory_order(x)
    y = empty(source.shape, x.dtype)
    kernel = MODULE.kernel("apply", FUNCTIONS.index(name), x.dtype)
    kernel[ceil_div(y.size, THREADS), THREADS](source, y, y.size)
    return logical_order(y, order)


def _apply_grad(name: str, dy: Array, x_or_y: Array) -> Array:
    """dx, in the layout of x_or_y, the function's input or output, from which the derivative is computed."""
    order, (x_or_y_, dy_) = in_memory_order(x_or_y, dy)
    dx = empty(x_or_y_.shape, x_or_y.dtype)
    kernel = MODULE.kernel("apply_grad", FUNCTIONS.index(name), x_or_y.dtype)
    kernel[ceil_div(dx.size, THREADS), THREADS](dy_, x_or_y_, dx, dx.size)
    return logical_order(dx, order)
