"""Cutting arrays into blocks that stay in the cache, in the order in which their elements lie in memory.

A chain of element-wise ufuncs reads and writes memory once per ufunc. Run over a block of some ten thousand elements at
a time, the chain finds everything but the first read and the last write in the cache, and its temporaries need no
fresh memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = 1 << 16  # elements; much smaller blocks pay more for the calls than they save


def blocks(count: int, size: int = 1) -> Iterator[slice]:
    """Slices of range(count) that cover about BLOCK elements each, where one step is `size` elements."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def memory_order(x: np.ndarray, fixed: int = 0) -> tuple[int, ...]:
    """The axes of x from the slowest to the fastest in memory, behind the first `fixed` ones, which stay in front.

    Axes of length 1 come first, where they do not part neighbours; their strides mean nothing.
    """
    shape, strides = x.shape, x.strides
    rest = sorted(range(fixed, x.ndim), key=lambda axis: (shape[axis] > 1, -abs(strides[axis])))
    return (*range(fixed), *rest)


def logical_order(y: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Undoes a transpose(order), as a view. Of axes that are gone `order` may have gaps."""
    places = sorted(range(len(order)), key=lambda place: order[place])
    return y.transpose(places)
