"""Products of matrices, sums over axes, and sums of rows that share an index: the Python side of matrix.c."""

from __future__ import annotations

from math import prod

import numpy as np

from .layout import in_memory_order
from .library import Kernel

_matmul = Kernel("matmul")
_sum_middle = Kernel("sum_middle")
_segment_sum = Kernel("segment_sum")
_AT_START = np.zeros(1, np.int64)
_AT_START.flags.writeable = False


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; the operands may be transposed views.

    bias (N,) is added to each row; with relu the result is max(a b + bias, 0).
    """
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # one product for all leading axes
        rows = a.reshape(-1, a.shape[-1]) if a.size else a.reshape(prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b, bias, relu).reshape(*a.shape[:-1], b.shape[-1])
    M, K = a.shape[-2:]
    depth, N = b.shape[-2:]
    if depth != K:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit: {K} columns against {depth} rows")
    a_down, a_across = _steps(a)
    b_down, b_across = _steps(b)
    if a.ndim == b.ndim == 2:
        c, a_at, b_at = np.empty((M, N), a.dtype), _AT_START, _AT_START
    else:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        c, a_at, b_at = np.empty((*leading, M, N), a.dtype), _beginnings(a, leading), _beginnings(b, leading)
    _matmul[a.dtype](len(a_at), M, N, K, a, a_at, a_down, a_across, b, b_at, b_down, b_across, bias, relu, c)
    return c


def _steps(a: np.ndarray) -> tuple[int, int]:
    """The distances between neighbouring rows and between neighbouring columns of the matrices, in elements."""
    down, across = a.strides[-2:]
    return down // a.itemsize, across // a.itemsize


def _beginnings(a: np.ndarray, leading: tuple[int, ...]) -> np.ndarray:
    """Where each matrix begins when the leading axes are broadcast, in elements from the first one: int64 (batch,)."""
    missing = len(leading) - (a.ndim - 2)
    at = np.zeros((), np.int64)
    for axis, length in enumerate(leading):
        own = axis - missing
        step = a.strides[own] // a.itemsize if own >= 0 and a.shape[own] > 1 else 0
        at = np.add.outer(at, np.arange(length, dtype=np.int64) * step)
    return at.reshape(-1)


def reduce_sum(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum of x over the given axes (non-negative, ascending); sums of 64 terms are added up in float64.

    Axes that are neighbours in memory are summed at once, the fastest ones first. The sum over (N, H, W) of images in
    channels-last memory is therefore a single sum over the rows of an (N * H * W, C) matrix.
    """
    if not axis:
        return x.copy()
    (y,), order = in_memory_order(x)
    left, summed = list(order or range(x.ndim)), set(axis)
    while not summed.isdisjoint(left):
        end = 1 + max(place for place, a in enumerate(left) if a in summed)
        start = end - 1
        while start > 0 and left[start - 1] in summed:
            start -= 1
        outer, run, inner = y.shape[:start], y.shape[start:end], y.shape[end:]
        sums = np.empty(outer + inner, x.dtype)
        _sum_middle[x.dtype](prod(outer), prod(run), prod(inner), y, sums)
        y = sums
        del left[start:end]
    y = y.transpose(np.argsort(left)) if left != sorted(left) else y
    return y.reshape([1 if a in summed else n for a, n in enumerate(x.shape)]) if keepdims else y


def segment_sum(rows: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """rows (M, D), index (M,) in [0, count) -> (count, D): out[k] = sum of rows[m] over all m with index[m] = k.

    Sums are accumulated in float64. Raises IndexError for an index outside [0, count).
    """
    M, D = rows.shape
    out = np.empty((count, D), rows.dtype)
    index = np.ascontiguousarray(index, np.int64)
    _segment_sum[rows.dtype](M, D, count, np.ascontiguousarray(rows), index, out)
    return out
