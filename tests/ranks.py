"""Starts processes by mpiexec, for the tests of several ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MPIEXEC = Path(sys.executable).with_name("mpiexec")
MESSAGES_OF_MPI = ("Abort(", "=", "YOUR APPLICATION", "This typically", "Please see")


def mpiexec() -> list[str]:
    """Return the command that starts processes; skip the test where mpi4py or an MPI beside this Python is missing."""
    pytest.importorskip("mpi4py")
    if not MPIEXEC.is_file():
        pytest.skip(f"there is no {MPIEXEC}; pip install 'minivae[mpi]' brings one")
    return [str(MPIEXEC)]


def start(ranks: int, *words: str | Path, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
    """Start python with these words on so many ranks."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **variables}
    command = [*mpiexec(), "-n", str(ranks), sys.executable, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, cwd=cwd, env=environment, **pipes)  # type: ignore[call-overload]


def run(ranks: int, *words: str | Path, cwd: Path | None = None, **variables: str) -> tuple[int, str, str]:
    """Run python with these words on so many ranks: the exit code, and what is on stdout and stderr, without what the
    MPI itself says of an end."""
    process = start(ranks, *words, cwd=cwd, **variables)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, own_lines(err)


def own_lines(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith(MESSAGES_OF_MPI))
