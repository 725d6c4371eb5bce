"""Data sets: embedded, generated, downloaded, or the user's own. Known to users as `minivae.datasets`.

data = mv.datasets.load("fashion-mini")
data.x_train        # (4000, 1, 28, 28), float32 in [0, 1]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import files, idx, shapes
from .batches import Batches, check_finite

__all__ = ["Batches", "Dataset", "check_finite", "load", "names"]

SHAPES_TRAIN, SHAPES_TEST, SHAPES_SIZE = 4000, 1000, 32
HELD_OUT = 10  # of a data set without test part every tenth image is held out


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W), float32, in [0, 1] where they came as bytes; labels (N,) int64 or None.

    factors_train and factors_test: the table (N, 5) behind generated images, columns data.shapes.FACTORS, or None.
    """

    name: str
    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray | None = None
    y_test: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    factors_train: np.ndarray | None = None
    factors_test: np.ndarray | None = None


def names() -> list[str]:
    """The data sets known by name."""
    return ["fashion-mini", "shapes", *idx.SOURCES]


def load(name: str | Path, folder: str | Path | None = None) -> Dataset:
    """A data set by name, or images from a .npy or .npz file or a folder of PNGs.

    'fashion-mini': 4,000 + 1,000 images of Fashion-MNIST, part of this package. 'shapes': 4,000 + 1,000 generated
    images 32 x 32. 'fashion-mnist', 'mnist': 60,000 + 10,000 images from IDX files, searched for in `folder`,
    $MINIVAE_DATA, Debian's package and the user's cache, else downloaded. Files are described in data.files; without
    a test part of their own every tenth image is held out.

    Raises ValueError for an unknown name and for files that are damaged or do not fit, OSError where a download fails.
    """
    if name == "fashion-mini":
        return _fashion_mini()
    if name == "shapes":
        return _shapes()
    if name in idx.SOURCES:
        x_train, y_train, x_test, y_test = idx.load_folder(idx.find(str(name), folder))
        return _labelled(str(name), x_train, y_train, x_test, y_test, idx.SOURCES[str(name)].class_names)
    path = Path(name)
    if path.is_dir():
        part, class_names = files.load_png_folder(path)
        return _held_out(path, part, None, class_names)
    if path.is_file():
        return _held_out(path, *files.load_array(path), None)
    raise ValueError(
        f"unknown data set {str(name)!r}: no file or folder of that name, and not one of {', '.join(names())}"
    )


def _fashion_mini() -> Dataset:
    with np.load(Path(__file__).with_name("fashion_mini.npz"), allow_pickle=False) as arrays:
        x_train, y_train, x_test, y_test = (arrays[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    return _labelled("fashion-mini", x_train, y_train, x_test, y_test, idx.SOURCES["fashion-mnist"].class_names)


def _labelled(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    class_names: tuple[str, ...],
) -> Dataset:
    return Dataset(
        name,
        files.as_images(x_train, name),
        files.as_images(x_test, name),
        y_train.astype(np.int64),
        y_test.astype(np.int64),
        class_names,
    )


def _shapes() -> Dataset:
    table = shapes.factors(SHAPES_TRAIN + SHAPES_TEST)
    train, test = table[:SHAPES_TRAIN], table[SHAPES_TRAIN:]
    return Dataset(
        "shapes",
        shapes.render(train, SHAPES_SIZE),
        shapes.render(test, SHAPES_SIZE),
        train[:, 0].astype(np.int64),
        test[:, 0].astype(np.int64),
        shapes.SHAPES,
        train,
        test,
    )


def _held_out(path: Path, train: files.Part, test: files.Part | None, class_names: tuple[str, ...] | None) -> Dataset:
    """Cut every tenth image off where there is no test part; ValueError for fewer than two images."""
    (x, y), name = train, path.name
    if test is None:
        if len(x) < 2:
            raise ValueError(f"{str(path)!r} has {len(x)} image(s); training and testing need at least 2")
        held = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
        held[-1] = True
        test = x[held], None if y is None else y[held]
        x, y = x[~held], None if y is None else y[~held]
    if test[0].shape[1:] != x.shape[1:]:
        raise ValueError(f"{str(path)!r}: training images {x.shape[1:]} and test images {test[0].shape[1:]} differ")
    return Dataset(name, x, test[0], y, test[1], class_names)
