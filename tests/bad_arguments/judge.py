"""One call of the table with one argument replaced, and what is wrong with what comes of it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import minivae as mv
from minivae.kernels.checks import shown

from .kinds import ALL, ANY_DTYPE, COMMON, DTYPE, DTYPES, EITHER, PASSED_ON, REFUSED, ArrayKind, Kind, unusual


class Argument(NamedTuple):
    """valid: a value, or a function without arguments that makes one, wrapped into Made."""

    valid: Any
    kind: Kind


class Made(NamedTuple):
    """A valid value that each call needs anew, as calls change it."""

    make: Callable[[], Any]


@dataclass
class Row:
    """One public name: how to call it and what its arguments are.

    call: the function itself or, for a method, one that makes the object first. public: whose signature it has.
    errors: what else the call may raise, for reasons that the row's comment gives. refused: whether that is what even
    the valid call raises here, for want of a GPU. extra: more values to try of an argument, all of them wrong.
    """

    call: Callable[..., Any]
    arguments: Mapping[str, Argument]
    public: Any = None
    errors: tuple[type[Exception], ...] = ()
    refused: bool = False
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def base(self) -> Outcome:
        """What the valid call gives."""
        return call(self, None, None)

    def parameters(self) -> dict[str, inspect.Parameter]:
        return parameters_of(self.public or self.call)


def parameters_of(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a function by name; of a model that takes **keywords, with those of the class above it."""
    own = dict(inspect.signature(function).parameters)
    if not (inspect.isclass(function) and issubclass(function, mv.models.Estimator)):
        return own
    inherited = function._parameters()
    return {n: p if n in own else p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in inherited.items()}


class Outcome(NamedTuple):
    result: list[np.ndarray] | None
    error: Exception | None
    warned: bool


def cases(row: Row, name: str) -> Iterator[tuple[str, Any, Any]]:
    """(label, value, its meaning) of everything that is tried for one argument."""
    valid, kind = row.arguments[name]
    if kind is PASSED_ON:
        return
    keywords = row.parameters()[name].kind is inspect.Parameter.VAR_KEYWORD
    for label, value in {} if keywords else COMMON.items():
        yield label, value, kind.meaning(value)
    for label, value in row.extra.get(name, {}).items():
        yield label, value, REFUSED
    if kind in (DTYPE, ANY_DTYPE):
        yield from ((label, value, kind.meaning(value)) for label, value in DTYPES.items())
    if isinstance(kind, ArrayKind):
        plain = valid.make() if isinstance(valid, Made) else valid
        if isinstance(plain, np.ndarray):
            for label, (form, change) in unusual(plain).items():
                yield label, form, kind.of_form(form, change, plain)
            yield "Tensor", mv.Tensor(plain), plain if kind.tensors else REFUSED


