"""Read images from .npy files that may be larger than memory: one file, or a folder of shards.

The shards of an array lie in one folder, in the order of their names: part-000.npy, part-001.npy, ... They have the
same dtype and shape but for the number of examples. Folders may hold the arrays that a .npz file may hold, each as
shards: x_train-*.npy with optional y_train-*.npy, x_test-*.npy and y_test-*.npy; or x-*.npy with optional y-*.npy.

Files are opened for each batch and never mapped: of thousands of shards none stays open, and a file that is cut short
or written anew while it is used is an error, where a mapping would end the process or read on in other data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .archive import MAGIC, Header, read_header, reading
from .files import Part, as_images, as_labels, pngs_below, shaped
from .lazy import LazyArray, as_floats

IN_MEMORY = 1 << 28  # images that take no more bytes as float32, as Fashion-MNIST, are read into memory


class _Shard(NamedTuple):
    """A file, its header, where its data begins, and its size and time of change."""

    path: Path
    header: Header
    start: int
    state: tuple[int, int]


class Shards:
    """The examples (N, ...) of .npy files one after another, as a source of a LazyArray.

    Raises ValueError for no files, for damaged ones, for arrays without examples or in Fortran order, whose examples
    lie apart, and for shapes or dtypes that differ; OSError for files that cannot be opened.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._shards = [_opened(path) for path in paths]
        if not self._shards:
            raise ValueError("there are no .npy files to read")
        first = self._shards[0]
        for shard in self._shards:
            _check(shard, first)
        counts = [shard.header.shape[0] for shard in self._shards]
        self._starts = np.cumsum([0, *counts[:-1]])
        self.shape, self.dtype = (sum(counts), *first.header.shape[1:]), first.header.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Read examples, of ascending rows (n,)."""
        examples = np.empty((len(rows), *self.shape[1:]), self.dtype)
        data, width = examples.reshape(-1).view(np.uint8).data, prod(self.shape[1:]) * self.dtype.itemsize
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for owner in np.unique(owners):
            first, last = np.searchsorted(owners, owner), np.searchsorted(owners, owner, side="right")
            own = rows[first:last] - self._starts[owner]
            _read(self._shards[owner], own, data[first * width : last * width], width)
        return examples

    def place(self, row: int) -> tuple[str, int]:
        """Name the file of an example, and the index of the example in it."""
        owner = int(np.searchsorted(self._starts, row, side="right")) - 1
        return repr(str(self._shards[owner].path)), row - int(self._starts[owner])


def _opened(path: Path) -> _Shard:
    with path.open("rb") as file, reading(path, ".npy file"):
        state = os.fstat(file.fileno())
        return _Shard(path, read_header(file, state.st_size), file.tell(), (state.st_size, state.st_mtime_ns))


def _check(shard: _Shard, first: _Shard) -> None:
    """Raise ValueError for a shard without an axis of examples, in Fortran order, or unlike the first one."""
    (shape, dtype, fortran_order), name = shard.header, repr(str(shard.path))
    if not shape or 0 in shape:
        raise ValueError(f"{name} must hold examples (N, ...), with no length 0, got shape {shape}")
    if fortran_order:
        raise ValueError(f"{name} is in Fortran order, in which an example lies in pieces; np.ascontiguousarray first")
    if (shape[1:], dtype) != (first.header.shape[1:], first.header.dtype):
        raise ValueError(
            f"{name} has examples of shape {shape[1:]} and dtype {dtype}, {str(first.path)!r} of "
            f"{first.header.shape[1:]} and {first.header.dtype}; shards are alike, and labels are called y-*.npy "
            "beside images called x-*.npy"
        )


def _read(shard: _Shard, rows: np.ndarray, data: memoryview, width: int) -> None:
    """Read examples of `width` bytes, of ascending rows (n,), into data, n * width bytes, each run of neighbours in
    one piece. Raises ValueError for a file that has changed since it was first opened, OSError for one that is gone."""
    with open(shard.path, "rb", buffering=0) as file:
        state = os.fstat(file.fileno())
        if (state.st_size, state.st_mtime_ns) != shard.state:
            raise ValueError(f"{str(shard.path)!r} has changed while its examples were being read")
        done = 0
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            file.seek(shard.start + int(run[0]) * width)
            end = done + len(run) * width
            while done < end:
                count = file.readinto(data[done:end])
                if not count:
                    raise ValueError(f"{str(shard.path)!r} ends too early, at example {int(run[-1])} or before")
                done += count


# ---- files and folders of images ----


def is_large(path: Path) -> bool:
    """Whether a file is a .npy file of images that take more than IN_MEMORY bytes as float32.

    Those in Fortran order are not counted: their examples cannot be read singly. Raises ValueError for a damaged one.
    """
    with path.open("rb") as file, reading(path, ".npy or .npz file"):
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(0)
        header = read_header(file, path.stat().st_size)
    return not header.fortran_order and _too_large(header.shape)


def _too_large(shape: tuple[int, ...]) -> bool:
    return 4 * prod(shape) > IN_MEMORY


def is_folder(path: Path) -> bool:
    """Whether it is a folder with .npy files in it, and without PNGs there or in its sub-folders."""
    return path.is_dir() and bool(_arrays(path)) and not any(pngs_below(path))


def _arrays(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".npy" and path.is_file())


def load(path: Path, image_shape: Sequence[int] | None = None) -> tuple[Part, Part | None]:
    """The training part and, if there is one, the test part of a .npy file or of a folder of shards.

    Images of more than IN_MEMORY bytes are LazyArrays, whose values are checked when they are read. Raises ValueError
    and TypeError as load_array() does, ValueError for shards that differ.
    """
    found = _by_name(path)
    if "x_train" not in found:
        return _part(found, "", path, image_shape), None
    test = _part(found, "_test", path, image_shape) if "x_test" in found else None
    return _part(found, "_train", path, image_shape), test


def _by_name(path: Path) -> dict[str, list[Path]]:
    """The files by the name of their array, which is that of the file without its number; where no array is called x
    or x_train, all of them are x."""
    if path.is_file():
        return {"x": [path]}
    found: dict[str, list[Path]] = {}
    for file in _arrays(path):
        found.setdefault(re.sub(r"[-_.]?\d+$", "", file.stem), []).append(file)
    return found if found.keys() & {"x", "x_train"} else {"x": _arrays(path)}


def _part(found: dict[str, list[Path]], suffix: str, path: Path, image_shape: Sequence[int] | None) -> Part:
    """The images x<suffix> and, if they are there, the labels y<suffix>."""
    x = _images(Shards(found[f"x{suffix}"]), f"{path}: x{suffix}" if path.is_dir() else str(path), image_shape)
    if (files := found.get(f"y{suffix}")) is None:
        return x, None
    y = Shards(files)
    return x, as_labels(y[np.arange(y.shape[0])], x, f"{path}: y{suffix}")


def _images(shards: Shards, name: str, image_shape: Sequence[int] | None) -> np.ndarray:
    """Images (N, C, H, W) as float32, a LazyArray if they are large. Their shape and dtype are checked at once."""
    if not _too_large(shards.shape):
        return as_images(shards[np.arange(shards.shape[0])], name, image_shape)
    as_floats(np.empty(0, shards.dtype), f"{name}: images")
    shape = shaped(np.broadcast_to(np.zeros((), shards.dtype), shards.shape), name, image_shape).shape[1:]
    step = partial(as_images, name=name, image_shape=image_shape)
    images: np.ndarray = LazyArray(shards).checked(step, shape, np.float32)
    return images
