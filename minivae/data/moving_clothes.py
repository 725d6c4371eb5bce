"""The data set `moving-clothes`: generated clips, in which an image of a garment moves through a larger frame.

A garment starts anywhere in the frame and moves on a straight line, with a direction and a speed of its own, and is
thrown back by the edges as light is by mirrors. Along one axis, with the room r = frame - garment in which its corner
can be, a start s, a velocity v in pixels a frame and time t,

    position = r - |r - ((s + v t) mod 2 r)|,

the triangle wave between 0 and r, rounded to whole pixels. For example r = 10, s = 8 and v = 3 make 8, 9, 6, 3, 0, 3.

The garments are not turned, nothing covers them and the background is black: what a model can learn here is to keep a
thing in its form and to carry on its motion. The garments of the test clips are in no training clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np

from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import uniform

SEEDS = {"train": 0xC107, "test": 0xC108}
SPEEDS = (1.0, 3.0)  # the lowest and the highest, in pixels a frame


def generate(garments: np.ndarray, count: int, shape: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips (count, T, 1, H, W) of garments (G, 1, h, w), and the index of the garment in each, (count,).

    A larger count appends clips and leaves the first ones unchanged. Raises ValueError for a shape that is not
    (T, 1, H, W), and for frames in which garments have no room to move.
    """
    T, _, H, W = shape
    h, w = garments.shape[2:]
    if tuple(shape) != (T, 1, H, W) or h >= H or w >= W or T < 2:
        raise ValueError(
            f"moving clothes have at least 2 grey frames larger than {h} x {w}, image_shape must be (T, 1, H, W), got "
            f"{tuple(shape)}"
        )
    checks.elements("clips", (count, T, 1, H, W))
    u = uniform((count, 5), np.dtype(np.float64), Noise(seed, 0))
    chosen = (u[:, 0] * len(garments)).astype(np.int64)
    angle, speed = 2 * pi * u[:, 1], SPEEDS[0] + (SPEEDS[1] - SPEEDS[0]) * u[:, 2]
    rows = _bounced(u[:, 3], speed * np.sin(angle), H - h, T)  # (count, T)
    columns = _bounced(u[:, 4], speed * np.cos(angle), W - w, T)
    x = np.zeros((count, T, 1, H, W), np.float32)
    for n in range(count):
        for t in range(T):
            i, j = rows[n, t], columns[n, t]
            x[n, t, :, i : i + h, j : j + w] = garments[chosen[n]]
    return x, chosen


def _bounced(start: np.ndarray, velocity: np.ndarray, room: int, frames: int) -> np.ndarray:
    """Starts (N,) in [0, 1) of the room, velocities (N,) in pixels a frame -> whole positions (N, frames)."""
    way = start[:, None] * room + velocity[:, None] * np.arange(frames)
    return np.rint(room - np.abs(room - way % (2 * room))).astype(np.int64)
