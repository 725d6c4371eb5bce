"""Time several candidates for the same work in turns, so that a disturbance of the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[], Any]


class Work(NamedTuple):
    """A row of the results: the same work, done by several candidates.

    candidates: column -> function. check: raises ValueError if their results differ. flops, bytes: the floating-point
    operations and the bytes of the operands, 0 if unknown. wait: is called before the clock is read; it waits for
    candidates that run asynchronously.
    """

    name: str
    candidates: dict[str, Run]
    check: Callable[[], None]
    flops: float = 0
    bytes: float = 0
    wait: Callable[[], None] = lambda: None


class Spread(NamedTuple):
    """The seconds of one call: median, lower quartile and upper quartile of the rounds."""

    median: float
    low: float
    high: float


SETTLE = 0.05  # seconds of rest before a turn: idle threads of OpenMP spin for 10 ms, those of OpenBLAS for 27 ms
LONGEST, FEWEST = 20.0, 3  # a row takes at most so many seconds, but has at least so many rounds


def measure(work: Work, rounds: int, seconds_per_turn: float) -> dict[str, Spread]:
    """The time of one call of each candidate, by column.

    In each round every candidate has a turn of about `seconds_per_turn`. Before a turn, a pause lets the threads of the
    previous candidate fall asleep, and one call that is not measured fills the caches and wakes the threads of this
    one, because in a training the steps follow each other without a pause.
    """
    calls, a_round = {}, 0.0
    for name, run in work.candidates.items():
        run()
        once = _seconds(run, 1, work.wait)
        calls[name] = max(1, min(1000, int(seconds_per_turn / max(once, 1e-7))))
        a_round += (1 + calls[name]) * once
    times: dict[str, list[float]] = {name: [] for name in work.candidates}
    for _ in range(max(FEWEST, min(rounds, int(LONGEST / max(a_round, 1e-7))))):
        for name, run in work.candidates.items():
            time.sleep(SETTLE)
            run()
            times[name].append(_seconds(run, calls[name], work.wait) / calls[name])
    quartiles = {name: np.percentile(values, (50, 25, 75)) for name, values in times.items()}
    return {name: Spread(*map(float, values)) for name, values in quartiles.items()}


def _seconds(run: Run, calls: int, wait: Callable[[], None]) -> float:
    """The seconds that so many calls take together."""
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    wait()
    return time.perf_counter() - start


def same(results: dict[str, Any], tolerance: float) -> None:
    """Raise ValueError unless all arrays equal that of the first candidate: shape, and numbers up to a tolerance.

    results: candidate -> array. tolerance: the largest error allowed, as a fraction of the largest absolute number.
    """
    (first, expected), *others = results.items()
    expected = np.asarray(expected, np.float64)
    for name, found in others:
        found = np.asarray(found, np.float64)
        if found.shape != expected.shape:
            raise ValueError(f"{name} gives shape {found.shape}, {first} {expected.shape}")
        error = float(np.abs(found - expected).max(initial=0) / max(1e-30, float(np.abs(expected).max(initial=0))))
        if not error <= tolerance:
            raise ValueError(
                f"{name} differs from {first} by {error:.2g} of the largest number, allowed: {tolerance:g}"
            )


def ceilings() -> dict[str, float]:
    """The speed that NumPy reaches on this machine now: flop/s of a large product, byte/s of a large copy."""
    a, b = (np.random.default_rng(i).random((1024, 1024), dtype=np.float32) for i in range(2))
    source, target = np.zeros(1 << 25, np.float32), np.zeros(1 << 25, np.float32)
    candidates: dict[str, Run] = {"product": lambda: a @ b, "copy": lambda: np.copyto(target, source)}
    times = measure(Work("ceilings", candidates, lambda: None), 5, 0.1)
    return {"flop/s": 2 * 1024**3 / times["product"].low, "byte/s": 2 * source.nbytes / times["copy"].low}
