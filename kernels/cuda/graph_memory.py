"""The memory of captured graphs, which must be neither reused for anything else nor freed while a graph lives.

A captured kernel writes to the same addresses at each replay of its graph, also to those of arrays that Python has long
freed. So all arrays that are made during a capture come from a memory pool that serves nothing else.

One pool serves all graphs of a device. The graphs run one after the other, and each writes its temporary arrays before
it reads them, so they may share these. Arrays that are still referred to, such as results and gradients, are not given
to the next graph. When the last graph is gone, the pool is emptied. (A pool for each graph would leak, because its free
blocks and the list of them refer to each other in a way that Python's garbage collector does not see, cupy#9437.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


class GraphMemory:
    """The stream and the memory pool of all captures on one device."""

    def __init__(self, cupy: ModuleType) -> None:
        self._cupy = cupy
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool(_strict(cupy))
        self._graphs = 0

    @contextmanager
    def capturing(self) -> Iterator[Any]:
        """Inside the with statement arrays come from this pool; yields the stream to capture on.

        Each capture counts as a graph until release() is called. First the default pool returns its free blocks to the
        device: after a step without a graph they hold as much memory as the capture is about to ask for.
        """
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._empty_if_unused()  # frees what arrays that outlived the last graph have returned since
        self._graphs += 1
        with self._cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            yield self._stream

    def release(self) -> None:
        """Says that a graph is gone, or that it could not be captured."""
        self._graphs -= 1
        self._empty_if_unused()

    def _empty_if_unused(self) -> None:
        if not self._graphs:
            self._pool.free_all_blocks()


def exhausted(cupy: ModuleType, size: int) -> MemoryError:
    """The error for an allocation of `size` bytes that failed."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return MemoryError(f"out of device memory: {size:,} bytes asked for, {free:,} of {total:,} free")


def _strict(cupy: ModuleType) -> Callable[[int], Any]:
    """An allocator that calls cudaMalloc, and raises MemoryError if there is no memory left.

    If it raised CuPy's own error, the pool would free its unused blocks and try again; but captured kernels still use
    them.
    """

    def allocate(size: int) -> Any:
        try:
            return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if error.status != OUT_OF_MEMORY:
                raise
            raise exhausted(cupy, size) from error

    return allocate
