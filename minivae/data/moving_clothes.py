"""The data set `moving-clothes`: generated clips, in which an image of a garment moves through a larger frame.

A garment starts anywhere in the frame, moves on a straight line and is thrown back by the edges as light is by mirrors.
Along one axis, with the room r = frame - garment in which its corner can be, a start s, a velocity v and the time t,

    position = r - |r - ((s + v t) mod 2 r)|,

the triangle wave between 0 and r. For example r = 10, s = 8 and v = 4 make 8, 8, 4, 0, 4, 8. Starts and velocities are
multiples of 4 pixels: along each axis a garment moves by -4, 0 or 4 pixels a frame, and not by 0 along both. So two
frames say exactly where the next one has the garment, unless it is at an edge by then. An encoder of stride 4 has a
code for each 4 x 4 pixels, so motion moves its codes by whole places. This makes the clips easier than others for a
prior of the codes: see benchmarks/MODELS.md, "Video".

The garments are not turned, nothing covers them and the background is black: what a model can learn here is to keep a
thing in its form and to carry on its motion. The garments of the test clips are in no training clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import uniform

SEEDS = {"train": 0xC107, "test": 0xC108}
STEP = 4  # pixels: starts and velocities are multiples of it
VELOCITIES = np.array([(i, j) for i in (-STEP, 0, STEP) for j in (-STEP, 0, STEP) if i or j])  # pixels a frame


def generate(garments: np.ndarray, count: int, shape: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return clips (count, T, 1, H, W) of garments (G, 1, h, w), and the index of the garment in each, (count,).

    Each garment is in as many clips as any other, or in one more. A larger count appends clips and leaves the first
    ones unchanged. Raises ValueError for a shape that is not (T, 1, H, W), and for frames in which garments have no
    room to move.
    """
    T, _, H, W = shape
    h, w = garments.shape[2:]
    if tuple(shape) != (T, 1, H, W) or h >= H or w >= W or T < 2:
        raise ValueError(
            f"moving clothes have at least 2 grey frames larger than {h} x {w}, image_shape must be (T, 1, H, W), got "
            f"{tuple(shape)}"
        )
    checks.elements("clips", (count, T, 1, H, W))
    u = uniform((count, 4), np.dtype(np.float64), Noise(seed, 0))
    chosen = np.arange(count) % len(garments)
    velocity = VELOCITIES[(u[:, 1] * len(VELOCITIES)).astype(np.int64)]  # (count, 2)
    rows, columns = (_bounced(u[:, 2 + k], velocity[:, k], (H - h, W - w)[k], T) for k in range(2))  # (count, T)
    x = np.zeros((count, T, 1, H, W), np.float32)
    for n in range(count):
        for t in range(T):
            i, j = rows[n, t], columns[n, t]
            x[n, t, :, i : i + h, j : j + w] = garments[chosen[n]]
    return x, chosen


def _bounced(start: np.ndarray, velocity: np.ndarray, room: int, frames: int) -> np.ndarray:
    """Return positions (N, frames) for starts (N,) in [0, 1) of the room and velocities (N,) in pixels a frame."""
    first = STEP * (start * (room // STEP + 1)).astype(np.int64)
    way = first[:, None] + velocity[:, None] * np.arange(frames)
    return room - np.abs(room - way % (2 * room))
