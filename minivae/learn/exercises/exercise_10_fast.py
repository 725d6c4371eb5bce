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
    raise NotImplementedError


def shares(rows: int, threads: int) -> list[tuple[int, int]]:
    """Cut rows 0 ... rows - 1 into one share (begin, end) for each thread, in order; sizes differ by one at most."""
    raise NotImplementedError


def winograd(x: list[Any], w: list[Any]) -> list[Any]:
    """Return the two outputs w0 x0 + w1 x1 + w2 x2 and w0 x1 + w1 x2 + w2 x3 with 4 multiplications of an x by a w.

    x has 4 numbers, w 3. Sums and differences cost nothing here, nor does dividing sums of weights by 2. With
    m1 = (x0 - x2) w0 and m4 = (x1 - x3) w2, the outputs are m1 + m2 + m3 and m2 - m3 - m4. What are m2 and m3?
    """
    raise NotImplementedError


# ---- checks ----

from minivae.learn.exercise import expect, expect_close

RNG = np.random.default_rng(10)


def check_offsets(yours) -> None:
    for H, W, K, stride in ((4, 4, 2, 1), (5, 7, 3, 2), (3, 3, 3, 1)):
        OH, OW = (H - K) // stride + 1, (W - K) // stride + 1
        x = RNG.normal(size=(H, W))
        row, col = yours.offsets(W, K, OH, OW, stride)
        places = [(i * stride, j * stride) for i in range(OH) for j in range(OW)]
        expected = np.array([x[i : i + K, j : j + K].ravel() for i, j in places])
        found = x.ravel()[np.add.outer(np.asarray(row), np.asarray(col))]
        expect_close(f"the patches of a {H} x {W} image, K = {K}, stride {stride}", found, expected)


def check_shares(yours) -> None:
    for rows, threads in ((10, 3), (4, 4), (2, 5), (0, 2)):
        found = yours.shares(rows, threads)
        told = f"of {rows} rows for {threads} threads"
        expect(len(found) == threads, f"there must be {threads} shares {told}, yours are {len(found)}")
        together = [i for begin, end in found for i in range(begin, end)]
        expect(together == list(range(rows)), f"the shares {told} must hold each row once, in order, yours {together}")
        sizes = [end - begin for begin, end in found]
        expect(max(sizes) - min(sizes) <= 1, f"sizes {told} may differ by one, yours are {sizes}")


class _Counted:
    """A number that counts how often an x is multiplied by a w."""

    products = 0

    def __init__(self, value: float, of: str) -> None:
        self.value, self.of = value, of

    def _with(self, other: Any, value: float) -> "_Counted":
        return _Counted(value, self.of if isinstance(other, _Counted) and other.of == self.of else "y")

    def __add__(self, other: Any) -> "_Counted":
        return self._with(other, self.value + other.value)

    def __sub__(self, other: Any) -> "_Counted":
        return self._with(other, self.value - other.value)

    def __neg__(self) -> "_Counted":
        return _Counted(-self.value, self.of)

    def __mul__(self, other: Any) -> "_Counted":
        if not isinstance(other, _Counted):
            return _Counted(self.value * other, self.of)
        _Counted.products += 1
        return _Counted(self.value * other.value, "y")

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> "_Counted":
        return _Counted(self.value / other, self.of)


def check_winograd(yours) -> None:
    x, w = RNG.normal(size=4), RNG.normal(size=3)
    _Counted.products = 0
    found = yours.winograd([_Counted(v, "x") for v in x], [_Counted(v, "w") for v in w])
    expect_close("the outputs", [y.value for y in found], [w @ x[:3], w @ x[1:]])
    expect(_Counted.products <= 4, f"4 multiplications are enough, yours are {_Counted.products}")
