"""Random numbers from counters: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers").

Philox maps 128-bit counters one to one to 128-bit results, under a 64-bit key. Its results for the counters 0, 1, 2,
... pass the statistical tests of randomness. There is no state: word i of a draw is a function of (seed, draw, i),
where a *draw* is one array of noise, numbered as they are asked for. The seed is the key, and the counter holds draw
and i / 4. For example, the thread of a GPU that makes the words 4000 to 4003 of draw 7 puts (1000, 7) into the counter,
while a generator with a state would have to make the 4000 words before them first. So every device computes the same
numbers, in any order, and a backward pass draws its noise again instead of keeping it: four words cost 20
multiplications, and the memory of a number for each latent or feature is saved.
"""

from __future__ import annotations

from math import pi, prod
from typing import Any

import numpy as np

from ..contract import Noise

ROUNDS = 10
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
BUMP0, BUMP1 = 0x9E3779B9, 0xBB67AE85  # 2^32 times the golden ratio - 1, and times sqrt(3) - 1, as in the paper
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of counters (4, n) under a key of two words -> (4, n). All words are below 2^32, held in uint64.

    Each round multiplies two of the words by constants, mixes the upper halves of the 64-bit products with the other
    two words and with the key, and adds constants to the key.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0, product1 = M0 * c0, M1 * c2
        c0, c1 = (product1 >> HALF) ^ c1 ^ np.uint64(k0), product1 & LOW
        c2, c3 = (product0 >> HALF) ^ c3 ^ np.uint64(k1), product0 & LOW
        k0, k1 = (k0 + BUMP0) % 2**32, (k1 + BUMP1) % 2**32
    return np.stack([c0, c1, c2, c3])


def random_bits(count: int, noise: Noise) -> np.ndarray:
    """`count` words of the draw, from word noise.example on, uint32 (count,)."""
    return _words(int(noise.example), count, noise)


def _words(first: int, count: int, noise: Noise) -> np.ndarray:
    seed, draw = int(noise.seed), int(noise.draw)
    i = np.arange(first // 4, -(-(first + count) // 4), dtype=np.uint64)  # the counters that these words belong to
    halves = np.full_like(i, draw % 2**32), np.full_like(i, draw >> 32)
    words = philox4x32(np.stack([i & LOW, i >> HALF, *halves]), (seed % 2**32, seed >> 32))
    return words.T.astype(np.uint32).reshape(-1)[first % 4 :][:count]


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Numbers of the given shape, uniform in [0, 1) and equal on all backends.

    A float32 number is (word >> 8) / 2^24, from one word. A float64 number is
    ((word[2i] >> 5) * 2^26 + (word[2i+1] >> 6)) / 2^53, from two words.
    """
    first, count = noise.first(shape), prod(shape)
    if np.dtype(dtype) == np.float32:
        values = (_words(first, count, noise) >> 8) * 2.0**-24
    else:
        high, low = _words(2 * first, 2 * count, noise).reshape(-1, 2).T
        values = ((high >> 5) * 2.0**26 + (low >> 6)) * 2.0**-53
    return values.astype(dtype).reshape(shape)


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Standard normal numbers of the given shape; two words make two of them (Box & Muller 1958).

    With u[k] = (word[k] + 1/2) / 2^32, r = sqrt(-2 log u[2i]) and t = 2 pi u[2i+1], element 2i is r cos(t) and element
    2i+1 is r sin(t).

    Why: take a point of the plane whose two coordinates are independent and standard normal. In polar coordinates its
    angle t is uniform, and r^2 / 2 is exponentially distributed, as -log u is for a uniform u. float32 and float64 give
    the same numbers up to rounding, and so do the backends (2e-6 in float32).
    """
    first, count = noise.first(shape), prod(shape)
    odd = first % 2  # then the first number is the second of its pair
    pairs = (odd + count + 1) // 2
    u = (_words(first - odd, 2 * pairs, noise).reshape(-1, 2) + 0.5) * 2.0**-32  # in (0, 1): the logarithm is finite
    r, t = np.sqrt(-2 * np.log(u[:, 0])), 2 * pi * u[:, 1]
    values = np.stack([r * np.cos(t), r * np.sin(t)], axis=1)
    return values.reshape(-1)[odd:][:count].astype(dtype).reshape(shape)


def reparameterize(mu: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """z = mu + exp(log_var / 2) normal(noise), all of one shape: a sample of N(mu, exp(log_var)).

    Written like this (Kingma & Welling 2013, section 2.4), z is a differentiable function of mu and log_var.
    """
    return mu + np.exp(log_var / 2) * normal(mu.shape, mu.dtype, noise)


def reparameterize_grad(dz: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """dlog_var = dz exp(log_var / 2) normal(noise) / 2, with the same noise, drawn again. (dmu is dz itself.)"""
    return dz * np.exp(log_var / 2) * normal(dz.shape, dz.dtype, noise) / 2
