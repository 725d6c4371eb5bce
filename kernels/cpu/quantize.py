"""The nearest code of a codebook, for every row of a matrix.

||x - c||^2 = ||x||^2 - 2 x . c + ||c||^2, and ||x||^2 is the same for all codes: compared are ||c||^2 / 2 - x . c, for
which a matrix product does the work. No square root, so nothing is lost where two codes are close to each other.
"""

from __future__ import annotations

import numpy as np

from .blocks import blocks
from .columns import workspace
from .matrix import PER_MICROSECOND
from .threads import share


def nearest_code(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """x (M, D), codebook (K, D) -> (M,) int64: argmin_k ||x[m] - codebook[k]||^2, of equal ones the lowest index.

    Compared are ||c_k||^2 / 2 - x[m] . c_k, for as many rows at a time as leave these numbers in the cache.
    """
    K = len(codebook)
    codebook = np.ascontiguousarray(codebook)
    half_norms = np.einsum("kd,kd->k", codebook, codebook) / 2  # (K,)
    nearest = np.empty(len(x), np.int64)

    def some(part: slice) -> None:
        of_x, of_nearest = x[part], nearest[part]
        for rows in blocks(len(of_x), K):
            distances = workspace(0, (rows.stop - rows.start, K), x.dtype)
            np.matmul(np.ascontiguousarray(of_x[rows]), codebook.T, out=distances)
            np.subtract(half_norms, distances, out=distances)
            np.argmin(distances, axis=1, out=of_nearest[rows])

    share(len(x), x.size * K / PER_MICROSECOND + 1e-3 * len(x) * K, some)
    return nearest