def call(row: Row, name: str | None, value: Any) -> Outcome:
    """The valid call, with argument `name` replaced."""
    values = {k: a.valid.make() if isinstance(a.valid, Made) else a.valid for k, a in row.arguments.items()}
    if name is not None:
        values[name] = value
    positional, keywords = [], {}
    for parameter in row.parameters().values():
        if parameter.name not in values:
            continue
        given = values[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += list(given) if isinstance(given, tuple) else [given]
        elif parameter.kind is parameter.VAR_KEYWORD:
            keywords |= given if isinstance(given, dict) else {"a": given}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            keywords[parameter.name] = given
        else:
            positional.append(given)
    mv.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error = list(arrays(row.call(*positional, **keywords))), None
        except Exception as raised:
            result, error = None, raised
    return Outcome(result, error, any(issubclass(w.category, RuntimeWarning) for w in caught))


def wrong(row: Row, name: str, value: Any, meaning: Any) -> str | None:
    """What is wrong with the outcome of this value, or None."""
    outcome = call(row, name, value)
    if outcome.error is not None:
        other = () if row.refused and meaning is REFUSED else row.errors
        if not isinstance(outcome.error, (ValueError, TypeError, *other)):
            return f"{type(outcome.error).__name__}: {str(outcome.error)[:150]}"
        said = not isinstance(outcome.error, (ValueError, TypeError)) or says_what_came(str(outcome.error), value)
        if not said:
            return f"does not say what came: {outcome.error}"
        if meaning is REFUSED or meaning is EITHER or _expected(row, name, meaning).error is not None:
            return None
        return f"refused, but {shown(meaning)} is not: {outcome.error}"
    if meaning is REFUSED:
        return f"accepted, giving {_brief(outcome.result)}"
    if nonsense := _nonsense(outcome, row, name, value):
        return nonsense
    if meaning is EITHER:
        return None
    expected = _expected(row, name, meaning)
    if expected.error is not None:
        return f"accepted, but {shown(meaning)} is not: {expected.error}"
    return None if same(outcome.result, expected.result) else f"differs from the result of {shown(meaning)}"


def _expected(row: Row, name: str, meaning: Any) -> Outcome:
    return row.base if meaning is row.arguments[name].valid else call(row, name, meaning)


def _nonsense(outcome: Outcome, row: Row, name: str, value: Any) -> str | None:
    """NaN from finite numbers without a word; an array that no kernel takes; float64 that came from nowhere."""
    for array in outcome.result or ():
        known = array.dtype.name in ALL or array.dtype == getattr(value, "dtype", None)  # some hand on what they get
        if type(array) is not np.ndarray or not array.dtype.isnative or not known:
            return f"gives a {type(array).__name__} of {array.dtype}"
        finite = all(np.isfinite(a).all() for a in arrays(value) if a.dtype.kind in "biuf")
        if array.dtype.kind == "f" and finite and np.isnan(array).any() and not outcome.warned:
            return "gives NaN, of finite numbers"
        if array.dtype == np.float64 and not _explains_float64(row, name, value):
            return "gives float64, of float32"
    return None


def _explains_float64(row: Row, name: str, value: Any) -> bool:
    """Whether the valid call gives float64 or this value has it (a list or array of Python's floats, a dtype)."""
    base = row.base.result
    if base is None or any(array.dtype == np.float64 for array in base):
        return True
    return isinstance(row.arguments[name].kind, ArrayKind) or row.arguments[name].kind in (DTYPE, ANY_DTYPE)


def says_what_came(message: str, value: Any) -> bool:
    """Whether an error names the value or a part of it, its type, its shape or its dtype."""
    return any(word and word in message for word in _words(value))


def _words(value: Any) -> Iterator[str]:
    yield type(value).__name__
    yield repr(value)[:12]
    yield str(value)[:12]
    if isinstance(value, (np.ndarray, mv.Tensor)):
        value = value.numpy() if isinstance(value, mv.Tensor) else value
        for part in np.ravel(value).tolist():
            yield from _words(part)
    if callable(value):
        yield "got "  # what the function gave
    if isinstance(value, dict):
        yield "missing"
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _words(part)
    if isinstance(value, (float, np.floating)):
        yield f"{value:.6g}"
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, AttributeError):
        return
    shape = str(array.shape)
    if not array.size:
        yield from ("(0,)", "got 0", "got []", "()")
    yield from (shape, shape.replace(" ", ""), str(array.shape[1:])[1:] if array.ndim > 1 else "", str(array.dtype))
    if array.ndim:
        yield from (f"({len(array)},)", f"got {len(array)} ", f"and {len(array)}", f"got {len(array)}")
    yield f"with size {len(array)}" if array.ndim else "0-dimensional"
    yield from (f"{array.ndim} axes", f"{array.ndim}-dim", f"size {array.size} ")


def same(a: list[np.ndarray] | None, b: list[np.ndarray] | None) -> bool:
    """Equal dtypes and shapes, and numbers that differ by no more than another order of summation explains."""
    assert a is not None
    assert b is not None
    return len(a) == len(b) and all(
        x.dtype == y.dtype and x.shape == y.shape and np.allclose(x, y, rtol=1e-4, atol=1e-5, equal_nan=True)
        for x, y in zip(a, b, strict=True)
    )


def arrays(result: Any) -> Iterator[np.ndarray]:
    """All numbers in what a call returned, as arrays."""
    if isinstance(result, mv.Tensor):
        yield result._array
    elif isinstance(result, np.ndarray) and result.dtype.kind == "U":
        return
    elif isinstance(result, (np.ndarray, np.generic, float, int, bool)):
        if not (isinstance(result, int) and abs(result) > 2**62):
            yield result if isinstance(result, np.ndarray) else np.asarray(result)
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from arrays(value)
    elif isinstance(result, (list, tuple)):
        for value in result:
            yield from arrays(value)
    elif isinstance(result, mv.nn.Module):
        yield from arrays(result.state_dict())
    elif hasattr(result, "__dict__") and not callable(result):
        yield from arrays({k: v for k, v in vars(result).items() if not isinstance(v, mv.optim.Optimizer)})


def _brief(result: list[np.ndarray] | None) -> str:
    return ", ".join(f"{a.dtype}{a.shape}" for a in (result or [])[:4]) or "nothing"


def method(cls: type, name: str, make: Callable[[], Any], arguments: Mapping[str, Argument], **more: Any) -> Row:
    """The row of a method: of the object that `make` gives."""

    def bound(*positional: Any, **keywords: Any) -> Any:
        return getattr(make(), name)(*positional, **keywords)

    return Row(bound, arguments, public=getattr(cls, name), **more)
