"""What an argument may be: a Kind gives any value a meaning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf, isnan, nan
from typing import Any

import numpy as np

import minivae as mv

REFUSED = type("Refused", (), {"__repr__": lambda self: "refused"})()  # must be a ValueError or TypeError
EITHER = type("Either", (), {"__repr__": lambda self: "either"})()  # an error, or a result that is no nonsense
LARGEST = 2**31 - 1


class OwnArray(np.ndarray):
    """A subclass of numpy.ndarray, as other libraries have them."""


class OtherLibrary:
    """Looks like the tensor of another library, which has this attribute even where it lies on the host."""

    shape, dtype = (3,), "float32"

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        raise AttributeError("on the host")


# What any argument may be given by mistake.
COMMON: dict[str, Any] = {
    "None": None,
    "text": "text",
    "bytes": b"1",
    "object": object(),
    "empty list": [],
    "empty tuple": (),
    "dict": {"a": 1},
    "function": len,
    "class": int,
    "True": True,
    "np.True_": np.True_,
    "0": 0,
    "1": 1,
    "-1": -1,
    "1.5": 1.5,
    "0.5": 0.5,
    "-0.5": -0.5,
    "nan": nan,
    "inf": inf,
    "-inf": -inf,
    "1e300": 1e300,
    "10**12": 10**12,
    "-10**12": -(10**12),
    "10**400": 10**400,
    "1j": 1j,
    "np.int64(2)": np.int64(2),
    "np.uint8(1)": np.uint8(1),
    "np.float32(0.5)": np.float32(0.5),
    "np.float64(0.5)": np.float64(0.5),
    "np.float16(1)": np.float16(1),
    "np.array(1)": np.array(1),
    "np.array(1.5)": np.array(1.5),
    "[nan]": [nan],
    "[1.5, 1.5]": [1.5, 1.5],
    "(-1, -1)": (-1, -1),
    "ragged": [[1.0], [1.0, 2.0]],
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    "other library": OtherLibrary(),
}


def unusual(valid: np.ndarray) -> dict[str, tuple[Any, str]]:
    """Forms of a valid array, each with what kind of change it is."""
    forms: dict[str, tuple[Any, str]] = {
        "big-endian": (valid.astype(valid.dtype.newbyteorder(">")), "same"),
        "subclass": (valid.view(OwnArray), "same"),
        "fortran": (np.asfortranarray(valid), "same"),
        "strided": (np.repeat(valid[..., None], 2, -1)[..., 0] if valid.ndim else valid, "same"),
        "backwards": (valid[::-1].copy()[::-1] if valid.ndim else valid, "same"),
        "read-only": (_read_only(valid), "same"),
        "masked array": (np.ma.masked_array(valid, np.zeros(valid.shape, bool)), "refused"),
        "complex": (valid.astype(complex), "refused"),
        "objects": (valid.astype(object), "refused"),
        "strings": (valid.astype(str), "strings"),
        "dates": (np.zeros(valid.shape, "datetime64[s]"), "refused"),
        "longdouble": (valid.astype(np.longdouble), "dtype"),
        "float16": (valid.astype(np.float16), "dtype"),
        "float32": (valid.astype(np.float32), "dtype"),
        "float64": (valid.astype(np.float64), "dtype"),
        "int64": (np.rint(valid).astype(np.int64), "dtype"),
        "int32": (np.rint(valid).astype(np.int32), "dtype"),
        "uint8": (np.abs(np.rint(valid)).astype(np.uint8), "dtype"),
        "booleans": (valid > 0, "dtype"),
        "list": (valid.tolist(), "list"),
        "no axes": (np.zeros((), valid.dtype), "shape"),
        "no elements": (np.zeros((0,), valid.dtype), "shape"),
        "no examples": (valid[:0] if valid.ndim else valid, "shape"),
        "one more axis": (valid[None], "shape"),
        "one axis less": (valid[0] if valid.ndim else valid, "shape"),
        "one longer": (np.concatenate([valid, valid[:1]]) if valid.ndim else valid, "shape"),
        "one wider": (np.concatenate([valid, valid[..., :1]], -1) if valid.ndim else valid, "shape"),
        "negative": (-valid.astype(np.float64).astype(valid.dtype) if valid.dtype.kind in "if" else valid, "values"),
    }
    if valid.dtype.kind in "f":
        forms |= {f"with {name}": (_with(valid, value), "not finite") for name, value in (("nan", nan), ("inf", inf))}
        forms["huge"] = (valid * valid.dtype.type(1e30), "values")
    if valid.dtype.kind in "iu":
        forms |= {f"with {value}": (_with(valid, value), "out of range") for value in (-1, 10**12)}
    return forms


def _with(valid: np.ndarray, value: float) -> np.ndarray:
    changed = valid.copy()
    changed.flat[-1] = value
    return changed


def _read_only(valid: np.ndarray) -> np.ndarray:
    frozen = valid.copy()
    frozen.flags.writeable = False
    return frozen


@dataclass(frozen=True)
class Kind:
    """meaning(value) is a plain value that must give the same result, REFUSED or EITHER."""

    name: str
    meaning: Callable[[Any], Any]

    def __or__(self, other: Kind) -> Kind:
        """What one of both takes."""

        def meaning(value: Any) -> Any:
            first = self.meaning(value)
            return other.meaning(value) if first is REFUSED else first

        return Kind(f"{self.name} or {other.name}", meaning)


def integer(least: float = -inf, most: float = LARGEST) -> Kind:
    """Python's and NumPy's integers, and arrays without axes of one (they have __index__)."""

    def meaning(value: Any) -> Any:
        if isinstance(value, np.ndarray) and not np.ma.isMaskedArray(value) and not value.ndim:
            value = value[()]
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return int(value) if whole and least <= value <= most else REFUSED

    return Kind(f"int in [{least}, {most}]", meaning)


def number(low: float = -inf, high: float = inf, ends: str = "[]") -> Kind:
    """Real numbers of Python and NumPy. An infinite end is no number, unless it stands in `ends`: '()', '[]', '[i'."""

    def meaning(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            return REFUSED
        if (isinstance(value, int) and abs(value) > 10**300) or isnan(value):
            return REFUSED
        value = float(value)
        if isinf(value):
            return value if value in (low, high) and "i" in ends else REFUSED
        above = value > low or (value == low and ends[0] == "[")
        return value if above and (value < high or (value == high and ends[1] == "]")) else REFUSED

    return Kind(f"number in {low}, {high}", meaning)


FLAG = Kind("bool", lambda value: bool(value) if isinstance(value, (bool, np.bool_)) else REFUSED)
NONE = Kind("None", lambda value: None if value is None else REFUSED)
SEED = integer(0, 2**64 - 1)
FUNCTION = Kind("function", lambda value: EITHER if callable(value) else REFUSED)
NOTHING = Kind("nothing else", lambda value: REFUSED)
ANYTHING = Kind("anything", lambda value: EITHER)
PASSED_ON = Kind("not looked at", lambda value: EITHER)  # as what a model of the caller's gets: not tried


def choice(*options: str) -> Kind:
    return Kind(f"one of {options}", lambda value: value if isinstance(value, str) and value in options else REFUSED)


def instance(*types: type) -> Kind:
    return Kind(f"instance of {types}", lambda value: EITHER if isinstance(value, types) else REFUSED)


def integers(least: float = -inf, most: float = LARGEST, count: int | None = None, empty: bool = False) -> Kind:
    """Sequences of ints that are not strings."""
    each = integer(least, most)

    def meaning(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or (count is not None and len(value) != count):
            return REFUSED
        if not value and not empty and count != 0:
            return REFUSED
        parts = [each.meaning(v) for v in value]
        return REFUSED if any(p is REFUSED for p in parts) else tuple(parts)

    return Kind(f"sequence of {each.name}", meaning)


def pair(least: int) -> Kind:
    """An int or two."""
    return integer(least) | integers(least, count=2)


def _dtype(allowed: Sequence[str]) -> Callable[[Any], Any]:
    def meaning(value: Any) -> Any:
        if value is None:
            return REFUSED
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                name = np.dtype(value).name
            except (TypeError, ValueError):
                return REFUSED
        return np.dtype(name) if name in allowed else REFUSED

    return meaning


DTYPE = Kind("float32 or float64", _dtype(("float32", "float64")))
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ANY_DTYPE = Kind("dtype of a Tensor", _dtype(("bool", *WHOLE, "float32", "float64")))
DTYPES = {f"dtype {name}": np.dtype(name) for name in ("float16", "int64", ">f4", "complex64", "object")}


@dataclass(frozen=True)
class ArrayKind(Kind):
    """An array, of which `valid` is one. takes: per change of it (see unusual()) 'same', 'refused' or 'either'.

    dtypes: those that are not refused; of another one than the valid array's, `dtype` says what comes of it.
    scalars: whether numbers count as arrays without axes.
    """

    takes: tuple[tuple[str, str], ...] = ()
    dtypes: tuple[str, ...] = ()
    same_dtypes: bool = False  # whether other dtypes are converted to the valid one and so give the same result
    tensors: bool = True

    def __or__(self, other: Kind) -> ArrayKind:
        return replace(self, meaning=Kind.__or__(self, other).meaning)

    def of_change(self, change: str) -> str:
        return dict(self.takes).get(
            change, {"same": "same", "refused": "refused", "strings": "refused"}.get(change, "either")
        )

    def of_form(self, form: Any, change: str, valid: np.ndarray) -> Any:
        """The meaning of one of unusual(valid)."""
        verdict = self.of_change(change)
        if change in ("dtype", "list") and not (isinstance(form, list) and verdict == "refused"):
            found = np.asarray(form)
            if found.dtype == valid.dtype:
                return valid
            if found.dtype.name not in self.dtypes:
                return REFUSED
            return found.astype(valid.dtype) if self.same_dtypes else EITHER
        return {"same": valid, "refused": REFUSED, "either": EITHER}[verdict]


def _as_array(dtypes: Sequence[str], scalars: bool, tensors: bool) -> Callable[[Any], Any]:
    """Of values that are no form of the valid array."""

    def meaning(value: Any) -> Any:
        if isinstance(value, mv.Tensor):
            return EITHER if tensors else REFUSED
        if np.ma.isMaskedArray(value) or isinstance(value, (str, bytes, dict, complex, OtherLibrary)) or value is None:
            return REFUSED
        if isinstance(value, list) and value and isinstance(value[0], list):
            return REFUSED  # ragged
        found = np.asarray(value)
        if found.dtype.name not in dtypes or (found.ndim == 0 and not scalars):
            return REFUSED
        return EITHER

    return meaning


FLOATS = ("float32", "float64")
ALL = ("bool", *WHOLE, *FLOATS)


def array(
    name: str, dtypes: Sequence[str], scalars: bool = True, same: bool = False, tensors: bool = True, **takes: str
) -> ArrayKind:
    changes = tuple((change.replace("_", " "), verdict) for change, verdict in takes.items())
    return ArrayKind(name, _as_array(dtypes, scalars, tensors), changes, tuple(dtypes), same, tensors)


FLOAT_ARRAY = array("floating numbers", FLOATS)
NUMBER_ARRAY = array("numbers", ALL)
INDEX_ARRAY = array("indices", WHOLE, same=True, out_of_range="refused")
BOOL_ARRAY = array("booleans", ("bool",))
