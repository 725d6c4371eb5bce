"""Writes clips: a strip of frames for each on a .png, and beside it a .gif of the same name, in which they move."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np

from minivae import figures
from minivae.training.checkpoint import atomic_write

STRIPS = 8  # the most clips on a picture of strips
SIDE = 480  # pixels: a GIF is enlarged by a whole factor while it is no wider than this
GAP = 2  # pixels between the clips of a GIF


def save_clips(path: Path, groups: Sequence[np.ndarray], labels: Sequence[str], title: str, rate: float) -> None:
    """Write groups of clips (N, T, C, H, W) in [0, 1] to path, a .png, and to a .gif at `rate` frames a second.

    The strips of clip i of all groups stand below each other, with the groups' labels; so do they in the GIF, which
    shows all clips and not only the first ones.
    """
    shown = np.stack([group[:STRIPS] for group in groups], axis=1)  # (n, groups, T, C, H, W)
    n, count, T = shown.shape[:3]
    figures.save_sheet(path, shown.reshape(n * count * T, *shown.shape[3:]), T, title, list(labels) * n)
    _save_gif(path.with_suffix(".gif"), groups, rate)


def _save_gif(path: Path, groups: Sequence[np.ndarray], rate: float) -> None:
    from PIL import Image

    stacked = np.concatenate(groups, axis=3)  # (N, T, C, groups H, W): the groups below each other
    columns = max(1, round(len(stacked) ** 0.5 * len(groups) ** 0.5))
    frames = [_mosaic(stacked[:, t], columns) for t in range(stacked.shape[1])]
    factor = max(1, SIDE // frames[0].shape[1])
    pictures = [Image.fromarray(frame.repeat(factor, axis=0).repeat(factor, axis=1)) for frame in frames]
    options = {"save_all": True, "append_images": pictures[1:], "duration": round(1000 / rate), "loop": 0}
    atomic_write(path, lambda file: pictures[0].save(file, format="GIF", **options))


def _mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Return images (N, C, H, W) in [0, 1] in rows of `columns`, grey between them, as bytes (height, width[, 3])."""
    N, C, H, W = images.shape
    rows = ceil(N / columns)
    sheet = np.full((rows * columns, C, H + GAP, W + GAP), 128, np.uint8)
    sheet[:N, :, :H, :W] = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)
    sheet = sheet.reshape(rows, columns, C, H + GAP, W + GAP).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * (H + GAP), columns * (W + GAP), C)[:-GAP, :-GAP]
    return sheet[..., 0] if C == 1 else sheet[..., :3]
