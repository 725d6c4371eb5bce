"""The benchmark suite: NumPy, CuPy and PyTorch on the same work, in turns, after their results were found equal.

    python -m benchmarks                        all, under 15 minutes; writes benchmarks/RESULTS.md and results/
    python -m benchmarks conv steps             some benchmarks
    python -m benchmarks --quick                a smaller choice with fewer rounds, under a minute
    python -m benchmarks --out FOLDER           somewhere else

A column whose package or device is missing is left out. A row whose results differ is not timed, it shows the error,
and the exit code is 1. Ctrl-C writes what was measured so far (exit code 130).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from math import exp, log
from pathlib import Path
from typing import Any

from . import backends, operations, plots, steps
from .report import Record, line, ratio, write
from .timing import Work, measure

BENCHMARKS: dict[str, Callable[[Any], Iterator[Work]]] = {
    **{"gemm": operations.gemm, "conv": operations.conv, "pointwise": operations.pointwise, "adam": operations.adam},
    **{"noise": operations.noise, "steps": steps.steps, "throughput": steps.throughput, "growth": steps.growth},
    "imports": steps.imports,
}
NAMES = (*BENCHMARKS, "memory")
QUICK = ("gemm", "pointwise", "adam", "noise")
RESULTS = Path(__file__).parent / "results"


def main(argv: list[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="NumPy, CuPy and PyTorch side by side.")
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds of fewer benchmarks, under a minute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of JSON and plots")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(NAMES)}")
    names = args.names or (QUICK if args.quick else NAMES)
    gpu = backends.find()
    report: dict[str, Any] = {"machine": backends.machine(), "sections": {}}
    for sentence in backends.MISSING:
        print(f"left out: {sentence}", file=sys.stderr)
    code = 0
    try:
        for name in names:
            report["sections"][name] = records = []
            for record in _memory(args.quick) if name == "memory" else _measured(BENCHMARKS[name](gpu), args.quick):
                records.append(record)
                code |= "error" in record
        _summarise(report)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    made = plots.draw(args.out, report) if code != 130 and not args.quick else []
    write(args.out, report, made)
    print(f"written: {args.out / 'benchmarks.json'}, {args.out.parent / 'RESULTS.md'}", file=sys.stderr)
    return int(code)


def _measured(works: Iterator[Work], quick: bool) -> Iterator[Record]:
    """The records of some rows, printed as they come."""
    for work in _progress(works):
        record: Record = {"name": work.name, "flops": work.flops, "bytes": work.bytes}
        try:
            work.check()
        except ValueError as error:
            record["error"] = str(error)
        else:
            record["times"] = measure(work, *((3, 0.02) if quick else (9, 0.1)))
        print(line(record), flush=True)
        yield record


def _memory(quick: bool) -> Iterator[Record]:
    from . import cases

    for model in cases.MODELS:
        for batch in (32,) if quick else (32, 128):
            record: Record = {"name": f"{model}, batch {batch}"}
            for column in ("NumPy", *(["PyTorch"] if backends.torch is not None else [])):
                record[column], _ = steps.memory(model, batch, column)
            yield record
    flat: Record = {"name": "dense VAE, batch 32: growth between step 10 and step 1,000"}
    _, flat["NumPy"] = steps.memory("dense VAE", 32, "NumPy", 100 if quick else 1000)
    yield flat


def _summarise(report: dict[str, Any]) -> None:
    ratios = [r for record in report["sections"].get("conv", []) if "times" in record and (r := ratio(record))]
    if ratios:
        report["geometric mean"] = exp(sum(map(log, ratios)) / len(ratios))
        print(f"convolutions, geometric mean of PyTorch / NumPy: {report['geometric mean']:.2f}")


def _progress(works: Iterator[Work]) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return works
    return tqdm(works, file=sys.stderr, leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
