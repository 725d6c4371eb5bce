"""The product of matrices, and the ladder of kernels that leads to it (gemm.cu).

matmul uses the rung that is fastest among the exact ones, register blocks; gemm_ladder runs any of them by name, for
tests, benchmarks and readers.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..contract import Array
from . import launcher
from .activation import bias_relu
from .arrays import aligned, contiguous, empty, xp, zeros
from .launcher import ceil_div
from .matrix import FILL, reduce_sum
from .settings import settings

_TRANSPOSED = [(a, b) for a in (False, True) for b in (False, True)]
MODULE = launcher.Module(
    Path(__file__).with_name("gemm.cu"),
    {
        "gemm_registers": [(t, p, *ab) for t, p in (("float", 8), ("float", 4), ("double", 4)) for ab in _TRANSPOSED],
        "gemm_tensor_cores": [(terms, *ab) for terms in (1, 3) for ab in _TRANSPOSED],
    },
)
REGISTERS = {"gemm_naive": 40, "gemm_shared": 40, "gemm_registers": 128, "gemm_tensor_cores": 168}

LADDER = ("naive", "shared", "registers", "tf32", "3xtf32")
THREADS = 256
DEEPEST_TILE = 16  # along K
LONG = 256  # K from which it pays to cut it up


class _Operand(NamedTuple):
    """Matrices as they lie in memory."""

    buffer: Array  # (..., rows, columns) or, transposed, (..., columns, rows); C-contiguous
    transposed: bool
    step: int  # numbers from one matrix to the next; 0 if there is one for all


def matmul(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; bias (N,) is added to each row.

    With relu the result is max(a b + bias, 0). Transposed views are read where they are. float32 products are sums of
    float32 products, unless settings.allow_tf32.
    """
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:  # one product for all leading axes
        rows = a.reshape(prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b, bias, relu).reshape(*a.shape[:-1], b.shape[-1])
    y = _product(a, b, "tf32" if settings.allow_tf32 and a.dtype == np.float32 else "registers")
    if relu:
        return bias_relu(y.reshape(prod(y.shape[:-1]), y.shape[-1]), bias).reshape(y.shape)
    if bias is not None:
        y += bias
    return y


def gemm_ladder(step: str, a: Array, b: Array) -> Array:
    """a (M, K) @ b (K, N) by one step of the ladder: "naive", "shared", "registers", "tf32" or "3xtf32".

    Raises ValueError for another name, and TypeError for float64 matrices on tensor cores.
    """
    if step not in LADDER:
        raise ValueError(f"step must be one of {', '.join(LADDER)}, got {step!r}")
    if step in ("naive", "shared"):
        return _simple_product(a, b, step)
    if step != "registers" and a.dtype != np.float32:
        raise TypeError(f"step {step!r} multiplies float32 matrices, got {a.dtype}")
    return _product(a, b, step)


def _simple_product(a: Array, b: Array, step: str) -> Array:
    """Steps 1 and 2."""
    (M, K), N = a.shape, b.shape[1]
    c = empty((M, N), a.dtype)
    rows, columns = (8, 32) if step == "naive" else (32, 32)
    buffers, strides = [], []
    for x in map(_operand, (a, b)):
        pitch = x.buffer.shape[1]
        buffers.append(x.buffer)
        strides.append({"row": 1, "column": pitch} if x.transposed else {"row": pitch, "column": 1})
    grid = (ceil_div(N, columns), ceil_div(M, rows))
    MODULE.kernel(f"gemm_{step}", a.dtype)[grid, (columns, rows)](*buffers, c, M, N, K, *strides)
    return c


def _product(a: Array, b: Array, step: str) -> Array:
    """Steps 3 to 5, with leading axes."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N = a.shape[-2:], b.shape[-1]
    batch = prod(lead)
    if K == 0 or not batch * M * N:
        return zeros((*lead, M, N), a.dtype)
    x, y = _operand(a, lead), _operand(b, lead)
    name, side, arguments = _kernel(step, a.dtype, batch, M, N)
    tiles = batch * ceil_div(M, side) * ceil_div(N, side)
    k_per_split = _k_per_split(tiles, K)
    splits = ceil_div(K, k_per_split)
    c = empty((splits, *lead, M, N), a.dtype)
    problem = {"M": M, "N": N, "K": K, "batch": batch, "k_per_split": k_per_split, "a_step": x.step, "b_step": y.step}
    kernel = MODULE.kernel(name, *arguments, x.transposed, y.transposed)
    kernel[(tiles, splits), THREADS](aligned(x.buffer), aligned(y.buffer), c, problem)
    return reduce_sum(c, (0,), False) if splits > 1 else c[0]


def _kernel(step: str, dtype: np.dtype, batch: int, M: int, N: int) -> tuple[str, int, tuple]:
    """Name of the kernel, side of its tiles, first template arguments."""
    if step != "registers":
        return "gemm_tensor_cores", 128, (1 if step == "tf32" else 3,)
    large_tiles = batch * ceil_div(M, 128) * ceil_div(N, 128)
    P = 8 if dtype == np.float32 and large_tiles >= FILL // 2 else 4
    return "gemm_registers", 16 * P, (dtype, P)


def _k_per_split(tiles: int, K: int) -> int:
    """Few tiles would leave most of the device idle: K is then cut up, but not into less than 64."""
    splits = max(1, min(FILL // tiles, K // 64)) if K >= LONG and tiles < FILL // 4 else 1
    return ceil_div(ceil_div(K, splits), DEEPEST_TILE) * DEEPEST_TILE


def _operand(x: Array, lead: tuple[int, ...] = ()) -> _Operand:
    """x with its leading axes broadcast to `lead`; copied only if neither it nor its transpose is contiguous."""
    rows, columns = x.shape[-2:]
    if prod(x.shape[:-2]) == 1:
        x, step = x.reshape(rows, columns), 0
    else:
        x, step = xp().broadcast_to(x, (*lead, rows, columns)), rows * columns
    transpose = x.swapaxes(-1, -2)
    if not x.flags.c_contiguous and transpose.flags.c_contiguous:
        return _Operand(transpose, True, step)
    return _Operand(contiguous(x), False, step)
