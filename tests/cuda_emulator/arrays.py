"""A fake CuPy, whose arrays are in host memory, so that the whole CUDA backend runs without a GPU.

    with launcher.use_engine(Emulator(xp=arrays)):
        x = mv.Tensor(numbers).to("cuda")

A DeviceArray behaves like a cupy.ndarray: it is not a numpy.ndarray, and every result computed from it is a DeviceArray
again, even the sum of all elements. This module has the functions of CuPy under their names. Its purpose is to refuse
what a GPU would refuse, or what CuPy would do slowly without saying so:

* arithmetic, comparison, assignment and indexing that mix a DeviceArray with a host array (CuPy copies index arrays
  silently, which a captured CUDA graph cannot do);
* np.asarray(x), np.exp(x), np.sum(x) and all other functions of NumPy; asnumpy(x) converts explicitly;
* the operator @, for which CuPy uses cuBLAS, while the project has its own kernels;
* any function or method that is not listed here; whoever adds one must check that CuPy has it;
* inside captured(), which acts like the capture of a CUDA graph, everything that copies between host and device.

recording() imitates a capture completely: actions are recorded instead of run, and can be replayed. Only actions that
make a new array are run at once too, because its shape must be known; its values are undefined until the replay. Like
the current stream of CuPy, a recording belongs to a thread: others take part only inside thread_context().

Python numbers and NumPy scalars take part in arithmetic, as with CuPy. Nothing here warns about a division by zero or
an overflow, because a GPU does not. New memory is filled with NaN, or with -1 in integers.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy import bool_, dtype, float32, float64, inf, int32, int64, uint32, uint64

FUNCTIONS = (
    *("abs", "add", "arange", "broadcast_to", "clip", "concatenate", "copyto", "cumsum", "exp", "expm1", "full"),
    *(
        "full_like",
        "isfinite",
        "log",
        "log1p",
        "maximum",
        "may_share_memory",
        "minimum",
        "ones",
        "ones_like",
        "rint",
        "sign",
    ),
    *("sqrt", "stack", "take_along_axis", "tanh", "where", "zeros", "zeros_like"),
    *("equal", "greater", "greater_equal", "less", "less_equal", "not_equal"),
)
METHODS = (
    *("all", "any", "argmax", "astype", "copy", "fill", "max", "mean", "min", "ravel", "repeat", "reshape"),
    *("squeeze", "sum", "swapaxes", "transpose", "view"),
)
PROPERTIES = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "lshift", "rshift")
COMPARISONS = ("lt", "le", "eq", "ne", "gt", "ge")

__all__ = [
    "DeviceArray",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "captured",
    "empty",
    "empty_like",
    "memory",
    "ndarray",
]
__all__ += ["bool_", "dtype", "float32", "float64", "inf", "int32", "int64", "uint32", "uint64"]


class DeviceArray:
    """An array that only the functions of this module and the emulator can read."""

    __slots__ = ("__weakref__", "_memory")
    __array_ufunc__ = None  # so that NumPy's operators defer to those of this class

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """This attribute marks arrays on a GPU."""
        return {**self._memory.__array_interface__, "version": 3}

    @property
    def base(self) -> DeviceArray | None:
        """The array that this one is a view of, or None."""
        return None if self._memory.base is None else _to_device(self._memory.base)

    @property
    def T(self) -> DeviceArray:  # noqa: N802
        return DeviceArray(self._memory.T)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("an array on the device does not turn into a NumPy array by itself")

    def __array_function__(self, function: Callable, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called with an array on the device")

    def __getitem__(self, index: Any) -> DeviceArray:
        parts = tuple(_index(i) for i in (index if isinstance(index, tuple) else (index,)))
        if not any(i is Ellipsis for i in parts):
            parts += (Ellipsis,)  # so that a single element is a view, not a NumPy scalar
        if not is_recording() or not any(isinstance(i, np.ndarray) for i in parts):
            return DeviceArray(self._memory[parts])
        found = self._memory[tuple(map(_index_of_same_shape, parts))]  # the indices themselves are not known yet
        do(lambda: np.copyto(found, self._memory[parts]))
        return DeviceArray(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        parts = tuple(_index(i) for i in (index if isinstance(index, tuple) else (index,)))
        source = _to_host(value)
        do(lambda: operator.setitem(self._memory, parts, source))

    def __len__(self) -> int:
        return len(self._memory)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[i] for i in range(len(self)))

    def item(self) -> Any:
        return asnumpy(self).item()

    def __bool__(self) -> bool:
        return bool(asnumpy(self))

    def __int__(self) -> int:
        return int(asnumpy(self))

    def __float__(self) -> float:
        return float(asnumpy(self))

    def __repr__(self) -> str:
        return f"DeviceArray({self._memory!r})"

    def __str__(self) -> str:
        return str(self._memory)

    def __neg__(self) -> DeviceArray:
        return _call(operator.neg, self)

    def __invert__(self) -> DeviceArray:
        return _call(operator.invert, self)

    def __abs__(self) -> DeviceArray:
        return _call(operator.abs, self)


def _give_operators() -> None:
    """Give DeviceArray the operators, methods and properties that it takes from the NumPy array inside it."""

    def forward(function: Callable) -> Callable:
        def method(self: DeviceArray, other: Any) -> Any:
            if not isinstance(other, DeviceArray) and getattr(other, "__array_ufunc__", ()) is None:
                return NotImplemented  # a Tensor's own operators take over
            return _call(function, self, other)

        return method

    def reflected(function: Callable) -> Callable:
        return lambda self, other: _call(function, other, self)

    def in_place(function: Callable) -> Callable:
        def method(self: DeviceArray, other: Any) -> DeviceArray:
            mine, others = self._memory, _to_host(other)
            do(lambda: function(mine, others))
            return self

        return method

    def method(name: str) -> Callable:
        return lambda self, *args, **kwargs: _call(getattr(self._memory, name), *args, **kwargs)

    def getter(name: str) -> property:
        return property(lambda self: getattr(self._memory, name))

    for name in OPERATORS:
        bare = name.rstrip("_")
        setattr(DeviceArray, f"__{bare}__", forward(getattr(operator, name)))
        setattr(DeviceArray, f"__r{bare}__", reflected(getattr(operator, name)))
        setattr(DeviceArray, f"__i{bare}__", in_place(getattr(operator, f"i{bare}")))
    for name in COMPARISONS:
        setattr(DeviceArray, f"__{name}__", forward(getattr(operator, name)))
    for name in METHODS:
        setattr(DeviceArray, name, method(name))
    for name in PROPERTIES:
        setattr(DeviceArray, name, getter(name))


_give_operators()
ndarray = DeviceArray  # CuPy's name


# ---- copies to the device, new arrays, and copies to the host ----


def array(values: Any, dtype: Any = None) -> DeviceArray:
    """A copy on the device of a host array, a DeviceArray or numbers."""
    if not isinstance(values, DeviceArray):
        _cross_the_border()
    return DeviceArray(np.array(memory(values), dtype))


def asarray(values: Any, dtype: Any = None) -> DeviceArray:
    """A DeviceArray unchanged, anything else as a copy on the device."""
    if isinstance(values, DeviceArray) and dtype in (None, values.dtype):
        return values
    return array(values, dtype)


def ascontiguousarray(values: DeviceArray) -> DeviceArray:
    """The array itself if it is C-contiguous, else a copy; unlike NumPy's, it adds no axis to an array without axes."""
    return values if values.flags.c_contiguous else values.copy()


