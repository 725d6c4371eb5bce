"""Loads the compiled library and offers its functions as Python functions.

    _scale = Kernel("scale")         # EXPORT void NAME(scale)(int64_t n, real factor, const real x[n], real y[n])
    _scale[x.dtype](x.size, 2.0, x, y)

Nothing is compiled or loaded before the first such call or the first call of why_not().
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
    """The library, compiled now if necessary. Raises BuildError if it is not available; the message says why."""
    path = build()
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled C kernels cannot be loaded: {error}") from None
    bind(loaded, prototypes()["set_num_threads"], None)(threads())
    return loaded


@cache
def why_not() -> str | None:
    """Why the C kernels cannot be used on this machine, or None if they can. Compiles them if necessary."""
    try:
        library()
    except BuildError as error:
        return str(error)
    return None


@cache
def prototypes() -> Mapping[str, Prototype]:
    """The exported functions by name, as their sources declare them."""
    return parse(_text())


@cache
def structures() -> Mapping[str, type[ctypes.Structure]]:
    """The structs that Python fills in, by name, as the sources define them."""
    return parse_structures(_text())


class Kernel(dict[Any, Callable[..., Any]]):
    """An exported C function: kernel[dtype] is its Python function for float32 or float64.

    For a C function that exists only once, kernel[None] is its Python function. Raises TypeError for any other dtype,
    and BuildError if the library is not available.
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
    """Sets how many threads the kernels use from now on. Results do not depend on it. ValueError for less than one."""
    if count < 1:
        raise ValueError(f"the number of threads must be at least 1, got {count!r}")
    _set_num_threads[None](count)


def threads() -> int:
    """The initial number of threads: MINIVAE_NUM_THREADS, else the number of CPUs this process may use.

    Raises ValueError if MINIVAE_NUM_THREADS is not a positive number.
    """
    text = os.environ.get("MINIVAE_NUM_THREADS")
    if text is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError(f"MINIVAE_NUM_THREADS must be a number of threads, at least 1, got {text!r}")
    return int(text)


def _text() -> str:
    return "\n".join(source.read_text(encoding="utf-8") for source in sources())
