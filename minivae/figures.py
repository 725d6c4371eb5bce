"""Pictures of what a model has learned. Each function writes one PNG; matplotlib (extra `cli`) is imported when needed.

Images are (N, C, H, W) with values in [0, 1]; others are clipped to that for display. C is 1 (grey) or 3 (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DPI = 150
GAP = 1  # pixels between the images of a sheet


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'minivae[cli]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in rows of `columns`, white between them: (height, width) or (height, width, 3)."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"pictures need images (N, 1, H, W) or (N, 3, H, W), got {images.shape}")
    N, C, H, W = images.shape
    rows = -(-N // columns)
    sheet = np.ones((rows * (H + GAP) - GAP, columns * (W + GAP) - GAP, C), np.float32)
    for i, image in enumerate(np.clip(images, 0, 1)):
        top, left = i // columns * (H + GAP), i % columns * (W + GAP)
        sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return sheet[:, :, 0] if C == 1 else sheet


def save_sheet(path: str | Path, images: np.ndarray, columns: int, title: str) -> None:
    """One sheet of images."""
    sheet = mosaic(images, columns)
    width = 6.0
    figure = _figure(width, width * sheet.shape[0] / sheet.shape[1] + 0.4)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    figure.savefig(path, dpi=DPI)


def save_reconstructions(path: str | Path, x: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> None:
    """Pairs of rows: images above, their reconstructions below."""
    rows = []
    for start in range(0, len(x), columns):
        for images in (x, reconstructed):
            row = np.ones((columns, *x.shape[1:]), x.dtype)
            part = images[start : start + columns]
            row[: len(part)] = part
            rows.append(row)
    save_sheet(path, np.concatenate(rows), columns, "test images (upper rows) and reconstructions (lower rows)")


def save_training(path: str | Path, history: Sequence[dict[str, Any]], unit: str = "nats per image") -> None:
    """The terms of the loss by epoch, one panel a term, training and validation data."""
    skip = ("epoch", "lr", "seconds", "images_per_second")
    terms = [k for k in history[0] if k not in skip and not k.startswith("validation_")]
    figure = _figure(3.4 * len(terms), 2.9)
    epochs = [record["epoch"] for record in history]
    for axes, term in zip(np.atleast_1d(figure.subplots(1, len(terms))), terms, strict=True):
        axes.plot(epochs, [record[term] for record in history], marker=".", label="training")
        if f"validation_{term}" in history[0]:
            axes.plot(epochs, [record[f"validation_{term}"] for record in history], marker=".", label="test")
        axes.set_title(term, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel(unit)
    first.legend(fontsize=8)
    figure.savefig(path, dpi=DPI)


def save_latent(
    path: str | Path, codes: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str] | None = None
) -> None:
    """Codes (N, D) in the plane, coloured by class: as they are for D = 2, else their two principal components."""
    flat, explained = principal_plane(codes)
    figure = _figure(6.2, 4.8)
    axes = figure.subplots()
    if labels is None:
        axes.scatter(*flat.T, s=6, alpha=0.7)
    else:
        for i, label in enumerate(np.unique(labels)):
            name = class_names[int(label)] if class_names is not None else str(label)
            axes.scatter(*flat[labels == label].T, s=6, alpha=0.7, color=f"C{i % 10}", label=name)
        axes.legend(fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    planar = codes.shape[1] == 2
    names = ("latent", "latent") if planar else ("principal component", "principal component")
    axes.set_xlabel(f"{names[0]} 1")
    axes.set_ylabel(f"{names[1]} 2")
    title = f"encoded test images, {codes.shape[1]} latents"
    axes.set_title(title if planar else f"{title}: {explained:.0%} of the variance in this plane", fontsize=10)
    figure.savefig(path, dpi=DPI)


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes (N, D) -> (N, 2) and the share of the variance left; D = 2 unchanged, D = 1 with a second axis of 0."""
    if codes.shape[1] <= 2:
        return np.pad(codes, ((0, 0), (0, 2 - codes.shape[1]))), 1.0
    centred = codes - codes.mean(0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((scale**2).sum())
    return centred @ axes[:2].T, float((scale[:2] ** 2).sum()) / total if total else 1.0
