"""The peak memory of training steps, each row and column in a process of its own, as Linux counts it.

The process first takes a step with two images, which loads the libraries, starts the threads and makes the weights.
Then the high-water mark of its resident memory (VmHWM) is reset. The result is how far the mark rises above the memory
that is resident at that moment. ru_maxrss of getrusage() cannot be used: a child process inherits it from its parent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from minivae import kernels

from . import cases
from .backends import CPU, torch
from .steps import growing, own_step, torch_step

ROOT = Path(__file__).parents[1]
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Peak(NamedTuple):
    """A row: so many steps of a model at a batch size, measured in each of the columns."""

    name: str
    batch: int
    columns: tuple[str, ...]
    steps: int = 5


def available() -> bool:
    """Whether this system has a high-water mark of memory that can be reset."""
    return STATUS.exists() and RESET.exists()


def peaks(quick: bool = False) -> Iterator[Peak]:
    """All rows."""
    columns = (*CPU, *(["PyTorch"] if torch is not None else []))
    for name in list(cases.MODELS)[:1] if quick else cases.MODELS:
        for batch in cases.BATCHES[:1] if quick else cases.BATCHES[:2]:
            yield Peak(name, batch, columns)
    for name, _, batch in growing(quick):
        yield Peak(name, batch, tuple(CPU))
    yield Peak("dense VAE", 32, tuple(CPU), 100 if quick else 1000)


def measure(peak: Peak) -> dict[str, Any]:
    """The record of a row: by how many MiB the peak rises, by column.

    If there are more than ten steps, it is by how much the peak rises after the tenth: that is 0 without a leak.
    """
    flat = peak.steps > 10
    name = peak.name if "batch" in peak.name else f"{peak.name}, batch {peak.batch}"
    record: dict[str, Any] = {"name": f"{name}: growth in steps 11 to {peak.steps:,}" if flat else name}
    for column in peak.columns:
        command = [sys.executable, "-m", "benchmarks.memory", peak.name, str(peak.batch), column, str(peak.steps)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            return {**record, "error": done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"}
        record.setdefault("MiB", {})[column] = json.loads(done.stdout)["late" if flat else "peak"]
    return record


# ---- what the measured process runs ----


def _status(key: str) -> float:
    """A value of /proc/self/status, in MiB."""
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:")) / 1024


def _main(name: str, batch: int, column: str, count: int) -> None:
    case = {**cases.MODELS, **{row: case for row, case, _ in growing()}}[name]
    if column in CPU:
        make = partial(own_step, device="cpu")
    else:
        make = partial(torch_step, layout="contiguous_format", device="cpu")
    first = make(case, cases.images(2, case.image_shape))  # kept alive, so that the steps cannot reuse its memory
    first()
    RESET.write_text("5")
    before = early = _status("VmRSS")
    run = make(case, cases.images(batch, case.image_shape))
    for i in range(count):
        run()
        if i == 9:
            early = _status("VmHWM")
    peak = _status("VmHWM")
    print(json.dumps({"peak": peak - before, "late": peak - early}))


if __name__ == "__main__":
    with kernels.use_cpu(CPU.get(sys.argv[3], "reference")) as used, used.session():  # as fit() does
        _main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
