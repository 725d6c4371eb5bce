"""The hand-written passes, written once per device; installed as minivae.kernels.

`contract` states what a backend offers; `cpu` offers it with NumPy, `cuda` with CUDA kernels and CuPy, which are
imported when a device or an array first asks for them. This floor knows arrays only: that somebody takes gradients with
its functions is not its business.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from . import cpu

__all__ = ["backend", "backend_of", "cpu"]


def backend(device: str) -> ModuleType:
    """The backend of a device, 'cpu' or 'cuda'.

    Raises ValueError for another name, RuntimeError that says what is missing where 'cuda' finds no CuPy or no GPU.
    """
    if device == "cpu":
        return cpu
    if device == "cuda":
        _cuda().launcher.engine()
        return _cuda()
    raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")


def backend_of(*arrays: Any) -> ModuleType:
    """The backend whose arrays these are.

    Raises TypeError for anything that is no array of a backend, and for arrays of different devices.
    """
    for array in arrays:
        if type(array) is not np.ndarray:
            return _common_backend(arrays)
    return cpu


@cache
def _cuda() -> ModuleType:
    from . import cuda

    return cuda


def _common_backend(arrays: tuple[Any, ...]) -> ModuleType:
    backends = {kind: _backend_of_type(kind) for kind in {type(array) for array in arrays}}
    first = backends[type(arrays[0])]
    if any(backend is not first for backend in backends.values()):
        devices = ", ".join(f"{backends[type(array)].device} {array.shape}" for array in arrays)
        raise TypeError(f"arrays on different devices: {devices}; move them with tensor.to('cuda') or tensor.to('cpu')")
    return first


def _of_the_engine(kind: type) -> bool:
    """Whether these are CuPy's arrays. Other libraries have the attribute too, and may be there without CuPy."""
    try:
        return issubclass(kind, _cuda().launcher.engine().array_type)
    except RuntimeError:
        if kind.__module__.startswith("cupy"):
            raise
        return False


def _backend_of_type(kind: type) -> ModuleType:
    if issubclass(kind, np.ndarray):
        return cpu
    if hasattr(kind, "__cuda_array_interface__") and _of_the_engine(kind):
        return _cuda()
    name = f"{kind.__module__}.{kind.__qualname__}"
    raise TypeError(f"expected a numpy.ndarray, or a cupy.ndarray on a GPU, got {name}")
