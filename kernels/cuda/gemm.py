"""The product of matrices (gemm.cu). ladder/ leads to these kernels step by step."""

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
LONG = 256  # the smallest K that is cut into splits


class _Operand(NamedTuple):
    """An operand as it lies in memory, one matrix or several."""

    buffer: Array  # C-contiguous: (..., rows, columns) or, if transposed, (..., columns, rows)
    transposed: bool
    step: int  # the numbers from one matrix to the next, or 0 if all products use the same matrix


def matmul(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; transposed views are not copied.

    bias (N,) is added to each row; with relu the result is max(a b + bias, 0). float32 matrices are multiplied in
    float32, or with operands rounded to TF32 if settings.allow_tf32 is set.
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
    """The name of the kernel, the side of its tiles, and its first template arguments (tile.cuh explains the sizes)."""
    if settings.allow_tf32 and dtype == np.float32:
        return "gemm_tensor_cores", 128, ()
    large_tiles = batch * ceil_div(M, 128) * ceil_div(N, 128)
    P = 8 if dtype == np.float32 and large_tiles >= FILL // 2 else 4
    return "gemm_registers", 16 * P, (dtype, P)


def _k_per_split(tiles: int, K: int) -> int:
    """The length of the splits of K. K is split, into lengths of at least 64, if few tiles would leave the GPU idle."""
    splits = max(1, min(FILL // tiles, K // 64)) if K >= LONG and tiles < FILL // 4 else 1
    return ceil_div(ceil_div(K, splits), DEEPEST_TILE) * DEEPEST_TILE


def _operand(x: Array, lead: tuple[int, ...] = ()) -> _Operand:
    """x with its leading axes broadcast to `lead`. It is copied only if neither x nor its transpose is contiguous."""
    rows, columns = x.shape[-2:]
    if prod(x.shape[:-2]) == 1:
        x, step = x.reshape(rows, columns), 0
    else:
        x, step = xp().broadcast_to(x, (*lead, rows, columns)), rows * columns
    transpose = x.swapaxes(-1, -2)
    if not x.flags.c_contiguous and transpose.flags.c_contiguous:
        return _Operand(transpose, True, step)
    return _Operand(contiguous(x), False, step)
