"""Compiles and runs kernels, with CuPy on a GPU or with an emulator in the tests. `Engine` is the interface of both.

steps.py explains what it means to capture launches into a CUDA graph and to replay them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from traceback import clear_frames
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from ..contract import Array
from .device import Device
from .graph_memory import GraphMemory, exhausted
from .installation import import_cupy, import_nccl
from .parameters import PointerTable
from .signature import Signature

Extent: TypeAlias = tuple[int, int, int]
R = TypeVar("R")

STATIC_SHARED_LIMIT = 48 * 1024  # a kernel that wants more bytes of dynamic shared memory must ask for them


class CompileError(RuntimeError):
    """A kernel does not compile; the message is that of the compiler, with file and line."""


class LaunchError(RuntimeError):
    """A launch failed, or the kernel did something that is not allowed."""


class Launches(Protocol):
    """Launches that were captured."""

    def launch(self) -> None:
        """Runs all of them on the current stream."""


class Engine(Device, Protocol):
    """A device that kernels can be compiled for and launched on.

    Arguments that reach `launch` have been checked and converted by the launcher (see parameters.py).
    """

    xp: Any  # the array module

    @property
    def capturing(self) -> bool:
        """Whether capture() is running now."""

    def compile(self, source: str, signatures: Mapping[str, Signature]) -> Callable[[str], Any]:
        """A function that maps the name of an instance to something that `launch` runs.

        The engine decides whether all instances are compiled now, or each one when it is first asked for. Raises
        CompileError.
        """

    def launch(self, function: Any, grid: Extent, block: Extent, arguments: Sequence[Any], shared: int) -> None:
        """Launches a kernel with `shared` bytes of dynamic shared memory.

        The arguments are arrays, None (null), NumPy scalars, one-element structured arrays and PointerTables.
        """

    def thread_context(self) -> Callable[[], AbstractContextManager[None]]:
        """A function that makes contexts in which other threads launch and allocate as this one does now."""

    def use_gpu(self, number: int) -> None:
        """Makes one of the GPUs, counted in a circle, the current one of this thread."""

    def gpu(self) -> str:
        """A name of the current GPU that no other one of this machine has."""

    def stream(self) -> int:
        """The address of the current stream."""

    def nccl(self) -> Any:
        """CuPy's module of NCCL. Raises RuntimeError, which says what to install, if it is missing."""

    def synchronize(self) -> None:
        """Waits for all launches. Raises RuntimeError if one of them failed."""

    def capture(self, function: Callable[[], R]) -> tuple[R, Launches]:
        """Records what the function launches without running it; returns the function's result and the launches.

        The memory of the arrays that the function makes is kept as long as the launches live. Raises RuntimeError, with
        the reason, for a function that cannot be captured.
        """

    def staging(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """A host array from which the host can copy to the device without waiting (pinned memory)."""

    def copy_in(self, array: Array, staged: np.ndarray[Any, Any]) -> Callable[[], None]:
        """Begins to copy a staging() array to the device; returns a function that waits until the copy is done."""


class CupyEngine:
    """Compiles kernels with cupy.RawModule and runs them on the current device and the current stream.

    Every instance is a module of its own and is compiled when it is first asked for, so that a model that uses float32
    does not wait for the float64 kernels. CuPy (from 14.2) keeps compiled kernels on disk.
    """

    def __init__(self) -> None:
        self._cupy = import_cupy()
        _explain_exhaustion(self._cupy)
        self._graph_memory: dict[int, GraphMemory] = {}  # by device
        self._outside: Any = None  # during a capture, the allocator for arrays that are not part of the graph
        self._uploads: list[tuple[Array, np.ndarray[Any, Any]]] = []  # postponed until the capture has ended
        self.array_type: type = self._cupy.ndarray
        self.xp = self._cupy

    def compile(self, source: str, signatures: Mapping[str, Signature]) -> Callable[[str], Any]:
        def function(name: str) -> Any:
            module = self._cupy.RawModule(code=source, options=("-std=c++17",), name_expressions=(name,))
            try:
                return module.get_function(name)
            except self._cupy.cuda.compiler.CompileException as error:
                raise CompileError(f"{name} does not compile:\n{error}") from error

        return function

    def launch(self, function: Any, grid: Extent, block: Extent, arguments: Sequence[Any], shared: int) -> None:
        if shared > STATIC_SHARED_LIMIT and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        function(grid, block, tuple(map(_cupy_argument, arguments)), shared_mem=shared)

    def device(self) -> int:
        return int(self._cupy.cuda.runtime.getDevice())

    def address(self, array: Array) -> int:
        return int(array.data.ptr)

    def check_device(self, array: Array) -> None:
        if array.device.id != self.device():
            raise ValueError(f"the array is on device {array.device.id}, the current device is {self.device()}")

    @property
    def capturing(self) -> bool:
        return self._outside is not None

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        if not self.capturing:
            return self._cupy.asarray(array)
        with self._cupy.cuda.using_allocator(self._outside):  # captured kernels may write to the graph's memory
            buffer = self._cupy.empty(array.shape, array.dtype)
        self._uploads.append((buffer, array))
        return buffer

    def thread_context(self) -> Callable[[], AbstractContextManager[None]]:
        """Each thread has its own current device, stream and, during a capture, allocator. A capture in CuPy's mode,
        relaxed, takes in what any thread launches on its stream, and lets any thread allocate memory."""
        cuda = self._cupy.cuda
        device, stream, allocator = self.device(), cuda.get_current_stream(), cuda.get_allocator()

        @contextmanager
        def context() -> Iterator[None]:
            with cuda.Device(device), stream, cuda.using_allocator(allocator):
                yield

        return context

    def use_gpu(self, number: int) -> None:
        self._cupy.cuda.Device(number % self._cupy.cuda.runtime.getDeviceCount()).use()

    def gpu(self) -> str:
        return str(self._cupy.cuda.Device(self.device()).pci_bus_id)

    def stream(self) -> int:
        return int(self._cupy.cuda.get_current_stream().ptr)

    def nccl(self) -> Any:
        return import_nccl()

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    def capture(self, function: Callable[[], R]) -> tuple[R, Launches]:
        """Captures on a stream of its own, with memory of its own; uploads are copied when the capture has ended."""
        cuda = self._cupy.cuda
        memory = self._graph_memory.setdefault(self.device(), GraphMemory(self._cupy))
        self._outside = cuda.get_allocator()
        with memory.capturing() as stream:
            try:
                result, graph = _record(stream, function)
            except BaseException as error:
                clear_frames(error.__traceback__)  # they hold arrays, which would outlive the handling of the error
                memory.release()
                raise
            finally:
                self._outside, uploads, self._uploads = None, self._uploads, []
        for buffer, array in uploads:
            buffer.set(array)
        return result, CupyGraph(self._cupy, graph, uploads, memory.release)

    def staging(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        import cupyx

        return cupyx.empty_pinned(shape, dtype)

    def copy_in(self, array: Array, staged: np.ndarray[Any, Any]) -> Callable[[], None]:
        array.set(staged, stream=self._cupy.cuda.get_current_stream())
        return self._cupy.cuda.get_current_stream().record().synchronize


class CupyGraph:
    """A captured graph, and the uploaded arrays that its kernels read, which nothing else keeps alive."""

    def __init__(self, cupy: Any, graph: Any, uploads: list[Any], release: Callable[[], None]) -> None:
        self._cupy, self._graph, self._uploads, self._release = cupy, graph, uploads, release

    def __del__(self) -> None:
        self._graph = None  # it must go before its memory
        self._release()

    def launch(self) -> None:
        self._graph.launch(self._cupy.cuda.get_current_stream())


def _record(stream: Any, function: Callable[[], R]) -> tuple[R, Any]:
    """What the function returns, and the graph of its launches on the stream."""
    stream.begin_capture()
    try:
        result = function()
    except BaseException:
        with suppress(Exception):  # end_capture fails too, after a failed capture
            stream.end_capture()
        raise
    return result, stream.end_capture()


def _cupy_argument(value: Any) -> Any:
    if value is None:
        return np.uint64(0)
    return value.addresses if isinstance(value, PointerTable) else value


def _explain_exhaustion(cupy: Any) -> None:
    """Wraps CuPy's allocator, so that the error for exhausted memory says how much there is."""
    allocate = cupy.cuda.get_allocator()

    def explained(size: int) -> Any:
        try:
            return allocate(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise exhausted(cupy, size) from error

    cupy.cuda.set_allocator(explained)
