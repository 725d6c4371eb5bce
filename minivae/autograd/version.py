"""Versions: how the backward pass notices that an array it needs was changed after it was saved.

w * w saves w. If an optimiser then changes w in place, the saved array has changed with it, and the backward pass would
compute the gradient at another point without a word. So every Tensor has a Version, which counts the changes in place,
and all Tensors that look at the same memory share one. Whoever saves an array notes the count; whoever uses the array
compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from minivae.kernels.contract import Array

from .dtypes import SCALARS


class Version:
    """A Version counts how often the memory of a Tensor was changed in place."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


def versions_of(array: Array, tensors: Sequence[Any], xp: ModuleType) -> list[Version]:
    """Return the Versions of those Tensors whose memory the array is, or is a view of; a number has none."""
    if type(array) in SCALARS:
        return []
    return [t._version for t in tensors if array is t._array or xp.may_share_memory(array, t._array)]
