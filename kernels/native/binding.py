"""Turns an exported C function into a Python function, which checks the arrays that it is given and calls C.

A C function cannot check what it is told, so everything is checked before: the dtype of every array, its alignment,
whether it may be written and, if the prototype states a size, that it is contiguous and has that many elements. For

    EXPORT void NAME(scale)(int64_t n, real factor, const real x[n], real y[n])

`python_source` writes

    def scale(n, factor, x, y):
        if type(x) is not ndarray or x.dtype != dtype_of_x or not (x.flags.c_contiguous and ...) or x.size != (n):
            refuse('x', ...)
        ...
        return call(n, factor, address(id(x) + HEAD), address(id(y) + HEAD))

A loop over the parameters at each call would take several times as long; this way a call costs a microsecond or two.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .signature import DTYPES, RESULTS, SCALARS, Parameter, Prototype

# A NumPy array object begins with Python's object header, followed by the address of its data (NumPy's C API says so).
# Reading the address there takes 0.2 microseconds, array.ctypes.data 1.0. An interpreter that differs gets the latter.
HEAD = object.__basicsize__
_probe = np.zeros(3)
_HEAD_IS_RIGHT = ctypes.c_void_p.from_address(id(_probe) + HEAD).value == _probe.ctypes.data
_ADDRESS = "address(id({0}) + HEAD)" if _HEAD_IS_RIGHT else "{0}.ctypes.data"


def bind(library: ctypes.CDLL, prototype: Prototype, dtype: np.dtype[Any] | None) -> Callable[..., Any]:
    """The Python function for an exported C function; dtype selects one of two if it exists for float32 and float64.

    The Python function raises TypeError for anything that is not an array of the right dtype, and ValueError for
    another layout or size; both name the function, the parameter and what was expected. It raises MemoryError if the C
    function finds no memory, and IndexError if it finds an index outside its table.
    """
    name = prototype.name + ("" if dtype is None else f"_f{dtype.itemsize * 8}")
    function = getattr(library, name)
    scalars = {**SCALARS, "real": SCALARS["float" if dtype == np.float32 else "double"]}
    function.argtypes = [scalars[p.type] if p.kind == "scalar" else ctypes.c_void_p for p in prototype.parameters]
    function.restype = RESULTS[prototype.result]
    dtypes = {**DTYPES, "real": dtype}
    names: dict[str, Any] = {
        "HEAD": HEAD,
        "address": ctypes.c_void_p.from_address,
        "call": function,
        "ndarray": np.ndarray,
        "refuse": partial(_refuse, name),
        "failed": partial(_failed, name),
        "strides_of": _strides_of,
        "table_of": partial(_table_of, name),
        **{f"dtype_of_{p.name}": dtypes[p.type] for p in prototype.parameters if p.kind in ("array", "table")},
    }
    exec(python_source(prototype), names)
    made: Callable[..., Any] = names[prototype.name]
    return made


def python_source(prototype: Prototype) -> str:
    """The source of the Python function, which checks its arguments and calls C."""
    given = ", ".join(p.name for p in prototype.parameters if p.kind != "strides")
    lines = [f"def {prototype.name}({given}):"]
    for p in prototype.parameters:
        if p.kind == "array":
            lines += [f"    if {_wrong(p)}:", f"        {_refusal(p)}"]
    call = f"call({', '.join(map(_passed, prototype.parameters))})"
    if prototype.result == "int":
        return "\n".join([*lines, f"    failure = {call}", "    if failure:", "        raise failed(failure)"])
    return "\n".join([*lines, f"    return {call}"])


def _wrong(p: Parameter) -> str:
    """The condition, as Python source, under which an array is refused."""
    conditions = [f"type({p.name}) is not ndarray", f"{p.name}.dtype != dtype_of_{p.name}"]
    if p.size is None:
        conditions.append(f"not {p.name}.flags.{'aligned' if p.const else 'behaved'}")  # behaved: aligned and writeable
    elif p.const:
        conditions.append(f"not ({p.name}.flags.c_contiguous and {p.name}.flags.aligned)")
    else:
        conditions.append(f"not {p.name}.flags.carray")  # contiguous, aligned and writeable
    if p.size is not None:
        conditions.append(f"{p.name}.size != ({p.size})")
    wrong = " or ".join(conditions)
    return f"{p.name} is not None and ({wrong})" if p.optional else wrong


def _refusal(p: Parameter) -> str:
    return f"refuse({p.name!r}, {p.name}, dtype_of_{p.name}, {p.size}, {p.size is not None}, {not p.const})"


def _passed(p: Parameter) -> str:
    """What is passed to C for a parameter, as Python source."""
    if p.kind == "array":
        where = _ADDRESS.format(p.name)
        return f"None if {p.name} is None else {where}" if p.optional else where
    if p.kind == "strides":
        of = p.name.removesuffix("_strides")
        return f"strides_of({of}.strides, {of}.itemsize, {p.size})"
    if p.kind == "table":
        return f"table_of({p.name!r}, {p.name}, dtype_of_{p.name}, {p.size}, {not p.const})"
    return p.name


def _refuse(
    function: str, name: str, array: Any, dtype: np.dtype[Any], size: int | None, contiguous: bool, written: bool
) -> None:
    if type(array) is not np.ndarray or array.dtype != dtype:
        got = f"{array.dtype} array" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{function}: {name} must be a numpy.ndarray of {dtype}, got {got}")
    layout = "contiguous and aligned" if contiguous else "aligned"
    wanted = ("" if size is None else f"{size} elements, ") + layout + (" and writeable" if written else "")
    raise ValueError(
        f"{function}: {name} must be an array of {wanted}; got shape {array.shape}, strides {array.strides}, "
        f"aligned: {array.flags.aligned}, writeable: {array.flags.writeable}"
    )


def _failed(function: str, failure: int) -> Exception:
    """The exception for the error number that a C function returned (see vector.h)."""
    if failure == 1:
        return MemoryError(f"{function}: there is no memory to work in")
    return IndexError(f"{function}: an index lies outside of its table")


@lru_cache(maxsize=4096)
def _strides_of(strides: tuple[int, ...], itemsize: int, axes: int) -> Any:
    """The strides of an array with this number of axes, in elements, as a C array."""
    if len(strides) != axes:
        raise ValueError(f"an array of {axes} axes was expected, got one with {len(strides)}")
    if any(step % itemsize for step in strides):
        raise ValueError(f"an array's strides must be whole elements of {itemsize} bytes, got {strides}")
    return (ctypes.c_int64 * axes)(*(step // itemsize for step in strides))


def _table_of(
    function: str, name: str, arrays: Sequence[np.ndarray], dtype: np.dtype[Any], count: int, written: bool
) -> Any:
    """The addresses of contiguous arrays, as a C array."""
    if len(arrays) != count:
        raise ValueError(f"{function}: {name} must be {count} arrays, got {len(arrays)}")
    for array in arrays:
        flags = array.flags if type(array) is np.ndarray else None
        if flags is None or array.dtype != dtype or not (flags.carray if written else flags.c_contiguous):
            _refuse(function, f"each of {name}", array, dtype, None, True, written)
    return (ctypes.c_void_p * count)(*map(_address_of, arrays))


def _address_of(array: np.ndarray) -> int | None:
    return ctypes.c_void_p.from_address(id(array) + HEAD).value if _HEAD_IS_RIGHT else array.ctypes.data
