"""Reads the prototypes of the exported C functions, so that their types are stated only once, in C.

    EXPORT void NAME(scale)(int64_t n, real factor, const real x[n], real y[n]) {

declares scale_f32 and scale_f64, each with two numbers and two contiguous arrays of n elements, of which y is written;
vector.h states the conventions. This is not a full C parser: it raises ValueError for what it does not understand.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..csource import split, without_comments

SCALARS: Mapping[str, Any] = {
    "int": ctypes.c_int,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}
DTYPES = {
    "int32_t": np.dtype(np.int32),
    "uint32_t": np.dtype(np.uint32),
    "int64_t": np.dtype(np.int64),
    "uint64_t": np.dtype(np.uint64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}
RESULTS: Mapping[str, Any] = {"void": None, "int": ctypes.c_int, "double": ctypes.c_double}

_FUNCTION = re.compile(r"\bEXPORT\s+(\w+)\s+(?:NAME\((\w+)\)|(\w+))\s*\(([^{};]*)\)\s*\{")
_STRUCTURE = re.compile(r"\btypedef\s+struct\s*\{([^{}]*)\}\s*(?:NAME\((\w+)\)|(\w+))\s*;")
_PARAMETER = re.compile(
    r"(?P<optional>OPTIONAL\s+)?(?P<const>const\s+)?(?P<type>\w+)\s*(?P<star>\*\s*)?(?:(?P<table>const\s+)?)"
    r"(?P<name>\w+)\s*(?:\[(?P<size>.+)\])?"
)


@dataclass(frozen=True)
class Parameter:
    """One parameter. kind is 'scalar', 'array', 'strides' (of an array), 'table' (of arrays) or 'structure'."""

    name: str
    kind: str
    type: str
    const: bool
    optional: bool
    size: str | None  # a C expression: the number of elements of an array, or of arrays in a table


@dataclass(frozen=True)
class Prototype:
    """An exported function. typed: whether it exists twice, for float32 and for float64."""

    name: str
    typed: bool
    result: str
    parameters: tuple[Parameter, ...]


def parse(source: str) -> dict[str, Prototype]:
    """The exported functions that a source defines, by name. Raises ValueError for one that cannot be read."""
    text = without_comments(source)
    found = {}
    for result, typed, plain, parameters in _FUNCTION.findall(text):
        name = typed or plain
        if result not in RESULTS:
            raise ValueError(f"{name}: cannot return {result!r}; expected one of {', '.join(RESULTS)}")
        listed = () if parameters.strip() in ("", "void") else tuple(_parameter(name, p) for p in split(parameters))
        found[name] = Prototype(name, bool(typed), result, listed)
    return found


def parse_structures(source: str) -> dict[str, type[ctypes.Structure]]:
    """The plain structs that a source defines, by name, as ctypes structures.

    Members are numbers, pointers (which become addresses) and structs defined before; other structs are left out.
    """
    structures: dict[str, type[ctypes.Structure]] = {}
    for body, typed, plain in _STRUCTURE.findall(without_comments(source)):
        fields: list[tuple[str, Any]] = []
        for statement in filter(None, map(str.strip, body.split(";"))):
            match = re.fullmatch(r"(?:const\s+)?(\w+)\s+([\w\s,*]+)", statement)
            kinds = {**SCALARS, **structures}
            if match is None or not (match[1] in kinds or "*" in match[2]):
                break  # Python does not fill in this struct
            for name in map(str.strip, match[2].split(",")):
                fields.append((name.lstrip("* "), ctypes.c_void_p if "*" in name else kinds[match[1]]))
        else:
            structures[typed or plain] = type(typed or plain, (ctypes.Structure,), {"_fields_": fields})
    return structures


def _parameter(function: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{function}: cannot read the parameter {text!r}")
    type_ = match["type"]
    points = bool(match["star"] or match["size"])
    if match["star"] and match["size"]:
        kind = "table"
    elif points and match["name"].endswith("_strides"):
        kind = "strides"
    elif points:
        kind = "array" if type_ in DTYPES or type_ == "real" else "structure"
    else:
        kind = "scalar"
    if kind != "structure" and type_ not in SCALARS and type_ != "real":
        raise ValueError(f"{function}: cannot read the parameter {text!r}: unknown type {type_!r}")
    return Parameter(match["name"], kind, type_, bool(match["const"]), bool(match["optional"]), match["size"])
