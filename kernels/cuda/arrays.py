"""Arrays on the device, made by the array module of the engine: CuPy, or its stand-in in the tests."""

from __future__ import annotations

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
    return xp().ascontiguousarray(x)


def channels_last(x: Array) -> Array:
    """Images (N, C, H, W) as a C-contiguous (N, H, W, C): a view where they lie in memory like that, else a copy."""
    return contiguous(x.transpose(0, 2, 3, 1))
