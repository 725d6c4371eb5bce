"""Operations with noise.

They do not save the random numbers, but the name of the draw (kernels.contract.Noise): the backward pass draws the same
numbers again, which costs less than the memory that would keep them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.checks import flag, number
from minivae.kernels.contract import Array, Noise
from minivae.random import noise_or_next

from .arguments import check_dtypes, floats


class Dropout(Function):
    """Each element becomes 0 with probability p, and otherwise x / (1 - p), so that the expectation is x."""

    def forward(self, x: Array, p: float, noise: Noise) -> Array:
        self.p, self.noise = p, noise
        return x * self._mask(x)

    def backward(self, dy: Array) -> Array:
        return dy * self._mask(dy)

    def _mask(self, like: Array) -> Array:
        keep = self.backend.uniform(like.shape, np.dtype(np.float32), self.noise) >= self.p
        return keep * like.dtype.type(1 / (1 - self.p))


class Reparameterize(Function):
    """z = mu + exp(log_var / 2) eps; dmu = dz, dlog_var = dz exp(log_var / 2) eps / 2."""

    def forward(self, mu: Array, log_var: Array, noise: Noise) -> Array:
        self.save(log_var)
        self.noise = noise
        return self.backend.reparameterize(mu, log_var, noise)

    def backward(self, dz: Array) -> Any:
        (log_var,) = self.saved
        return dz, self.backend.reparameterize_grad(dz, log_var, self.noise) if self.needs[1] else None


def dropout(x: Any, p: float = 0.5, training: bool = True, noise: Noise | None = None) -> Tensor:
    """Zero each element with probability p in [0, 1) and scale the rest by 1 / (1 - p). Return x unless training."""
    x, p = floats("dropout", x), number("p", p, "[0, 1)")
    if noise is not None:
        noise_or_next(noise)  # raises TypeError for anything but a Noise
    if not flag("training", training) or p == 0:
        return x
    return Dropout.apply(x, p=p, noise=noise_or_next(noise))


def reparameterize(mu: Any, log_var: Any, noise: Noise | None = None) -> Tensor:
    """Sample z from N(mu, exp(log_var)) as a differentiable function of mu and log_var; all are (N, D).

    Kingma & Welling 2013, section 2.4. log_var is the log of the *variance*: the deviation is exp(log_var / 2).
    noise: the draw to use, by default the next one of minivae's generator.
    """
    mu, log_var = as_tensor(mu), as_tensor(log_var)
    if mu.shape != log_var.shape:
        raise ValueError(f"reparameterize: mu {mu.shape} and log_var {log_var.shape} must have one shape")
    check_dtypes("reparameterize", mu, log_var)
    return Reparameterize.apply(mu, log_var, noise=noise_or_next(noise))
