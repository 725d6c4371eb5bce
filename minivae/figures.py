"""Draw what a model has learned. Each save_...() function writes one PNG; matplotlib (extra `cli`) is imported then.

Images are arrays (N, C, H, W). With 1 channel they are shown in grey, with 3 in RGB; with any other number of channels
each channel is shown in grey, the channels of an image side by side. 0 is black and 1 is white; if the data has pixels
below 0 or above 1, its lowest pixel is black or its highest white (see contrast()). What a model makes is clipped to
these limits. Latents are numbered from 0, as in arrays.

There are two kinds of pictures. A sheet shows images in rows: interleave() orders the images, mosaic() puts them into
one array, _sheet() draws it. A plot shows numbers: _plot() draws it. Both are written by new_figure().
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from minivae.training.checkpoint import atomic_write

DPI = 150
GAP = 1  # pixels between the images of a sheet
WIDTH, WIDEST = 6.0, 16.0  # inches: the width of a sheet of square images, and the greatest width of a sheet
TALLEST = 1.2  # inches: the greatest height of an image on a sheet
CAPTION = 0.12  # inches: the room below an image for a line of text
LABELS = 1.0  # inches: the room to the left of a sheet for the labels of its rows
PANELS = 3  # panels in a row of the training picture
# of the terms that are not in the unit of the loss
UNITS = {"vq": "squared distance per code", "perplexity": "codes", "usage": "share of the codes"}
UNITS |= {"sparsity": "penalty before its weight", "jacobian": "squared norm per image", "norm": "squared norm"}
LEGEND = 20  # the most classes that a legend names; more classes get a colour bar


@contextmanager
def new_figure(path: str | Path, width: float, height: float, **options: Any) -> Iterator[Any]:
    """A new figure, width x height in inches; the block draws on it, then it is written to `path`.

    options: for savefig. The file is written completely or not at all. Raises ImportError without matplotlib, and
    OSError, which names the file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'minivae[cli]'") from error
    figure, path = Figure(figsize=(width, height), layout="constrained"), Path(path)
    yield figure
    atomic_write(path, lambda file: figure.savefig(file, dpi=DPI, format=path.suffix[1:] or "png", **options))


# ---- sheets of images ----


def tiles(images: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) as they are shown: with 1 or 3 channels unchanged, otherwise in grey as (N, 1, H, C * W)."""
    if images.ndim != 4 or not images.size:
        raise ValueError(f"pictures need images (N, C, H, W), with no length 0, got {images.shape}")
    N, C, H, W = images.shape
    return images if C in (1, 3) else images.transpose(0, 2, 1, 3).reshape(N, 1, H, C * W)


def contrast(images: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Images mapped linearly to [0, 1] and clipped. If all pixels of `data` lie in [0, 1], images are only clipped.

    Black (0) is the lowest pixel of `data` if that is below 0; white (1) is its highest pixel if that is above 1.
    """
    low, high = min(0.0, float(data.min())), max(1.0, float(data.max()))
    return np.clip((images - low) / (high - low), 0, 1)


