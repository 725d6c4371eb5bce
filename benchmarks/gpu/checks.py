"""Are the results right? The tests, the sanitizer and the emulator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from minivae.kernels.cuda import launcher

from ..launches import LAUNCHES, results
from .machine import Machine, Rows

ROOT = Path(__file__).parents[2]
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def suite(machine: Machine) -> Rows:
    """The project's own tests, run on the GPU."""
    device = "emulator" if machine.rehearsal else "cuda"
    chosen = ["tests/ops/test_values.py"] if machine.rehearsal else []
    command = [sys.executable, "-m", "pytest", "-q", "--device", device, "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return [{"command": " ".join(command[1:]), "exit code": done.returncode, "summary": lines[-1:], "failed": failed}]


def sanitizer(machine: Machine) -> Rows:
    """Each tool of compute-sanitizer, on one small launch of every kernel."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(program).exists():
        return [{"tool": tool, "summary": "compute-sanitizer is not installed"} for tool in TOOLS]
    rows = []
    for tool in TOOLS:
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "benchmarks.launches"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("=========")]
        rows.append({"tool": tool, "exit code": done.returncode, "summary": lines[-1:], "report": lines[:60]})
    return rows


def emulator(machine: Machine) -> Rows:
    """The same launches on the emulator and on the GPU; on integers they must give equal bits."""
    sys.path.append(str(ROOT / "tests"))
    from cuda_emulator import Emulator, arrays

    with launcher.use_engine(Emulator(xp=arrays)):
        expected = [results(launch) for launch in LAUNCHES]
    rows = []
    for launch, there in zip(LAUNCHES, expected, strict=True):
        pairs = list(zip(results(launch), there, strict=True))
        equal = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        close = all(np.allclose(a, b, rtol=2e-6, atol=2e-6, equal_nan=True) for a, b in pairs)
        verdict = "equal" if equal else "to rounding" if close and not launch.exact else "DIFFERENT"
        rows.append({"launch": launch.name, "emulator and GPU": verdict})
    return rows
