"""Products of matrices, sums over axes, and sums of rows that share an index."""

from __future__ import annotations

import numpy as np


def matmul(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None = None, relu: bool = False) -> np.ndarray:
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast; the operands may be transposed views.

    bias (N,) is added to each row; with relu the result is max(a b + bias, 0).
    """
    y = np.matmul(a, b)
    y = y if bias is None else y + bias
    return np.maximum(y, 0) if relu else y


def reduce_sum(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """The sum of x over the given axes (non-negative, ascending), accumulated in float64."""
    return np.asarray(x.sum(axis=axis, keepdims=keepdims, dtype=np.float64)).astype(x.dtype)


def segment_sum(rows: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    """rows (M, D), index (M,) in [0, count) -> (count, D): out[k] = sum of rows[m] over all m with index[m] = k.

    It is the transpose of the lookup out[m] = table[index[m]], and therefore the backward pass of an embedding.
    """
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums.astype(rows.dtype)
