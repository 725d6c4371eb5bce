"""Activation functions and their gradients: the Python side of activation.c."""

from __future__ import annotations

from math import prod

import numpy as np

from .layout import in_memory_order, logical_order
from .library import Kernel

_FUNCTIONS = ("relu", "sigmoid", "tanh", "softplus", "silu", "gelu", "erf")
_GRADIENTS = ("relu_grad", "sigmoid_grad", "tanh_grad", "softplus_grad", "silu_grad", "gelu_grad")
_KERNELS = {name: Kernel(name) for name in (*_FUNCTIONS, *_GRADIENTS)}
_bias_relu = Kernel("bias_relu")
MOST_LANES = 16  # numbers in the longest vector of the C kernels


def bias_relu(x: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """x (N, C, ...), b (C,) per channel or None -> max(x + b, 0). If b is None, x may have any shape."""
    if b is None or not x.size:
        return _map("relu", x)
    (x_,), order = in_memory_order(x)
    channel = 1 if order is None else order.index(1)
    inner = prod(x_.shape[channel + 1 :])
    period = len(b) * inner  # elements of x after which b begins again; C takes a multiple of the vector's length
    b = np.resize(b if inner == 1 else b.repeat(inner), period * MOST_LANES // np.gcd(period, MOST_LANES))
    y = np.empty_like(x_)
    _bias_relu[x.dtype](x_.size, b.size, x_, b, y)
    return logical_order(y, order)


def relu_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy where y = relu(x) is positive, else dy * 0."""
    return _map2("relu_grad", dy, y)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return _map("sigmoid", x)


def sigmoid_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy y (1 - y), for y = sigmoid(x)."""
    return _map2("sigmoid_grad", dy, y)


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return _map("tanh", x)


def tanh_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy (1 - y^2), for y = tanh(x)."""
    return _map2("tanh_grad", dy, y)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return _map("softplus", x)


def softplus_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy sigmoid(x)."""
    return _map2("softplus_grad", dy, x)


def silu(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x)."""
    return _map("silu", x)


def silu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy (s + x s (1 - s)), with s = sigmoid(x)."""
    return _map2("silu_grad", dy, x)


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), with the distribution function Phi of the standard normal."""
    return _map("gelu", x)


def gelu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy (Phi(x) + x phi(x)), with the density phi of the standard normal."""
    return _map2("gelu_grad", dy, x)


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return _map("erf", x)


def _map(name: str, x: np.ndarray) -> np.ndarray:
    (x_,), order = in_memory_order(x)
    y = np.empty_like(x_)
    _KERNELS[name][x.dtype](x_.size, x_, y)
    return logical_order(y, order)


def _map2(name: str, dy: np.ndarray, x_or_y: np.ndarray) -> np.ndarray:
    """dx, in the layout of x_or_y, the function's input or output, from which the derivative is computed."""
    (x_or_y_, dy_), order = in_memory_order(x_or_y, dy)
    dx = np.empty_like(x_or_y_)
    _KERNELS[name][x_or_y.dtype](x_or_y_.size, dy_, x_or_y_, dx)
    return logical_order(dx, order)