def asnumpy(values: DeviceArray) -> np.ndarray:
    """A copy on the host."""
    _cross_the_border()
    return memory(values).copy()


def empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> DeviceArray:
    """A new array in which every bit is 1, which is NaN or -1."""
    made = np.empty(shape, dtype)
    made.reshape(-1).view(np.uint8)[...] = 0xFF
    return DeviceArray(made)


def empty_like(like: DeviceArray) -> DeviceArray:
    """empty() of the same shape and dtype."""
    return empty(like.shape, like.dtype)


def memory(values: Any) -> Any:
    """The NumPy array inside a DeviceArray, for the emulator's kernels; anything else is returned unchanged."""
    return values._memory if isinstance(values, DeviceArray) else values


def __getattr__(name: str) -> Any:
    if name not in FUNCTIONS:
        raise AttributeError(f"the stand-in for CuPy has no {name!r}; see that CuPy has it, then list it in {__name__}")
    function = getattr(np, name)
    wrapped = globals()[name] = lambda *args, **kwargs: _call(function, *args, **kwargs)
    return wrapped


# ---- the border between host and device ----


class _Thread(threading.local):
    """What a thread is about to do: refuse copies across the border; record its actions."""

    capturing = False
    recorded: list[Callable[[], Any]] | None = None


_here = _Thread()


@contextmanager
def captured() -> Iterator[None]:
    """Inside the block, copies between host and device raise RuntimeError, as while a CUDA graph is captured."""
    _here.capturing = True
    try:
        yield
    finally:
        _here.capturing = False


@contextmanager
def recording() -> Iterator[list[Callable[[], Any]]]:
    """captured(), but actions inside the block are collected in a list; to replay them, call its elements in order."""
    _here.recorded = []
    try:
        with captured():
            yield _here.recorded
    finally:
        _here.recorded = None


def thread_context() -> Callable[[], AbstractContextManager[None]]:
    """A function that makes a context in which another thread takes part in what this one captures or records."""
    state = vars(_here).copy()

    @contextmanager
    def context() -> Iterator[None]:
        before = vars(_here).copy()
        vars(_here).update(state)
        try:
            yield
        finally:
            vars(_here).clear()
            vars(_here).update(before)

    return context


def is_recording() -> bool:
    """Whether recording() is active in this thread."""
    return _here.recorded is not None


def do(action: Callable[[], Any]) -> None:
    """Run an action that changes memory or, while recording, add it to the list."""
    if _here.recorded is None:
        with np.errstate(all="ignore"):
            action()
    else:
        _here.recorded.append(action)


def _cross_the_border() -> None:
    if _here.capturing:
        raise RuntimeError("a copy between host and device while a CUDA graph is captured")


def _call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function of NumPy with the arrays inside the arguments; its results are DeviceArrays."""
    args, kwargs = tuple(map(_to_host, args)), {name: _to_host(value) for name, value in kwargs.items()}
    if function is np.copyto or getattr(function, "__name__", "") == "fill":
        return do(lambda: function(*args, **kwargs))
    if kwargs.get("out") is not None:
        do(lambda: function(*args, **kwargs))
        return DeviceArray(kwargs["out"])
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    made = _to_device(result)
    if is_recording() and isinstance(made, DeviceArray):
        do(lambda: np.copyto(made._memory, function(*args, **kwargs)))
    return made


def _to_host(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError(f"an array of the host, shape {value.shape}, in a computation on the device")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_to_host, value))
    return memory(value)


def _to_device(result: Any) -> Any:
    return DeviceArray(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _index_of_same_shape(index: Any) -> Any:
    if not isinstance(index, np.ndarray):
        return index
    if index.dtype == bool:
        raise RuntimeError("the shape of what a mask selects is not known while a CUDA graph is captured")
    return np.zeros_like(index)


def _index(index: Any) -> Any:
    if isinstance(index, (list, np.ndarray)):
        raise TypeError(f"an index on the host, {index!r:.60}, for an array on the device")
    return memory(index)
