"""Pictures of what a model has learned. Each function writes one PNG; matplotlib (extra `cli`) is imported when needed.

Images are (N, C, H, W) with values in [0, 1]; others are clipped to that for display. C is 1 (grey) or 3 (RGB).
A picture of images is one array: interleave() puts the images in order, mosaic() lays them out, save_sheet() draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivae.training.checkpoint import atomic_write

DPI = 150
GAP = 1  # pixels between the images of a sheet
LABELS = 1.0  # inches to the left of a sheet for the labels of its rows


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'minivae[cli]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: str | Path) -> None:
    """Whole or not at all; an OSError names the file."""
    path = Path(path)
    atomic_write(path, lambda file: figure.savefig(file, dpi=DPI, format=path.suffix[1:] or "png"))


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


def interleave(groups: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Groups of N images each -> the order in which a mosaic of `columns` shows image i of all groups in one column.

    A row of the first group, below it the same images of the second, and so on; what lacks in the last rows is white.
    """
    if len({group.shape for group in groups}) != 1:
        raise ValueError(f"groups must have one shape, got {[group.shape for group in groups]}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    white = -len(groups[0]) % columns
    padded = np.stack([np.pad(group, ((0, white), (0, 0), (0, 0), (0, 0)), constant_values=1) for group in groups])
    rows = padded.reshape(len(groups), -1, columns, *padded.shape[2:])  # (groups, rows, columns, C, H, W)
    return rows.swapaxes(0, 1).reshape(-1, *padded.shape[2:])


def save_sheet(
    path: str | Path, images: np.ndarray, columns: int, title: str, row_labels: Sequence[str] | None = None
) -> None:
    """One sheet of images, a label to the left of each row if there are some."""
    figure, axes = _sheet(images, columns, title, 0.0 if row_labels is None else LABELS)
    if row_labels is not None:
        pitch = images.shape[2] + GAP
        axes.set_yticks([(row + 0.5) * pitch - GAP for row in range(len(row_labels))], row_labels, fontsize=7)
    _save(figure, path)


def _sheet(images: np.ndarray, columns: int, title: str, margin: float = 0.0) -> tuple[Any, Any]:
    sheet = mosaic(images, columns)
    width = 6.0
    figure = _figure(width + margin, width * sheet.shape[0] / sheet.shape[1] + 0.4)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def save_reconstructions(path: str | Path, x: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> None:
    """Pairs of rows: images above, their reconstructions below."""
    title = "test images (upper rows) and reconstructions (lower rows)"
    save_sheet(path, interleave((x, reconstructed), columns), columns, title)


def save_denoising(
    path: str | Path, clean: np.ndarray, noisy: np.ndarray, denoised: np.ndarray, columns: int = 10
) -> None:
    """Triples of rows: clean images, what noise made of them, and what the model made of that."""
    images = interleave((clean, noisy, denoised), columns)
    labels = ["clean", "noisy", "denoised"] * (len(images) // (3 * columns))
    save_sheet(path, images, columns, "denoising of test images", labels)


def save_interpolation(path: str | Path, paths: np.ndarray) -> None:
    """Images (N, steps, C, H, W) as model.interpolate gives them, one way from an image to another in each row."""
    title = "from image to image along a straight line between their codes"
    save_sheet(path, paths.reshape(-1, *paths.shape[2:]), paths.shape[1], title)


def save_traversal(
    path: str | Path, images: np.ndarray, values: Sequence[float], kl: np.ndarray, rows: int | None = None
) -> None:
    """Images (D, values, C, H, W) of model.traverse() over all latents, a row a latent, the largest KL (D,) on top.

    values: of the columns. rows: only so many of the latents.
    """
    if images.shape[:2] != (len(kl), len(values)):
        raise ValueError(f"images must be (latents = {len(kl)}, values = {len(values)}, C, H, W), got {images.shape}")
    order = np.argsort(-np.asarray(kl), kind="stable")[:rows]
    labels = [f"latent {d}: {kl[d]:.2f} nats" for d in order]
    title = f"each latent alone from {values[0]:g} to {values[-1]:g}, sorted by its KL"
    save_sheet(path, images[order].reshape(-1, *images.shape[2:]), len(values), title, labels)


def save_manifold(path: str | Path, images: np.ndarray) -> None:
    """The n * n images of model.manifold(n) in their square."""
    n = round(len(images) ** 0.5)
    if n * n != len(images):
        raise ValueError(f"a manifold is a square of images, got {len(images)}")
    save_sheet(path, images, n, "the plane of the two latents, at the quantiles of the prior")


def save_anomalies(
    path: str | Path,
    images: np.ndarray,
    scores: np.ndarray,
    columns: int = 8,
    rows: int = 4,
    labels: Sequence[str] | None = None,
) -> None:
    """The images with the highest scores (N,), the strangest first, with score and label (N,) below each."""
    strangest = np.argsort(-np.asarray(scores), kind="stable")[: columns * rows]
    N, _, H, W = images.shape
    if len(scores) != N or (labels is not None and len(labels) != N):
        raise ValueError(f"there must be a score and a label for each of {N} images")
    caption = max(6, H // 4)  # white pixels below each image
    shown = np.pad(images[strangest], ((0, 0), (0, 0), (0, caption), (0, 0)), constant_values=1)
    columns = min(columns, len(shown))
    figure, axes = _sheet(shown, columns, "the strangest images and their scores")
    for place, i in enumerate(strangest):
        across, down = place % columns * (W + GAP) + W / 2, place // columns * (H + caption + GAP) + H
        text = f"{scores[i]:.4g}" if labels is None else f"{scores[i]:.4g} {labels[i]}"
        axes.text(across, down, text, fontsize=6, ha="center", va="top")
    _save(figure, path)


def save_curves(
    path: str | Path,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    title: str,
    log_x: bool = False,
) -> None:
    """Named series over x, such as PSNR over the dimension of the code; the labels say the units."""
    if wrong := {name: len(y) for name, y in series.items() if len(y) != len(x)}:
        raise ValueError(f"each series needs {len(x)} values, as x has, got {wrong}")
    figure = _figure(5.4, 3.8)
    axes = figure.subplots()
    for name, y in series.items():
        axes.plot(x, y, marker=".", label=name)
    if log_x:
        axes.set_xscale("log", base=2)
    axes.set_xticks(x, [f"{value:g}" for value in x])
    axes.minorticks_off()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def save_code_usage(path: str | Path, counts: np.ndarray) -> None:
    """How often each code of a codebook was chosen, counts (K,), the most frequent first, beside the uniform share."""
    shares, used, perplexity = code_usage(counts)
    figure = _figure(5.4, 3.4)
    axes = figure.subplots()
    axes.bar(np.arange(len(shares)), shares, width=1.0)
    axes.axhline(100 / len(shares), color="black", linewidth=0.8, linestyle="--", label="uniform")
    axes.set_xlabel("code, sorted by use")
    axes.set_ylabel("share of all codes in %")
    axes.set_title(f"{used} of {len(shares)} codes used, perplexity {perplexity:.1f}", fontsize=10)
    axes.legend(fontsize=8)
    _save(figure, path)


def code_usage(counts: np.ndarray) -> tuple[np.ndarray, int, float]:
    """counts (K,) -> shares in percent, descending; how many codes are used; exp of the entropy of the shares."""
    counts = np.sort(np.asarray(counts, np.float64))[::-1]
    if counts.ndim != 1 or not counts.sum() > 0 or counts[-1] < 0:
        raise ValueError("counts must be one number >= 0 for each code, not all of them 0")
    p = counts / counts.sum()
    used = p[p > 0]
    return 100 * p, len(used), float(np.exp(-(used * np.log(used)).sum()))


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
    _save(figure, path)


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
    _save(figure, path)


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes (N, D) -> (N, 2) and the share of the variance left; D = 2 unchanged, D = 1 with a second axis of 0."""
    if codes.shape[1] <= 2:
        return np.pad(codes, ((0, 0), (0, 2 - codes.shape[1]))), 1.0
    centred = codes - codes.mean(0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((scale**2).sum())
    return centred @ axes[:2].T, float((scale[:2] ** 2).sum()) / total if total else 1.0
