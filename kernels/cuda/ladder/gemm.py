"""The product of matrices by one step of the ladder, for readers, tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

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

# Of each step: the file, rows and columns of C and the threads of a block, and the number of TF32 products for one.
_STEPS: dict[str, tuple[str, tuple[int, int], int | tuple[int, int], int | None]] = {
    "naive": ("naive", (8, 32), (32, 8), None),
    "shared": ("shared", (32, 32), (32, 32), None),
    "registers": ("registers", (128, 128), (16, 16), None),
    "tf32": ("tensor_cores", (64, 32), 128, 1),
    "3xtf32": ("tensor_cores", (64, 32), 128, 3),
}
STEPS = tuple(_STEPS)


def gemm(step: str, a: Array, b: Array) -> Array:
    """a (M, K) @ b (K, N) -> (M, N) by one of STEPS.

    Raises ValueError for another name, and TypeError for float64 matrices on tensor cores.
    """
    if step not in _STEPS:
        raise ValueError(f"step must be one of {', '.join(STEPS)}, got {step!r}")
    file, (rows, columns), threads, terms = _STEPS[step]
    if terms and a.dtype != np.float32:
        raise TypeError(f"step {step!r} multiplies float32 matrices, got {a.dtype}")
    (M, K), N = a.shape, b.shape[1]
    c = empty((M, N), a.dtype)
    kernel = MODULES[file].kernel(f"gemm_{file}", terms or a.dtype)
    kernel[(ceil_div(N, columns), ceil_div(M, rows)), threads](contiguous(a), contiguous(b), c, M, N, K)
    return c
