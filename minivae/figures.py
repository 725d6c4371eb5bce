"""Pictures of what a model has learned. Each function writes one PNG; matplotlib (extra `cli`) is imported when needed.

Images are (N, C, H, W). One channel is shown in grey, three as RGB; of any other number each channel is shown in grey,
the channels of an image side by side. 0 is black and 1 is white; where the data has pixels outside [0, 1], its lowest
and highest pixel are (see contrast()). What a model makes of the data is clipped to these limits.
A picture of images is one array: interleave() puts the images in order, mosaic() lays them out, save_sheet() draws it.
Latents are numbered from 0, as in arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from minivae.training.checkpoint import atomic_write

DPI = 150
GAP = 1  # pixels between the images of a sheet
WIDTH, WIDEST = 6.0, 16.0  # inches of a sheet: of square images, and of images with many channels side by side
TALLEST = 1.2  # inches of an image on a sheet
CAPTION = 0.12  # inches below an image for a line of text
LABELS = 1.0  # inches to the left of a sheet for the labels of its rows
PANELS = 3  # panels of a training picture in a row
UNITS = {"vq": "squared distance per code", "perplexity": "codes", "usage": "share of the codes"}  # not of the loss
LEGEND = 20  # classes that a legend names; more have a colour bar


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'minivae[cli]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def tiles(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as they are shown: with 1 or 3 channels unchanged, else in grey as (N, 1, H, C * W)."""
    if images.ndim != 4 or not images.size:
        raise ValueError(f"pictures need images (N, C, H, W), none of them 0, got {images.shape}")
    N, C, H, W = images.shape
    return images if C in (1, 3) else images.transpose(0, 2, 1, 3).reshape(N, 1, H, C * W)


