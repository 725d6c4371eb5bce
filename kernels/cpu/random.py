"""Random numbers from counters: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers").

A bijection of 128-bit counters, keyed by 64 bits, that mixes so well that the images of 0, 1, 2, ... pass for random.
There is no state: word i of a draw is a function of (seed, draw, i), so every device computes the same numbers in any
order, and a backward pass draws its noise again instead of keeping it. One round maps the words (c0, c1, c2, c3) to

    (hi(M1 c2) ^ c1 ^ k0,  lo(M1 c2),  hi(M0 c0) ^ c3 ^ k1,  lo(M0 c0)),

hi and lo being the halves of a 64-bit product; after each round the key moves on by the constants BUMP.
"""

from __future__ import annotations

from math import pi, prod
from typing import Any

import numpy as np

from ..contract import Noise
from .blocks import blocks

ROUNDS = 10
MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)  # M0, M1
BUMP = np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)  # the golden ratio and sqrt(3) - 1, as in the paper
LOW = 0xFFFFFFFF


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 of counters (4, n) under a key of two words -> (4, n): words below 2^32, held in uint64."""
    even, odd = counter[0::2].copy(), counter[1::2].copy()  # (c0, c2), (c1, c3)
    product = np.empty_like(even)
    k = np.array(key, np.uint64)[:, None]
    for _ in range(ROUNDS):
        np.multiply(even, MULTIPLIERS, out=product)
        np.right_shift(product[::-1], 32, out=even)
        even ^= odd
        even ^= k
        np.bitwise_and(product[::-1], LOW, out=odd)
        k += BUMP
        k &= LOW
    return np.stack([even, odd], axis=1).reshape(counter.shape)


def random_bits(count: int, noise: Noise) -> np.ndarray:
    """The first `count` words of the draw, uint32 (count,)."""
    seed, draw = int(noise.seed), int(noise.draw)
    words = np.empty((-(-count // 4), 4), np.uint32)
    for block in blocks(len(words), 4):
        i = np.arange(block.start, block.stop, dtype=np.uint64)
        counter = np.empty((4, i.size), np.uint64)
        counter[0], counter[1] = i & LOW, i >> 32
        counter[2], counter[3] = draw & LOW, draw >> 32
        words[block] = philox4x32(counter, (seed & LOW, seed >> 32)).T
    return words.reshape(-1)[:count]


def uniform(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """In [0, 1), equal on all backends: float32 from 24 bits of one word, float64 from 53 bits of two words."""
    if np.dtype(dtype) == np.float32:
        bits = random_bits(prod(shape), noise) >> 8
        values = bits.astype(np.float32)
        values *= 2.0**-24
    else:
        bits = random_bits(2 * prod(shape), noise)
        values = (bits[0::2] >> 5) * 2.0**26
        values += bits[1::2] >> 6
        values *= 2.0**-53
    return values.reshape(shape)


def normal(shape: tuple[int, ...], dtype: Any, noise: Noise) -> np.ndarray:
    """Standard normal by Box & Muller (1958), a pair (r cos t, r sin t) from two words.

    (r, t) are the polar coordinates of a point of the plane whose coordinates are independent and normal:
    r^2 / 2 is exponentially distributed and t uniform. Computed in float64 and then rounded to dtype.
    """
    count = prod(shape)
    pairs = random_bits(count + count % 2, noise).reshape(-1, 2).astype(np.float64)
    pairs += 0.5
    pairs *= 2.0**-32  # in (0, 1), so that the logarithm is finite
    r = np.sqrt(-2 * np.log(pairs[:, 0]))
    t = 2 * pi * pairs[:, 1]
    np.multiply(r, np.cos(t), out=pairs[:, 0])
    np.multiply(r, np.sin(t), out=pairs[:, 1])
    return pairs.reshape(-1)[:count].astype(dtype).reshape(shape)


def reparameterize(mu: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """z = mu + exp(log_var / 2) * normal(noise): a sample of N(mu, exp(log_var)) that mu and log_var move."""
    z = normal(mu.shape, mu.dtype, noise)
    z *= np.exp(log_var * 0.5)
    z += mu
    return z


def reparameterize_grad(dz: np.ndarray, log_var: np.ndarray, noise: Noise) -> np.ndarray:
    """dlog_var = dz * exp(log_var / 2) * normal(noise) / 2, with the noise drawn again. (dmu is dz itself.)"""
    dlog_var = normal(dz.shape, dz.dtype, noise)
    dlog_var *= np.exp(log_var * 0.5)
    dlog_var *= dz
    dlog_var *= 0.5
    return dlog_var
