"""Max pooling and nearest-neighbour upsampling (kernels in resample.cu).

The kernels read and write channels-last memory; other inputs are copied.
"""

from __future__ import annotations

from pathlib import Path

from ..contract import Array
from ..geometry import Pair, output_size
from . import launcher
from .arrays import channels_last, empty

MODULE = launcher.Module(Path(__file__).with_name("resample.cu"))
REGISTERS = {"max_pool": 48, "max_pool_grad": 48, "upsample": 32, "upsample_grad": 40}

THREADS = 256


def max_pool2d(x: Array, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, Array]:
    """x (N, C, H, W) -> y and winner (N, C, OH, OW): the largest number of each window, and the tap that read it.

    winner is int32: p * KW + q for the tap (p, q), the first one of equal numbers. A NaN counts as the largest number.
    """
    sizes = _sizes(x.shape, kernel, stride, padding)
    shape = x.shape[0], sizes["OH"], sizes["OW"], x.shape[1]
    y, winner = empty(shape, x.dtype), empty(shape, "int32")
    MODULE.kernel("max_pool", x.dtype)[shape[0] * shape[1], THREADS](channels_last(x), y, winner, sizes)
    return y.transpose(0, 3, 1, 2), winner.transpose(0, 3, 1, 2)


def max_pool2d_grad(
    dy: Array, winner: Array, x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair
) -> Array:
    """dx (N, C, H, W): each element of dy goes to the pixel that won; where windows overlap, gradients add up."""
    N, C, H, W = x_shape
    dx = empty((N, H, W, C), dy.dtype)
    sizes = _sizes(x_shape, kernel, stride, padding)
    launch = MODULE.kernel("max_pool_grad", dy.dtype)[N * H, THREADS]
    launch(channels_last(dy), channels_last(winner), dx, sizes)
    return dx.transpose(0, 3, 1, 2)


def upsample(x: Array, scale: Pair) -> Array:
    """x (N, C, H, W) -> (N, C, H * scale[0], W * scale[1]): each pixel is repeated (nearest neighbour)."""
    N, C, H, W = x.shape
    y = empty((N, H * scale[0], W * scale[1], C), x.dtype)
    MODULE.kernel("upsample", x.dtype)[N * H * scale[0], THREADS](channels_last(x), y, C, W, *scale)
    return y.transpose(0, 3, 1, 2)


def upsample_grad(dy: Array, scale: Pair) -> Array:
    """dy (N, C, H * scale[0], W * scale[1]) -> dx (N, C, H, W): each pixel gets the sum over its copies."""
    N, C, H, W = dy.shape
    dx = empty((N, H // scale[0], W // scale[1], C), dy.dtype)
    grid = N * dx.shape[1]
    MODULE.kernel("upsample_grad", dy.dtype)[grid, THREADS](channels_last(dy), dx, C, dx.shape[2], *scale)
    return dx.transpose(0, 3, 1, 2)


def _sizes(x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> dict[str, int]:
    """The struct Pooling of resample.cu."""
    _, C, H, W = x_shape
    OH, OW = (output_size(n, k, s, p, 1) for n, k, s, p in zip((H, W), kernel, stride, padding, strict=True))
    (KH, KW), (sh, sw), (ph, pw) = kernel, stride, padding
    return {
        **{"C": C, "H": H, "W": W, "OH": OH, "OW": OW},
        **{"KH": KH, "KW": KW, "sh": sh, "sw": sw, "ph": ph, "pw": pw},
    }
