"""Threads of our own, for work that NumPy leaves to one.

A product of matrices runs on all cores, inside of BLAS; copies, sums and every other ufunc run on one. Since NumPy
releases the interpreter's lock while it computes, two Python threads with half of the examples each keep two cores busy
in all of it. BLAS must not have threads of its own meanwhile: they would fight ours for the cores, and OpenBLAS's wait
for work by spinning, which on a busy machine costs more than they bring.

    with use_threads():        # a training does so
        ...                    # kernels of this package share their work, and BLAS runs in each thread by itself

How many: MINIVAE_NUM_THREADS, else as many as BLAS has. With one, or a BLAS that cannot be told, nothing changes. Each
thread writes its own part of a result, or returns a sum that is added in order, so for one number of threads results
are equal bit by bit.

On two cores of which another program took one, a training step of the conv VAE went from 2,700 ms, with two threads of
OpenBLAS, to 180 ms; PyTorch's took 1,060 ms.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

R = TypeVar("R")
LEAST = 1 << 17  # numbers or, in products, thousands of multiplications: less is done before another thread has woken

_pool: ThreadPoolExecutor | None = None
_threads = 1


@contextmanager
def use_threads(count: int | None = None) -> Iterator[int]:
    """Share work among `count` threads; yields how many it became. ValueError for MINIVAE_NUM_THREADS that is no count.

    Inside of another use_threads() it changes nothing.
    """
    global _pool, _threads
    blas, wanted = _blas_threads(), count or _wanted()
    if blas is None or wanted == 1 or _pool is not None:
        yield _threads
        return
    get, set_ = blas
    before = get()
    with ThreadPoolExecutor(wanted - 1, "minivae") as pool:
        _pool, _threads = pool, wanted
        set_(1)
        try:
            yield wanted
        finally:
            _pool, _threads = None, 1
            set_(before)


def share(count: int, size: int, work: Callable[[slice], R]) -> list[R]:
    """work(part) for parts of range(count), one for each thread; its results, in order. `size` is how much it is."""
    pool, threads = _pool, min(_threads, count)
    if pool is None or threads < 2 or size < LEAST:
        return [work(slice(0, count))]
    first, *others = (slice(*edges) for edges in pairwise(count * k // threads for k in range(threads + 1)))
    futures = [pool.submit(work, part) for part in others]
    return [work(first), *(future.result() for future in futures)]


def _wanted() -> int:
    text = os.environ.get("MINIVAE_NUM_THREADS")
    if text is None:
        blas = _blas_threads()
        return blas[0]() if blas else 1
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"MINIVAE_NUM_THREADS must be a number of threads, got {text!r}")
    return int(text)


@lru_cache
def _blas_threads() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """The functions that read and set the number of threads of NumPy's OpenBLAS; None where they are not found."""
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    for path in sorted(folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
