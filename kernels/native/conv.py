"""Convolution, its input gradient and its weight gradient: the Python side of conv.c, depthwise.c and winograd.c."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..geometry import ConvGeometry
from .library import Kernel
from .plans import (
    forward_plan,
    input_grad_plan,
    is_depthwise,
    weight_grad_plan,
    winograd_input_grad_plan,
    winograd_plan,
    winograd_turned_plan,
)

_convolve = Kernel("convolve")
_convolve_weight_grad = Kernel("convolve_weight_grad")
_depthwise_weight_grad = Kernel("depthwise_weight_grad")
_winograd = Kernel("winograd")
_winograd_input_grad = Kernel("winograd_input_grad")
_winograd_weight_grad = Kernel("winograd_weight_grad")

# Winograd's method is faster from this number of channels on, for a kernel of this size and stride.
LEAST_CHANNELS = {(3, 1): 32, (4, 2): 32}
# In its weight gradient the transforms of x and of dy go through memory, so it needs more channels: this product C OC.
LEAST_FOR_WEIGHTS = 64 * 64
MOST_PIXELS = 1024  # its input gradient is used up to this output size OH OW: all tiles of an image stay in the cache


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False) -> np.ndarray:
    """The cross-correlation of x (N, C, H, W) with w (OC, C/G, KH, KW), plus b (OC,) -> y (N, OC, OH, OW).

    x may have any memory layout; y is channels-last. With relu the result is max(y, 0).
    """
    w, b = _contiguous("conv2d", x, g.x_shape, w, b, g.OC, g)
    y = np.empty((g.N, g.OH, g.OW, g.OC), x.dtype)
    if winograd_applies(g):
        _winograd[x.dtype](winograd_plan(g).address, x, w, b, relu, y)
    else:
        _convolve[x.dtype](forward_plan(g).address, x, w, b, relu, y)
    return y.transpose(0, 3, 1, 2)


def conv2d_input_grad(
    dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False
) -> np.ndarray:
    """The transpose of conv2d as a linear map of x: dy (N, OC, OH, OW) -> dx (N, C, H, W), plus b (C,), then relu."""
    w, b = _contiguous("conv2d_input_grad", dy, g.y_shape, w, b, g.C, g)
    dx = np.empty((g.N, g.H, g.W, g.C), dy.dtype)
    if winograd_applies(g) and g.stride == (1, 1):
        _winograd[dy.dtype](winograd_turned_plan(g).address, dy, w, b, relu, dx)
    elif winograd_applies(g) and g.OH * g.OW <= MOST_PIXELS:
        dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        _winograd_input_grad[dy.dtype](winograd_input_grad_plan(g).address, dy, w, b, relu, dx)
    else:
        plan = input_grad_plan(g)
        if b is not None and plan.repeats > 1:
            b = np.tile(b.reshape(g.groups, 1, -1), (1, plan.repeats, 1)).reshape(-1)
        _convolve[dy.dtype](plan.address, dy, w, b, relu, dx)
    return dx.transpose(0, 3, 1, 2)


def conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The transpose of conv2d as a linear map of w: dy (N, OC, OH, OW), x (N, C, H, W) -> dw (OC, C/G, KH, KW)."""
    _check("conv2d_weight_grad", "dy", dy, g.y_shape)
    _check("conv2d_weight_grad", "x", x, g.x_shape)
    dw = np.empty(g.w_shape, x.dtype)
    if g.C * g.OC >= LEAST_FOR_WEIGHTS and winograd_applies(g):
        dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        _winograd_weight_grad[x.dtype](winograd_plan(g).address, x, dy, dw)
    elif is_depthwise(g):
        _depthwise_weight_grad[x.dtype](weight_grad_plan(g).address, x, dy, dw)
    else:
        _convolve_weight_grad[x.dtype](weight_grad_plan(g).address, x, dy, dw)
    return dw


@lru_cache(maxsize=1024)
def winograd_applies(g: ConvGeometry) -> bool:
    """Whether winograd.c computes this convolution: its kernel has the right size, and it has enough channels."""
    (sh, sw), least = g.stride, LEAST_CHANNELS.get((g.KH, g.stride[0]), 0)
    square = g.KH == g.KW and sh == sw and g.dilation == (1, 1) and g.groups == 1
    return square and least > 0 and g.C % 16 == 0 == g.OC % 16 and min(g.C, g.OC) >= least


def _contiguous(
    name: str,
    x: np.ndarray,
    shape: tuple[int, ...],
    w: np.ndarray,
    b: np.ndarray | None,
    channels: int,
    g: ConvGeometry,
) -> tuple[np.ndarray, np.ndarray | None]:
    """w and b in contiguous memory. Raises ValueError if a shape differs from the geometry's, which C trusts."""
    _check(name, "the input", x, shape)
    _check(name, "the weight", w, g.w_shape)
    if b is not None:
        _check(name, "the bias", b, (channels,))
        b = np.ascontiguousarray(b)
    return np.ascontiguousarray(w), b


def _check(name: str, what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: {what} must have shape {shape}, got {array.shape}")