def mosaic(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in rows of `columns`, white between them: (height, width) or (height, width, 3)."""
    images = tiles(images)
    N, C, H, W = images.shape
    rows = -(-N // columns)
    sheet = np.ones((rows * (H + GAP) - GAP, columns * (W + GAP) - GAP, C), np.float32)
    for i, image in enumerate(np.clip(images, 0, 1)):
        top, left = _first_pixel(i // columns, H), _first_pixel(i % columns, W)
        sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return sheet[:, :, 0] if C == 1 else sheet


def _first_pixel(place: Any, size: int) -> Any:
    """The first pixel of row or column `place` in a mosaic of images that have `size` pixels in that direction."""
    return place * (size + GAP)


def interleave(groups: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Order groups of N images each so that in a mosaic of `columns` the images i of all groups stand in one column.

    The first row shows images of the first group, the next row the same images of the second group, and so on. White
    images fill the last rows. groups: (N, C, H, W) each. Returns (len(groups) * N', C, H, W), where N' is N rounded up
    to whole rows.
    """
    if len({group.shape for group in groups}) != 1:
        raise ValueError(f"groups must have one shape, got {[group.shape for group in groups]}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    white = -len(groups[0]) % columns
    padded = np.stack([np.pad(group, ((0, white), (0, 0), (0, 0), (0, 0)), constant_values=1) for group in groups])
    rows = padded.reshape(len(groups), -1, columns, *padded.shape[2:])  # (groups, rows, columns, C, H, W)
    return rows.swapaxes(0, 1).reshape(-1, *padded.shape[2:])


@contextmanager
def _sheet(path: str | Path, images: np.ndarray, columns: int, title: str, margin: float = 0.0) -> Iterator[Any]:
    """Draw a mosaic of the images; the block gets its axes, in pixels of the mosaic, and may label them.

    margin: inches to the left of the sheet. No image becomes taller than TALLEST.
    """
    shown, C = contrast(tiles(images), images), images.shape[1]
    sheet, rows, width = mosaic(shown, columns), -(-len(shown) // columns), _width(shown)
    height = min(width * sheet.shape[0] / sheet.shape[1], rows * TALLEST) + 0.5
    with new_figure(path, width + margin, height, bbox_inches="tight", pad_inches=0.1) as figure:
        axes = figure.subplots()
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title if C in (1, 3) else f"{title} ({C} channels side by side)", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        yield axes


def _width(images: np.ndarray) -> float:
    """The width of a sheet of such images, in inches."""
    return min(WIDEST, WIDTH * max(1.0, (images.shape[3] / images.shape[2]) ** 0.5))


def save_sheet(
    path: str | Path,
    images: np.ndarray,
    columns: int,
    title: str,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> None:
    """Images (N, C, H, W) in rows of `columns`, with labels to the left of the rows and above the columns if given."""
    H, W = tiles(images).shape[2:]
    with _sheet(path, images, columns, title, 0.0 if row_labels is None else LABELS) as axes:
        if row_labels is not None:
            axes.set_yticks(_centres(len(row_labels), H), row_labels, fontsize=7)
        if column_labels is not None:
            axes.xaxis.tick_top()
            axes.set_xticks(_centres(len(column_labels), W), column_labels, fontsize=7)


def _centres(count: int, size: int) -> list[float]:
    """The middle pixels of the first `count` rows or columns of a mosaic, see _first_pixel()."""
    return [_first_pixel(i, size) + (size - 1) / 2 for i in range(count)]


def save_reconstructions(path: str | Path, x: np.ndarray, reconstructed: np.ndarray, columns: int = 10) -> None:
    """Images x (N, C, H, W) in rows, and below each row its reconstructions (N, C, H, W)."""
    title = "test images (upper rows) and reconstructions (lower rows)"
    save_sheet(path, interleave([contrast(images, x) for images in (x, reconstructed)], columns), columns, title)


def save_interpolation(path: str | Path, a: np.ndarray, paths: np.ndarray, b: np.ndarray) -> None:
    """Row i shows the image a[i], then paths[i], then the image b[i].

    a, b: (N, C, H, W). paths: the result of model.interpolate(a, b), (N, steps, C, H, W).
    """
    if not a.shape == b.shape == (len(paths), *paths.shape[2:]):
        raise ValueError(f"paths {paths.shape} must connect as many images of that shape, got {a.shape} and {b.shape}")
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
    """One row for each latent, sorted by descending KL: the images that model.traverse() made by changing that latent.

    images: (D, len(values), C, H, W). values: the value of the latent in each column. kl: (D,), nats.
    rows: how many latents are shown, None for all. others: the value that the other latents have, for the title.
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
    """The n * n images of model.manifold(n) as a square; the axes show quantiles of the prior."""
    n = round(len(images) ** 0.5)
    if n * n != len(images):
        raise ValueError(f"a manifold is a square of images, got {len(images)}")
    quantiles, (H, W) = np.linspace(0, 1, 5), tiles(images).shape[2:]
    labels = [f"{quantile:.0%}" for quantile in quantiles]
    with _sheet(path, images, n, "the plane of the two latents") as axes:
        axes.set_xticks(_first_pixel(quantiles * n, W) - (GAP + 1) / 2, labels, fontsize=7)  # between two images
        axes.set_yticks(_first_pixel((1 - quantiles) * n, H) - (GAP + 1) / 2, labels, fontsize=7)
        axes.tick_params(length=3)
        axes.set_xlabel("latent 0, quantile of the prior", fontsize=8)
        axes.set_ylabel("latent 1, quantile of the prior", fontsize=8)


def save_anomalies(
    path: str | Path,
    images: np.ndarray,
    scores: np.ndarray,
    columns: int = 8,
    rows: int = 4,
    labels: Sequence[str] | None = None,
) -> None:
    """The images with the highest anomaly scores, in descending order, with score and label below each.

    images: (N, C, H, W). scores: (N,). labels: N strings, or None. At most columns * rows images are shown.
    """
    strangest = np.argsort(-np.asarray(scores), kind="stable")[: columns * rows]
    N, _, H, W = tiles(images).shape
    if len(scores) != N or (labels is not None and len(labels) != N):
        raise ValueError(f"there must be a score and a label for each of {N} images")
    columns = min(columns, len(strangest))
    caption = ceil(CAPTION * columns * (W + GAP) / _width(tiles(images)))  # white pixels below each image
    shown = contrast(images[strangest], images)
    shown = np.pad(shown, ((0, 0), (0, 0), (0, caption), (0, 0)), constant_values=1)
    with _sheet(path, shown, columns, "the strangest images and their scores") as axes:
        for place, i in enumerate(strangest):
            x, y = _first_pixel(place % columns, W) + W / 2, _first_pixel(place // columns, H + caption) + H
            text = f"{scores[i]:.4g}" if labels is None else f"{scores[i]:.4g} {labels[i]}"
            axes.text(x, y, text, fontsize=5, ha="center", va="top")


# ---- plots of numbers ----


@contextmanager
def _plot(path: str | Path, width: float, height: float, title: str, xlabel: str, ylabel: str) -> Iterator[Any]:
    """One plot with title and labels, width x height in inches; the block draws on its axes."""
    with new_figure(path, width, height) as figure:
        axes = figure.subplots()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        yield axes


def save_curves(
    path: str | Path,
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    title: str,
    log_x: bool = False,
) -> None:
    """Plot named series against x, such as the PSNR by dimension of the code; the labels state the units.

    Each of `series` has as many values as x. log_x: a logarithmic x axis.
    """
    if wrong := {name: len(y) for name, y in series.items() if len(y) != len(x)}:
        raise ValueError(f"each series needs {len(x)} values, as x has, got {wrong}")
    with _plot(path, 5.4, 3.8, title, xlabel, ylabel) as axes:
        for name, y in series.items():
            axes.plot(x, y, marker=".", label=name)
        if log_x:
            axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)


def save_code_usage(path: str | Path, counts: np.ndarray) -> None:
    """Shares of the codes of each codebook, the most frequent first, and a line where all would be equally frequent.

    counts: (K,), how often each code was chosen, or (stages, K) of several codebooks.
    """
    stages = [code_usage(of_stage) for of_stage in np.atleast_2d(counts)]
    texts = [f"{used} of {len(shares)} codes used, perplexity {perplexity:.1f}" for shares, used, perplexity in stages]
    title, labels = (texts[0], [None]) if len(texts) == 1 else (f"use of the codes of {len(texts)} stages", texts)
    with _plot(path, 5.4, 3.4, title, "code, sorted by use", "share of all codes in %") as axes:
        for i, ((shares, _, _), label) in enumerate(zip(stages, labels, strict=True), 1):
            axes.stairs(shares, fill=label is None, label=label and f"stage {i}: {label}")
        axes.axhline(100 / len(shares), color="black", linewidth=0.8, linestyle="--", label="uniform")
        axes.legend(fontsize=8)


def code_usage(counts: np.ndarray) -> tuple[np.ndarray, int, float]:
    """How evenly the codes of a codebook are used: counts (K,) -> (shares (K,), number of codes used, perplexity).

    The shares are in percent, in descending order. The perplexity is exp of their entropy: K if all codes are equally
    frequent, 1 if a single code is used. Raises ValueError for negative counts and if all are 0.
    """
    counts = np.sort(np.asarray(counts, np.float64))[::-1]
    if counts.ndim != 1 or not counts.sum() > 0 or counts[-1] < 0:
        raise ValueError("counts must be one number >= 0 for each code, not all of them 0")
    p = counts / counts.sum()
    used = p[p > 0]
    return 100 * p, len(used), float(np.exp(-(used * np.log(used)).sum()))


def save_training(
    path: str | Path, history: Sequence[dict[str, Any]], unit: str = "nats per image", held_out: str = "test"
) -> None:
    """Plot each term of the loss by epoch in a panel of its own, for training and validation data.

    history: one record per epoch, as in model.history. unit: the unit of the loss and its terms; UNITS has the others.
    held_out: the name of the validation data in the legend.
    """
    skip = ("epoch", "lr", "seconds", "images_per_second")
    terms = [k for k in history[0] if k not in skip and not k.startswith("validation_")]
    rows, columns = -(-len(terms) // PANELS), min(len(terms), PANELS)
    epochs = [record["epoch"] for record in history]
    with new_figure(path, 3.5 * columns, 2.9 * rows) as figure:
        from matplotlib.ticker import MaxNLocator

        for i, term in enumerate(terms):
            axes = figure.add_subplot(rows, columns, i + 1)
            axes.plot(epochs, [record[term] for record in history], marker=".", label="training")
            if f"validation_{term}" in history[0]:
                axes.plot(epochs, [record[f"validation_{term}"] for record in history], marker=".", label=held_out)
            axes.set_title(term, fontsize=10)
            axes.set_xlabel("epoch")
            axes.set_ylabel(UNITS.get(term.split("_")[0], unit))
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
            axes.grid(alpha=0.3)
        figure.axes[0].legend(fontsize=8)


def save_latent(
    path: str | Path, codes: np.ndarray, labels: np.ndarray | None, class_names: Sequence[str] | None = None
) -> None:
    """Plot codes (N, D) as points in a plane, coloured by class; if D > 2, their two principal components.

    labels: (N,), or None. class_names: the name of each label for the legend, or None.
    """
    flat, explained = principal_plane(codes)
    D = codes.shape[1]
    title = f"encoded test images, {D} latent{'s' if D > 1 else ''}"
    title = title if D <= 2 else f"{title}: {explained:.0%} of the variance in this plane"
    xlabel = "latent 0" if D <= 2 else "principal component 1"
    ylabel = {1: "", 2: "latent 1"}.get(D, "principal component 2")
    with _plot(path, 6.2, 4.8, title, xlabel, ylabel) as axes:
        if D == 1:
            axes.set_yticks([])
        if labels is None:
            axes.scatter(*flat.T, s=6, alpha=0.7)
        else:
            _scatter_classes(axes, flat, labels, class_names)


def _scatter_classes(axes: Any, flat: np.ndarray, labels: np.ndarray, class_names: Sequence[str] | None) -> None:
    """Points (N, 2) coloured by label, with a legend or, for more than LEGEND classes, a colour bar."""
    from matplotlib import colormaps

    classes = np.unique(labels)
    if len(classes) > LEGEND:
        points = axes.scatter(*flat.T, s=6, alpha=0.7, c=labels, cmap="turbo")
        axes.figure.colorbar(points, label="label")
        return
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    for i, label in enumerate(classes):
        name = class_names[int(label)] if class_names is not None else str(label)
        axes.scatter(*flat[labels == label].T, s=6, alpha=0.7, color=colours(i), label=name)
    axes.legend(fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5))


def principal_plane(codes: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes (N, D) projected onto their first two principal components, (N, 2), and the share of the variance kept.

    If D = 2 the codes are returned unchanged; if D = 1 a column of zeros is appended.
    """
    if codes.shape[1] <= 2:
        return _in_plane(codes), 1.0
    centred = codes - codes.mean(0)
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    total = float((scale**2).sum())
    return _in_plane(centred @ axes[:2].T), float((scale[:2] ** 2).sum()) / total if total else 1.0


def _in_plane(codes: np.ndarray) -> np.ndarray:
    """(N, 1) or (N, 2) -> (N, 2), padded with zeros; a single image has only one principal component."""
    return np.pad(codes, ((0, 0), (0, 2 - codes.shape[1])))
