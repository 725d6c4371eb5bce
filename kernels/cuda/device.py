"""Where arrays are: what the checks of a launch's arguments must know, and no more."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..contract import Array


class Device(Protocol):
    """The device that arrays are made on and kernels are launched on now."""

    array_type: type

    def device(self) -> int:
        """Its number."""

    def address(self, array: Array) -> int:
        """Where the first element of the array is."""

    def check_device(self, array: Array) -> None:
        """Raises ValueError if the array is on another device."""

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        """A copy of the array on the device. While capturing it is made last, and kept as long as the launches."""
