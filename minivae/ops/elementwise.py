"""Functions of one array, element by element: elementary functions and activations.

The derivative of such a function is one number for each element, so the backward pass multiplies dy by it. Often it is
cheapest in terms of the result: exp' = y, tanh' = 1 - y^2. Each operation saves whichever of input and result its
derivative needs, and only that.

All but `abs` and `astype` take float32 or float64 (a Python float counts as float64), and raise TypeError for other
dtypes. Where there is no real value, as for log(-1), the result is NaN and NumPy warns.
"""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.dtypes import as_dtype
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import number
from minivae.kernels.contract import Array

from .arguments import floats


class Exp(Function):
    def forward(self, x: Array) -> Array:
        y = self.backend.xp.exp(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy * y


class Log(Function):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.xp.log(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy / x


class Log1p(Function):
    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.xp.log1p(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy / (1 + x)


class Sqrt(Function):
    def forward(self, x: Array) -> Array:
        y = self.backend.xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return dy / (2 * y)


class Abs(Function):
    """y = |x|, with derivative 0 at 0."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.xp.abs(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return dy * self.backend.xp.sign(x)


class Tanh(Function):
    def forward(self, x: Array) -> Array:
        y = self.backend.tanh(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return self.backend.tanh_grad(dy, y)


class ReLU(Function):
    """y = max(x, 0). The result is positive exactly where the input was, so the input need not be saved."""

    def forward(self, x: Array) -> Array:
        y = self.backend.bias_relu(x, None)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return self.backend.relu_grad(dy, y)


class LeakyReLU(Function):
    def forward(self, x: Array, slope: float) -> Array:
        self.save(x)
        self.slope = slope
        return self.backend.xp.where(x > 0, x, slope * x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return self.backend.xp.where(x > 0, dy, self.slope * dy)


class Sigmoid(Function):
    def forward(self, x: Array) -> Array:
        y = self.backend.sigmoid(x)
        self.save(y)
        return y

    def backward(self, dy: Array) -> Array:
        (y,) = self.saved
        return self.backend.sigmoid_grad(dy, y)


class Softplus(Function):
    """y = log(1 + exp(x)); its derivative is the sigmoid."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.softplus(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return self.backend.softplus_grad(dy, x)


class SiLU(Function):
    """y = x sigmoid(x) (Elfwing et al. 2017, Ramachandran et al. 2017)."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.silu(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return self.backend.silu_grad(dy, x)


class GELU(Function):
    """y = x Phi(x) with the normal distribution function Phi (Hendrycks & Gimpel 2016), so y' = Phi(x) + x phi(x)."""

    def forward(self, x: Array) -> Array:
        self.save(x)
        return self.backend.gelu(x)

    def backward(self, dy: Array) -> Array:
        (x,) = self.saved
        return self.backend.gelu_grad(dy, x)


class AsType(Function):
    def forward(self, x: Array, dtype: Any) -> Array:
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, dy: Array) -> Array:
        return dy.astype(self.dtype)


def exp(x: Any) -> Tensor:
    """Return e^x."""
    return Exp.apply(floats("exp", x))


def log(x: Any) -> Tensor:
    """Return the natural logarithm of x."""
    return Log.apply(floats("log", x))


def log1p(x: Any) -> Tensor:
    """Return log(1 + x), accurate for small x."""
    return Log1p.apply(floats("log1p", x))


def sqrt(x: Any) -> Tensor:
    """Return the square root of x."""
    return Sqrt.apply(floats("sqrt", x))


def abs(x: Any) -> Tensor:
    """Return |x|; the derivative at 0 is 0."""
    return Abs.apply(x)


def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent of x."""
    return Tanh.apply(floats("tanh", x))


def relu(x: Any) -> Tensor:
    """Return max(x, 0); the derivative at 0 is 0."""
    return ReLU.apply(floats("relu", x))


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """Return x where it is positive, negative_slope * x elsewhere."""
    return LeakyReLU.apply(floats("leaky_relu", x), slope=number("negative_slope", negative_slope))


def sigmoid(x: Any) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return Sigmoid.apply(floats("sigmoid", x))


def softplus(x: Any) -> Tensor:
    """Return log(1 + exp(x))."""
    return Softplus.apply(floats("softplus", x))


def silu(x: Any) -> Tensor:
    """Return x * sigmoid(x)."""
    return SiLU.apply(floats("silu", x))


def gelu(x: Any) -> Tensor:
    """Return x * Phi(x), exact (with the error function)."""
    return GELU.apply(floats("gelu", x))


def astype(x: Any, dtype: Any) -> Tensor:
    """Return x in another dtype: booleans, integers, float32 or float64. The gradient comes back in x's own."""
    x, dtype = as_tensor(x), as_dtype(dtype)
    return x if x.dtype == dtype else AsType.apply(x, dtype=dtype)
