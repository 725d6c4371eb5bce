"""The device that arrays are on, as far as the checks of a launch's arguments need it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..contract import Array


class Device(Protocol):
    """The current device, on which arrays are made and kernels are launched."""

    array_type: type

    def device(self) -> int:
        """The number of the current device."""

    def address(self, array: Array) -> int:
        """The address of the array's first element."""

    def check_device(self, array: Array) -> None:
        """Raises ValueError if the array is on another device."""

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        """A copy of the array on the device.

        During a capture the numbers are copied when it has ended, and the copy lives as long as the captured launches.
        """
