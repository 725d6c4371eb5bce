"""The table and the picture that show how well models take the noise from images."""

from __future__ import annotations

from collections.abc import Mapping
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
    models: Mapping[str, Estimator], data: Dataset, kind: str, level: float, seed: int = 0
) -> tuple[dict[str, Denoising], Numbers]:
    """Print how well models, by name, denoise test images; PCA of the length of their codes stands beside them."""
    check_unit_interval(data)
    first = next(iter(models.values()))
    x_train, x = first.check_images(data.x_train), first.check_images(data.x_test)
    dims = sorted({dim for model in models.values() if (dim := getattr(model, "latent_dim", None)) is not None})
    linear = {f"PCA of {len(pca.components)}": pca for dim in dims for pca in [uses.PCA.at_most(x_train, dim)]}
    by: dict[str, Any] = {**linear, **models}
    found = {name: uses.denoising(each, x, kind, level, seed) for name, each in by.items()}
    noisy = next(iter(found.values())).noisy_psnr
    rows = [["noisy", *fixed(noisy), "+0.00"]]
    rows += [[f"through {name}", *fixed(result.denoised_psnr), f"{result.gain:+.2f}"] for name, result in found.items()]
    print_table(["test images", "PSNR", "gain"], rows)
    notes = [f"PSNR in dB, {kind} noise of level {level:g}"]
    for name, model in models.items():
        if model.unit_interval and kind == "gaussian":
            rounded = " and rounded to 8 bits" if model.pixel_levels else ""
            notes.append(f"clipped to [0, 1]{rounded} as the likelihood of {name} needs it")
    print(", ".join(notes))
    result = found[next(iter(models))]
    numbers = {"noisy_psnr": noisy, "denoised_psnr": result.denoised_psnr, "gain": result.gain}
    if linear:
        numbers["pca_gain"] = found[next(iter(linear))].gain
    return {name: found[name] for name in models}, numbers


def draw_denoising(clean: np.ndarray, results: Mapping[str, Denoising], count: int, path: Path) -> None:
    """Draw the first `count` images clean, noisy and as each of the models, by name, denoises them."""
    noisy = next(iter(results.values())).noisy
    groups = {"clean": clean, "noisy": noisy, **{name: result.denoised for name, result in results.items()}}
    columns = min(10, count, len(clean))
    shown = figures.interleave([figures.contrast(images[:count], clean) for images in groups.values()], columns)
    labels = [*groups] * (len(shown) // (len(groups) * columns))
    figures.save_sheet(path, shown, columns, "denoising of test images", labels)
