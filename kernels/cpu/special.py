"""The error function.

atanh(erf(x)) is an odd function, so there is an even R with

    erf(x) = tanh(x R(x)),    R(x) = atanh(erf(x)) / x,    R(0) = 2 / sqrt(pi).

One formula serves all x: tanh keeps the relative accuracy near 0, where erf(x) is x R(0), and saturates with erf. R
grows only like |x| / 2 and is smooth; in t = 2 - 54 / (x^2 + 18), which runs from -1 at x = 0 to 1 at |x| = 6, where
erf is 1 in float64, it is a Chebyshev series whose terms fall by a factor of about 3.5 each.

The coefficients come from Chebyshev interpolation of R at 60 nodes in 50-digit arithmetic (mpmath). The first 14 are
exact to the resolution of float32. (GELU's "tanh approximation", Hendrycks & Gimpel 2016, is this idea with R made of
two terms in x^2.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .blocks import blocks, logical_order, memory_order
from .columns import workspace

CHEBYSHEV = (
    2.03763235531591,
    1.0293783150955693,
    0.14439498320485694,
    0.03280671413117704,
    0.009544914215601292,
    0.0014258899797002646,
    0.0005461121449487012,
    0.00013434373907936296,
    1.529372381090009e-05,
    1.1171511032385664e-05,
    1.8530683547918185e-06,
    1.4084412045545708e-07,
    2.50962972545739e-07,
    1.6752878883707692e-08,
    2.502071112353021e-09,
    5.678096977570413e-09,
    -3.126821000988331e-10,
    1.5152668672191098e-10,
    1.2244005456402916e-10,
    -2.573784557402946e-11,
    8.043042926261132e-12,
    2.1196472097540493e-12,
    -9.498971595440398e-13,
    3.4544498636660145e-13,
    5.666346504951443e-15,
    -2.4682278570063772e-14,
    1.271688740750703e-14,
    -1.7275849608300375e-15,
    -3.798181773312583e-16,
    3.9377836260640827e-16,
    -1.0447355093666756e-16,
    5.6837930759512214e-18,
)
TERMS = {np.dtype(np.float32): 14, np.dtype(np.float64): len(CHEBYSHEV)}


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, to 5 units in the last place."""
    order = memory_order(x)
    inputs = x.transpose(order)
    flat = inputs.reshape(-1)
    y = np.empty_like(flat)
    for block in blocks(flat.size):
        _erf(flat[block], y[block])
    return logical_order(y.reshape(inputs.shape), order)


def _erf(x: np.ndarray, out: np.ndarray) -> None:
    x = np.clip(x, -6.0, 6.0, out=workspace(0, x.shape, x.dtype))
    t = np.multiply(x, x, out=workspace(1, x.shape, x.dtype))
    t += 18.0
    np.divide(-54.0, t, out=t)
    t += 2.0
    highest, *lower = _polynomial(x.dtype)
    out.fill(highest)
    for coefficient in lower:  # Horner
        out *= t
        out += coefficient
    out *= x
    np.tanh(out, out=out)


@lru_cache
def _polynomial(dtype: np.dtype) -> list[float]:
    """R as a polynomial in t, highest power first."""
    from numpy.polynomial.chebyshev import cheb2poly  # a few milliseconds that `import minivae` need not pay

    return cheb2poly(CHEBYSHEV[: TERMS[dtype]])[::-1].tolist()
