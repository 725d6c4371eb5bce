"""Activation functions and their gradients, element by element. Results have the shape of the inputs.

A gradient function takes dy, the derivative of the loss with respect to the output, and multiplies it by the derivative
of the activation. That derivative is computed from the output y where this is cheaper, and from the input x elsewhere;
the parameter's name says which.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np


def bias_relu(x: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """x (N, C, ...), b (C,) per channel or None -> max(x + b, 0). If b is None, x may have any shape."""
    return np.maximum(x if b is None else x + b.reshape(-1, *(1,) * (x.ndim - 2)), 0)


def relu_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy where y = relu(x) is positive, elsewhere dy * 0."""
    return dy * (y > 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)). Where exp(-x) overflows to infinity the result is 0, the correct limit."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def sigmoid_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy y (1 - y), for y = sigmoid(x)."""
    return dy * y * (1 - y)


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return np.tanh(x)


def tanh_grad(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """dx = dy (1 - y^2), for y = tanh(x)."""
    return dy * (1 - y * y)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), written as max(x, 0) + log(1 + exp(-|x|)) so that nothing overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy sigmoid(x)."""
    return dy * sigmoid(x)


def silu(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x) (Elfwing et al. 2017; Ramachandran et al. 2017, who call it Swish)."""
    return x * sigmoid(x)


def silu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy (s + x s (1 - s)), with s = sigmoid(x)."""
    s = sigmoid(x)
    return dy * (s + x * s * (1 - s))


def gelu(x: np.ndarray) -> np.ndarray:
    """x Phi(x), where Phi is the distribution function of the standard normal (Hendrycks & Gimpel 2016)."""
    return x * _normal_cdf(x)


def gelu_grad(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """dx = dy (Phi(x) + x phi(x)), with the standard normal's density phi(x) = exp(-x^2 / 2) / sqrt(2 pi)."""
    density = np.exp(-x * x / 2) * (1 / sqrt(2 * pi))
    return dy * (_normal_cdf(x) + x * density)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """Phi(x) = (1 + erf(x / sqrt 2)) / 2."""
    return (1 + erf(x * (1 / sqrt(2)))) / 2


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    It is computed in float64, with errors of at most 5 units in the last place. NumPy has no erf. atanh(erf(x)) is odd
    and smooth, so erf(x) = tanh(x R(x)) with a smooth, even R. R is written as a short Chebyshev series in
    t = 2 - 54 / (x^2 + 18), which runs from -1 at x = 0 to 1 at |x| = 6, where erf rounds to 1.
    """
    from numpy.polynomial.chebyshev import chebval  # imported here because it takes a few milliseconds

    wide = np.clip(x.astype(np.float64), -6, 6)
    return np.tanh(wide * chebval(2 - 54 / (wide * wide + 18), CHEBYSHEV)).astype(x.dtype)


CHEBYSHEV = (  # the coefficients of R, interpolated at 60 nodes in 50-digit arithmetic
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
