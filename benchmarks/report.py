"""The report of the measurements: rows on the terminal, a JSON file, and a page with tables and plots."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from minivae.training.checkpoint import atomic_write

Record = dict[str, Any]


def best(record: Record) -> dict[str, tuple[float, float, float]]:
    """The median and the quartiles in seconds, by column.

    "PyTorch, contiguous_format" and "PyTorch, channels_last" become one column, "PyTorch", with the faster of the two.
    """
    found: dict[str, tuple[float, float, float]] = {}
    for name, spread in record.get("times", {}).items():
        column = name.partition(",")[0] if name.startswith("PyTorch") else name
        if column not in found or spread[0] < found[column][0]:
            found[column] = tuple(spread)
    return found


def ratio(record: Record) -> float | None:
    """PyTorch's median time divided by that of the kernels in C (without C, in NumPy); None if either is missing."""
    times = best(record)
    own = times.get("C", times.get("NumPy"))
    return times["PyTorch"][0] / own[0] if own and "PyTorch" in times else None


def growth_exponents(records: list[Record]) -> dict[str, float]:
    """The exponent p of the fit time = constant * pixels^p, for growing batches and for growing images; 1 is linear."""
    found = {}
    for name, points in growth_points(records).items():
        if len(points) > 1:
            sizes, seconds = np.log(np.array(points)).T
            found[name] = float(np.polyfit(sizes, seconds, 1)[0])
    return found


def growth_points(records: list[Record], key: str = "times") -> dict[str, list[tuple[int, float]]]:
    """{'batch size': points, 'image size': points} from the rows named 'conv VAE HxW, batch N'.

    A point is (pixels in a batch, value), where the value is that of the first column: seconds if key is 'times', MiB
    if it is 'MiB'. The points are sorted by pixels.
    """
    found: dict[str, list[tuple[int, float]]] = {"batch size": [], "image size": []}
    for record in records:
        words = record["name"].replace(",", "").split()
        if key not in record or "x" not in words[2]:
            continue
        side, batch = int(words[2].split("x")[0]), int(words[4])
        value = next(iter(best(record).values()))[0] if key == "times" else next(iter(record[key].values()))
        found["batch size" if side == 28 else "image size"].append((side**2 * batch, value))
    return {name: sorted(points) for name, points in found.items() if points}


def summary(sections: dict[str, list[Record]]) -> list[str]:
    """Sentences that state the geometric mean of the convolutions' ratios and how times grow with size."""
    text = []
    ratios = [r for record in sections.get("conv", []) if (r := ratio(record))]
    if ratios:
        mean = exp(sum(map(log, ratios)) / len(ratios))
        text.append(f"Convolutions, PyTorch / C: geometric mean {mean:.2f}, lowest {min(ratios):.2f}.")
    for name, power in growth_exponents(sections.get("growth", [])).items():
        text.append(f"With growing {name}, the time of the conv VAE's step is proportional to pixels^{power:.2f}.")
    return text


# ---- text ----


def duration(seconds: float) -> str:
    """'12.3 us': seconds as text with three significant digits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def line(record: Record) -> str:
    """A row for the terminal: medians, each ± half the distance between the quartiles in percent of the median."""
    if "error" in record:
        return f"{record['name']:58}  ERROR: {record['error']}"
    cells = [
        f"{column} {duration(median)} ±{50 * (high - low) / median:.0f}%"
        for column, (median, low, high) in best(record).items()
    ]
    for _, key, form in OTHERS.values():
        cells += [f"{column} {form.format(value)} {key}" for column, value in record.get(key, {}).items()]
    times = ratio(record)
    return f"{record['name']:58}  " + "  ".join(cells) + (f"  ({times:.2f}x)" if times else "")


def markdown(report: dict[str, Any], plots: list[str], about: dict[str, str]) -> str:
    """The text of RESULTS.md. plots: file names. about: what a section measures, by its name."""
    text = ["# Results", "", "`python -m benchmarks` writes this page. Do not edit it by hand.", ""]
    if report.get("interrupted"):
        text += ["**The run was interrupted: this page shows the rows that were measured before.**", ""]
    text += [f"* {name}: {value}" for name, value in report["machine"].items() if name != "left out"]
    text += [f"* left out: {sentence}" for sentence in report["machine"]["left out"]]
    if ceilings := report.get("ceilings"):
        gflops, gbytes = ceilings["flop/s"] / 1e9, ceilings["byte/s"] / 1e9
        text.append(f"* reached by NumPy: {gflops:.0f} GFLOP/s (matrix product), {gbytes:.1f} GB/s (copy)")
    text += [
        "",
        "C, NumPy and CuPy are the kernels of minivae (`kernels/native`, `reference` and `cuda`); CuPy alone is the",
        "same operation in CuPy's own functions. A cell shows the median of several rounds, with the quartiles in",
        "brackets; in each round the columns take turns. The last column is PyTorch's time divided by that of the",
        "kernels in C: above 1, C is faster. PyTorch uses its faster memory format, fused Adam and as many threads.",
    ]
    if sentences := summary(report["sections"]):
        text += ["", *(f"* {sentence}" for sentence in sentences)]
    for section, records in report["sections"].items():
        sentence = [about[section], ""] if section in about else []
        text += ["", f"## {section}", "", *sentence, *_table(section, records)]
    for plot in plots:
        text += ["", f"![{Path(plot).stem}](results/{Path(plot).name})"]
    return "\n".join(text) + "\n"


def _times(records: list[Record]) -> list[str]:
    """The lines of a table of times."""
    columns = list(dict.fromkeys(c for record in records for c in best(record)))
    text = [f"| | {' | '.join(columns)} | PyTorch / C |", "|---" * (len(columns) + 2) + "|"]
    for record in records:
        times, times_as_fast = best(record), ratio(record)
        cells = [_spread(times[column]) if column in times else "" for column in columns]
        cells.append(f"{times_as_fast:.2f}" if times_as_fast else "")
        text.append(_row(record, cells))
    return text


def _spread(spread: tuple[float, float, float]) -> str:
    median, low, high = map(duration, spread)
    return f"{median} [{low}, {high}]"


# Sections whose numbers are not times: a sentence about the numbers, the key of a record that holds them, their format.
OTHERS = {
    "memory": ("How far training steps raise the peak of the resident memory, in MiB.", "MiB", "{:.1f}"),
    "accuracy": ("Root mean square error of the float32 passes, relative to the exact result.", "rms", "{:.1e}"),
}


def _table(section: str, records: list[Record]) -> list[str]:
    """The lines of the table of a section."""
    if section not in OTHERS:
        return _times(records)
    sentence, key, form = OTHERS[section]
    columns = list(dict.fromkeys(c for record in records for c in record.get(key, {})))
    text = [sentence, "", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for record in records:
        text.append(_row(record, [form.format(record[key][c]) if c in record.get(key, {}) else "" for c in columns]))
    return text


def _row(record: Record, cells: list[str]) -> str:
    """A line of a table; if the record holds an error, the first cell shows it and the others are empty."""
    if "error" in record:
        cells = [f"not measured: {record['error']}".replace("|", "/"), *[""] * (len(cells) - 1)]
    return f"| {record['name']} | {' | '.join(cells)} |"


# ---- files ----


def write(folder: Path, report: dict[str, Any], plots: list[str], about: dict[str, str]) -> None:
    """Write benchmarks.json into the folder, and RESULTS.md beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "benchmarks.json", lambda file: file.write((json.dumps(report, indent=1) + "\n").encode()))
    page = markdown(report, plots, about).encode()
    atomic_write(folder.parent / "RESULTS.md", lambda file: file.write(page))
