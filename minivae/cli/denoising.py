"""The table and the picture that show how well a model takes the noise from images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures, uses
from minivae.data import Dataset
from minivae.models.base import Estimator
from minivae.uses import Denoising

from .pixels import check_unit_interval
from .text import Numbers, fixed, print_table


def denoising_table(
    model: Estimator, data: Dataset, kind: str, level: float, seed: int = 0
) -> tuple[Denoising, Numbers]:
    """Print how well a model denoises test images; if its codes are vectors, PCA of that length stands beside it."""
    check_unit_interval(data)
    reconstructs: Any = model
    x = model.check_images(data.x_test)
    result = uses.denoising(reconstructs, x, kind, level, seed)
    rows = [["noisy", *fixed(result.noisy_psnr), "+0.00"]]
    numbers = {"noisy_psnr": result.noisy_psnr, "denoised_psnr": result.denoised_psnr, "gain": result.gain}
    dim = getattr(model, "latent_dim", None)
    if dim is not None:
        pca = uses.PCA.at_most(model.check_images(data.x_train), dim)
        linear = uses.denoising(pca, x, kind, level, seed)
        rows.append([f"through PCA of {len(pca.components)}", *fixed(linear.denoised_psnr), f"{linear.gain:+.2f}"])
        numbers["pca_gain"] = linear.gain
    rows.append(["through the model", *fixed(result.denoised_psnr), f"{result.gain:+.2f}"])
    print_table(["test images", "PSNR", "gain"], rows)
    rounded = " and rounded to 8 bits" if model.pixel_levels else ""
    clipped = f", clipped to [0, 1]{rounded} as the model's likelihood needs it" if model.unit_interval else ""
    print(f"PSNR in dB, {kind} noise of level {level:g}{clipped if kind == 'gaussian' else ''}")
    return result, numbers


def draw_denoising(clean: np.ndarray, result: uses.Denoising, count: int, path: Path) -> None:
    """Draw the first `count` images clean, noisy and denoised."""
    groups = clean[:count], result.noisy[:count], result.denoised[:count]
    figures.save_denoising(path, *groups, columns=min(10, len(groups[0])))
