"""Random numbers from counters (kernels in random.cu, the generator in philox.cuh), with the words of the reference.

A word is a function of (seed, draw, place). So each thread makes its numbers independently of all others, and a
backward pass draws the noise of its forward pass again instead of reading it from memory. A launch has one thread for
every four words.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..contract import Array, Noise
from . import launcher
from .arrays import contiguous, empty
from .launcher import ceil_div

MODULE = launcher.Module(Path(__file__).with_name("random.cu"))
REGISTERS = {"random_bits": 32, "uniform": 32, "normal": 40, "reparameterize": 40, "reparameterize_grad": 40}

THREADS = 256
WORDS = 4  # how many words one counter gives


def random_bits(count: int, noise: Noise) -> Array:
    """The first `count` words of the draw, uint32 (count,)."""
    bits = empty(count, "uint32")
    MODULE.kernel("random_bits")[_grid(count, WORDS), THREADS](bits, count, *noise)
    return bits


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Numbers of the given shape, uniform in [0, 1) and equal on all backends."""
    u = empty(shape, np.dtype(dtype))
    per_thread = WORDS * 4 // u.itemsize
    MODULE.kernel("uniform", u.dtype)[_grid(u.size, per_thread), THREADS](u, u.size, *noise)
    return u


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Standard normal numbers of the given shape, computed in float64 and then rounded to dtype."""
    z = empty(shape, np.dtype(dtype))
    MODULE.kernel("normal", z.dtype)[_grid(z.size, WORDS), THREADS](z, z.size, *noise)
    return z


def reparameterize(mu: Array, log_var: Array, noise: Noise) -> Array:
    """z = mu + exp(log_var / 2) normal(noise), all of one shape, in one kernel: the noise is not stored in an array."""
    return _noisy("reparameterize", mu, log_var, noise)


def reparameterize_grad(dz: Array, log_var: Array, noise: Noise) -> Array:
    """dlog_var = dz exp(log_var / 2) normal(noise) / 2, with the same noise, drawn again. (dmu is dz itself.)"""
    return _noisy("reparameterize_grad", dz, log_var, noise)


def _noisy(kernel: str, a: Array, log_var: Array, noise: Noise) -> Array:
    """The result of a kernel that combines a, log_var and noise, all of one shape; it is C-contiguous.

    Element i of the noise belongs to flat index i, so the inputs are made C-contiguous first.
    """
    result = empty(prod(a.shape), a.dtype)
    run = MODULE.kernel(kernel, a.dtype)[_grid(result.size, WORDS), THREADS]
    run(contiguous(a), contiguous(log_var), result, result.size, *noise)
    return result.reshape(a.shape)


def _grid(count: int, per_thread: int) -> int:
    return ceil_div(count, per_thread * THREADS)
