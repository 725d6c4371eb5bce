"""What compiles and runs kernels: CuPy on a GPU, or, in the tests, an emulator. Both stand behind `Engine`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from traceback import clear_frames
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from ..contract import Array
from .device import Device
from .graph_memory import GraphMemory, exhausted
from .installation import import_cupy
from .parameters import PointerTable
from .signature import Signature

Extent: TypeAlias = tuple[int, int, int]
R = TypeVar("R")

STATIC_SHARED_LIMIT = 48 * 1024  # bytes of dynamic shared memory that a kernel may use without having asked


class CompileError(RuntimeError):
    """A kernel does not compile; the message is the compiler's, with file and line."""


class LaunchError(RuntimeError):
    """A launch failed, or the kernel did something wrong."""


class Launches(Protocol):
    """Launches that were captured."""

    def launch(self) -> None:
        """Run all of them, in the order of the current stream."""


class Engine(Device, Protocol):
    """A device that kernels can be compiled for and launched on.

    Arguments that reach `launch` have been checked and converted by the launcher (see parameters.py).
    """

    xp: Any  # the array module

    @property
    def capturing(self) -> bool:
        """Inside of capture()."""

    def compile(self, source: str, signatures: Mapping[str, Signature]) -> Callable[[str], Any]:
        """A function that maps the name of an instance to something that `launch` runs.

        Whether all instances are compiled now or each when it is asked for is the engine's choice.
        Raises CompileError.
        """

    def launch(self, function: Any, grid: Extent, block: Extent, arguments: Sequence[Any], shared: int) -> None:
        """Arguments are arrays, None (null), NumPy scalars, one-element structured arrays and PointerTables."""

    def synchronize(self) -> None:
        """Waits for all launches; raises RuntimeError if one of them failed."""

    def capture(self, function: Callable[[], R]) -> tuple[R, Launches]:
        """Take down what the function launches, without running it: what it returns, and the launches.

        The arrays that it makes stay where they are as long as the launches live. Raises RuntimeError, with the reason,
        for a function that cannot be captured.
        """

    def staging(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
        """Memory of the host from which copies to the device need not wait."""

    def copy_in(self, array: Array, staged: np.ndarray[Any, Any]) -> Callable[[], None]:
        """Begins to copy from a staging() array; returns a function that waits until that is done."""


class CupyEngine:
    """Kernels through cupy.RawModule, on the current device and the current stream.

    Every instance is a module of its own, compiled when it is first asked for: a model that uses float32 does not
    wait for the float64 kernels. CuPy (from 14.2) keeps what it compiled on disk.
    """

    def __init__(self) -> None:
        self._cupy = import_cupy()
        _explain_exhaustion(self._cupy)
        self._graph_memory: dict[int, GraphMemory] = {}  # by device
        self._outside: Any = None  # while capturing, the allocator of what is no part of the graph
        self._uploads: list[tuple[Array, np.ndarray[Any, Any]]] = []  # put off while capturing
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
        with self._cupy.cuda.using_allocator(self._outside):  # or a kernel that was captured before might write to it
            buffer = self._cupy.empty(array.shape, array.dtype)
        self._uploads.append((buffer, array))
        return buffer

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()

    def capture(self, function: Callable[[], R]) -> tuple[R, Launches]:
        """On a stream of its own, with memory of its own. What `upload` is asked for is copied when it is over."""
        cuda = self._cupy.cuda
        memory = self._graph_memory.setdefault(self.device(), GraphMemory(self._cupy))
        self._outside = cuda.get_allocator()
        with memory.capturing() as stream:
            try:
                result, graph = _record(stream, function)
            except BaseException as error:
                clear_frames(error.__traceback__)  # their arrays: they would outlive the handling of the error
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
    """A captured graph, and what its kernels read that nobody else refers to."""

    def __init__(self, cupy: Any, graph: Any, uploads: list[Any], release: Callable[[], None]) -> None:
        self._cupy, self._graph, self._uploads, self._release = cupy, graph, uploads, release

    def __del__(self) -> None:
        self._graph = None  # before its memory
        self._release()

    def launch(self) -> None:
        self._graph.launch(self._cupy.cuda.get_current_stream())


def _record(stream: Any, function: Callable[[], R]) -> tuple[R, Any]:
    """What the function returns, and the graph of what it launched on the stream."""
    stream.begin_capture()
    try:
        result = function()
    except BaseException:
        with suppress(Exception):  # the driver says once more that it failed
            stream.end_capture()
        raise
    return result, stream.end_capture()


def _cupy_argument(value: Any) -> Any:
    if value is None:
        return np.uint64(0)
    return value.addresses if isinstance(value, PointerTable) else value


def _explain_exhaustion(cupy: Any) -> None:
    """Puts a wrapper around CuPy's allocator, so that whatever runs out of memory says how much there was."""
    allocate = cupy.cuda.get_allocator()

    def explained(size: int) -> Any:
        try:
            return allocate(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise exhausted(cupy, size) from error

    cupy.cuda.set_allocator(explained)
