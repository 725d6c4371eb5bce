"""The compiled library, and its functions as Python functions.

    _scale = Kernel("scale")         # EXPORT void NAME(scale)(int64_t n, real factor, const real x[n], real y[n])
    _scale[x.dtype](x.size, 2.0, x, y)

Nothing is compiled or loaded before the first such call, or before somebody asks why_not().
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from .binding import bind
from .build import BuildError, build, sources
from .signature import Prototype, parse, parse_structures


@cache
def library() -> ctypes.CDLL:
    """The library, compiled now if need be. Raises BuildError where it cannot be had; the message says why."""
    path = build()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled C kernels cannot be loaded: {error}") from None
    bind(loaded, prototypes()["set_num_threads"], None)(threads())
    return loaded


@cache
def why_not() -> str | None:
    """Why the C kernels cannot be used on this machine, in a sentence; None if they can. Compiles them if need be."""
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


@cache
def prototypes() -> Mapping[str, Prototype]:
    """The exported functions, as their sources declare them."""
    return parse(_text())


@cache
def structures() -> Mapping[str, type[ctypes.Structure]]:
    """The structs that Python fills in, as the sources define them."""
    return parse_structures(_text())


class Kernel(dict[Any, Callable[..., Any]]):
    """An exported C function: kernel[dtype] is the Python function for float32 or float64, kernel[None] the only one.

    Raises TypeError for any other dtype, BuildError where the library cannot be had.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __missing__(self, dtype: np.dtype[Any] | None) -> Callable[..., Any]:
        prototype = prototypes()[self.name]
        if dtype not in ((np.float32, np.float64) if prototype.typed else (None,)):
            raise TypeError(f"{self.name}: expected arrays of float32 or float64, got {dtype}")
        self[dtype] = bind(library(), prototype, dtype)
        return self[dtype]


_set_num_threads = Kernel("set_num_threads")


def set_num_threads(count: int) -> None:
    """How many threads the kernels use from now on; the results do not depend on it. ValueError for less than one."""
    if count < 1:
        raise ValueError(f"the number of threads must be at least 1, got {count!r}")
    _set_num_threads[None](count)


def threads() -> int:
    """How many there are at first: MINIVAE_NUM_THREADS, else the CPUs of this process. ValueError for no count."""
    text = os.environ.get("MINIVAE_NUM_THREADS")
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError(f"MINIVAE_NUM_THREADS must be a number of threads, got {text!r}")
    return int(text)


def _text() -> str:
    return "\n".join(source.read_text(encoding="utf-8") for source in sources())
