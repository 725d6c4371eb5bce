"""The hand-written forward and backward passes, once for each backend; installed as minivae.kernels.

`contract` says what a backend offers. `reference` offers it in NumPy and is the one to read; `native` offers it in C,
and `cuda` in CUDA C++ through CuPy. This package knows arrays only; it does not import autograd.

NumPy arrays belong to the native backend where it can be built, else to the reference. The environment variable
MINIVAE_CPU=reference or MINIVAE_CPU=native decides by hand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["backend", "backend_of", "cpu_choice", "thread_context", "use_cpu"]


class CpuChoice(NamedTuple):
    """The backend of NumPy arrays, its name, and a few words on why it was chosen."""

    backend: ModuleType
    name: str
    why: str


_chosen: CpuChoice | None = None  # set by the first call that needs it


def backend(device: str) -> ModuleType:
    """The backend, a module, of a device: 'cpu' or 'cuda'.

    Raises ValueError for another device and for an unknown MINIVAE_CPU. Raises RuntimeError, which names what is
    missing, for 'cuda' without CuPy or a GPU, and for MINIVAE_CPU=native where the C kernels cannot be built.
    """
    if device == "cpu":
        return (_chosen or cpu_choice()).backend
    if device == "cuda":
        _cuda().launcher.engine()
        return _cuda()
    raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}")


def backend_of(*arrays: Any) -> ModuleType:
    """The backend, a module, to which these arrays belong.

    Raises TypeError for anything that is not an array of a backend and for arrays on different devices, and whatever
    backend() raises.
    """
    for array in arrays:
        if type(array) is not np.ndarray:
            return _common_backend(arrays)
    return (_chosen or cpu_choice()).backend


def cpu_choice() -> CpuChoice:
    """Which backend NumPy arrays belong to, and why. The first call chooses it, and builds the native one."""
    global _chosen
    if _chosen is None:
        _chosen = _choose(os.environ.get("MINIVAE_CPU"))
    return _chosen


def thread_context() -> Callable[[], AbstractContextManager[None]]:
    """A function that makes contexts in which other threads compute as this one does now.

    A thread has its own current GPU and stream (cuda/engine.py). On a CPU there is nothing that they have to know.
    """
    launcher = sys.modules.get(f"{__name__}.cuda.launcher")
    return nullcontext if launcher is None else launcher.thread_context()


@contextmanager
def use_cpu(name: str) -> Iterator[ModuleType]:
    """Inside the with statement NumPy arrays belong to the named backend, 'reference' or 'native', in all threads.

    For tests and benchmarks that compare the two. Raises ValueError for another name, and RuntimeError for 'native'
    where the C kernels cannot be built.
    """
    global _chosen
    before, _chosen = _chosen, _choose(name)
    try:
        yield _chosen.backend
    finally:
        _chosen = before


def _choose(wanted: str | None) -> CpuChoice:
    if wanted not in (None, "", "reference", "native"):
        raise ValueError(f"MINIVAE_CPU must be 'reference' or 'native', got {wanted!r}")
    if wanted == "reference":
        return CpuChoice(_reference(), "reference", "it was asked for")
    from .native.library import why_not

    missing = why_not()
    if missing and wanted:
        raise RuntimeError(f"the native kernels were asked for but are not available: {missing}")
    if missing:
        return CpuChoice(_reference(), "reference", f"the C kernels are not available: {missing}")
    from . import native

    return CpuChoice(native, "native", "it was asked for" if wanted else "the C kernels are compiled for this CPU")


def _reference() -> ModuleType:
    from . import reference

    return reference


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


def _is_array_of_cuda(kind: type) -> bool:
    """Whether this is CuPy's array type. Other libraries offer __cuda_array_interface__ too, also without CuPy."""
    try:
        return issubclass(kind, _cuda().launcher.engine().array_type)
    except RuntimeError:
        if kind.__module__.startswith("cupy"):
            raise
        return False


def _backend_of_type(kind: type) -> ModuleType:
    if issubclass(kind, np.ndarray):
        return backend("cpu")
    if hasattr(kind, "__cuda_array_interface__") and _is_array_of_cuda(kind):
        return _cuda()
    name = f"{kind.__module__}.{kind.__qualname__}"
    raise TypeError(f"expected a numpy.ndarray, or a cupy.ndarray on a GPU, got {name}")
