"""Random numbers from counters, Philox4x32-10: the Python side of random.c."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..contract import Noise
from .library import Kernel

_random_bits, _uniform, _normal = Kernel("random_bits"), Kernel("uniform"), Kernel("normal")
_reparameterize, _reparameterize_grad = Kernel("reparameterize"), Kernel("reparameterize_grad")


def random_bits(count: int, noise: Noise) -> np.ndarray:
    """The first `count` words of the draw, uint32 (count,)."""
    words = np.empty(count, np.uint32)
    _random_bits[np.dtype(np.float32)](count, int(noise.seed), int(noise.draw), words)
    return words


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Numbers of the given shape, uniform in [0, 1) and equal on all backends."""
    return _draw(_uniform, shape, dtype, noise)


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Standard normal numbers of the given shape; float32 and float64 are equal up to rounding (2e-6 in float32)."""
    return _draw(_normal, shape, dtype, noise)


def reparameterize(mu: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """z = mu + exp(log_var / 2) normal(noise), all of one shape: a sample of N(mu, exp(log_var))."""
    return _noisy(_reparameterize, mu, log_var, noise)


def reparameterize_grad(dz: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """dlog_var = dz exp(log_var / 2) normal(noise) / 2, with the same noise drawn again."""
    return _noisy(_reparameterize_grad, dz, log_var, noise)


def _draw(kernel: Kernel, shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    values = np.empty(shape, dtype)
    kernel[values.dtype](prod(shape), int(noise.seed), int(noise.draw), values)
    return values


def _noisy(kernel: Kernel, a: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    a, log_var = (np.asarray(array, order="C") for array in (a, log_var))  # element i of the noise has flat index i
    y = np.empty_like(a)
    kernel[a.dtype](a.size, int(noise.seed), int(noise.draw), a, log_var, y)
    return y
