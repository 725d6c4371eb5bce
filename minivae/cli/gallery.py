"""Draws the pictures of latents that a training leaves and that the commands of pictures.py draw again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minivae import figures
from minivae.models import VAE

SHEET = 64  # images on a sheet of samples
WAYS, STEPS = 8, 10  # interpolations on a sheet, and images on each, the ends included
SPAN, VALUES = 3.0, 11  # a traversal moves a latent from -SPAN to SPAN in so many images
ROWS = 20  # the most latents on the traversal that a training draws
MANIFOLD = 20  # images along a side of the manifold


def draw_interpolation(model: VAE, x: np.ndarray, ways: int, steps: int, path: Path) -> None:
    """Draw the way from the first image to the second, from the third to the fourth, and so on."""
    ways = min(ways, len(x) // 2)
    if ways < 1:
        raise ValueError(f"an interpolation needs two test images, and there is {len(x)}")
    a, b = x[: 2 * ways : 2], x[1 : 2 * ways : 2]
    figures.save_interpolation(path, a, model.interpolate(a, b, steps), b)


def draw_traversal(model: VAE, x: np.ndarray, image: int | None, rows: int | None, path: Path) -> None:
    """Draw what each latent does alone, from the prior's mean or from the code of test image number `image`."""
    if image is not None and image >= len(x):
        raise ValueError(f"the test images are numbered from 0 to {len(x) - 1}, got {image}")
    values = np.linspace(-SPAN, SPAN, VALUES).tolist()
    images = model.traverse(None if image is None else x[image : image + 1], values=values)
    others = {} if image is None else {"others": f"the code of test image {image}"}
    figures.save_traversal(path, images, values, model.latent_usage(x).kl, rows, **others)


def columns_of(count: int) -> int:
    """Choose the number of columns that makes a sheet of `count` images about square."""
    return min(count, max(1, round(count**0.5)))
