"""A stand-in for CuPy on the host, so that the CUDA backend runs, whole, where there is no GPU.

    with launcher.use_engine(Emulator(xp=arrays)):
        x = mv.Tensor(numbers).to("cuda")

Operations meet a DeviceArray as they would meet a cupy.ndarray: it is no numpy.ndarray, everything that is computed
from it is a DeviceArray again, also the sum of all elements, and this module offers the functions of CuPy under their
names. Its purpose is to refuse what a GPU would refuse or do slowly behind one's back:

* arithmetic, comparison, assignment and indexing that mix it with an array of the host (CuPy copies index arrays
  silently; a captured CUDA graph could not);
* np.asarray(x), np.exp(x), np.sum(x) and all other functions of NumPy; asnumpy(x) is the way out;
* the operator @, which CuPy gives to cuBLAS: the project has its own;
* any function or method that is not listed here. Whoever adds one has seen that CuPy has it;
* inside of captured(), as while a CUDA graph is captured, everything that copies between host and device.

recording() is such a capture in earnest: what would run is taken down, not run, and can be run again and again. Only
what makes a new array runs at once too, as its shape must be known; its values mean nothing until the replay.

Python's numbers and NumPy's scalars take part in arithmetic, as they do with CuPy. Nothing here warns about a division
by zero or an overflow, since a GPU does not. Fresh memory is full of NaN, or of -1 in integers.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy import bool_, dtype, float32, float64, inf, int32, int64, uint32, uint64

FUNCTIONS = (
    *("abs", "arange", "broadcast_to", "concatenate", "copyto", "exp", "full"),
    *("full_like", "isfinite", "log", "log1p", "maximum", "may_share_memory", "minimum", "ones", "ones_like", "sign"),
    *("sqrt", "take_along_axis", "tanh", "where", "zeros", "zeros_like"),
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
    __array_ufunc__ = None  # NumPy's operators leave it to those of this class

    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """By this attribute arrays on a GPU are recognised."""
        return {**self._memory.__array_interface__, "version": 3}

    @property
    def base(self) -> DeviceArray | None:
        """Not None for a view."""
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
            parts += (Ellipsis,)  # a single element is a view of it, not a NumPy scalar
        if _recorded is None or not any(isinstance(i, np.ndarray) for i in parts):
            return DeviceArray(self._memory[parts])
        found = self._memory[tuple(map(_index_of_same_shape, parts))]  # the indices themselves are not known yet
        _recorded.append(lambda: np.copyto(found, self._memory[parts]))
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
    """The operators, methods and properties of DeviceArray that are those of the array behind it."""

    def forward(function: Callable) -> Callable:
        def method(self: DeviceArray, other: Any) -> Any:
            if not isinstance(other, DeviceArray) and getattr(other, "__array_ufunc__", ()) is None:
                return NotImplemented  # a Tensor has operators of its own
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


# ---- the functions that bring arrays to the device, make them there, and bring them back ----


def array(values: Any, dtype: Any = None) -> DeviceArray:
    """A copy, of an array of either kind or of numbers."""
    if not isinstance(values, DeviceArray):
        _cross_the_border()
    return DeviceArray(np.array(memory(values), dtype))


def asarray(values: Any, dtype: Any = None) -> DeviceArray:
    """What is on the device already as it is, anything else as a copy."""
    if isinstance(values, DeviceArray) and dtype in (None, values.dtype):
        return values
    return array(values, dtype)


def ascontiguousarray(values: DeviceArray) -> DeviceArray:
    """The array itself where it is C-contiguous, also one without axes (to which NumPy would add one)."""
    return values if values.flags.c_contiguous else values.copy()


def asnumpy(values: DeviceArray) -> np.ndarray:
    """A copy on the host."""
    _cross_the_border()
    return memory(values).copy()


def empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> DeviceArray:
    """An array that nobody has written yet: every bit is 1, which is NaN or -1."""
    made = np.empty(shape, dtype)
    made.reshape(-1).view(np.uint8)[...] = 0xFF
    return DeviceArray(made)


def empty_like(like: DeviceArray) -> DeviceArray:
    """empty() of the same shape and dtype."""
    return empty(like.shape, like.dtype)


def memory(values: Any) -> Any:
    """The host memory behind a DeviceArray, anything else as it is: for the emulator, whose kernels read it."""
    return values._memory if isinstance(values, DeviceArray) else values


def __getattr__(name: str) -> Any:
    if name not in FUNCTIONS:
        raise AttributeError(f"the stand-in for CuPy has no {name!r}; see that CuPy has it, then list it in {__name__}")
    function = getattr(np, name)
    wrapped = globals()[name] = lambda *args, **kwargs: _call(function, *args, **kwargs)
    return wrapped


# ---- the border between host and device ----

_capturing = False


@contextmanager
def captured() -> Iterator[None]:
    """Inside, as while a CUDA graph is captured, nothing can be copied between host and device: RuntimeError."""
    global _capturing
    _capturing = True
    try:
        yield
    finally:
        _capturing = False


@contextmanager
def recording() -> Iterator[list[Callable[[], Any]]]:
    """captured(), and what is done inside becomes the list, to be done by calling its members in order."""
    global _recorded
    _recorded = []
    try:
        with captured():
            yield _recorded
    finally:
        _recorded = None


_recorded: list[Callable[[], Any]] | None = None


def is_recording() -> bool:
    """Whether this is inside of recording()."""
    return _recorded is not None


def do(action: Callable[[], Any]) -> None:
    """Something that changes memory: now, or, while recording, at each replay."""
    if _recorded is None:
        with np.errstate(all="ignore"):
            action()
    else:
        _recorded.append(action)


def _cross_the_border() -> None:
    if _capturing:
        raise RuntimeError("a copy between host and device while a CUDA graph is captured")


def _call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """The function of the arrays behind the arguments, its results on the device."""
    args, kwargs = tuple(map(_to_host, args)), {name: _to_host(value) for name, value in kwargs.items()}
    if function is np.copyto or getattr(function, "__name__", "") == "fill":
        return do(lambda: function(*args, **kwargs))
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    made = _to_device(result)
    if _recorded is not None and isinstance(made, DeviceArray):
        _recorded.append(lambda: np.copyto(made._memory, function(*args, **kwargs)))
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
