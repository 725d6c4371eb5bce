"""The product of matrices (gemm.cu). The way to these kernels, step by step, is in ladder/."""

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
        "gemm_tensor_cores": _TRANSPOSED,
    },
)
REGISTERS = {"gemm_registers": 128, "gemm_tensor_cores": 168}

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
    y = _product(a, b)
    if relu:
        return bias_relu(y.reshape(prod(y.shape[:-1]), y.shape[-1]), bias).reshape(y.shape)
    if bias is not None:
        y += bias
    return y


def _product(a: Array, b: Array) -> Array:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (M, K), N = a.shape[-2:], b.shape[-1]
    batch = prod(lead)
    if K == 0 or not batch * M * N:
        return zeros((*lead, M, N), a.dtype)
    x, y = _operand(a, lead), _operand(b, lead)
    name, side, arguments = _kernel(a.dtype, batch, M, N)
    tiles = batch * ceil_div(M, side) * ceil_div(N, side)
    k_per_split = _k_per_split(tiles, K)
    splits = ceil_div(K, k_per_split)
    c = empty((splits, *lead, M, N), a.dtype)
    problem = {"M": M, "N": N, "K": K, "batch": batch, "k_per_split": k_per_split, "a_step": x.step, "b_step": y.step}
    kernel = MODULE.kernel(name, *arguments, x.transposed, y.transposed)
    kernel[(tiles, splits), THREADS](aligned(x.buffer), aligned(y.buffer), c, problem)
    return reduce_sum(c, (0,), False) if splits > 1 else c[0]


def _kernel(dtype: np.dtype, batch: int, M: int, N: int) -> tuple[str, int, tuple]:
    """Name of the kernel, side of its tiles, first template arguments."""
    if settings.allow_tf32 and dtype == np.float32:
        return "gemm_tensor_cores", 128, ()
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
