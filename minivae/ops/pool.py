"""Resampling of images: max pooling down, nearest-neighbour upsampling up."""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import elements
from minivae.kernels.contract import Array
from minivae.kernels.geometry import Pair, as_pair

from .arguments import check_dtypes


class MaxPool2d(Function):
    """It takes the largest number of each window. The first of equal ones, in row-major order, gets the gradient."""

    def forward(self, x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
        self.window = kernel, stride, padding
        y, winner = self.backend.max_pool2d(x, *self.window)
        self.save(winner)
        return y

    def backward(self, dy: Array) -> Array:
        (winner,) = self.saved
        shape, _ = self.inputs[0]
        return self.backend.max_pool2d_grad(dy, winner, shape, *self.window)


class Upsample(Function):
    def forward(self, x: Array, scale: Pair) -> Array:
        self.scale = scale
        return self.backend.upsample(x, scale)

    def backward(self, dy: Array) -> Array:
        return self.backend.upsample_grad(dy, self.scale)


def max_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Tensor:
    """Return the largest number of each window: x (N, C, H, W) -> (N, C, OH, OW), with sizes as for conv2d.

    stride: kernel_size if None. Raises ValueError for arguments that do not fit; padding may be at most half of the
    window, so that no window lies outside the image.
    """
    x = as_tensor(x)
    kernel = as_pair("kernel_size", kernel_size, 1)
    step = kernel if stride is None else as_pair("stride", stride, 1)
    border = as_pair("padding", padding, 0)
    _check_image("max_pool2d", x)
    if any(2 * p > k for p, k in zip(border, kernel, strict=True)):
        raise ValueError(f"max_pool2d: padding {border} is more than half of the window {kernel}")
    if any(n + 2 * p < k for n, p, k in zip(x.shape[2:], border, kernel, strict=True)):
        raise ValueError(f"max_pool2d: the window {kernel} does not fit into input {x.shape} with padding {border}")
    return MaxPool2d.apply(x, kernel=kernel, stride=step, padding=border)


def upsample(x: Any, scale_factor: int | Pair) -> Tensor:
    """Repeat each pixel (nearest neighbour): x (N, C, H, W) -> (N, C, H * scale, W * scale)."""
    x, scale = as_tensor(x), as_pair("scale_factor", scale_factor, 1)
    _check_image("upsample", x)
    elements("upsample: an output", (*x.shape[:2], x.shape[2] * scale[0], x.shape[3] * scale[1]))
    return Upsample.apply(x, scale=scale)


def _check_image(name: str, x: Tensor) -> None:
    if x.ndim != 4 or min(x.shape[1:]) < 1:
        raise ValueError(f"{name} needs images (N, C, H, W), got shape {x.shape}")
    check_dtypes(name, x)
