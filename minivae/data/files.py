"""Images from the user's own files: .npy, .npz, or a folder of PNGs."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from .batches import check_finite

Part = tuple[np.ndarray, np.ndarray | None]  # images (N, C, H, W), labels (N,) or None


def as_images(x: np.ndarray, name: str) -> np.ndarray:
    """(N, H, W) or (N, C, H, W) as (N, C, H, W) float32: bytes are divided by 255, floating numbers kept as they are.

    Raises ValueError for other shapes and for NaN or infinity, with the index of the first one; TypeError for other
    dtypes.
    """
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or min(x.shape[1:]) < 1:
        raise ValueError(f"{name}: images must have shape (N, H, W) or (N, C, H, W), got {x.shape}")
    if x.dtype == np.uint8:
        return np.multiply(x, np.float32(1 / 255), dtype=np.float32)
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: images must be bytes (uint8) or floating numbers, got {x.dtype}")
    check_finite(x, name)
    return x.astype(np.float32, copy=False)


def _as_labels(y: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels must be {len(x)} integers, got shape {y.shape} and dtype {y.dtype}")
    return y.astype(np.int64)


def load_array(path: Path) -> tuple[Part, Part | None]:
    """Training part and, if the file has one, test part.

    .npy: one array of images. .npz: x_train with optional y_train, x_test, y_test; or x with optional y; or a single
    array of any name. Raises ValueError for a truncated or foreign file.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is no readable .npy or .npz file: {error}") from error
    if "x_train" in arrays:
        return _part(arrays, "_train", path), _part(arrays, "_test", path) if "x_test" in arrays else None
    if "x" in arrays:
        return _part(arrays, "", path), None
    if len(arrays) == 1:
        (only,) = arrays.values()
        return (as_images(only, str(path)), None), None
    raise ValueError(f"{str(path)!r} must hold x_train, x or a single array, it holds {sorted(arrays)}")


def _part(arrays: dict[str, np.ndarray], suffix: str, path: Path) -> Part:
    x = as_images(arrays[f"x{suffix}"], f"{path}: x{suffix}")
    y = arrays.get(f"y{suffix}")
    return x, None if y is None else _as_labels(y, x, f"{path}: y{suffix}")


def load_png_folder(folder: Path) -> tuple[Part, tuple[str, ...] | None]:
    """All PNGs of a folder, in the order of their names, grey or RGB, all of one size; sub-folders are classes.

    Raises ValueError for no PNGs, a damaged one, or one of another size or colour than the first.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading PNGs needs Pillow: pip install 'minivae[cli]'") from error
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and any(p.glob("*.png")))
    paths = (
        sorted(folder.glob("*.png"))
        if not classes
        else [p for c in classes for p in sorted((folder / c).glob("*.png"))]
    )
    if not paths:
        raise ValueError(f"{str(folder)!r} holds no PNG files, nor sub-folders with some")
    images: list[np.ndarray] = []
    for path in paths:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L" if image.mode in ("1", "L", "LA", "I;16", "I") else "RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise ValueError(f"{str(path)!r} is no readable PNG: {error}") from error
        if images and pixels.shape != images[0].shape:
            raise ValueError(f"{str(path)!r} has shape {pixels.shape}, {str(paths[0])!r} has {images[0].shape}")
        images.append(pixels)
    x = np.stack(images)
    x = as_images(x if x.ndim == 3 else x.transpose(0, 3, 1, 2), str(folder))
    labels = np.array([classes.index(p.parent.name) for p in paths], np.int64) if classes else None
    return (x, labels), tuple(classes) or None
