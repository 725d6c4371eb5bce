"""Read images from the user's own files: .npy, .npz, or a folder of PNGs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels.checks import check_finite

from .archive import MAGIC, Archive, check_expansion, read_array, reading
from .lazy import as_floats

Part = tuple[np.ndarray, np.ndarray | None]  # images (N, C, H, W), labels (N,) or None
WANTED = ("x_train", "y_train", "x_test", "y_test", "x", "y")
MODES = {"1": "L", "L": "L", "RGB": "RGB", "P": "RGB"}  # Pillow's mode of a PNG -> mode it is read as: grey or RGB


def as_images(x: np.ndarray, name: str, image_shape: Sequence[int] | None = None) -> np.ndarray:
    """Images as (N, C, H, W), float32.

    x: (N, H, W), (N, C, H, W) or, with image_shape (C, H, W), flat rows (N, C * H * W). Bytes are divided by 255;
    booleans become 0 and 1; floating-point numbers are kept, whatever their range. The result is the only copy made.
    name: what error messages call x. Raises ValueError for other shapes and for NaN or infinity, with the index of the
    first one; TypeError for other dtypes.
    """
    x = shaped(x, name, image_shape)
    if x.dtype.kind != "f":
        return as_floats(x, f"{name}: images")
    with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinity, which check_finite finds
        x = x.astype(np.float32, copy=False)
    check_finite(x, name)
    return x


def shaped(x: np.ndarray, name: str, image_shape: Sequence[int] | None) -> np.ndarray:
    """x as (N, C, H, W); ValueError for a shape that is not one of images."""
    if image_shape is not None:
        C, H, W = image_shape
        if x.shape[1:] not in ((C * H * W,), (C, H, W)) and (C != 1 or x.shape[1:] != (H, W)):
            raise ValueError(f"{name}: expected shape (N, {C}, {H}, {W}) or (N, {C * H * W}), got {x.shape}")
        x = x.reshape(len(x), C, H, W)
    elif x.ndim == 2:
        raise ValueError(
            f"{name}: images in flat rows, got {x.shape}, need an image_shape=(C, H, W), --image-shape C H W on the "
            "command line"
        )
    elif x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        raise ValueError(f"{name}: expected (N, C, H, W), got {x.shape}; if channels come last, transpose(0, 3, 1, 2)")
    if x.ndim != 4 or not x.size:
        raise ValueError(f"{name}: images must be (N, H, W) or (N, C, H, W), with no length 0, got {x.shape}")
    return x


def as_labels(y: np.ndarray, x: np.ndarray, name: str) -> np.ndarray:
    """Labels (N,) of images x (N, ...) as int64; ValueError for another number and for what is no integer."""
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ValueError(f"{name}: labels must be {len(x)} integers, got shape {y.shape} and dtype {y.dtype}")
    return y.astype(np.int64)


def load_array(path: Path, image_shape: Sequence[int] | None = None) -> tuple[Part, Part | None]:
    """The training part and, if the file has one, the test part.

    A .npy file holds one array of images. A .npz file holds x_train with optional y_train, x_test and y_test; or x with
    optional y; or a single array of any name. If there is x_train or x, arrays of other names are not read.
    Raises ValueError for a truncated file and for one that holds something else.
    """
    arrays = read_arrays(path, WANTED)
    if "x_train" in arrays:
        test = _part(arrays, "_test", path, image_shape) if "x_test" in arrays else None
        return _part(arrays, "_train", path, image_shape), test
    if "x" in arrays:
        return _part(arrays, "", path, image_shape), None
    if len(arrays) == 1:
        (only,) = arrays.values()
        return (as_images(only, str(path), image_shape), None), None
    raise ValueError(f"{str(path)!r} must hold x_train, x or a single array; it holds {sorted(arrays)}")


def read_arrays(path: Path, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by name: {'x': array} for .npy; for .npz the `wanted` ones or, if it has none of them, all.

    Raises ValueError for a damaged file.
    """
    with path.open("rb") as file, reading(path, ".npy or .npz file"):
        start, size = file.read(len(MAGIC)), path.stat().st_size
        file.seek(0)
        if start == MAGIC:
            return {"x": read_array(file, size)}
        if start[:2] != b"PK":
            raise ValueError(f"it begins with {start.hex() or 'nothing'}")  # neither NumPy's signature nor that of zip
        archive = Archive(file, size)
        return {name: archive.read(name) for name in [n for n in archive.names if n in wanted] or archive.names}


