"""Random numbers from counters, Philox4x32-10: the Python side of random.c.

The kernels begin with the first number that a counter gives. Where an array begins with a later one (Noise.example),
the numbers before it are made too and left out.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..contract import Noise
from .library import Kernel

WORDS = 4  # how many words one counter gives

_random_bits, _uniform, _normal = Kernel("random_bits"), Kernel("uniform"), Kernel("normal")
_reparameterize, _reparameterize_grad = Kernel("reparameterize"), Kernel("reparameterize_grad")


def random_bits(count: int, noise: Noise) -> np.ndarray:
    """`count` words of the draw, from word noise.example on, uint32 (count,)."""
    counter, skip = divmod(int(noise.example), WORDS)
    words = np.empty(skip + count, np.uint32)
    _random_bits[np.dtype(np.float32)](words.size, int(noise.seed), int(noise.draw), counter, words)
    return words[skip:]


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Numbers of the given shape, uniform in [0, 1) and equal on all backends."""
    return _draw(_uniform, shape, dtype, noise, WORDS * 4 // np.dtype(dtype).itemsize)


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Standard normal numbers of the given shape; float32 and float64 are equal up to rounding (2e-6 in float32)."""
    return _draw(_normal, shape, dtype, noise, WORDS)


def reparameterize(mu: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """z = mu + exp(log_var / 2) normal(noise), all of one shape: a sample of N(mu, exp(log_var))."""
    return _noisy(_reparameterize, mu, log_var, noise)


def reparameterize_grad(dz: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """dlog_var = dz exp(log_var / 2) normal(noise) / 2, with the same noise drawn again."""
    return _noisy(_reparameterize_grad, dz, log_var, noise)


def _draw(kernel: Kernel, shape: tuple[int, ...], dtype: Any, noise: Noise, per_counter: int) -> np.ndarray:
    counter, skip = divmod(noise.first(shape), per_counter)
    values = np.empty(skip + prod(shape), dtype)
    kernel[values.dtype](values.size, int(noise.seed), int(noise.draw), counter, values)
    return values[skip:].reshape(shape)


def _noisy(kernel: Kernel, a: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    counter, skip = divmod(noise.first(a.shape), WORDS)
    inputs = [_after(skip, array) for array in (a, log_var)]  # element i of the noise has flat index skip + i
    y = np.empty(skip + a.size, a.dtype)
    kernel[a.dtype](y.size, int(noise.seed), int(noise.draw), counter, *inputs, y)
    return y[skip:].reshape(a.shape)


def _after(skip: int, array: np.ndarray) -> np.ndarray:
    """The elements of an array in C order, after `skip` zeros."""
    flat = np.asarray(array, order="C").reshape(-1)
    return np.concatenate([np.zeros(skip, flat.dtype), flat]) if skip else flat
