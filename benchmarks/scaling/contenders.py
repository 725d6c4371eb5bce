"""The contenders: trainings of the same network, which differ in who computes what and how gradients are summed.

A contender is one process or several, which the driver starts once. Between its turns it sleeps: each process waits for
a line on a socket, also those ranks that would otherwise spin in a call of MPI. So the others are timed in peace.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds; the longest that a start or a turn may take
OWN, TORCH = "minivae", "PyTorch"


class Contender(NamedTuple):
    """ranks: processes. threads: of each. shards: of a batch; 1 for a training that is not cut.

    way: how minivae's ranks sum, "shared" memory or "messages", "parts" for the former with a clock in each part of a
    step, and the experiments "blocking", "shard" and "buckets" (exchange.py); of PyTorch "alone" or "ddp".
    """

    kind: str
    ranks: int = 1
    threads: int = 1
    batch: int = 128
    shards: int = 1
    way: str = "shared"

    @property
    def name(self) -> str:
        cut = f", {self.shards} shards" if self.kind == OWN and self.shards > 1 else ""
        way = "" if self.way in ("shared", "alone") else f", {self.way}"
        return f"{self.kind} {self.ranks}x{self.threads}, batch {self.batch}{cut}{way}"


def own(ranks: int = 1, threads: int = 1, batch: int = 128, shards: int = 1, way: str = "shared") -> Contender:
    return Contender(OWN, ranks, threads, batch, shards, way)


def ddp(ranks: int = 1, threads: int = 1, batch: int = 128, way: str = "ddp") -> Contender:
    return Contender(TORCH, ranks, threads, batch, ranks, way)


class Team:
    """The processes of a contender. Raises RuntimeError, with what they wrote, if they end before they are ready."""

    def __init__(self, contender: Contender, scratch: Path) -> None:
        self.contender, self._files = contender, []
        self._log = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - it lives as long as the processes
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._processes = self._start(server.getsockname()[1], scratch)
            try:
                self._files = [self._accept(server) for _ in range(contender.ranks)]
            except BaseException:
                self.end()
                raise

    def turn(self, steps: int) -> tuple[float, dict[str, float]]:
        """Let them make so many steps. Return the seconds of a step of the slowest, and those of its parts, if any."""
        for file in self._files:
            file.write(f"{steps}\n")
            file.flush()
        answers = []
        for file in self._files:
            if not (line := file.readline()):
                raise RuntimeError(self._said())
            answers.append(json.loads(line))
        return max(answer["seconds"] for answer in answers), answers[0]["parts"]

    def end(self) -> None:
        """End the processes: their sockets close, and whoever does not notice is killed."""
        for file in self._files:
            file.close()
        for process in self._processes:
            try:
                process.wait(10 if self._files else 0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def _start(self, port: int, scratch: Path) -> list[subprocess.Popen[bytes]]:
        c = self.contender
        names = ("MINIVAE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(c.threads))}
        meeting = Path(tempfile.mkdtemp(dir=scratch)) / "ranks"  # a file through which PyTorch's processes meet
        module = "train_minivae" if c.kind == OWN else "train_torch"
        command = [sys.executable, "-m", f"benchmarks.scaling.{module}", json.dumps(c), str(port)]
        if c.kind == OWN:
            commands = [[mpiexec(), "-n", str(c.ranks), *command] if c.ranks > 1 else command]
        else:
            commands = [[*command, str(meeting), str(rank)] for rank in range(c.ranks)]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        return [subprocess.Popen(each, cwd=ROOT, env=environment, **options) for each in commands]

    def _accept(self, server: socket.socket) -> Any:
        """Return the file of the next process that connects, as each does before its first step."""
        server.settimeout(0.5)
        for _ in range(int(PATIENCE / 0.5)):
            try:
                connection, _ = server.accept()
            except TimeoutError:
                if any(process.poll() is not None for process in self._processes):
                    raise RuntimeError(self._said()) from None
                continue
            with connection:  # its file keeps it open
                connection.settimeout(PATIENCE)
                return connection.makefile("rw")
        raise RuntimeError(f"not ready within {PATIENCE:g} s: {self._said()}")

    def _said(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines() or ["it ended without a word"]
        return lines[-1]


def mpiexec() -> str:
    """The mpiexec beside Python, else that of the search path."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else "mpiexec"


class Ended(Exception):  # noqa: N818 - it is no error
    """The driver wants no more steps."""


class Turns:
    """In the process: says when to make steps, and how long they took. `parts` is filled by whoever measures parts."""

    WARM = 2  # steps before the clock starts: caches are filled, threads and other ranks are awake

    def __init__(self, port: int) -> None:
        self._port, self._file = port, None
        self._steps, self._done, self._began = 0, self.WARM, 0.0
        self.parts: dict[str, float] = {}

    def before_step(self) -> None:
        """Call this before every step. Between two turns it sleeps; it raises Ended when there are no more."""
        if self._done == self.WARM + self._steps:
            self._wait()
        if self._done == self.WARM:
            self.parts.update(dict.fromkeys(self.parts, 0.0))
            self._began = time.perf_counter()
        self._done += 1

    def _wait(self) -> None:
        seconds = time.perf_counter() - self._began
        if self._file is None:
            with socket.create_connection(("127.0.0.1", self._port)) as connection:
                self._file = connection.makefile("rw")
        else:
            parts = {name: total / self._steps for name, total in self.parts.items()}
            self._file.write(json.dumps({"seconds": seconds / self._steps, "parts": parts}) + "\n")
            self._file.flush()
        line = self._file.readline()
        if not line:
            raise Ended
        self._steps, self._done = int(line), 0
