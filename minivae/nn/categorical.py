"""Draws from a categorical distribution that is given by its logits.

A value is drawn as argmax(logits + temperature * g) with independent g from the Gumbel distribution. Its distribution
is softmax(logits / temperature) (Maddison et al. 2014), for any temperature > 0; at 0 it is the likeliest value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.kernels import backend_of
from minivae.kernels.contract import Array, Noise
from minivae.random import noise_or_next

LEAST_UNIFORM = 2.0**-54  # in place of 0, half of the least uniform number above it, so that its logarithm is finite


def draw(logits: Array, temperature: float = 1.0, noise: Noise | None = None) -> Array:
    """Draw values from softmax(logits / temperature): logits (..., K) -> (...), int64 in [0, K).

    noise: the draw to use, None for the next of minivae's generator.
    """
    return (logits + temperature * gumbel(backend_of(logits), logits.shape, noise)).argmax(axis=-1)


def gumbel(kernels: Any, shape: tuple[int, ...], noise: Noise | None = None) -> Array:
    """Return Gumbel noise in float64, -log(-log u) for uniform u."""
    u = kernels.uniform(shape, np.dtype(np.float64), noise_or_next(noise))
    return -kernels.xp.log(-kernels.xp.log(kernels.xp.maximum(u, LEAST_UNIFORM)))
