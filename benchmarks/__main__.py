"""The benchmark suite: C, NumPy, CuPy and PyTorch do the same work in turns, once their results have been found equal.

    python -m benchmarks                        all benchmarks, under 15 minutes; writes benchmarks/RESULTS.md, results/
    python -m benchmarks conv steps             the benchmarks named; writes to runs/benchmarks/
    python -m benchmarks --quick                fewer rows and rounds, under a minute; writes to runs/benchmarks/
    python -m benchmarks --out FOLDER           writes FOLDER/RESULTS.md and FOLDER/results/

A column is left out if its package or device is missing. A row in which the results differ shows the error and is not
timed, and the exit code is 1. Ctrl-C writes what has been measured so far; the exit code is 130.
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
ABOUT = {name: (rows.__doc__ or "").partition("\n")[0] for name, rows in BENCHMARKS.items()}  # for the page
ROUNDS, QUICK_ROUNDS = (9, 0.1), (3, 0.01)  # number of rounds, and seconds of a candidate's turn in a round
COMMITTED, ELSEWHERE = Path(__file__).parent, Path("runs/benchmarks")


def main(argv: list[str] | None = None) -> int:
    """Run the suite and return the exit code."""
    args = _arguments(argv)
    names = args.names or NAMES
    out = args.out or (ELSEWHERE if args.names or args.quick else COMMITTED)
    gpu = backends.find()
    if "memory" in names and not memory.available():
        backends.MISSING.append("memory: only Linux has a resettable high-water mark of memory")
        names = [name for name in names if name != "memory"]
    found: dict[str, Any] = {"machine": backends.machine(), "sections": {}}
    for sentence in backends.MISSING:
        print(f"left out: {sentence}", file=sys.stderr)
    code, drawn = 0, []
    try:
        code = _run(names, gpu, args.quick, found)
        if not args.quick:
            report.write(out / "results", found, [], ABOUT)
            drawn = _draw(out / "results", found)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        found["interrupted"], code = True, 130
    for sentence in report.summary(found["sections"]):
        print(sentence)
    report.write(out / "results", found, drawn, ABOUT)
    print(f"written: {out / 'RESULTS.md'}, {out / 'results'}", file=sys.stderr)
    return code


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer rows, under a minute")
    parser.add_argument("--out", type=Path, help="folder of RESULTS.md and results/")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return args


def _run(names: Iterable[str], gpu: Any, quick: bool, found: dict[str, Any]) -> int:
    """Fill found['sections'] row by row, so that an interruption loses nothing; return 1 if a row failed, else 0."""
    code = 0
    bar = _progress(names)
    for name in bar:
        records: list[Record] = found["sections"].setdefault(name, [])
        for title, measure in _rows(name, gpu, quick):
            bar.set_postfix_str(title)
            with kernels.backend("cpu").session():  # fit() trains inside the same session
                records.append(_record(title, measure))
            bar.write(report.line(records[-1]))
            code |= "error" in records[-1]
    if not quick and {"gemm", "conv"} & set(names):
        found["ceilings"] = timing.ceilings()
    return int(code)


def _rows(name: str, gpu: Any, quick: bool) -> Iterator[tuple[str, Callable[[], Record]]]:
    """The title of each row of a benchmark, and the function that measures it."""
    if name == "memory":
        for peak in memory.peaks(quick):
            yield f"{peak.name}, batch {peak.batch}", partial(memory.measure, peak)
    elif name == "accuracy":
        yield from accuracy.convolutions(quick)
    else:
        for work in BENCHMARKS[name](gpu, quick):
            yield work.name, partial(_checked, work, *(QUICK_ROUNDS if quick else ROUNDS))


def _checked(work: Work, rounds: int, seconds: float) -> Record:
    """The times of the candidates; ValueError if their results differ."""
    work.check()
    return {"flops": work.flops, "bytes": work.bytes, "times": timing.measure(work, rounds, seconds)}


def _record(title: str, measure: Callable[[], Record]) -> Record:
    """The measured record or, so that the other rows are still measured, a record of the error."""
    try:
        return {"name": title, **measure()}
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return {"name": title, "error": f"{kind}{error}"}


def _draw(folder: Path, found: dict[str, Any]) -> list[str]:
    """Draw the plots and return their file names: none without matplotlib."""
    try:
        return plots.draw(folder, found)
    except ImportError as error:
        print(f"left out: plots: {error}", file=sys.stderr)
        return []


class _NoBar:
    """A replacement for tqdm where it is not installed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def set_postfix_str(self, title: str) -> None:
        pass

    def write(self, text: str) -> None:
        print(text, flush=True)


def _progress(names: Iterable[str]) -> Any:
    """Iterate over the benchmarks, with a progress bar if stderr is a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar(names)
    return tqdm(names, file=sys.stderr, leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
