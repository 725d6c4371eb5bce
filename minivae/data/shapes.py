"""The data set `shapes`: grey images, each of one shape that is drawn from five factors: shape, scale, rotation, x, y.

The factors are known, so one can look at what the latents of a model have learned about them, as with dSprites
(Matthey et al. 2017). A shape is defined in its own coordinates (u, v), with its centroid in the origin, by the
function depth(u, v): the distance from the point to the edge, positive inside the shape and negative outside. The pixel
in row i and column j has its centre at (j + 1/2, i + 1/2) / size. In the coordinates of the shape that is

    (u, v) = R(-rotation) (centre - (x, y)) / scale,

and the grey value of the pixel is

    clip(1/2 + scale * size * depth(u, v), 0, 1).

The edge is thus one pixel wide and grey, so a small change of a factor changes the image by little.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from minivae.kernels.contract import Noise
from minivae.kernels.reference import uniform

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "rotation", "x", "y")
SEED = 0x5A9E5
SMALLEST = 8  # pixels per side; in smaller images the shapes are dots
BLOCK = 64  # images that are rendered at a time, so that the coordinates stay in the cache


def generate(count: int, size: int = 64, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 1, size, size), float32 in [0, 1], and the table (count, 5) of their FACTORS, float64.

    Raises ValueError for size < 8.
    """
    table = factors(count, seed)
    return render(table, size), table


def factors(count: int, seed: int = SEED) -> np.ndarray:
    """A table (count, 5) of factors, drawn uniformly. A larger count appends rows and leaves the first ones unchanged.

    The columns are: shape in {0, 1, 2}; scale in [0.10, 0.18]; rotation in [0, 2 pi), in radians, clockwise on the
    screen; x and y in [0.3, 0.7], the position of the centroid, measured from the upper left corner. Scale and position
    are in units of the image's side. No point of a shape is farther than sqrt(2) * scale from its centroid, so the
    whole shape is inside the image.
    """
    u = uniform((count, len(FACTORS)), np.dtype(np.float64), Noise(seed, 0))
    low = np.array([0, 0.10, 0, 0.3, 0.3])
    high = np.array([len(SHAPES), 0.18, 2 * pi, 0.7, 0.7])
    table = low + (high - low) * u
    table[:, 0] = np.floor(table[:, 0])
    return table


def render(table: np.ndarray, size: int = 64) -> np.ndarray:
    """Factors (N, 5) -> images (N, 1, size, size), float32 in [0, 1].

    Raises ValueError for a table of another shape or with impossible factors, and for size < 8.
    """
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[1] != len(FACTORS):
        raise ValueError(f"factors must be a table (N, 5) of {', '.join(FACTORS)}, got shape {table.shape}")
    if not np.isin(table[:, 0], range(len(SHAPES))).all() or not (table[:, 1] > 0).all():
        raise ValueError("the shape must be 0 (square), 1 (ellipse) or 2 (heart), and the scale positive")
    if size < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST}, got {size}")
    images = np.empty((len(table), 1, size, size), np.float32)
    for kind, depth in enumerate(DEPTHS):
        rows = np.flatnonzero(table[:, 0] == kind)
        for start in range(0, len(rows), BLOCK):
            chosen = rows[start : start + BLOCK]
            images[chosen, 0] = _render(table[chosen], size, depth)
    return images


Depth = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _render(table: np.ndarray, size: int, depth: Depth) -> np.ndarray:
    """Rows (n, 5) with equal first factor -> images (n, size, size); depth is that of their shape."""
    _, scale, rotation, x, y = table.T[:, :, None, None]  # (n, 1, 1) each
    centres = (np.arange(size) + 0.5) / size
    dx, dy = (centres - x) / scale, (centres[:, None] - y) / scale  # (n, 1, size), (n, size, 1)
    cos, sin = np.cos(rotation), np.sin(rotation)
    (xu, yu, xv, yv) = (part.astype(np.float32) for part in (cos * dx, sin * dy, sin * dx, cos * dy))
    inside = depth(xu + yu, yv - xv)  # (n, size, size)
    inside *= (scale * size).astype(np.float32)
    inside += 0.5
    return np.clip(inside, 0, 1, out=inside)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The depth in a square with sides of length 2: the distance to the nearest side."""
    return 1 - np.maximum(np.abs(u), np.abs(v))


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The depth in an ellipse with half axes a = 1.3 and b = 0.8, to first order.

    It is f / |gradient of f|, where f = 1 - (u/a)^2 - (v/b)^2 is zero on the edge.
    """
    u, v = u / np.float32(1.3), v / np.float32(0.8)
    gradient = 2 * np.sqrt((u / np.float32(1.3)) ** 2 + (v / np.float32(0.8)) ** 2)
    return (1 - u * u - v * v) / np.maximum(gradient, 0.5)


HEART = 0.75  # half the side of the square in the heart
HEART_CENTROID = HEART * (pi / 2 + 2 / 3) / (4 + pi)  # the centroid of the heart, equal on both axes of the square


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The depth in a heart: a square that stands on a corner, and a disc around the middle of each upper side.

    The depth in the union of the three is the largest of their depths.
    """
    a = (u - v) / np.float32(sqrt(2)) + HEART_CENTROID  # axes a and b point to the upper right and the upper left
    b = (-u - v) / np.float32(sqrt(2)) + HEART_CENTROID
    square = HEART - np.maximum(np.abs(a), np.abs(b))
    discs = HEART - np.sqrt(np.minimum((a - HEART) ** 2 + b * b, a * a + (b - HEART) ** 2))
    return np.maximum(square, discs)


DEPTHS: tuple[Depth, ...] = (_square, _ellipse, _heart)
