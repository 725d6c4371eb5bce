"""The kinds of parameters that a kernel may have, and the checks of arguments that CUDA itself does not make.

A CUDA launch takes a list of untyped addresses. A Python float passed to a `float` parameter, a float64 array passed to
a `float*`, or a transposed view would then give zeros or garbage without an error. Each class below is one kind of
parameter; its `convert` either returns exactly what the kernel expects, or raises an error that says what is wrong.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ..contract import Array
from .device import Device

_LIMITS = {np.dtype(t): (int(np.iinfo(t).min), int(np.iinfo(t).max)) for t in "bBhHiIqQ"} | {
    np.dtype(t): (-float(np.finfo(t).max), float(np.finfo(t).max)) for t in "fd"
}


class PointerTable:
    """A table of the addresses of arrays of one dtype, for a parameter `T* const*`.

    It serves kernels that work on all parameters of a model in one launch. It is made once for any number of launches,
    captured ones too, since the table lies on the device. It keeps its arrays alive.
    """

    def __init__(self, arrays: Sequence[Array], device: Device) -> None:
        self.arrays = tuple(arrays)
        self.addresses = device.upload(np.array([device.address(a) for a in arrays], dtype=np.uint64))


@dataclass(frozen=True)
class Scalar:
    """A number by value: it is cast to the declared type, but never wrapped around, truncated or made infinite."""

    name: str
    dtype: np.dtype[Any]

    def convert(self, value: Any, device: Device) -> np.generic:
        if self.dtype.kind == "b":
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"expected a bool, got {_describe(value)}")
        elif self.dtype.kind == "f":
            self._check_real(value)
        else:
            self._check_integer(value)
        return self.dtype.type(value)

    def _check_real(self, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"expected a number for {self.dtype}, got {_describe(value)}")
        if math.isfinite(value) and abs(value) > _LIMITS[self.dtype][1]:
            raise ValueError(f"{value!r} does not fit into {self.dtype}")

    def _check_integer(self, value: Any) -> None:
        try:
            integer = operator.index(value)
        except TypeError:
            raise TypeError(f"expected an integer for {self.dtype}, got {_describe(value)}") from None
        least, most = _LIMITS[self.dtype]
        if not least <= integer <= most:
            raise ValueError(f"{integer} does not fit into {self.dtype}, which holds {least} to {most}")


@dataclass(frozen=True)
class Pointer:
    """An array on the device: of exactly this dtype, C-contiguous, aligned, and writable unless the parameter is const.

    None is passed as the null pointer.
    """

    name: str
    dtype: np.dtype[Any]
    const: bool
    alignment: int

    def convert(self, value: Array | None, device: Device) -> Array | None:
        if value is None:
            return None
        is_array = isinstance(value, device.array_type)
        if not is_array:
            wanted = f"{device.array_type.__module__}.{device.array_type.__qualname__}"
            raise TypeError(f"expected {wanted} or None, got {_describe(value)}")
        if value.dtype != self.dtype:
            raise TypeError(f"expected an array of {self.dtype}, got {value.dtype}")
        if not value.flags.c_contiguous:
            raise ValueError(
                f"expected a C-contiguous array, got shape {value.shape} with strides {value.strides}; "
                "pass the buffer below the view, or a contiguous copy"
            )
        if not self.const and not getattr(value.flags, "writeable", True):  # cupy arrays are always writable
            raise ValueError("the kernel writes here, but the array is read-only")
        if value.size and device.address(value) % self.alignment:
            raise ValueError(f"expected an address that is a multiple of {self.alignment}: {device.address(value):#x}")
        device.check_device(value)
        return value


@dataclass(frozen=True)
class Table:
    """A table of pointers; each of its arrays is checked as a Pointer."""

    name: str
    element: Pointer

    def convert(self, value: Any, device: Device) -> PointerTable:
        if not isinstance(value, PointerTable):
            raise TypeError(f"expected a PointerTable, got {_describe(value)}")
        for i, array in enumerate(value.arrays):
            try:
                self.element.convert(array, device)
            except (TypeError, ValueError) as error:
                raise type(error)(f"array {i} of the table: {error}") from None
        return value


@dataclass(frozen=True)
class Structure:
    """A plain struct by value, which is given as a mapping with exactly its members."""

    name: str
    members: tuple[Scalar, ...]
    dtype: np.dtype[Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", np.dtype([(m.name, m.dtype) for m in self.members], align=True))

    def convert(self, value: Any, device: Device) -> np.ndarray[Any, Any]:
        names = [member.name for member in self.members]
        if not isinstance(value, Mapping) or set(value) != set(names):
            got = sorted(map(str, value)) if isinstance(value, Mapping) else _describe(value)
            raise TypeError(f"expected a mapping with exactly the keys {names}, got {got}")
        numbers = []
        for member in self.members:
            try:
                numbers.append(member.convert(value[member.name], device))
            except (TypeError, ValueError) as error:
                raise type(error)(f"member {member.name}: {error}") from None
        return np.array([tuple(numbers)], dtype=self.dtype)


Parameter: TypeAlias = Scalar | Pointer | Table | Structure


def _describe(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}: {value!r:.60}"
