"""The judge itself: functions that are wrong in one way each, and one that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae.kernels import checks

from .judge import Argument, Row, cases, wrong
from .kinds import FLAG, FLOAT_ARRAY, integer, number

X = np.array([[1.0, -2.0], [3.0, 4.0]], np.float32)


def right(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    x = mv.functional.exp(x) * checks.number("scale", scale, "[0, 1]") * checks.integer("n", n, 1)
    return x if checks.flag("on", on) else -x


def loses_masks(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    return right(np.asarray(x) if isinstance(x, np.ndarray) else x, n, scale, on)


def takes_any_flag(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    return right(x, n, scale, bool(on))


def truncates(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    return right(x, int(n) if isinstance(n, float) and n == n and abs(n) < 9 else n, scale, on)


def ignores_a_size(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    return right(x, 1, scale, on)


def promotes(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    y = right(x, n, scale, on)
    return y * scale if isinstance(scale, np.float64) else y


def hides_nan(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    y = right(x, n, scale, on)
    return mv.Tensor(y.numpy() * np.nan) if n == 1 else y


def raises_something_else(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    if not isinstance(on, bool):
        raise KeyError(on)
    return right(x, n, scale, on)


def says_nothing(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    try:
        return right(x, n, scale, on)
    except (ValueError, TypeError):
        raise ValueError("no") from None


def refuses_numpys_integers(x: Any, n: Any, scale: Any, on: Any) -> mv.Tensor:
    if type(n) is not int:
        raise TypeError(f"n must be an int, got {checks.shown(n)}")
    return right(x, n, scale, on)


def problems(function: Any) -> list[str]:
    row = Row(
        function,
        {
            "x": Argument(X, FLOAT_ARRAY),
            "n": Argument(3, integer(1)),
            "scale": Argument(0.25, number(0, 1)),
            "on": Argument(True, FLAG),
        },
    )
    return [
        f"{name} = {label}: {problem}"
        for name in row.arguments
        for label, value, meaning in cases(row, name)
        if (problem := wrong(row, name, value, meaning))
    ]


def test_what_is_right_passes():
    assert not problems(right)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (loses_masks, "x = masked array: accepted"),
        (takes_any_flag, "on = text: accepted"),
        (truncates, "n = 1.5: accepted"),
        (ignores_a_size, "n = -1: accepted"),
        (promotes, "scale = np.float64(0.5): gives float64, of float32"),
        (hides_nan, "n = 1: gives NaN"),
        (raises_something_else, "on = text: KeyError"),
        (says_nothing, "n = -1: does not say what came"),
        (refuses_numpys_integers, "n = np.int64(2): refused, but 2"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_found(function, found):
    assert any(problem.startswith(found) for problem in problems(function)), problems(function)
