"""The product of matrices by one step of the ladder, for readers, tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...contract import Array
from .. import launcher
from ..arrays import contiguous, empty
from ..launcher import ceil_div

MODULES = {
    "naive": launcher.Module(Path(__file__).with_name("naive.cu")),
    "shared": launcher.Module(Path(__file__).with_name("shared.cu")),
    "registers": launcher.Module(Path(__file__).with_name("registers.cu")),
    "tensor_cores": launcher.Module(Path(__file__).with_name("tensor_cores.cu"), {"gemm_tensor_cores": [(1,), (3,)]}),
}
REGISTERS = {"gemm_naive": 40, "gemm_shared": 40, "gemm_registers": 208, "gemm_tensor_cores": 80}


class _Step(NamedTuple):
    """One step of the ladder. tile: the rows and columns of C that a block computes; block: its threads.

    terms: how many TF32 products replace one product of floats, or None without tensor cores.
    """

    file: str
    tile: tuple[int, int]
    block: int | tuple[int, int]
    terms: int | None = None


_STEPS = {
    "naive": _Step("naive", (8, 32), (32, 8)),
    "shared": _Step("shared", (32, 32), (32, 32)),
    "registers": _Step("registers", (128, 128), (16, 16)),
    "tf32": _Step("tensor_cores", (64, 32), 128, terms=1),
    "3xtf32": _Step("tensor_cores", (64, 32), 128, terms=3),
}
STEPS = tuple(_STEPS)


def gemm(step: str, a: Array, b: Array) -> Array:
    """a (M, K) @ b (K, N) -> (M, N) by one of STEPS.

    Raises ValueError for another name, and TypeError for float64 matrices on tensor cores.
    """
    if step not in _STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}, got {step!r}")
    file, (rows, columns), block, terms = _STEPS[step]
    if terms and a.dtype != np.float32:
        raise TypeError(f"step {step!r} multiplies float32 matrices, got {a.dtype}")
    (M, K), N = a.shape, b.shape[1]
    c = empty((M, N), a.dtype)
    kernel = MODULES[file].kernel(f"gemm_{file}", terms or a.dtype)
    kernel[(ceil_div(N, columns), ceil_div(M, rows)), block](contiguous(a), contiguous(b), c, M, N, K)
    return c
