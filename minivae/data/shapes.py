"""`shapes`: grey images of one shape each, with the factors that made it: shape, scale, rotation, x, y.

A generated data set for looking at what latents have learned, in the spirit of dSprites (Matthey et al. 2017). A shape
is the set of points (u, v) of its own frame where a function is positive; the image's pixel (row i, column j) with
centre (x, y) in [0, 1]^2 belongs to it if (u, v) = R(-rotation) ((x, y) - position) / scale does. The edge is smoothed
over one pixel, as the signed distance is clipped linearly: rotations and shifts change the image continuously.
"""

from __future__ import annotations

import numpy as np

from minivae.kernels.contract import Noise
from minivae.kernels.cpu import uniform

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "rotation", "x", "y")
SEED = 0x5A9E5


def factors(count: int, seed: int = SEED) -> np.ndarray:
    """A table (count, 5) drawn uniformly: shape in {0, 1, 2}, scale in [0.10, 0.18], rotation in [0, 2 pi), x and y in

    [0.29, 0.71]; lengths are in units of the image's side, positions from its upper left corner.
    """
    u = uniform((count, 5), np.dtype(np.float64), Noise(seed, 0))
    low = np.array([0, 0.10, 0, 0.29, 0.29])
    high = np.array([len(SHAPES), 0.18, 2 * np.pi, 0.71, 0.71])
    table = low + (high - low) * u
    table[:, 0] = np.floor(table[:, 0])
    return table


def render(table: np.ndarray, size: int = 64) -> np.ndarray:
    """Factors (N, 5) -> images (N, 1, size, size), float32 in [0, 1]; ValueError for other tables or size < 8."""
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[1] != len(FACTORS) or not np.isin(table[:, 0], range(len(SHAPES))).all():
        raise ValueError(f"factors must be a table (N, 5) of {FACTORS} with shape in {{0, 1, 2}}, got {table.shape}")
    if size < 8:
        raise ValueError(f"size must be at least 8, got {size}")
    images = np.empty((len(table), 1, size, size), np.float32)
    centres = (np.arange(size) + 0.5) / size
    for kind, distance in enumerate((_square, _ellipse, _heart)):
        for start in range(0, len(table), 256):
            chosen = np.flatnonzero(table[start : start + 256, 0] == kind) + start
            _, scale, rotation, x, y = table[chosen].T[:, :, None, None]  # (n, 1, 1) each
            dx, dy = centres[None, None, :] - x, centres[None, :, None] - y
            u = (np.cos(rotation) * dx + np.sin(rotation) * dy) / scale
            v = (np.cos(rotation) * dy - np.sin(rotation) * dx) / scale
            inside = distance(u, v) * scale * size  # in pixels
            images[chosen, 0] = np.clip(inside + 0.5, 0, 1)
    return images


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half side 1: the signed distance to the nearest side."""
    return 1 - np.maximum(np.abs(u), np.abs(v))


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half axes 1.3 and 0.8; a function's value over the length of its gradient is the distance to first order."""
    a, b = 1.3, 0.8
    f = 1 - (u / a) ** 2 - (v / b) ** 2
    gradient = 2 * np.hypot(u / a**2, v / b**2)
    return f / np.maximum(gradient, 0.5)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(p^2 + q^2 - 1)^3 = p^2 q^3 with its point down; distance as for the ellipse, the cubic root taken first."""
    p, q = u * 1.05, -v * 1.05 + 0.1
    f = 1 - (p**2 + q**2) + np.cbrt(p**2 * q**3)
    return f * 0.5
