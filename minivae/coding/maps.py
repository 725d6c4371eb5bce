"""Maps of integers as bytes: a range coder, and a distribution that says how likely each value is.

All maps are coded at once, position by position: the distribution computes the frequencies at (i, j) for every map, and
the coder takes the values of the maps one after the other. To keep memory small they go in groups of group_size().
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from .exact import Choose
from .range_coder import RangeDecoder, RangeEncoder


class Distribution(Protocol):
    """It is a distribution over maps (H, W) of integers in [0, values), such as an ExactPixelCNN."""

    map_shape: tuple[int, int]
    values: int
    classes: int | None

    def walk(self, count: int, y: np.ndarray | None, choose: Choose) -> np.ndarray:
        """See ExactPixelCNN.walk()."""


class Uniform:
    """Every value is equally likely at every position: log2(values) bits each."""

    classes: int | None = None

    def __init__(self, map_shape: tuple[int, int], values: int) -> None:
        self.map_shape, self.values = map_shape, values

    def walk(self, count: int, y: np.ndarray | None, choose: Choose) -> np.ndarray:
        """See ExactPixelCNN.walk()."""
        values = np.zeros((count, *self.map_shape), np.int64)
        for i, j in np.ndindex(*self.map_shape):
            values[:, i, j] = choose(i, j, np.ones((count, self.values), np.int64))
        return values


def encode_maps(distribution: Distribution, maps: np.ndarray, y: np.ndarray | None = None) -> bytes:
    """Encode maps (N, H, W) of integers in [0, values) and, for a conditional distribution, their labels y (N,)."""
    coder = RangeEncoder()
    for label in [] if y is None else y.tolist():
        coder.encode(label, 1, int(distribution.classes or 0))
    for part in _groups(distribution, len(maps)):
        group = maps[part]

        def choose(i: int, j: int, frequencies: np.ndarray, group: np.ndarray = group) -> np.ndarray:
            _encode(coder, frequencies, group[:, i, j])
            return group[:, i, j]

        distribution.walk(len(group), None if y is None else y[part], choose)
    return coder.finish()


def decode_maps(distribution: Distribution, data: bytes, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Decode the bytes of encode_maps() to `count` maps (count, H, W), int64, and their labels (count,) or None."""
    coder = RangeDecoder(data)
    y = None
    if classes := distribution.classes:
        y = np.zeros(count, np.int64)
        for n in range(count):
            y[n] = label = coder.position(classes)
            coder.decoded(label, 1, classes)
    maps = np.zeros((count, *distribution.map_shape), np.int64)
    for part in _groups(distribution, count):
        labels = None if y is None else y[part]
        maps[part] = distribution.walk(part.stop - part.start, labels, lambda i, j, f: _decode(coder, f))
    return maps, y


def group_size(distribution: Distribution) -> int:
    """Return how many maps are coded at a time. It decides the order of the symbols: it is part of the file format."""
    H, W = distribution.map_shape
    return max(1, (1 << 21) // max(distribution.values, 16 * H * W))


def _groups(distribution: Distribution, count: int) -> Iterator[slice]:
    size = group_size(distribution)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _encode(coder: RangeEncoder, frequencies: np.ndarray, values: np.ndarray) -> None:
    """Write values (N,), each by its row of frequencies (N, K)."""
    ends, rows = frequencies.cumsum(axis=1), np.arange(len(values))
    sizes = frequencies[rows, values]
    starts = ends[rows, values] - sizes
    for start, size, total in zip(starts.tolist(), sizes.tolist(), ends[:, -1].tolist(), strict=True):
        coder.encode(start, size, total)


def _decode(coder: RangeDecoder, frequencies: np.ndarray) -> np.ndarray:
    """Read values (N,), each by its row of frequencies (N, K)."""
    ends, values = frequencies.cumsum(axis=1), np.zeros(len(frequencies), np.int64)
    for n, total in enumerate(ends[:, -1].tolist()):
        value = int(ends[n].searchsorted(coder.position(total), side="right"))
        size = int(frequencies[n, value])
        coder.decoded(int(ends[n, value]) - size, size, total)
        values[n] = value
    return values
