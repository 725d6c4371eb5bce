"""A fake CuPy with what kernels/cuda/engine.py uses except arrays: installation, memory, pools, streams, captures.

The memory pool behaves like CuPy's (cupy/cuda/memory.pyx), but does not split blocks: it keeps memory that is given
back and hands it out again; if the device has no memory left, the pool frees what it keeps and tries once more. The
device has `total` bytes. If memory that a captured graph uses is freed, which must never happen, `violations` says so.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_emulator import arrays


class CUDARuntimeError(RuntimeError):
    status = 2  # cudaErrorMemoryAllocation


class OutOfMemoryError(MemoryError):
    pass


class Memory:
    """Memory that cudaMalloc returned; it is freed by cudaFree when the last reference is gone."""

    def __init__(self, cupy: FakeCuPy, size: int) -> None:
        if size > cupy.free:
            raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
        cupy.free -= size
        self.size, self.address = size, next(cupy.addresses)
        weakref.finalize(self, cupy.cuda_free, self.address, size).atexit = False


class Pointer:
    """The pointer of an array: it keeps the memory alive and tells the pool when it is deleted."""

    def __init__(self, memory: Memory, give_back: Callable[[Memory], None] | None = None) -> None:
        self.mem = memory
        if give_back is not None:
            weakref.finalize(self, give_back, memory).atexit = False


class MemoryPool:
    def __init__(self, cupy: FakeCuPy, allocator: Callable[[int], Pointer] | None = None) -> None:
        self.kept: list[Memory] = []
        self._allocator = allocator or (lambda size: Pointer(Memory(cupy, size)))
        cupy.pools.append(self)  # a pool that is dropped keeps its memory, as in CuPy (cupy#9437)

    def malloc(self, size: int) -> Pointer:
        fitting = [memory for memory in self.kept if memory.size == size]
        if fitting:
            self.kept.remove(fitting[0])
            return Pointer(fitting[0], self.kept.append)
        try:
            return Pointer(self._allocator(size).mem, self.kept.append)
        except CUDARuntimeError:
            self.free_all_blocks()
        try:
            return Pointer(self._allocator(size).mem, self.kept.append)
        except CUDARuntimeError:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes") from None

    def free_all_blocks(self) -> None:
        self.kept.clear()


class Current(threading.local):
    """What CuPy keeps for each thread: the allocator of using_allocator(), the current stream and device."""

    allocator: Callable[[int], Pointer] | None = None
    stream: Any = None
    device = 0


class FakeCuPy(SimpleNamespace):
    def __init__(
        self,
        available: bool = True,
        version: str = "14.2.0",
        nvrtc_found: bool = True,
        total: int = 1000,
        devices: int = 1,
    ) -> None:
        self.free, self.addresses, self.violations = total, count(), list[str]()
        self.pools: list[MemoryPool] = []
        self.capturing: set[int] | None = None  # addresses that the current capture uses
        self.graphs = weakref.WeakSet[Any]()
        self.default, self.current, self.devices = MemoryPool(self), Current(), devices
        self.null = Stream(self)
        self.set_allocator(self.default.malloc)
        self.ndarray, self.__version__ = arrays.DeviceArray, version
        self.get_default_memory_pool = lambda: self.default

        def version_of_nvrtc() -> tuple[int, int]:
            if not nvrtc_found:
                raise RuntimeError('Failure finding "libnvrtc.so.13"')
            return 13, 0

        self.cuda = SimpleNamespace(
            is_available=lambda: available,
            nvrtc=SimpleNamespace(getVersion=version_of_nvrtc),
            get_allocator=self.get_allocator,
            set_allocator=self.set_allocator,
            using_allocator=self.using_allocator,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            Memory=lambda size: Memory(self, size),
            MemoryPointer=lambda memory, offset: Pointer(memory),
            MemoryPool=lambda allocator=None: MemoryPool(self, allocator),
            Stream=lambda non_blocking: Stream(self),
            Device=lambda number: Device(self, number),
            get_current_stream=lambda: self.current.stream or self.null,
            runtime=SimpleNamespace(
                memGetInfo=lambda: (self.free, total),
                getDevice=lambda: self.current.device,
                getDeviceCount=lambda: self.devices,
                CUDARuntimeError=CUDARuntimeError,
            ),
        )

    def get_allocator(self) -> Callable[[int], Pointer]:
        return self.current.allocator or self.allocator_of_all

    def set_allocator(self, allocator: Callable[[int], Pointer]) -> None:
        self.allocator_of_all = allocator

    def alloc(self, size: int) -> Pointer:
        """Allocate an array and launch a kernel that writes to it, during a capture into the graph."""
        pointer = self.get_allocator()(size)
        if self.capturing is not None:
            self.capturing.add(pointer.mem.address)
        return pointer

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Allocate an array to which the host writes and no captured kernel does."""
        pointer = self.get_allocator()(int(np.prod(shape)) * np.dtype(dtype).itemsize)

        def set_(array: np.ndarray) -> None:
            if any(pointer.mem.address in graph.used for graph in self.graphs):
                self.violations.append("the host writes where a captured kernel writes too")

        return SimpleNamespace(data=pointer, set=set_)

    def cuda_free(self, address: int, size: int) -> None:
        self.free += size
        if address in (self.capturing or ()):
            self.violations.append("memory of the capture in progress was freed")
        if any(address in graph.used for graph in self.graphs):
            self.violations.append("memory of a captured graph was freed")

    @contextmanager
    def using_allocator(self, allocator: Callable[[int], Pointer]) -> Iterator[None]:
        before, self.current.allocator = self.current.allocator, allocator
        try:
            yield
        finally:
            self.current.allocator = before


class Graph:
    def __init__(self, used: set[int]) -> None:
        self.used = used

    def launch(self, stream: Any) -> None:
        pass


class Device:
    def __init__(self, cupy: FakeCuPy, number: int) -> None:
        self._cupy, self._number = cupy, number

    @property
    def pci_bus_id(self) -> str:
        return f"0000:{self._number:02X}:00.0"

    def use(self) -> None:
        self._cupy.current.device = self._number

    def __enter__(self) -> None:
        self._before = self._cupy.current.device
        self.use()

    def __exit__(self, *_: object) -> None:
        self._cupy.current.device = self._before


class Stream:
    def __init__(self, cupy: FakeCuPy) -> None:
        self._cupy, self.ptr = cupy, next(cupy.addresses)
        self._before: list[Any] = []

    def __enter__(self) -> Stream:
        self._before.append(self._cupy.current.stream)
        self._cupy.current.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        self._cupy.current.stream = self._before.pop()

    def begin_capture(self) -> None:
        self._cupy.capturing = set()

    def end_capture(self) -> Graph:
        graph = Graph(self._cupy.capturing or set())
        self._cupy.capturing = None
        self._cupy.graphs.add(graph)
        return graph


def install(monkeypatch: pytest.MonkeyPatch, cupy: FakeCuPy | None, headers: str | None = "/cuda/include") -> None:
    """Let `import cupy` find this module (None: not installed), and let the folder be that of CUDA's headers."""
    pathfinder = SimpleNamespace(find_nvidia_header_directory={"cudart": headers}.__getitem__)
    for name, module in {"cupy": cupy, "cuda": pathfinder, "cuda.pathfinder": pathfinder}.items():
        monkeypatch.setitem(sys.modules, name, module)  # None makes `import cupy` fail
