"""Random numbers from counters (kernels in random.cu, the generator in philox.cuh): the words of the reference.

A word is a function of (seed, draw, place), so that a thread can make its numbers without asking another, and a
backward pass makes the noise of its forward pass again instead of reading it. A launch for `count` numbers has a
thread for every four words.
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
WORDS = 4  # of one Philox block


def random_bits(count: int, noise: Noise) -> Array:
    """The first `count` words of the draw, uint32 (count,)."""
    bits = empty(count, "uint32")
    MODULE.kernel("random_bits")[_grid(count, WORDS), THREADS](bits, count, *noise)
    return bits


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """In [0, 1), bitwise that of the CPU: float32 from 24 bits of one word, float64 from 53 bits of two words."""
    u = empty(shape, np.dtype(dtype))
    per_thread = WORDS * 4 // u.itemsize
    MODULE.kernel("uniform", u.dtype)[_grid(u.size, per_thread), THREADS](u, u.size, *noise)
    return u


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Standard normal by Box & Muller (1958), a pair from two words. Computed in float64, then rounded to dtype."""
    z = empty(shape, np.dtype(dtype))
    MODULE.kernel("normal", z.dtype)[_grid(z.size, WORDS), THREADS](z, z.size, *noise)
    return z


def reparameterize(mu: Array, log_var: Array, noise: Noise) -> Array:
    """z = mu + exp(log_var / 2) * normal(noise), in one kernel: the noise is in no array."""
    return _of_noise("reparameterize", mu, log_var, noise)


def reparameterize_grad(dz: Array, log_var: Array, noise: Noise) -> Array:
    """dlog_var = dz * exp(log_var / 2) * normal(noise) / 2, with the noise drawn again. (dmu is dz itself.)"""
    return _of_noise("reparameterize_grad", dz, log_var, noise)


def _of_noise(kernel: str, first: Array, log_var: Array, noise: Noise) -> Array:
    """Noise belongs to places in logical order, so that is the order of memory here, whatever that of the inputs."""
    result = empty(prod(first.shape), first.dtype)
    run = MODULE.kernel(kernel, first.dtype)[_grid(result.size, WORDS), THREADS]
    run(contiguous(first), contiguous(log_var), result, result.size, *noise)
    return result.reshape(first.shape)


def _grid(count: int, per_thread: int) -> int:
    return ceil_div(count, per_thread * THREADS)
