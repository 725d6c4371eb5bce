"""The clock of the GPU suite: it times candidates in turns and waits until the GPU has finished."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import minivae as mv
from minivae.kernels.cuda import launcher

Rows = list[dict[str, Any]]


class Machine:
    """The GPU under test, or the emulator in a rehearsal; torch is None if PyTorch is missing or finds no GPU."""

    def __init__(self, rehearsal: bool) -> None:
        self.rehearsal = rehearsal
        self.rounds = 1 if rehearsal else 7
        self.torch: Any = None
        if not rehearsal:
            try:
                import torch

                self.torch = torch if torch.cuda.is_available() else None
            except ImportError:
                print("PyTorch is not installed: its columns are left out", file=sys.stderr)

    def wait(self) -> None:
        launcher.engine().synchronize()
        if self.torch is not None:
            self.torch.cuda.synchronize()

    def seconds(self, candidates: dict[str, Callable[[], Any]], budget: float = 0.05) -> dict[str, float]:
        """The median seconds of one call of each candidate; a turn takes about `budget` seconds."""
        calls = {}
        for name, run in candidates.items():
            run()
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            calls[name] = 1 if self.rehearsal else max(1, min(200, int(budget / (time.perf_counter() - start))))
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(self.rounds):
            for name, run in candidates.items():
                self.wait()
                start = time.perf_counter()
                for _ in range(calls[name]):
                    run()
                self.wait()
                times[name].append((time.perf_counter() - start) / calls[name])
        return {name: float(np.median(values)) for name, values in times.items()}

    def tf32(self, allowed: bool) -> None:
        """Allow or forbid TF32, for minivae and for PyTorch."""
        mv.cuda.allow_tf32 = allowed
        if self.torch is not None:
            self.torch.backends.cuda.matmul.allow_tf32 = self.torch.backends.cudnn.allow_tf32 = allowed
