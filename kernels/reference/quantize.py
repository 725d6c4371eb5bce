"""The nearest code of a codebook, for every row of a matrix."""

from __future__ import annotations

import numpy as np


def nearest_code(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """x (M, D), codebook (K, D) -> (M,) int64: argmin_k ||x[m] - codebook[k]||^2; ties go to the lowest index.

    ||x - c||^2 = ||x||^2 - 2 x . c + ||c||^2, and ||x||^2 is the same for all codes c. So it is enough to compare
    ||c||^2 / 2 - x . c.
    """
    half_norms = (codebook * codebook).sum(axis=1) / 2  # (K,)
    return np.argmin(half_norms - x @ codebook.T, axis=1).astype(np.int64, copy=False)
