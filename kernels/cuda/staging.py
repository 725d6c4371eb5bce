"""Inputs of a captured training step, which stay where they are while their values come and go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..contract import Array
from . import launcher
from .arrays import empty


class Staging:
    """It is an array on the device that is filled from the host again and again, while the device works on.

    The host writes into one of two staging arrays, and copies from there are asynchronous; before one is written again,
    its last copy is waited for.
    """

    def __init__(self, like: np.ndarray) -> None:
        engine = launcher.engine()
        self._array = empty(like.shape, like.dtype)
        self._staged = [engine.staging(like.shape, like.dtype) for _ in range(2)]
        self._waits: list[Callable[[], None] | None] = [None, None]
        self._turn = 0

    def put(self, array: np.ndarray) -> Array:
        """Copy the array's values to the device, always to the same place, and return them there."""
        self._turn ^= 1
        wait, staged = self._waits[self._turn], self._staged[self._turn]
        if wait is not None:
            wait()
        staged[...] = array
        self._waits[self._turn] = launcher.engine().copy_in(self._array, staged)
        return self._array
