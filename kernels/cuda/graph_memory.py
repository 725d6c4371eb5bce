"""The memory of captured graphs, which must not be given to anyone else, nor freed, as long as a graph lives.

A captured kernel writes to the same addresses at each replay, also to those of arrays that Python has long let go of.
So all arrays that are made during a capture come from a pool that serves nothing else. One pool serves all graphs of a
device: they run one after the other, and each writes its temporaries before it reads them, so they may share them; what
is still referred to, results and gradients, is not given to the next. With the last graph the pool is emptied. (A pool
for each graph would leak: its free blocks and the list of them refer to each other where Python's collector does not
see it, cupy#9437.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


class GraphMemory:
    """Stream and pool of the captures on one device."""

    def __init__(self, cupy: ModuleType) -> None:
        self._cupy = cupy
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool(_strict(cupy))
        self._graphs = 0

    @contextmanager
    def capturing(self) -> Iterator[Any]:
        """Inside, arrays come from here; the value is the stream to capture on. It counts as a graph until release().

        The default pool first gives its free blocks to the device: after a step without a graph they hold as much as
        the capture is about to ask for.
        """
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._empty_if_unused()  # of what outlived its graph
        self._graphs += 1
        with self._cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            yield self._stream

    def release(self) -> None:
        """A graph is gone, or could not be captured."""
        self._graphs -= 1
        self._empty_if_unused()

    def _empty_if_unused(self) -> None:
        if not self._graphs:
            self._pool.free_all_blocks()


def exhausted(cupy: ModuleType, size: int) -> MemoryError:
    """The error of an allocation that failed."""
    free, total = cupy.cuda.runtime.memGetInfo()
    return MemoryError(f"out of device memory: {size:,} bytes asked for, {free:,} of {total:,} free")


def _strict(cupy: ModuleType) -> Callable[[int], Any]:
    """cudaMalloc, with MemoryError where there is no more.

    At CuPy's own error its pool would free the blocks that Python has let go of, though captured kernels use them, and
    try again.
    """

    def allocate(size: int) -> Any:
        try:
            return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            if error.status != OUT_OF_MEMORY:
                raise
            raise exhausted(cupy, size) from error

    return allocate
