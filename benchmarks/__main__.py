"""The benchmark suite: C, NumPy, CuPy and PyTorch on the same work, in turns, after their results were found equal.

    python -m benchmarks                        all, under 15 minutes; writes benchmarks/RESULTS.md and results/
    python -m benchmarks conv steps             some benchmarks; writes to runs/benchmarks/
    python -m benchmarks --quick                a smaller choice with fewer rounds, under a minute; the same
    python -m benchmarks --out FOLDER           somewhere else: FOLDER/RESULTS.md and FOLDER/results/

A column whose package or device is missing is left out. A row whose results differ is not timed, it shows the error,
and the exit code is 1. Ctrl-C writes what was measured so far (exit code 130).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from minivae import kernels

from . import accuracy, backends, convolutions, layers, memory, operations, plots, report, steps, timing
from .report import Record
from .timing import Work

BENCHMARKS: dict[str, Callable[[Any, bool], Iterator[Work]]] = {
    "gemm": operations.gemm,
    "conv": convolutions.conv,
    "norms": operations.norms,
    "losses": operations.losses,
    "quantize": operations.quantize,
    "adam": operations.adam,
    "noise": operations.noise,
    "layers": layers.layers,
    "steps": steps.steps,
    "throughput": steps.throughput,
    "growth": steps.growth,
    "imports": steps.imports,
}
NAMES = (*BENCHMARKS, "accuracy", "memory")
ROUNDS, QUICK_ROUNDS = (9, 0.1), (3, 0.01)  # how many, and seconds for each candidate in each
COMMITTED, ELSEWHERE = Path(__file__).parent, Path("runs/benchmarks")


def main(argv: list[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    args = _arguments(argv)
    names = args.names or NAMES
    out = args.out or (ELSEWHERE if args.names or args.quick else COMMITTED)
    gpu = backends.find()
    if "memory" in names and not memory.available():
        backends.MISSING.append("memory: only Linux counts a high-water mark that can be reset")
        names = [name for name in names if name != "memory"]
    found: dict[str, Any] = {"machine": backends.machine(), "sections": {}}
    for sentence in backends.MISSING:
        print(f"left out: {sentence}", file=sys.stderr)
    code, drawn = 0, []
    try:
        code = _run(names, gpu, args.quick, found)
        if not args.quick:
            report.write(out / "results", found, [])
            drawn = _draw(out / "results", found)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        found["interrupted"], code = True, 130
    for sentence in report.summary(found["sections"]):
        print(sentence)
    report.write(out / "results", found, drawn)
    print(f"written: {out / 'RESULTS.md'}, {out / 'results'}", file=sys.stderr)
    return code


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer rows, under a minute")
    parser.add_argument("--out", type=Path, help="folder of RESULTS.md and results/")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return args


def _run(names: Iterable[str], gpu: Any, quick: bool, found: dict[str, Any]) -> int:
    """Fill found['sections'] row by row, so that an interruption leaves what there is."""
    code = 0
    bar = _progress(names)
    for name in bar:
        records: list[Record] = found["sections"].setdefault(name, [])
        for title, measure in _rows(name, gpu, quick):
            bar.set_postfix_str(title)
            with kernels.backend("cpu").session():  # as in fit()
                records.append(_record(title, measure))
            bar.write(report.line(records[-1]))
            code |= "error" in records[-1]
    if not quick and {"gemm", "conv"} & set(names):
        found["ceilings"] = timing.ceilings()
    return int(code)


def _rows(name: str, gpu: Any, quick: bool) -> Iterator[tuple[str, Callable[[], Record]]]:
    """The title of each row of a benchmark, and what measures it."""
    if name == "memory":
        for peak in memory.peaks(quick):
            yield f"{peak.name}, batch {peak.batch}", partial(memory.measure, peak)
    elif name == "accuracy":
        yield from accuracy.convolutions(quick)
    else:
        for work in BENCHMARKS[name](gpu, quick):
            yield work.name, partial(_checked, work, *(QUICK_ROUNDS if quick else ROUNDS))


def _checked(work: Work, rounds: int, seconds: float) -> Record:
    work.check()
    return {"flops": work.flops, "bytes": work.bytes, "times": timing.measure(work, rounds, seconds)}


def _record(title: str, measure: Callable[[], Record]) -> Record:
    """What was measured, or the error: one row that fails does not cost the others."""
    try:
        return {"name": title, **measure()}
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return {"name": title, "error": f"{kind}{error}"}


def _draw(folder: Path, found: dict[str, Any]) -> list[str]:
    try:
        return plots.draw(folder, found)
    except ImportError as error:
        print(f"left out: plots: {error}", file=sys.stderr)
        return []


class _NoBar:
    """What stands in for tqdm where it is not installed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def set_postfix_str(self, title: str) -> None:
        pass

    def write(self, text: str) -> None:
        print(text, flush=True)


def _progress(names: Iterable[str]) -> Any:
    """A bar on stderr over the benchmarks; none where stderr is no terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar(names)
    return tqdm(names, file=sys.stderr, leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
