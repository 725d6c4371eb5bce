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
    """`count` words of the draw, from word noise.example on, uint32 (count,)."""
    counter, skip = divmod(int(noise.example), WORDS)
    bits = empty(skip + count, "uint32")
    MODULE.kernel("random_bits")[_grid(bits.size, WORDS), THREADS](bits, bits.size, *_draw(noise), counter)
    return bits[skip:]


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Numbers of the given shape, uniform in [0, 1) and equal on all backends."""
    return _drawn("uniform", shape, dtype, noise, WORDS * 4 // np.dtype(dtype).itemsize)


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> Array:
    """Standard normal numbers of the given shape, computed in float64 and then rounded to dtype."""
    return _drawn("normal", shape, dtype, noise, WORDS)


def reparameterize(mu: Array, log_var: Array, noise: Noise) -> Array:
    """z = mu + exp(log_var / 2) normal(noise), all of one shape, in one kernel: the noise is not stored in an array."""
    return _noisy("reparameterize", mu, log_var, noise)


def reparameterize_grad(dz: Array, log_var: Array, noise: Noise) -> Array:
    """dlog_var = dz exp(log_var / 2) normal(noise) / 2, with the same noise, drawn again. (dmu is dz itself.)"""
    return _noisy("reparameterize_grad", dz, log_var, noise)


def _draw(noise: Noise) -> tuple[int, int, Array | None]:
    return noise.seed, noise.draw, noise.offset


def _drawn(kernel: str, shape: tuple[int, ...], dtype: Any, noise: Noise, per_thread: int) -> Array:
    """Numbers of the given shape. What the first counter makes before the first of them is left out."""
    counter, skip = divmod(noise.first(shape), per_thread)
    y = empty(skip + prod(shape), np.dtype(dtype))
    MODULE.kernel(kernel, y.dtype)[_grid(y.size, per_thread), THREADS](y, y.size, *_draw(noise), counter)
    return y[skip:].reshape(shape)


def _noisy(kernel: str, a: Array, log_var: Array, noise: Noise) -> Array:
    """The result of a kernel that combines a, log_var and noise, all of one shape; it is C-contiguous."""
    counter, skip = divmod(noise.first(a.shape), WORDS)
    inputs = [_after(skip, array) for array in (a, log_var)]  # element i of the noise has flat index skip + i
    result = empty(skip + prod(a.shape), a.dtype)
    run = MODULE.kernel(kernel, a.dtype)[_grid(result.size, WORDS), THREADS]
    run(*inputs, result, result.size, *_draw(noise), counter)
    return result[skip:].reshape(a.shape)


def _after(skip: int, array: Array) -> Array:
    """The elements of an array in C order, after `skip` elements that do not matter."""
    flat = contiguous(array).reshape(-1)
    if not skip:
        return flat
    longer = empty(skip + flat.size, flat.dtype)
    longer[:skip], longer[skip:] = 0, flat
    return longer


def _grid(count: int, per_thread: int) -> int:
    return ceil_div(count, per_thread * THREADS)
