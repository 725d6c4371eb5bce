"""The nearest code of a codebook, for every row of a matrix (quantize.cu)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..contract import Array
from . import launcher
from .arrays import aligned, contiguous, empty, zeros
from .launcher import ceil_div
from .matrix import FILL

MODULE = launcher.Module(
    Path(__file__).with_name("quantize.cu"), {"nearest": [("float", 8), ("float", 4), ("double", 4)]}
)
REGISTERS = {"half_norms": 40, "nearest": 128, "nearest_of_splits": 40}

THREADS = 256
NORM_WARPS = 8


def nearest_code(x: Array, codebook: Array) -> Array:
    """x (M, D), codebook (K, D) -> (M,) int64: argmin_k ||x[m] - codebook[k]||^2; ties go to the lowest index.

    It compares ||c||^2 / 2 - x . c for the codes c, in the dtype of the arrays, and needs no buffer of M x K numbers.
    """
    (M, D), K = x.shape, codebook.shape[0]
    if not M * D:
        return zeros(M, "int64")
    x, codebook = aligned(contiguous(x)), aligned(contiguous(codebook))
    half_norms = empty(K, x.dtype)
    MODULE.kernel("half_norms", x.dtype)[ceil_div(K, NORM_WARPS), 32 * NORM_WARPS](codebook, half_norms, K, D)
    P = 8 if x.dtype == np.float32 and ceil_div(M, 128) * ceil_div(K, 128) >= FILL // 2 else 4
    rows = ceil_div(M, 16 * P)
    codes_per_split = _codes_per_split(rows, K, 16 * P)
    splits = ceil_div(K, codes_per_split)
    values, indices = empty((splits, M), x.dtype), empty((splits, M), "int64")
    search = {"M": M, "K": K, "D": D, "codes_per_split": codes_per_split}
    kernel = MODULE.kernel("nearest", x.dtype, P)
    kernel[(rows, splits), THREADS](x, codebook, half_norms, values, indices, search)
    if splits == 1:
        return indices[0]
    nearest = empty(M, "int64")
    kernel = MODULE.kernel("nearest_of_splits", x.dtype)
    kernel[ceil_div(M, THREADS), THREADS](values, indices, nearest, M, splits)
    return nearest


def _codes_per_split(rows: int, K: int, width: int) -> int:
    """The codes of a split, whole tiles. There are several splits if few blocks of rows would leave the GPU idle."""
    tiles = ceil_div(K, width)
    splits = min(tiles, max(1, FILL // rows))
    return ceil_div(tiles, splits) * width
