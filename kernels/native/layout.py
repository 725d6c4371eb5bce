"""How arrays of any memory layout reach C functions that take contiguous ones.

An element-wise function may visit the elements in any order, as long as it is the same in all arrays. So the axes are
put into the order in which they lie in memory, which needs only a view. An array is copied only if it has gaps or if
its layout differs from that of the first array. The result gets the layout of the first array.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Order = tuple[int, ...] | None  # a permutation of the axes; None leaves them as they are


def memory_views(*arrays: np.ndarray, fixed: int = 0) -> tuple[Sequence[np.ndarray], Order]:
    """Views of arrays of one shape, with the axes in the order in which they lie in the first array's memory.

    The first `fixed` axes stay in front. `logical_order` undoes the order, which is returned too.
    """
    first = arrays[0]
    if first.flags.c_contiguous:
        return arrays, None
    order = _memory_order(first.shape, first.strides, fixed)
    return [a.transpose(order) for a in arrays], order


def in_memory_order(*arrays: np.ndarray, fixed: int = 0) -> tuple[list[np.ndarray], Order]:
    """As memory_views, but the arrays are contiguous: a view that is not contiguous is copied."""
    views, order = memory_views(*arrays, fixed=fixed)
    return [np.asarray(view, order="C") for view in views], order


def logical_order(array: np.ndarray, order: Order) -> np.ndarray:
    """A view of the array with its axes put back."""
    return array if order is None else array.transpose(_inverse(order))


def channels_last(x: np.ndarray) -> np.ndarray:
    """x (N, C, ...) as a contiguous array (N, ..., C); a view if x is channels-last in memory."""
    return np.asarray(x.transpose(_channel_to_end(x.ndim)), order="C")


def channels_second(y: np.ndarray) -> np.ndarray:
    """y (N, ..., C) as a view (N, C, ...)."""
    return y.transpose(_inverse(_channel_to_end(y.ndim)))


@lru_cache
def _channel_to_end(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim), 1)


@lru_cache(maxsize=4096)
def _memory_order(shape: tuple[int, ...], strides: tuple[int, ...], fixed: int) -> tuple[int, ...]:
    """The axes from the slowest to the fastest. Axes of length 1, whose strides mean nothing, come first."""
    rest = sorted(range(fixed, len(shape)), key=lambda axis: (shape[axis] > 1, -abs(strides[axis])))
    return (*range(fixed), *rest)


@lru_cache(maxsize=4096)
def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=lambda place: order[place]))
