"""Resampling of images (N, C, H, W): max pooling makes them smaller, nearest-neighbour upsampling larger."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..geometry import Pair, output_size


def max_pool2d(x: np.ndarray, kernel: Pair, stride: Pair, padding: Pair) -> tuple[np.ndarray, np.ndarray]:
    """x (N, C, H, W) -> y and winner (N, C, OH, OW): the largest number of each window, and the tap that read it.

    winner is int32: p * KW + q for the tap (p, q), the first one of equal numbers. A NaN counts as the largest number
    and padding as -inf. If a whole window is -inf, any of its taps may be the winner.
    """
    (ph, pw), (OH, OW) = padding, _out(x.shape, kernel, stride, padding)
    padded = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)], constant_values=-np.inf)
    candidates = np.stack([padded[window] for window in _windows(kernel, stride, OH, OW)])  # (KH KW, N, C, OH, OW)
    return candidates.max(axis=0), candidates.argmax(axis=0).astype(np.int32)


def max_pool2d_grad(
    dy: np.ndarray, winner: np.ndarray, x_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair
) -> np.ndarray:
    """dx (N, C, H, W): each element of dy goes to the pixel that won; where windows overlap, gradients add up."""
    (N, C, H, W), (ph, pw) = x_shape, padding
    padded = np.zeros((N, C, H + 2 * ph, W + 2 * pw), dy.dtype)
    for tap, window in enumerate(_windows(kernel, stride, *dy.shape[2:])):
        padded[window] += dy * (winner == tap)
    return padded[:, :, ph : ph + H, pw : pw + W]


def upsample(x: np.ndarray, scale: Pair) -> np.ndarray:
    """x (N, C, H, W) -> (N, C, H * scale[0], W * scale[1]): each pixel is repeated (nearest neighbour)."""
    return x.repeat(scale[0], axis=2).repeat(scale[1], axis=3)


def upsample_grad(dy: np.ndarray, scale: Pair) -> np.ndarray:
    """dy (N, C, H * scale[0], W * scale[1]) -> dx (N, C, H, W): each pixel gets the sum over its copies."""
    N, C, H, W = dy.shape
    return dy.reshape(N, C, H // scale[0], scale[0], W // scale[1], scale[1]).sum(axis=(3, 5))


def _out(shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> list[int]:
    """The output size, OH and OW."""
    return [output_size(n, k, s, p, 1) for n, k, s, p in zip(shape[2:], kernel, stride, padding, strict=True)]


def _windows(kernel: Pair, stride: Pair, OH: int, OW: int) -> Iterator[tuple[slice, ...]]:
    """For each tap (p, q), in row-major order, the index of the part of the padded image that is read through it."""
    for p, q in np.ndindex(*kernel):
        rows = slice(p, p + stride[0] * (OH - 1) + 1, stride[0])
        columns = slice(q, q + stride[1] * (OW - 1) + 1, stride[1])
        yield slice(None), slice(None), rows, columns