def contrast(images: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Images with the range of the data's pixels, or [0, 1] where they lie inside it, mapped to [0, 1] and clipped."""
    low, high = min(0.0, float(data.min())), max(1.0, float(data.max()))
    return np.clip((images - low) / (high - low), 0, 1)


def _save(figure: Any, path: str | Path, **options: Any) -> None:
    """Whole or not at all; an OSError names the file."""
    path = Path(path)
    atomic_write(path, lambda file: figure.savefig(file, dpi=DPI, format=path.suffix[1:] or "png", **options))


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in rows of `columns`, white between them: (height, width) or (height, width, 3)."""
    images = tiles(images)
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
    path: str | Path,
    images: np.ndarray,
    columns: int,
    title: str,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> None:
    """One sheet of images, a label to the left of each row and above each column if there are some."""
    figure, axes = _sheet(images, columns, title, 0.0 if row_labels is None else LABELS)
    images = tiles(images)
    if row_labels is not None:
        axes.set_yticks(_centres(len(row_labels), images.shape[2]), row_labels, fontsize=7)
    if column_labels is not None:
        axes.xaxis.tick_top()
        axes.set_xticks(_centres(len(column_labels), images.shape[3]), column_labels, fontsize=7)
    _save_tight(figure, path)


def _save_tight(figure: Any, path: str | Path) -> None:
    """Without the white around what is drawn."""
    _save(figure, path, bbox_inches="tight", pad_inches=0.1)


def _centres(count: int, size: int) -> list[float]:
    """Of the rows or columns of a sheet of images with so many pixels in that direction."""
    return [i * (size + GAP) + (size - 1) / 2 for i in range(count)]


def _sheet(images: np.ndarray, columns: int, title: str, margin: float = 0.0) -> tuple[Any, Any]:
    """A figure that is as wide as its images need it, no image taller than TALLEST."""
    shown, C = contrast(tiles(images), images), images.shape[1]
    sheet, rows, width = mosaic(shown, columns), -(-len(shown) // columns), _width(shown)
    figure = _figure(width + margin, min(width * sheet.shape[0] / sheet.shape[1], rows * TALLEST) + 0.5)
    axes = figure.subplots()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title if C in (1, 3) else f"{title} ({C} channels side by side)", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _width(images: np.ndarray) -> float:
    """Inches of a sheet of such images."""
    return min(WIDEST, WIDTH * max(1.0, (images.shape[3] / images.shape[2]) ** 0.5))


def save_reconstructions(path: str | Path, x: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> None:
    """Pairs of rows: images above, their reconstructions below."""
    title = "test images (upper rows) and reconstructions (lower rows)"
    save_sheet(path, interleave([contrast(images, x) for images in (x, reconstructed)], columns), columns, title)


def save_denoising(
    path: str | Path, clean: np.ndarray, noisy: np.ndarray, denoised: np.ndarray, columns: int = 10
) -> None:
    """Triples of rows: clean images, what noise made of them, and what the model made of that."""
    images = interleave([contrast(images, clean) for images in (clean, noisy, denoised)], columns)
    labels = ["clean", "noisy", "denoised"] * (len(images) // (3 * columns))
    save_sheet(path, images, columns, "denoising of test images", labels)


def save_interpolation(path: str | Path, a: np.ndarray, paths: np.ndarray, b: np.ndarray) -> None:
    """A row for each way from an image of a to one of b, both (N, C, H, W), which stand at its two ends.

    paths: what model.interpolate(a, b) makes of it, (N, steps, C, H, W).
    """
    if not a.shape == b.shape == (len(paths), *paths.shape[2:]):
        raise ValueError(f"paths {paths.shape} must lead between as many images, got {a.shape} and {b.shape}")
    rows = np.concatenate([a[:, None], paths, b[:, None]], axis=1)  # (N, steps + 2, C, H, W)
    steps, columns = paths.shape[1], rows.shape[1]
    between = [f"{t:.2f}" if steps <= 12 else "" for t in np.linspace(0, 1, steps)[1:-1]]
    images = contrast(rows.reshape(-1, *rows.shape[2:]), np.concatenate([a, b]))
    title = "from image to image along a straight line between their codes"
    save_sheet(path, images, columns, title, column_labels=["image", "code", *between, "code", "image"])


def save_traversal(
    path: str | Path,
    images: np.ndarray,
    values: Sequence[float],
    kl: np.ndarray,
    rows: int | None = None,
    others: str = "the prior's mean",
) -> None:
    """Images (D, values, C, H, W) of model.traverse() over all latents, a row a latent, the largest KL (D,) on top.

    values: of the columns. rows: only so many of the latents. others: where the other latents stay, for the title.
    """
    if images.shape[:2] != (len(kl), len(values)):
        raise ValueError(f"images must be (latents = {len(kl)}, values = {len(values)}, C, H, W), got {images.shape}")
    order = np.argsort(-np.asarray(kl), kind="stable")[:rows]
    labels = [f"latent {d}: {kl[d]:.2f} nats" for d in order]
    which = "each latent" if len(order) == len(kl) else f"{len(order)} of {len(kl)} latents, each"
    title = f"{which} alone, the others at {others}; sorted by KL"
    shown = images[order].reshape(-1, *images.shape[2:])
    save_sheet(path, shown, len(values), title, labels, [f"{round(value, 9):g}" for value in values])


def save_manifold(path: str | Path, images: np.ndarray) -> None:
    """The n * n images of model.manifold(n) in their square, the axes in quantiles of the prior."""
    n = round(len(images) ** 0.5)
    if n * n != len(images):
        raise ValueError(f"a manifold is a square of images, got {len(images)}")
    figure, axes = _sheet(images, n, "the plane of the two latents")
    ends, (H, W) = np.linspace(0, 1, 5), tiles(images).shape[2:]
    labels = [f"{share:.0%}" for share in ends]
    axes.set_xticks(ends * n * (W + GAP) - (GAP + 1) / 2, labels, fontsize=7)
    axes.set_yticks((1 - ends) * n * (H + GAP) - (GAP + 1) / 2, labels, fontsize=7)
    axes.tick_params(length=3)
    axes.set_xlabel("latent 0, quantile of the prior", fontsize=8)
    axes.set_ylabel("latent 1, quantile of the prior", fontsize=8)
    _save_tight(figure, path)


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
    N, _, H, W = tiles(images).shape
    if len(scores) != N or (labels is not None and len(labels) != N):
        raise ValueError(f"there must be a score and a label for each of {N} images")
    columns = min(columns, len(strangest))
    caption = ceil(CAPTION * columns * (W + GAP) / _width(tiles(images)))  # white pixels below each image
    shown = contrast(images[strangest], images)
    shown = np.pad(shown, ((0, 0), (0, 0), (0, caption), (0, 0)), constant_values=1)
    figure, axes = _sheet(shown, columns, "the strangest images and their scores")
    for place, i in enumerate(strangest):
        across, down = place % columns * (W + GAP) + W / 2, place // columns * (H + caption + GAP) + H
        text = f"{scores[i]:.4g}" if labels is None else f"{scores[i]:.4g} {labels[i]}"
        axes.text(across, down, text, fontsize=5, ha="center", va="top")
    _save_tight(figure, path)


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


def save_training(
    path: str | Path, history: Sequence[dict[str, Any]], unit: str = "nats per image", held_out: str = "test"
) -> None:
    """The terms of the loss by epoch, one panel a term, training and validation data.

    unit: of the loss and its terms; those of other quantities are in UNITS. held_out: what the images of the
    validation terms are called.
    """
    from matplotlib.ticker import MaxNLocator

    skip = ("epoch", "lr", "seconds", "images_per_second")
    terms = [k for k in history[0] if k not in skip and not k.startswith("validation_")]
    rows, columns = -(-len(terms) // PANELS), min(len(terms), PANELS)
    figure = _figure(3.5 * columns, 2.9 * rows)
    epochs = [record["epoch"] for record in history]
    for i, term in enumerate(terms):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.plot(epochs, [record[term] for record in history], marker=".", label="training")
        if f"validation_{term}" in history[0]:
            axes.plot(epochs, [record[f"validation_{term}"] for record in history], marker=".", label=held_out)
        axes.set_title(term, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel(UNITS.get(term, unit))
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    _save(figure, path)


def save_latent(
    path: str | Path, codes: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str] | None = None
) -> None:
    """Codes (N, D) in the plane, coloured by class: as they are for D <= 2, else their two principal components."""
    flat, explained = principal_plane(codes)
    figure = _figure(6.2, 4.8)
    axes = figure.subplots()
    if labels is None:
        axes.scatter(*flat.T, s=6, alpha=0.7)
    elif len(classes := np.unique(labels)) > LEGEND:
        points = axes.scatter(*flat.T, s=6, alpha=0.7, c=labels, cmap="turbo")
        figure.colorbar(points, label="label")
    else:
        colours = "tab10" if len(classes) <= 10 else "tab20"
        for i, label in enumerate(classes):
            name = class_names[int(label)] if class_names is not None else str(label)
            axes.scatter(*flat[labels == label].T, s=6, alpha=0.7, color=_colour(colours, i), label=name)
        axes.legend(fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))
    D = codes.shape[1]
    axes.set_xlabel("latent 0" if D <= 2 else "principal component 1")
    axes.set_ylabel({1: "", 2: "latent 1"}.get(D, "principal component 2"))
    if D == 1:
        axes.set_yticks([])
    title = f"encoded test images, {D} latent{'s' if D > 1 else ''}"
    axes.set_title(title if D <= 2 else f"{title}: {explained:.0%} of the variance in this plane", fontsize=10)
    _save(figure, path)


def _colour(colours: str, i: int) -> Any:
    """Number i of a list of colours of matplotlib."""
    from matplotlib import colormaps

    return colormaps[colours](i)


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes (N, D) -> (N, 2) and the share of the variance left; D = 2 unchanged, D = 1 with a second axis of 0."""
    if codes.shape[1] <= 2:
        return _in_plane(codes), 1.0
    centred = codes - codes.mean(0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((scale**2).sum())
    return _in_plane(centred @ axes[:2].T), float((scale[:2] ** 2).sum()) / total if total else 1.0


def _in_plane(codes: np.ndarray) -> np.ndarray:
    """(N, 1) or (N, 2) -> (N, 2): what one number, or a single image with its one axis, lacks is 0."""
    return np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
