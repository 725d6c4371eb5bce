"""Resampling of images (N, C, H, W), max pooling and nearest-neighbour upsampling: the Python side of resample.c.

The kernels read and write channels-last memory; other inputs are copied.
"""

from __future__ import annotations

import numpy as np

from ..geometry import Pair, output_size
from .layout import channels_last, channels_second
from .library import Kernel

_max_pool2d, _max_pool2d_grad = Kernel("max_pool2d"), Kernel("max_pool2d_grad")
_upsample, _upsample_grad = Kernel("upsample"), Kernel("upsample_grad")


def max_pool2d(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair) -> tuple[np.ndarray, np.ndarray]:
    """x (N, C, H, W) -> y and winner (N, C, OH, OW): the largest number of each window, and the tap that read it.

    winner is int32: p * KW + q for the tap (p, q), the first one of equal numbers. A NaN counts as the largest number.
    Padding never wins.
    """
    N, C, H, W = x.shape
    OH, OW = (output_size(*nksp, 1) for nksp in zip((H, W), kernel, stride, padding, strict=True))
    y, winner = np.empty((N, OH, OW, C), x.dtype), np.empty((N, OH, OW, C), np.int32)
    _max_pool2d[x.dtype](N, H, W, C, OH, OW, *kernel, *stride, *padding, channels_last(x), y, winner)
    return channels_second(y), channels_second(winner)


def max_pool2d_grad(
    dy: np.ndarray, winner: np.ndarray, x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """dx (N, C, H, W): each element of dy goes to the pixel that won; where windows overlap, gradients add up."""
    (N, C, H, W), (OH, OW) = x_shape, dy.shape[2:]
    dx = np.empty((N, H, W, C), dy.dtype)
    dy_, winner_ = channels_last(dy), channels_last(winner)
    _max_pool2d_grad[dy.dtype](N, H, W, C, OH, OW, *kernel, *stride, *padding, dy_, winner_, dx)
    return channels_second(dx)


def upsample(x: np.ndarray, scale: Pair) -> np.ndarray:
    """x (N, C, H, W) -> (N, C, H * scale[0], W * scale[1]): each pixel is repeated (nearest neighbour)."""
    N, C, H, W = x.shape
    y = np.empty((N, H * scale[0], W * scale[1], C), x.dtype)
    _upsample[x.dtype](N, H, W, C, *scale, channels_last(x), y)
    return channels_second(y)


def upsample_grad(dy: np.ndarray, scale: Pair) -> np.ndarray:
    """dy (N, C, H * scale[0], W * scale[1]) -> dx (N, C, H, W): each pixel gets the sum over its copies."""
    N, C, H, W = dy.shape
    dx = np.empty((N, H // scale[0], W // scale[1], C), dy.dtype)
    _upsample_grad[dy.dtype](N, H // scale[0], W // scale[1], C, *scale, channels_last(dy), dx)
    return channels_second(dx)
