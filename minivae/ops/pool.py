"""Resampling of images: max pooling down, nearest-neighbour upsampling up."""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import elements
from minivae.kernels.contract import Array
from minivae.kernels.geometry import Pair, as_pair, output_size

from .arguments import check_dtypes


class MaxPool2d(Function):
    """A running maximum over the KH * KW positions in the window, each a strided slice of the whole batch.

    The first largest element of a window, in row-major order, gets the gradient. Windows may overlap: gradients add up.
    """

    def forward(self, x: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
        xp = self.backend.xp
        N, C, H, W = x.shape
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.out = tuple(output_size(*nksp, 1) for nksp in zip((H, W), kernel, stride, padding, strict=True))
        ph, pw = padding
        padded = xp.full((N, C, H + 2 * ph, W + 2 * pw), -xp.inf, x.dtype)
        padded[:, :, ph : ph + H, pw : pw + W] = x
        candidates = [padded[window] for window in self._windows()]
        y = candidates[0].copy()
        for candidate in candidates[1:]:
            y = xp.maximum(y, candidate)
        taken = xp.zeros(y.shape, bool)
        winners = []
        for candidate in candidates:
            winners.append((candidate == y) & ~taken)
            taken |= winners[-1]
        self.save(*winners)
        return y

    def backward(self, dy: Array) -> Array:
        winners = self.saved
        (N, C, H, W), _ = self.inputs[0]
        ph, pw = self.padding
        padded = self.backend.xp.zeros((N, C, H + 2 * ph, W + 2 * pw), dy.dtype)
        for window, winner in zip(self._windows(), winners, strict=True):
            padded[window] += dy * winner
        return padded[:, :, ph : ph + H, pw : pw + W]

    def _windows(self) -> Any:
        """For each position in the window the slice that all windows have there."""
        for p in range(self.kernel[0]):
            for q in range(self.kernel[1]):
                rows, columns = (
                    slice(start, start + step * (n - 1) + 1, step)
                    for start, step, n in zip((p, q), self.stride, self.out, strict=True)
                )
                yield (slice(None), slice(None), rows, columns)


class Upsample(Function):
    def forward(self, x: Array, scale: Pair) -> Array:
        self.scale = scale
        return x.repeat(scale[0], axis=2).repeat(scale[1], axis=3)

    def backward(self, dy: Array) -> Array:
        (N, C, H, W), _ = self.inputs[0]
        return self.backend.reduce_sum(dy.reshape(N, C, H, self.scale[0], W, self.scale[1]), (3, 5), False)


def max_pool2d(x: Any, kernel_size: int | Pair, stride: int | Pair | None = None, padding: int | Pair = 0) -> Tensor:
    """The largest of each window: x (N, C, H, W) -> (N, C, OH, OW), sizes as for conv2d; stride: kernel_size if None.

    Raises ValueError for arguments that do not fit; padding may be at most half of the window, so that no window
    lies outside the image.
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
    """Each pixel repeated: x (N, C, H, W) -> (N, C, H * scale, W * scale), nearest neighbour."""
    x, scale = as_tensor(x), as_pair("scale_factor", scale_factor, 1)
    _check_image("upsample", x)
    elements("upsample: an output", (*x.shape[:2], x.shape[2] * scale[0], x.shape[3] * scale[1]))
    return Upsample.apply(x, scale=scale)


def _check_image(name: str, x: Tensor) -> None:
    if x.ndim != 4 or min(x.shape[1:]) < 1:
        raise ValueError(f"{name} needs images (N, C, H, W), got shape {x.shape}")
    check_dtypes(name, x)
