"""Reads the file of an exercise: writes what there is to fill in, and checks what somebody filled in.

The file is a module. What stands above CHECKS is the exercise, with functions that raise NotImplementedError; it is
what the learner gets. Below are functions check_NAME(yours), each of which gets the learner's module and fails by
AssertionError with a sentence that says what is wrong, most of them through the functions at the end of this file.
"""

from __future__ import annotations

import importlib
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "exercises"
CHECKS = "# ---- checks ----\n"
RIGHT, WRONG, TO_DO = "right", "wrong", "to do"


@dataclass(frozen=True)
class Outcome:
    """What a check found. state: RIGHT, WRONG or TO_DO; why: a sentence, '' for RIGHT."""

    name: str
    state: str
    why: str = ""


@dataclass(frozen=True)
class Exercise:
    """The exercise of a lesson, which has its number."""

    number: int
    path: Path

    def stub(self) -> str:
        """Return the source that the learner gets."""
        return self.path.read_text(encoding="utf-8").partition(CHECKS)[0].rstrip() + "\n"

    def checks(self) -> dict[str, Callable[[Any], None]]:
        """Return the checks by the names of what they check, in the order of the file."""
        module = importlib.import_module(f"{__package__}.exercises.{self.path.stem}")
        found = {name: value for name, value in vars(module).items() if name.startswith("check_")}
        return {name.removeprefix("check_"): check for name, check in found.items()}

    def check(self, path: Path) -> list[Outcome]:
        """Check the learner's file. Raise ValueError if it cannot be run at all, OSError if it cannot be read."""
        source = path.read_text(encoding="utf-8")
        try:
            compile(source, str(path), "exec")
            yours = SimpleNamespace(**runpy.run_path(str(path)))
        except Exception as error:  # whatever a learner's file may raise
            raise ValueError(f"{str(path)!r} does not run: {_told(error)}") from error
        return [_outcome(name, check, yours) for name, check in self.checks().items()]


def exercise(number: int) -> Exercise:
    """Find the exercise of a lesson. Raise ValueError for a number that none has."""
    known = {int(path.stem.split("_")[1]): path for path in FOLDER.glob("exercise_*.py")}
    if number not in known:
        raise ValueError(f"there are exercises {min(known)} to {max(known)}, got {number}")
    return Exercise(number, known[number])


def _outcome(name: str, check: Callable[[Any], None], yours: Any) -> Outcome:
    try:
        check(yours)
    except NotImplementedError:
        return Outcome(name, TO_DO, "it is not written yet")
    except AssertionError as error:
        return Outcome(name, WRONG, str(error))
    except Exception as error:  # whatever a learner's function may raise
        return Outcome(name, WRONG, f"it raises {_told(error)}")
    return Outcome(name, RIGHT)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


# ---- for the checks ----


def expect(right: bool, otherwise: str) -> None:
    """Fail with the sentence `otherwise` unless it is right."""
    if not right:
        raise AssertionError(otherwise)


def expect_close(what: str, yours: Any, expected: Any, tolerance: float = 1e-6) -> None:
    """Fail unless an array or number is the expected one to a relative tolerance; say where it differs first."""
    yours, expected = np.asarray(yours), np.asarray(expected)
    expect(yours.dtype != object, f"{what} must be numbers, got {yours.reshape(-1)[:1]}")
    expect(yours.shape == expected.shape, f"{what} must have shape {expected.shape}, yours has {yours.shape}")
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    wrong = np.argwhere(~(np.abs(yours - expected) <= tolerance * scale))  # NaN is wrong too
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        where = f" at {list(at)}" if at else ""
        digits = 6 if f"{expected[at]:.6g}" != f"{yours[at]:.6g}" else 12
        raise AssertionError(f"{what}{where} must be {expected[at]:.{digits}g}, yours is {yours[at]:.{digits}g}")


def expect_gradient(what: str, f: Callable[[Any], Any], x: Any, dy: Any, yours: Any, eps: float = 1e-5) -> None:
    """Fail unless `yours` is the gradient of sum(dy * f(x)) by x, as central differences find it, entry by entry."""
    x = np.asarray(x, np.float64)
    expected = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = eps
        expected[at] = ((f(x + step) - f(x - step)) * dy).sum() / (2 * eps)
    expect_close(what, yours, expected, tolerance=1e-5)
