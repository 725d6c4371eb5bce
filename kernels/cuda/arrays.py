"""Arrays on the device, made by the array module of the engine: CuPy, or its stand-in in the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..contract import Array
from . import launcher


def xp() -> Any:
    """The array module."""
    return launcher.engine().xp


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """A new C-contiguous array, not initialised."""
    return xp().empty(shape, dtype)


def zeros(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """A new C-contiguous array of zeros."""
    return xp().zeros(shape, dtype)


def contiguous(x: Array) -> Array:
    """x itself if it is C-contiguous, otherwise a copy that is."""
    return x if x.flags.c_contiguous else xp().ascontiguousarray(x)  # which would give a number an axis


def channels_last(x: Array) -> Array:
    """Images (N, C, H, W) as a C-contiguous (N, H, W, C): a view where they lie in memory like that, else a copy."""
    return contiguous(x.transpose(0, 2, 3, 1))


def aligned(x: Array) -> Array:
    """x, or a copy that begins at a multiple of 16 bytes, for kernels that read so much at once."""
    return x if launcher.engine().address(x) % 16 == 0 else x.copy()


def memory_order(x: Array, fixed: int = 0) -> tuple[int, ...]:
    """The axes of x from the slowest to the fastest in memory, behind the first `fixed` ones, which stay in front.

    Axes of length 1 come first, where they do not part neighbours; their strides mean nothing.
    """
    shape, strides = x.shape, x.strides
    rest = sorted(range(fixed, x.ndim), key=lambda axis: (shape[axis] > 1, -abs(strides[axis])))
    return (*range(fixed), *rest)


def logical_order(y: Array, order: Sequence[int]) -> Array:
    """Undoes a transpose(order), as a view. Of axes that are gone `order` may have gaps."""
    places = sorted(range(len(order)), key=lambda place: order[place])
    return y.transpose(places)


def in_memory_order(first: Array, *others: Array, fixed: int = 0) -> tuple[tuple[int, ...], list[Array]]:
    """Arrays of one shape, C-contiguous, with their axes in the order that those of the first have in memory.

    Those with the layout of the first are views, the others copies: what is computed element by element, or summed over
    an example, has no need to bring channels-last images into another order. The first `fixed` axes stay in front.
    The order comes with them; logical_order takes a result back to the order of the inputs' axes.
    """
    order = memory_order(first, fixed)
    return order, [contiguous(x.transpose(order)) for x in (first, *others)]
