"""Times of several candidates for one piece of work, measured in turns so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Run = Callable[[], Any]


class Work(NamedTuple):
    """A row of the results: the same work done by several candidates, by column.

    check: raises ValueError where their results differ. flops, bytes: of the work itself, 0 if nobody counted.
    wait: what to call before the clock is read, where a candidate runs asynchronously.
    """

    name: str
    candidates: dict[str, Run]
    check: Callable[[], None]
    flops: float = 0
    bytes: float = 0
    wait: Callable[[], None] = lambda: None


class Spread(NamedTuple):
    """Seconds of one call: the median of the rounds, and their quartiles."""

    median: float
    low: float
    high: float


SETTLE = 0.05  # seconds before a turn: idle threads of OpenMP wait awake for 10 ms, those of OpenBLAS for 27 ms
LONGEST, FEWEST = 20.0, 3  # seconds that a row may take, unless that leaves fewer rounds than these


def measure(work: Work, rounds: int, seconds_per_turn: float) -> dict[str, Spread]:
    """Each candidate once per round, for long enough that the clock is exact. The first calls are a warm-up.

    Before each turn the threads of the one before get the time to fall asleep, and one call brings the caches and the
    threads of this one back, for a training takes its steps one after the other.
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
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    wait()
    return time.perf_counter() - start


def same(results: dict[str, Any], tolerance: float) -> None:
    """ValueError unless all arrays are those of the first candidate, within `tolerance` of its largest number."""
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
    """What NumPy reaches on this very machine, now: flop/s of a large product, byte/s of a large copy."""
    a, b = (np.random.default_rng(i).random((1024, 1024), dtype=np.float32) for i in range(2))
    source, target = np.zeros(1 << 25, np.float32), np.zeros(1 << 25, np.float32)
    candidates: dict[str, Run] = {"product": lambda: a @ b, "copy": lambda: np.copyto(target, source)}
    times = measure(Work("ceilings", candidates, lambda: None), 5, 0.1)
    return {"flop/s": 2 * 1024**3 / times["product"].low, "byte/s": 2 * source.nbytes / times["copy"].low}
