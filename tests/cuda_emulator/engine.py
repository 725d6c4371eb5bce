"""The emulator as an engine of kernels/cuda/launcher.py, with NumPy arrays or those of arrays.py in place of CuPy's."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels.cuda.engine import Extent, LaunchError, R
from minivae.kernels.cuda.parameters import Pointer, PointerTable, Scalar, Structure, Table
from minivae.kernels.cuda.signature import Signature

from . import arrays, build
from .arrays import memory

Order = str | int
ORDERS: tuple[Order, ...] = ("forward", "reversed", 2, 3)  # a number is the seed of a shuffle
SHARED_LIMIT = 227 * 1024  # bytes per block on sm_90

_LETTERS = {"int8": "c", "uint8": "c", "int16": "h", "uint16": "h", "int32": "i", "uint32": "i", "int64": "l"} | {
    "uint64": "l",
    "bool": "b",
    "float32": "f",
    "float64": "d",
}
_NUMBER, _STRUCT, _ARRAY, _TABLE = range(4)  # emulator::Passing
_ARGUMENT = struct.Struct("=QqQiiii")  # emulator::Argument
_LAUNCH = struct.Struct("=9I")  # emulator::Launch


@dataclass(frozen=True)
class Function:
    """A compiled kernel: its address, and the parameters that the launcher has read from its source."""

    address: int
    library: ctypes.CDLL  # this reference keeps the library loaded
    signature: Signature
    names: tuple[int, ...]  # addresses of the names of the parameters, for error messages
    names_kept: tuple[bytes, ...]


class Emulator:
    """Run kernels on the CPU, one thread at a time, and raise LaunchError for errors that a GPU would not report.

    order: the order in which the threads of a block, and the blocks, run: "forward", "reversed", or an int >= 2 that
        seeds a shuffle; "all" runs each launch in all of ORDERS and raises if the results differ.
    guard: "end" or "start", the side of an array on which the first byte outside is unreadable; on the other side,
        writes are noticed after the launch and reads give NaN.
    check_bounds: also find indices outside of arrays of fixed size, shared or local (slower).
    xp: the module of arrays on the device: numpy, for tests that concern kernels only, or the fake CuPy in arrays.py,
        whose arrays cannot be confused with those of the host.
    """

    def __init__(
        self,
        order: Order = "forward",
        guard: str = "end",
        check_bounds: bool = False,
        ucontext: bool = False,
        xp: Any = np,
    ) -> None:
        if guard not in ("end", "start"):
            raise ValueError(f"guard must be 'end' or 'start', got {guard!r}")
        self.array_type: type = xp.ndarray
        self.xp = xp
        self._orders = ORDERS if order == "all" else (order,)
        self._order_numbers = [_order_number(o) for o in self._orders]
        self._guard_end = guard == "end"
        self._check_bounds, self._ucontext = check_bounds, ucontext
        self._runtime = _load_runtime(build.runtime(ucontext))

    def compile(self, source: str, signatures: Mapping[str, Signature]) -> Callable[[str], Function]:
        names = list(signatures)
        library = _load(build.kernels(source, names, self._check_bounds, self._ucontext))

        def function(name: str) -> Function:
            address = ctypes.addressof(ctypes.c_char.in_dll(library, f"emulator_kernel_{names.index(name)}"))
            _check_letters(signatures[name], _compiled_letters(address))
            names_kept = tuple(parameter.name.encode() for parameter in signatures[name].parameters)
            return Function(address, library, signatures[name], tuple(map(_address_of, names_kept)), names_kept)

        return function

    def launch(self, function: Function, grid: Extent, block: Extent, arguments: Sequence[Any], shared: int) -> None:
        arrays.do(lambda: self._launch(function, grid, block, arguments, shared))

    def _launch(self, function: Function, grid: Extent, block: Extent, arguments: Sequence[Any], shared: int) -> None:
        if shared > SHARED_LIMIT:
            raise LaunchError(f"{shared} bytes of dynamic shared memory, the limit is {SHARED_LIMIT}")
        keep_alive: list[Any] = []
        packed = b"".join(
            _pack(parameter, value, name, keep_alive)
            for parameter, value, name in zip(function.signature.parameters, arguments, function.names, strict=True)
        )
        if len(self._order_numbers) == 1:
            self._run(function, grid, block, packed, shared, self._order_numbers[0])
        else:
            self._run_in_all_orders(function, grid, block, packed, arguments, shared)

    def _run(self, function: Function, grid: Extent, block: Extent, packed: bytes, shared: int, order: int) -> None:
        launch = _LAUNCH.pack(*grid, *block, shared, order, self._guard_end)
        if self._runtime.emulator_launch(function.address, launch, packed, len(function.names)):
            raise LaunchError(self._runtime.emulator_error().decode())

    def _run_in_all_orders(
        self, function: Function, grid: Extent, block: Extent, packed: bytes, arguments: Sequence[Any], shared: int
    ) -> None:
        written = _written(function.signature, arguments)
        before = [array.copy() for _, array in written]
        first: list[bytes] = []
        for name, order in zip(self._orders, self._order_numbers, strict=True):
            for (_, array), old in zip(written, before, strict=True):
                array[...] = old
            self._run(function, grid, block, packed, shared, order)
            results = [array.tobytes() for _, array in written]
            first = first or results
            for (argument, _), result, expected in zip(written, results, first, strict=True):
                if result != expected:
                    raise LaunchError(
                        f"{argument} depends on the order of threads: {self._orders[0]} and {name} differ"
                    )

    def device(self) -> int:
        return 0

    def address(self, array: Any) -> int:
        return int(memory(array).__array_interface__["data"][0])

    def check_device(self, array: Any) -> None:
        """Do nothing: there is only one device."""

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        return arrays.DeviceArray(array.copy()) if self.capturing else self.xp.array(array)

    @property
    def capturing(self) -> bool:
        return arrays.is_recording()

    def use_gpu(self, number: int) -> None:
        """Do nothing: there is only one device."""

    def gpu(self) -> str:
        return "emulated"

    def stream(self) -> int:
        return 0

    def nccl(self) -> Any:
        raise RuntimeError("the emulated GPU has no NCCL")

    def thread_context(self) -> Callable[[], AbstractContextManager[None]]:
        return arrays.thread_context()

    def synchronize(self) -> None:
        """Do nothing: a launch returns when it has finished."""

    def capture(self, function: Callable[[], R]) -> tuple[R, Recorded]:
        with arrays.recording() as actions:
            result = function()
        return result, Recorded(actions)

    def staging(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def copy_in(self, array: Any, staged: np.ndarray) -> Callable[[], None]:
        memory(array)[...] = staged
        return lambda: None


@dataclass(frozen=True)
class Recorded:
    """The actions of a captured function; launch() does them."""

    actions: list[Callable[[], Any]]

    def launch(self) -> None:
        with np.errstate(all="ignore"):
            for action in self.actions:
                action()


def _order_number(order: Order) -> int:
    number = {"forward": 0, "reversed": 1}.get(order, order) if isinstance(order, str) else order
    if isinstance(number, str) or (not isinstance(order, str) and number < 2):
        raise ValueError(f"order must be 'forward', 'reversed', 'all' or an int >= 2, got {order!r}")
    return number


def _written(signature: Signature, arguments: Sequence[Any]) -> list[tuple[str, Any]]:
    """(parameter name, array) for each array that the kernel may write; an array that is passed twice occurs once."""
    found: dict[int, tuple[str, Any]] = {}
    for parameter, value in zip(signature.parameters, arguments, strict=True):
        pointer = parameter.element if isinstance(parameter, Table) else parameter
        if value is None or not isinstance(pointer, Pointer) or pointer.const:
            continue
        for array in value.arrays if isinstance(value, PointerTable) else [value]:
            found[id(array)] = (parameter.name, memory(array))
    return list(found.values())


def _address_of(text: bytes) -> int:
    return int(ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0)


def _pack(parameter: Any, value: Any, name: int, keep_alive: list[Any]) -> bytes:
    """An argument as the bytes of an emulator::Argument; the objects that it points to are added to keep_alive."""
    if isinstance(parameter, Scalar):
        bits = int.from_bytes(value.tobytes().ljust(8, b"\0"), "little")
        return _ARGUMENT.pack(bits, 0, name, _NUMBER, 0, 0, 0)
    if isinstance(parameter, Table):
        elements = b"".join(_pack(parameter.element, array, name, keep_alive) for array in value.arrays)
        keep_alive.append(elements)
        return _ARGUMENT.pack(_address_of(elements), len(value.arrays), name, _TABLE, 0, 0, 0)
    if value is None:
        return _ARGUMENT.pack(0, 0, name, _NUMBER, 0, 0, 0)
    address = memory(value).__array_interface__["data"][0]
    if isinstance(parameter, Structure):
        return _ARGUMENT.pack(address, 0, name, _STRUCT, 0, 0, 0)
    return _ARGUMENT.pack(address, value.nbytes, name, _ARRAY, parameter.alignment, not parameter.const, 0)


def _check_letters(signature: Signature, compiled: str) -> None:
    """Compare the types of the parameters in the compiled kernel with those that the launcher read from the text."""
    read = "".join(
        {Structure: "S", Pointer: "P", Table: "P"}.get(type(p)) or _LETTERS[p.dtype.name]  # type: ignore[union-attr]
        for p in signature.parameters
    )
    if read != compiled:
        raise LaunchError(f"the launcher read the parameters of {signature.name} as {read!r}, they are {compiled!r}")


def _compiled_letters(kernel: int) -> str:
    class Kernel(ctypes.Structure):  # emulator::Kernel
        _fields_ = (("run", ctypes.c_void_p), ("signature", ctypes.c_char_p))

    return bytes(Kernel.from_address(kernel).signature).decode()


@cache
def _load(library: Path) -> ctypes.PyDLL:
    return ctypes.PyDLL(str(library))  # it keeps the interpreter's lock, so only one kernel runs at a time


@cache
def _load_runtime(library: Path) -> ctypes.PyDLL:
    runtime = _load(library)
    runtime.emulator_launch.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
    runtime.emulator_error.restype = ctypes.c_char_p
    return runtime
