"""Checks of arguments, used by all packages: each error says what was expected and what was given.

A check returns the argument in its plain form: an int, a float, or a numpy.ndarray in the machine's own byte order. A
value of the wrong kind raises TypeError, and one of the right kind that is out of range raises ValueError. A bool never
counts as a number. Sizes and counts above LARGEST are refused, because kernels index with 32 bits; a smaller size that
does not fit into memory ends in NumPy's MemoryError. The checks of operations never read the elements of an array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from math import prod
from operator import index
from reprlib import repr as short
from typing import Any

import numpy as np

LARGEST = 2**31 - 1
SEEDS = 2**64


def shown(value: Any) -> str:
    """A value as an error message shows it: an array by class, shape and dtype, anything else shortened."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"{short(value)} ({type(value).__name__})"


def integer(name: str, value: Any, least: int | None = None, most: int | None = LARGEST) -> int:
    """value as an int in [least, most]; a bound that is None does not apply."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be an int, got {shown(value)}")
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"{name} must be an int, got {shown(value)}") from None
    if least is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {short(value)}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, got {short(value)}")
    return int(value)


def integers(name: str, values: Any, least: int | None = None, count: int | None = None) -> tuple[int, ...]:
    """A tuple, list or array of ints as a tuple: each at least `least`, and `count` of them if that is given."""
    if not isinstance(values, (tuple, list, range, np.ndarray)) or (
        isinstance(values, np.ndarray) and values.ndim != 1
    ):
        raise TypeError(f"{name} must be a sequence of ints, got {shown(values)}")
    if count is not None and len(values) != count:
        raise ValueError(f"{name} must be {count} ints, got {shown(values)}")
    return tuple([integer(f"{name}[{i}]", value, least) for i, value in enumerate(values)])


def seed(name: str, value: Any) -> int:
    """value as an int in [0, 2**64)."""
    value = integer(name, value, most=None)
    if not 0 <= value < SEEDS:
        raise ValueError(f"{name} must be in [0, 2**64), got {short(value)}")
    return value


def number(name: str, value: Any, within: str = "(-inf, inf)") -> float:
    """value as a float in an interval such as "[0, 1)"; NaN lies in no interval."""
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{name} must be a number in {within}, got {shown(value)}")
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"{name} must be a number in {within}, got {short(value)}") from None
    low, high, low_belongs, high_belongs = _bounds(within)
    if low < value < high or (value == low and low_belongs) or (value == high and high_belongs):
        return value
    raise ValueError(f"{name} must be a number in {within}, got {value}")


@lru_cache
def _bounds(within: str) -> tuple[float, float, bool, bool]:
    low, high = within[1:-1].split(",")
    return float(low), float(high), within[0] == "[", within[-1] == "]"


def flag(name: str, value: Any) -> bool:
    """value as a bool."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name} must be True or False, got {shown(value)}")


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """value, if it is one of these strings."""
    options = tuple(options)
    if isinstance(value, str) and value in options:
        return value
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name} must be {' or '.join(map(repr, options))}, got {shown(value)}")


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """'; did you mean <prefix><name>?' with the known name that looks most like a word; '' where none does."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def function(name: str, value: Any) -> Any:
    """value, if it can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {shown(value)}")
    return value


def offers(name: str, value: Any, *methods: str) -> None:
    """Raises TypeError unless value is an object with these methods."""
    missing = [m for m in methods if not callable(getattr(value, m, None))]
    if missing or isinstance(value, type):
        raise TypeError(f"{name} must be an object with the methods {', '.join(methods)}, got {shown(value)}")


def state(owner: str, value: Any, keys: Collection[str]) -> None:
    """Raises TypeError unless value is a dict, and ValueError unless it has exactly these keys."""
    if not isinstance(value, Mapping):
        raise TypeError(f"the state of {owner} must be a dict, got {shown(value)}")
    missing, unexpected = sorted(set(keys) - value.keys()), sorted(map(str, value.keys() - set(keys)))
    if missing or unexpected:
        raise ValueError(f"state does not fit {owner}: missing {missing}, unexpected {unexpected}")


def float_dtype(name: str, dtype: Any) -> np.dtype:
    """dtype, in any form that names float32 or float64, as a numpy.dtype."""
    try:
        found = None if dtype is None else np.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or found.name not in ("float32", "float64"):
        raise TypeError(f"{name} must be float32 or float64, got {shown(dtype)}")
    return np.dtype(found.name)


def array(name: str, value: Any, kinds: str = "biuf") -> np.ndarray:
    """value, an array or anything numpy.asarray takes, as a numpy.ndarray in the machine's own byte order.

    kinds: the accepted dtypes, as letters of numpy.dtype.kind; by default all numbers except complex ones. A masked
    array raises TypeError, because its mask would be lost, and so does an array of another library that may be on a
    GPU. Subclasses of numpy.ndarray become plain arrays.
    """
    if type(value) is not np.ndarray:
        if isinstance(value, np.ndarray) and hasattr(value, "mask"):
            raise TypeError(f"{name} must be an array without a mask, got {shown(value)}; use .filled(value)")
        if hasattr(type(value), "__cuda_array_interface__"):
            raise TypeError(f"{name} must be a NumPy array, got a {type(value).__module__}.{shown(value)}")
        try:
            value = np.asarray(value)
        except ValueError as error:  # lists of lists of different lengths
            raise ValueError(f"{name} must be an array, got {shown(value)}: {error}") from None
    if value.dtype.kind not in kinds:
        raise TypeError(f"{name} must be an array of {_named(kinds)}, got {shown(value)}")
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def _named(kinds: str) -> str:
    names = {"b": "booleans", "iu": "integers", "f": "floating numbers", "U": "str"}
    return " or ".join(name for letters, name in names.items() if letters[0] in kinds)


def check_finite(x: np.ndarray, name: str) -> None:
    """Raises ValueError, with its index, for the first NaN or infinity in an array of numbers (N, ...)."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf" or hasattr(x, "mask"):
        raise TypeError(f"{name} must be an array of numbers, got {shown(x)}")
    if not x.ndim:
        raise ValueError(f"{name} must have at least one axis, got shape {x.shape}")
    step = max(1, (1 << 22) // max(1, int(np.prod(x.shape[1:]))))  # the mask then takes 4 MiB
    for start in range(0, len(x), step):
        finite = np.isfinite(x[start : start + step])
        if not finite.all():
            first = np.unravel_index(int(np.argmin(finite)), finite.shape)
            place = (start + int(first[0]), *map(int, first[1:]))
            raise ValueError(f"{name} must be finite: there is {x[place]} at index {place}")


def elements(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """shape, if it has at most LARGEST elements; a larger one raises ValueError before anything is allocated."""
    count = prod(map(int, shape))  # NumPy's integers would overflow
    if count > LARGEST:
        raise ValueError(f"{name} of shape {tuple(map(int, shape))} would have {count} elements, more than {LARGEST}")
    return shape
