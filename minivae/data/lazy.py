"""Examples that stay in their files: a LazyArray reads those that it is asked for, and only them.

Training, evaluation and encoding ask data for its shape, its dtype and its length, and for a batch of examples at a
time. A LazyArray answers like an array (N, ...) would, so data may be larger than memory:

    x = np.load("pixels.npy", mmap_mode="r")        # (N, 1, 28, 28), uint8: nothing is read
    VAE().fit(x)                                    # each batch is read, divided by 255 and checked

`x[rows]`, for a slice or an array of ints, is a plain array in memory. Rows are read in the order of the file, as disks
like it, and returned in the order asked for. Bad values are found when their batch is read, and the error names the
example. A shuffled order of the examples is one int64 for each; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Protocol

import numpy as np

from minivae.kernels import checks

SAMPLE, SAMPLE_BYTES, SAMPLE_LEAST = 4096, 1 << 24, 100  # of sample(): the most examples and bytes; at least so many
Step = Callable[[np.ndarray], np.ndarray]


class Source(Protocol):
    """It holds examples (N, ...). source[rows] reads some of them, for ascending rows (n,), as an array (n, ...)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray: ...


class LazyArray:
    """A LazyArray stands in for an array (N, ...) of examples that are read when they are asked for.

    source: where they are: an np.memmap, Shards, or another LazyArray. rows: which of its examples these are, and in
    which order, ints (N,); all of them unless given. steps: functions that turn a batch as it is read into one of
    `shape` and `dtype`, or raise ValueError.
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray | None = None,
        steps: tuple[Step, ...] = (),
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
    ) -> None:
        self.source, self.steps, self._rows = source, steps, rows
        example = source.shape[1:] if shape is None else shape
        self.shape = (*(source.shape[:1] if rows is None else (len(rows),)), *example)
        self.dtype = np.dtype(source.dtype if dtype is None else dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Refuse to become an array by accident. x[:] asks for it."""
        raise TypeError(
            f"{len(self):,} examples in files are not read into memory at once where a whole array is needed; "
            "give some of them, such as x[:1000]"
        )

    def __getitem__(self, index: Any) -> np.ndarray:
        """Read examples: x[index] as a plain array, for an int, a slice or ints (n,).

        Raises TypeError for other indices, IndexError for those out of range, ValueError for bad values, with the index
        of the first one, and for a file that has changed, OSError for a file that is gone.
        """
        rows = self._rows_at(index)
        return self._read(rows) if rows.ndim else self._read(rows[None])[0]

    def _rows_at(self, index: Any) -> np.ndarray:
        """The rows of the source at an int (), at a slice or at ints (n,); TypeError or IndexError for others."""
        N = len(self)
        if isinstance(index, slice):
            index = np.arange(*index.indices(N))
        index = np.asarray(index)
        if index.ndim > 1 or (index.size and index.dtype.kind not in "iu"):
            raise TypeError(f"examples are read by a slice or by ints (n,), got {checks.shown(index)}")
        if index.size and not -N <= index.min() <= index.max() < N:
            raise IndexError(f"there are {N} examples, got an index from {index.min()} to {index.max()}")
        index = index.astype(np.int64)
        positions = np.where(index < 0, index + N, index)
        return positions if self._rows is None else self._rows[positions]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.empty((0, *self.shape[1:]), self.dtype)
        if (rows[:-1] <= rows[1:]).all():
            batch = self.source[rows]
        else:
            order = np.argsort(rows, kind="stable")
            batch = self.source[rows[order]][np.argsort(order)]
        if batch.dtype.kind == "f":
            self._check_finite(batch, rows)
        try:
            return self._stepped(batch)
        except ValueError:
            self._blame(batch, rows)
            raise

    def _stepped(self, batch: np.ndarray) -> np.ndarray:
        for step in self.steps:
            batch = step(batch)
        return batch

    def _check_finite(self, batch: np.ndarray, rows: np.ndarray) -> None:
        finite = np.isfinite(batch)
        if not finite.all():
            first = np.unravel_index(int(np.argmin(finite)), finite.shape)
            name, row = self.place(int(rows[first[0]]))
            place = (row, *map(int, first[1:]))
            raise ValueError(f"{name} must be finite: there is {batch[first]} at index {place}")

    def _blame(self, batch: np.ndarray, rows: np.ndarray) -> None:
        """Raise the ValueError of the first example that has one by itself, with its place."""
        for i in np.argsort(rows, kind="stable"):
            try:
                self._stepped(batch[i : i + 1])
            except ValueError as error:
                name, row = self.place(int(rows[i]))
                raise ValueError(f"example {row} of {name}: {error}") from None

    def place(self, row: int) -> tuple[str, int]:
        """Name what holds an example of the source, for an error message, and its index there."""
        place: Callable[[int], tuple[str, int]] | None = getattr(self.source, "place", None)
        return ("images", row) if place is None else place(row)

    # ---- others of the same source ----

    def checked(self, step: Step, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a LazyArray whose batches pass through one more step, which gives examples of this shape and dtype.

        The type is Any because it is used in the place of an array. A step that is among the steps is not done twice.
        """
        if step in self.steps:
            return self
        return LazyArray(self.source, self._rows, (*self.steps, step), shape, dtype)

    def select(self, index: Any) -> Any:
        """Return a LazyArray of the examples at a slice or at ints (n,), of which nothing is read."""
        return LazyArray(self.source, self._rows_at(index), self.steps, self.shape[1:], self.dtype)

    def spaced(self) -> np.ndarray:
        """The positions of sample(): all of them, or at most SAMPLE at even distances."""
        N, bytes_ = len(self), max(1, prod(self.shape[1:]) * self.dtype.itemsize)
        count = min(N, SAMPLE, max(SAMPLE_LEAST, SAMPLE_BYTES // bytes_))
        return np.arange(count) * N // max(1, count)

    def sample(self) -> np.ndarray:
        """Read examples at even distances, or all of them if they are few: at most 4,096, and no more than 100 if
        these take more than 16 MiB."""
        return self[self.spaced()]


def lazily(x: Any) -> LazyArray | None:
    """x as a LazyArray if it is one or maps a file (np.memmap); None for what is in memory."""
    if isinstance(x, np.memmap) and x.mode is not None:  # what is computed from one in memory has no mode
        return LazyArray(x)
    return x if isinstance(x, LazyArray) else None


def lazy_images(x: Any) -> LazyArray | None:
    """lazily(x) as floating-point numbers, as_floats() of each batch. Raises TypeError for dtypes that it refuses."""
    lazy = lazily(x)
    if lazy is None or lazy.dtype.kind == "f":
        return lazy
    dtype = as_floats(np.empty(0, lazy.dtype)).dtype
    found: LazyArray = lazy.checked(as_floats, lazy.shape[1:], dtype)
    return found


def in_memory(x: Any) -> np.ndarray:
    """The array itself, or the sample() of a LazyArray: for what needs a bounded number of examples."""
    return x.sample() if isinstance(x, LazyArray) else x


def select(x: Any, rows: np.ndarray) -> Any:
    """x[rows] of an array, for ints (n,), and the same of a LazyArray, of which nothing is read."""
    return x.select(rows) if isinstance(x, LazyArray) else x[rows]


def as_floats(x: np.ndarray, name: str = "images") -> np.ndarray:
    """Bytes divided by 255 and booleans as 0 and 1, float32; floating-point numbers as they are. TypeError for others.

    name: what the error message calls x.
    """
    if x.dtype == np.uint8:
        return np.divide(x, np.float32(255), dtype=np.float32)
    if x.dtype != bool and x.dtype.kind != "f":
        raise TypeError(f"{name} must be bytes (uint8), booleans or floating-point numbers, got {x.dtype}")
    return x.astype(np.float32) if x.dtype == bool else x
