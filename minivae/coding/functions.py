"""exp, tanh and sigmoid in integers, equal bit by bit on every machine.

The functions of a C library differ in the last bit from library to library, and a decoder that sees another bit than
the encoder decodes other symbols from there on. So the functions are tables here. An argument is an integer in units of
2^-GRID = 1/4096, and all three follow from

    e_i = exp(-i / 4096),    sigmoid(i / 4096) = 1 / (1 + e_i),    tanh(i / 4096) = (1 - e_2i) / (1 + e_2i)    (i >= 0),

with sigmoid(-x) = 1 - sigmoid(x) and tanh(-x) = -tanh(x). e_i is computed in Python's integers, which are the same
everywhere, in units of 2^-128: e_1 by its Taylor series, e_(i+1) = e_i e_1. Each of the 98,304 steps loses a unit or
two, so e_i is right to 110 bits after the point.
"""

from __future__ import annotations

from functools import cache

import numpy as np

GRID = 12  # arguments are multiples of 2^-GRID
UNIT = 1 << 128  # the number 1 in the units of e_i
LONGEST = 24 << GRID  # e_i is computed up to exp(-24)
SATURATED = 12 << GRID  # beyond 12 sigmoid and tanh do not change any more


@cache
def exponentials() -> list[int]:
    """Return exp(-i / 4096) in units of 2^-128, for i = 0, ..., LONGEST."""
    first = term = UNIT
    for n in range(1, 20):  # exp(-x) = 1 - x + x^2 / 2 - ..., whose 20th term is below 2^-300
        term = -term // (n << GRID)
        first += term
    powers = [UNIT]
    for _ in range(LONGEST):
        powers.append(powers[-1] * first // UNIT)
    return powers


@cache
def exp_table(bits: int) -> np.ndarray:
    """Return exp(-i / 4096) in units of 2^-bits, rounded, int64; i = 0, ..., LONGEST."""
    return np.array([_divide(e << bits, UNIT) for e in exponentials()], np.int64)


@cache
def sigmoid_table(bits: int) -> np.ndarray:
    """Return sigmoid(i / 4096) in units of 2^-bits, rounded, float64; i = -SATURATED, ..., SATURATED."""
    right = [_divide(UNIT << bits, UNIT + e) for e in exponentials()[: SATURATED + 1]]
    return np.array([(1 << bits) - s for s in right[:0:-1]] + right, np.float64)


@cache
def tanh_table(bits: int) -> np.ndarray:
    """Return tanh(i / 4096) in units of 2^-bits, rounded, float64; i = -SATURATED, ..., SATURATED."""
    right = [_divide((UNIT - e) << bits, UNIT + e) for e in exponentials()[: 2 * SATURATED + 1 : 2]]
    return np.array([-t for t in right[:0:-1]] + right, np.float64)


def look_up(table: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Evaluate a function at x, float64 integers in units of 2^-GRID, by its table from -SATURATED to SATURATED."""
    return table[np.clip(x, -SATURATED, SATURATED).astype(np.int64) + SATURATED]


def _divide(a: int, b: int) -> int:
    """Return a / b, rounded."""
    return (2 * a + b) // (2 * b)
