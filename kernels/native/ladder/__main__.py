"""python -m minivae.kernels.native.ladder: compiles the ladder, checks its steps against NumPy, and times them."""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..binding import bind
from ..build import compile_alone
from ..library import set_num_threads, threads
from ..matrix import matmul
from ..signature import parse

SOURCE = Path(__file__).with_name("ladder.c")
PLAIN = ["-O2", "-fno-tree-vectorize"]  # the compiler must not make vector code by itself
N = 768
STEPS = ("three_loops", "along_rows", "register_block", "vectors", "packed", "cache_blocks", "threads")


def steps(folder: Path) -> dict[str, Callable[..., Any]]:
    """The functions of the ladder by name, compiled in this folder. Raises BuildError if that fails."""
    library = ctypes.CDLL(str(compile_alone(SOURCE, PLAIN, folder)))
    prototypes = parse(SOURCE.read_text(encoding="utf-8").replace("real ", "float "))
    set_threads = library.set_num_threads
    set_threads(threads())
    return {name: bind(library, prototypes[name], None) for name in STEPS}


def seconds(run: Callable[[], Any]) -> float:
    """The time of the fastest of several calls."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 100):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Prints a table: the time of each step, its operations per second, and its speed relative to step 0."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((N, N), dtype=np.float32) for _ in range(2))
    c, first = np.empty_like(a), None
    expected = a.astype(np.float64) @ b
    with tempfile.TemporaryDirectory() as folder:
        candidates: dict[str, Callable[[], Any]] = {
            name: lambda step=step: step(N, a, b, c)  # type: ignore[misc]
            for name, step in steps(Path(folder)).items()
        }
        candidates["matmul"] = lambda: np.copyto(c, matmul(a, b))
        set_num_threads(threads())
        print(f"float32, {N} x {N} x {N}, {threads()} threads in the last two\n")
        print("| step | ms | Gflop/s | speed relative to step 0 |\n|---|---|---|---|")
        for name, run in candidates.items():
            c[:] = 0
            taken = seconds(run)
            if not np.allclose(c, expected, rtol=1e-3, atol=1e-3):
                raise ValueError(f"{name} is wrong by {np.abs(c - expected).max():.2g}")
            first = first or taken
            print(f"| {name} | {taken * 1e3:.1f} | {2e-9 * N**3 / taken:.1f} | {first / taken:.1f} |")


if __name__ == "__main__":
    main()
