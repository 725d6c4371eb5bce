"""How arrays of any memory layout reach C functions that take contiguous ones.

An element-wise function does not care in which order it meets the elements, as long as it is the same in all arrays.
So the axes are put into the order in which they lie in memory, a view, and only an array with gaps, or one that lies
otherwise than the first, is copied. The result gets the layout of the first array.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

Order = tuple[int, ...] | None  # of axes; None: as they are


def memory_views(*arrays: np.ndarray, fixed: int = 0) -> tuple[Sequence[np.ndarray], Order]:
    """Arrays of one shape, their axes in the order in which they lie in the memory of the first one, as views.

    The first `fixed` axes stay in front. The order is what `logical_order` undoes.
    """
    first = arrays[0]
    if first.flags.c_contiguous:
        return arrays, None
    order = _memory_order(first.shape, first.strides, fixed)
    return [a.transpose(order) for a in arrays], order


def in_memory_order(*arrays: np.ndarray, fixed: int = 0) -> tuple[list[np.ndarray], Order]:
    """Likewise, but contiguous: copies where views are not."""
    views, order = memory_views(*arrays, fixed=fixed)
    return [np.asarray(view, order="C") for view in views], order


def logical_order(array: np.ndarray, order: Order) -> np.ndarray:
    """Puts the axes back, as a view."""
    return array if order is None else array.transpose(_inverse(order))


def channels_last(x: np.ndarray) -> np.ndarray:
    """x (N, C, ...) as a contiguous array (N, ..., C); a view where x lies so."""
    return np.asarray(x.transpose(_channel_to_end(x.ndim)), order="C")


def channels_second(y: np.ndarray) -> np.ndarray:
    """The way back, a view: (N, ..., C) as (N, C, ...)."""
    return y.transpose(_inverse(_channel_to_end(y.ndim)))


@lru_cache
def _channel_to_end(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim), 1)


@lru_cache(maxsize=4096)
def _memory_order(shape: tuple[int, ...], strides: tuple[int, ...], fixed: int) -> tuple[int, ...]:
    """The axes from the slowest to the fastest. Those of length 1, whose strides mean nothing, come first."""
    rest = sorted(range(fixed, len(shape)), key=lambda axis: (shape[axis] > 1, -abs(strides[axis])))
    return (*range(fixed), *rest)


@lru_cache(maxsize=4096)
def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=lambda place: order[place]))
