"""Exercise 10: three ideas of the fast kernels.

Fill in the three functions, then run `minivae learn check 10`.
"""

from typing import Any

import numpy as np


def offsets(W: int, K: int, OH: int, OW: int, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return row (OH * OW,) and col (K * K,), whole numbers that describe im2col without making it.

    For an image x (H, W) in memory row by row, x.ravel()[row[i] + col[k]] is number k of patch i: patches in the order
    of the outputs, the numbers of a patch row by row.
    """
    i, j = np.divmod(np.arange(OH * OW), OW)
    p, q = np.divmod(np.arange(K * K), K)
    return i * W + j, p * W + q


def shares(rows: int, threads: int) -> list[tuple[int, int]]:
    """Cut rows 0 ... rows - 1 into one share (begin, end) for each thread, in order; sizes differ by one at most."""
    bounds = [min(rows, i * -(-rows // threads)) for i in range(threads + 1)]
    return [(bounds[i], bounds[i + 1]) for i in range(threads)]


def winograd(x: list[Any], w: list[Any]) -> list[Any]:
    """Return the two outputs w0 x0 + w1 x1 + w2 x2 and w0 x1 + w1 x2 + w2 x3 with 4 multiplications of an x by a w.

    x has 4 numbers, w 3. Sums and differences cost nothing here, nor does dividing sums of weights by 2. With
    m1 = (x0 - x2) w0 and m4 = (x1 - x3) w2, the outputs are m1 + m2 + m3 and m2 - m3 - m4. What are m2 and m3?
    """
    return [w[0] * x[i] + w[1] * x[i + 1] + w[2] * x[i + 2] for i in range(2)]
