"""Matrix products and sums.

np.matmul hands one matrix at a time to BLAS, and only matrices whose rows or columns are contiguous. np.add.reduce adds
pairwise along the fastest axis of memory only; along a slow axis it adds row after row, which costs accuracy (the
rounding errors of M additions instead of log M, Higham 1993) and time (its inner loop is one short row). Both can be
had from BLAS as a product with ones.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from .blocks import logical_order, memory_order
from .threads import share

ROWS = 128  # added one after the other before pairs are formed, as np.add.reduce does along the fastest axis
FEW = 4  # terms that are added as whole arrays
PER_MICROSECOND = 35_000  # multiplications and additions


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast. Operands may be transposed views."""
    a, b = _for_blas(a), _for_blas(b)
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:  # one product for all leading axes
        rows = a.reshape(prod(a.shape[:-1]), a.shape[-1])
        return matmul(rows, b).reshape(*a.shape[:-1], b.shape[-1])
    if a.ndim > 2 or b.ndim > 2:
        return np.matmul(a, b)
    (M, K), N = a.shape, b.shape[1]
    c = np.empty((M, N), a.dtype)
    # BLAS copies its operands into an order of its own: each thread should have to copy the smaller one only.
    by_row = partial(_rows_of_product, a, b, c) if M > N else partial(_rows_of_product, b.T, a.T, c.T)
    share(max(M, N), M * N * K / PER_MICROSECOND, by_row)
    return c


def _rows_of_product(a: np.ndarray, b: np.ndarray, c: np.ndarray, part: slice) -> None:
    np.matmul(a[part], b, out=c[part])


def _for_blas(a: np.ndarray) -> np.ndarray:
    """a itself if its matrices have contiguous rows or columns, otherwise a copy, for BLAS takes no others."""
    down, across = a.strides[-2:]
    rows, columns = a.shape[-2:]
    by_rows = across == a.itemsize and down >= columns * a.itemsize
    by_columns = down == a.itemsize and across >= rows * a.itemsize
    return a if by_rows or by_columns else np.ascontiguousarray(a)


def reduce_sum(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """Sum over the axes named (non-negative, ascending); blocks of 128 elements or rows are added pairwise.

    The axes are taken in the order of memory, and every run of neighbouring ones is summed at once, the fastest first:
    for the (N, H, W) of an image in channels-last memory that is one sum over the rows of an (N * H * W, C) matrix.
    """
    if not axis:
        return x.copy()
    left = list(memory_order(x))
    y = x.transpose(left)
    while not set(axis).isdisjoint(left):
        end = 1 + max(place for place, a in enumerate(left) if a in axis)
        start = end - 1
        while start > 0 and left[start - 1] in axis:
            start -= 1
        outer, run, inner = y.shape[:start], y.shape[start:end], y.shape[end:]
        y = _sum_middle(y.reshape(prod(outer), prod(run), prod(inner))).reshape(outer + inner)
        del left[start:end]
    y = logical_order(y, left)
    return y.reshape([1 if a in axis else n for a, n in enumerate(x.shape)]) if keepdims else y


def _sum_middle(x: np.ndarray) -> np.ndarray:
    """(A, R, B) -> (A, B)."""
    A, R, B = x.shape
    if 0 < R <= FEW:  # as for the factor of an upsampling, where A * B is large
        y = x[:, 0].copy()
        for r in range(1, R):
            y += x[:, r]
        return y
    if B == 1:
        return np.add.reduce(x[:, :, 0], axis=1)[:, None]
    ones = np.ones(min(R, ROWS), x.dtype)
    if R <= ROWS:
        return np.matmul(ones, x)
    whole, rest = divmod(R, ROWS)
    parts = np.empty((A, whole + (rest > 0), B), x.dtype)
    np.matmul(ones, x[:, : whole * ROWS].reshape(A, whole, ROWS, B), out=parts[:, :whole])
    if rest:
        np.matmul(ones[:rest], x[:, whole * ROWS :], out=parts[:, whole])
    return _sum_middle(parts)


def sum_rows_by_index(rows: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """rows (M, D), index (M,) in [0, count) -> (count, D); out[k] = sum of rows[m] where index[m] == k.

    One weighted histogram with a bin for every element of the result, accumulated in float64.
    """
    D = rows.shape[1]
    bins = index[:, None] * D + np.arange(D)  # (M, D)
    sums = np.bincount(bins.ravel(), rows.ravel(), count * D)
    return sums.reshape(count, D).astype(rows.dtype)
