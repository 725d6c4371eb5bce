"""The nearest code of a codebook: the Python side of quantize.c."""

from __future__ import annotations

import numpy as np

from .library import Kernel

_nearest_code = Kernel("nearest_code")


def nearest_code(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """x (M, D), codebook (K, D) -> (M,) int64: argmin_k ||x[m] - codebook[k]||^2; ties go to the lowest index.

    It compares ||c||^2 / 2 - x . c for the codes c. Raises ValueError for an empty codebook.
    """
    (M, D), K = x.shape, len(codebook)
    if not K:
        raise ValueError(f"nearest_code: the codebook has no codes, its shape is {codebook.shape}")
    nearest = np.empty(M, np.int64)
    _nearest_code[x.dtype](M, D, K, np.ascontiguousarray(x), np.ascontiguousarray(codebook), nearest)
    return nearest