def _part(arrays: dict[str, np.ndarray], suffix: str, path: Path, image_shape: Sequence[int] | None) -> Part:
    """The images x<suffix> and, if they are there, the labels y<suffix>."""
    x = as_images(arrays[f"x{suffix}"], f"{path}: x{suffix}", image_shape)
    y = arrays.get(f"y{suffix}")
    return x, None if y is None else as_labels(y, x, f"{path}: y{suffix}")


def load_png_folder(folder: Path) -> tuple[Part, tuple[str, ...] | None]:
    """The images and labels in a folder of PNGs, and the names of the classes.

    The PNGs are read in the order of their names. They are all grey or all RGB, with 8 bits per channel, and of equal
    size. If they lie in sub-folders, each sub-folder is a class; otherwise labels and class names are None.

    Raises ValueError if there are no PNGs; if there are PNGs both in the folder and in sub-folders; if a PNG is
    damaged, has 16 bits per channel or transparency, or differs from the first in size or colour; and if the files
    state more pixels than files of their sizes plausibly hold (see data.archive). Raises ImportError without Pillow.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading PNGs needs Pillow: pip install 'minivae[cli]'") from error
    loose, by_class = _pngs(folder), {p.name: _pngs(p) for p in sorted(folder.iterdir()) if p.is_dir()}
    by_class = {name: pngs for name, pngs in by_class.items() if pngs}
    if bool(loose) == bool(by_class):
        found = "both" if loose else "no PNG files"
        raise ValueError(f"{str(folder)!r} must hold PNG files, sub-folders of them, or .npy files; it holds {found}")
    images: list[np.ndarray] = []
    stated = stored = 0
    for path in (paths := loose or [p for pngs in by_class.values() for p in pngs]):
        stored += path.stat().st_size
        pixels = _read_png(Image, path, stated, stored)
        stated += pixels.nbytes
        if images and pixels.shape != images[0].shape:
            raise ValueError(f"{str(path)!r} has shape {pixels.shape}, {str(paths[0])!r} has {images[0].shape}")
        images.append(pixels)
    x = np.stack(images)  # (N, H, W) or (N, H, W, 3)
    x = as_images(x if x.ndim == 3 else x.transpose(0, 3, 1, 2), str(folder))
    classes = tuple(by_class)
    labels = np.repeat(np.arange(len(classes)), [len(pngs) for pngs in by_class.values()]) if classes else None
    return (np.ascontiguousarray(x), labels), classes or None


def pngs_below(folder: Path) -> Iterator[Path]:
    """Yield the PNGs in a folder and in its sub-folders."""
    for place in (folder, *(p for p in folder.iterdir() if p.is_dir())):
        yield from _pngs(place)


def _pngs(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png")


def _read_png(image_module: Any, path: Path, stated: int, stored: int) -> np.ndarray:
    """The pixels of an image as bytes, (H, W) or (H, W, 3).

    stated: how many bytes the earlier images have when decompressed. stored: the bytes of all files so far, including
    this one. Pillow compares checksums only in verify(), after which the file must be opened again.
    """
    with path.open("rb") as file, reading(path, "PNG"):
        width, height = _png_size(file.read(24))
        most = image_module.MAX_IMAGE_PIXELS
        if most is not None and width * height > most:
            raise ValueError(f"it states {width} x {height} pixels, more than Pillow's limit of {most:,}")
        check_expansion(stated + width * height, stored)
        file.seek(0)
        with image_module.open(file, formats=["PNG"]) as image:
            image.verify()
        file.seek(0)
        with image_module.open(file, formats=["PNG"]) as image:
            if image.mode not in MODES or "transparency" in image.info:
                raise ValueError(f"it must be grey or RGB, with 8 bits per channel and opaque; it is {image.mode}")
            return np.asarray(image.convert(MODES[image.mode]))


def _png_size(start: bytes) -> tuple[int, int]:
    """The width and height in the first 24 bytes of a PNG: an 8-byte signature, then the IHDR chunk."""
    if start[:8] != b"\x89PNG\r\n\x1a\n" or start[12:16] != b"IHDR" or len(start) < 24:
        raise ValueError(f"it begins with {start[:16].hex() or 'nothing'}")
    return int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
