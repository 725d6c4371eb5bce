"""Arrays on the device, made by the array module of the engine: CuPy, or its stand-in in the tests."""

from __future__ import annotations

from typing import Any

from ..contract import Array
from ..cpu.blocks import memory_order
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
    return xp().ascontiguousarray(x)


def channels_last(x: Array) -> Array:
    """Images (N, C, H, W) as a C-contiguous (N, H, W, C): a view where they lie in memory like that, else a copy."""
    return contiguous(x.transpose(0, 2, 3, 1))


def aligned(x: Array) -> Array:
    """x, or a copy that begins at a multiple of 16 bytes, for kernels that read so much at once."""
    return x if launcher.engine().address(x) % 16 == 0 else x.copy()


def in_memory_order(first: Array, *others: Array, fixed: int = 0) -> tuple[tuple[int, ...], list[Array]]:
    """Arrays of one shape, C-contiguous, with their axes in the order that those of the first have in memory.

    Those with the layout of the first are views, the others copies: what is computed element by element, or summed over
    an example, has no need to bring channels-last images into another order. The first `fixed` axes stay in front.
    The order comes with them; cpu.blocks.logical_order takes a result back to the order of the inputs' axes.
    """
    order = memory_order(first, fixed)
    return order, [contiguous(x.transpose(order)) for x in (first, *others)]
