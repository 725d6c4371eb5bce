"""What was measured, as a table on the terminal, as JSON and as a page with plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minivae.training.checkpoint import atomic_write

Record = dict[str, Any]
COLUMNS = ("NumPy", "CuPy", "CuPy alone", "PyTorch")


def best(record: Record) -> dict[str, float]:
    """Median seconds by column; PyTorch's is that of its better memory format."""
    found: dict[str, float] = {}
    for name, (median, *_) in record.get("times", {}).items():
        column = name.partition(" ")[0] if name.startswith("PyTorch") else name
        found[column] = min(median, found.get(column, median))
    return found


def ratio(record: Record) -> float | None:
    """How many times as fast as PyTorch NumPy is."""
    times = best(record)
    return times["PyTorch"] / times["NumPy"] if {"PyTorch", "NumPy"} <= times.keys() else None


def duration(seconds: float) -> str:
    """'12.3 us', three digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale or unit == "us":
            return f"{seconds / scale:.3g} {unit}"
    raise AssertionError


def line(record: Record) -> str:
    """A row of the terminal's table."""
    if "error" in record:
        return f"{record['name']:58}  ERROR: {record['error']}"
    cells = [f"{column} {duration(seconds)}" for column, seconds in best(record).items()]
    times = ratio(record)
    return f"{record['name']:58}  " + "  ".join(cells) + (f"  ({times:.2f}x)" if times else "")


def markdown(report: dict[str, Any], plots: list[str]) -> str:
    """RESULTS.md."""
    text = ["# Results", "", "Written by `python -m benchmarks`; not edited by hand.", ""]
    text += [f"* {name}: {value}" for name, value in report["machine"].items() if value != []]
    text += [
        "",
        "Medians of runs measured in turns, quartiles in brackets. The last column says how many times as fast as",
    ]
    text += ["PyTorch (its better memory format, fused Adam, as many threads) NumPy is; above 1, NumPy is faster."]
    for section, records in report["sections"].items():
        text += ["", f"## {section}", ""]
        if section == "memory":
            text += _memory(records)
            continue
        columns = list(dict.fromkeys(c for record in records for c in best(record)))
        text += [f"| | {' | '.join(columns)} | PyTorch / NumPy |", "|---" * (len(columns) + 2) + "|"]
        text += [_row(record, columns) for record in records]
    if "geometric mean" in report:
        text += ["", f"Geometric mean of the convolutions' ratios: {report['geometric mean']:.2f}."]
    text += ["", *(f"![{Path(plot).stem}](results/{Path(plot).name})" for plot in plots)]
    return "\n".join(text) + "\n"


def _row(record: Record, columns: list[str]) -> str:
    if "error" in record:
        return f"| {record['name']} | {record['error']} |" + " |" * len(columns)
    spreads = {}
    for name, spread in record["times"].items():
        column = name.partition(" ")[0] if name.startswith("PyTorch") else name
        if spread[0] == best(record)[column]:
            spreads[column] = f"{duration(spread[0])} [{duration(spread[1])}, {duration(spread[2])}]"
    times = ratio(record)
    cells = [spreads.get(column, "") for column in columns] + [f"{times:.2f}" if times else ""]
    return f"| {record['name']} | {' | '.join(cells)} |"


def _memory(records: list[Record]) -> list[str]:
    text = [
        "Growth of the peak of resident memory through 20 training steps, MiB.",
        "",
        "| | NumPy | PyTorch |",
        "|---|---|---|",
    ]
    for record in records:
        cells = [f"{record[c]:.0f}" if c in record else "" for c in ("NumPy", "PyTorch")]
        text.append(f"| {record['name']} | {' | '.join(cells)} |")
    return text


def write(folder: Path, report: dict[str, Any], plots: list[str]) -> None:
    """benchmarks.json in the folder, RESULTS.md beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "benchmarks.json", lambda file: file.write((json.dumps(report, indent=1) + "\n").encode()))
    page = markdown(report, plots).encode()
    atomic_write(folder.parent / "RESULTS.md", lambda file: file.write(page))
