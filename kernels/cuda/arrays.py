"""Makes and lays out arrays on the device, with the engine's array module: CuPy, or its stand-in in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..contract import Array
from . import launcher


def xp() -> Any:
    """The engine's array module."""
    return launcher.engine().xp


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """A new C-contiguous array, not initialised."""
    return xp().empty(shape, dtype)


def zeros(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """A new C-contiguous array of zeros."""
    return xp().zeros(shape, dtype)


def contiguous(x: Array) -> Array:
    """x itself if it is C-contiguous, otherwise a copy that is."""
    return x if x.flags.c_contiguous else xp().ascontiguousarray(x)  # ascontiguousarray adds an axis to a scalar array


def channels_last(x: Array) -> Array:
    """Images x (N, C, H, W) as a C-contiguous array (N, H, W, C): a view if x is channels-last, otherwise a copy."""
    return contiguous(x.transpose(0, 2, 3, 1))


def aligned(x: Array) -> Array:
    """x, or a copy of it that begins at a multiple of 16 bytes, for kernels that read 16 bytes at once."""
    return x if launcher.engine().address(x) % 16 == 0 else x.copy()


def memory_order(x: Array, fixed: int = 0) -> tuple[int, ...]:
    """The axes of x from the slowest to the fastest in memory, after the first `fixed` ones, which stay in front.

    Axes of length 1, whose strides mean nothing, come first, so that they do not separate neighbours.
    """
    shape, strides = x.shape, x.strides
    rest = sorted(range(fixed, x.ndim), key=lambda axis: (shape[axis] > 1, -abs(strides[axis])))
    return (*range(fixed), *rest)


def logical_order(y: Array, order: Sequence[int]) -> Array:
    """A view of y that undoes transpose(order). `order` may lack axes that y no longer has."""
    places = sorted(range(len(order)), key=lambda place: order[place])
    return y.transpose(places)


def in_memory_order(first: Array, *others: Array, fixed: int = 0) -> tuple[tuple[int, ...], list[Array]]:
    """The order of the first array's axes in memory, and all arrays C-contiguous with their axes in that order.

    All arrays have one shape. Those with the layout of the first are views, the others are copies. So functions that
    work element by element, or sum over an example, need not copy channels-last images. The first `fixed` axes stay in
    front. logical_order(result, order) puts the axes of a result back.
    """
    order = memory_order(first, fixed)
    return order, [contiguous(x.transpose(order)) for x in (first, *others)]
