"""The hand-written passes, written once per device; installed as minivae.kernels.

`contract` states what a backend offers, `cpu` offers it with NumPy. This floor knows arrays only: that somebody takes
gradients with its functions is not its business.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import cpu

__all__ = ["backend", "backend_of", "cpu"]


def backend(device: str) -> ModuleType:
    """The backend of a device by its name. Raises ValueError for a device that this version does not have."""
    if device != "cpu":
        raise ValueError(f"device must be 'cpu', the only backend of this version, got {device!r}")
    return cpu


def backend_of(*arrays: Any) -> ModuleType:
    """The backend whose arrays these are.

    Raises TypeError for anything that is no array of a backend, so also for a mixture of devices.
    """
    for array in arrays:
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected a numpy.ndarray, got {type(array).__module__}.{type(array).__qualname__}")
    return cpu
