"""Finite scalar quantisation, FSQ (Mentzer, Minnen, Agustsson & Tschannen 2023): codes without a codebook.

A latent has few numbers, z_1, ..., z_D, and each of them is rounded by itself to one of L_d levels. tanh makes it lie
in (-1, 1), half (L_d - 1) spreads it over a range of L_d levels at distance 1, and rounding chooses one:

    digit_d = round(h tanh(z_d) + h)  in {0, ..., L_d - 1},   z_q,d = digit_d / h - 1  in [-1, 1],   h = (L_d - 1) / 2.

For L = 5 (h = 2) and z = 0.4: h tanh(z) = 0.76, the digit is round(2.76) = 3 and z_q = 0.5, the level next above 0. For
L = 4 (h = 1.5): h tanh(z) = 0.57, the digit is round(2.07) = 2 and z_q = 1 / 3.

An even number of levels has none at 0. Adding h before rounding makes the offset of half a level that this takes, and
keeps the levels symmetric: -z has the level opposite to that of z. The paper's code moves z instead, so that 0 lies
amid a level. It writes the shift tan(0.5 / h), where the inverse of tanh is meant; and even the right one, atanh(0.5 /
h), is infinite for L = 2. The first author proposes a symmetric form in issue 94 of lucidrains/vector-quantize-pytorch.

**Index.** The digits are those of a number whose places have the values 1, L_1, L_1 L_2, ...: with levels (8, 6, 5) the
digits (3, 5, 2) are the index 3 + 5 * 8 + 2 * 48 = 139, and dividing gives them back. So indices and vectors of levels
correspond one to one, and there are L_1 L_2 ... L_D = 240 codes.

**Gradient.** Rounding is passed straight through (see vector.py), tanh is differentiated: z_d gets the gradient at
z_q,d times 1 - tanh(z_d)^2. In the example, 0.5 at z_q becomes 0.5 * (1 - 0.38^2) = 0.43 at z.

As the levels do not move, there is nothing to learn, no code to restart and no term of the loss: a latent cannot run
away from levels, because tanh is bounded, so it needs no commitment.

**Scale.** What spreads the latents over the levels is the reconstruction alone, and it may drive them into the flat
ends of tanh, where only the outermost levels are left and no gradient. So the encoder of VQVAE ends in a batch
normalisation here: its outputs have mean 0 and variance 1 at first, of which the levels take about equal shares. On the
embedded data the default model uses 96 % of its 240 codes, and 42 % without it. An encoder of your own should end
likewise.

(8, 6, 5) are the paper's levels for about 2^8 codes; it has (8, 5, 5, 5) for 2^10, (7, 5, 5, 5, 5) for 2^12 and
(8, 8, 8, 6, 5) for 2^14 (table 1), and advises at least 5 levels for each number.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels import checks
from minivae.kernels.contract import Array
from minivae.nn.module import Buffer

from .base import CountingQuantizer, Quantized, perplexity_and_usage

MOST_CODES = 2**16


class FiniteScalarQuantizer(CountingQuantizer):
    """Rounds each of the D numbers of a latent to one of levels[d] levels in [-1, 1] (Mentzer et al. 2023).

    levels: the numbers of levels, D ints of at least 2 each, whose product `codes` is at most 65,536. dtype: float32 or
    float64. Raises TypeError and ValueError for arguments of other types and outside these ranges.
    """

    def __init__(self, levels: Sequence[int], dtype: Any = np.float32) -> None:
        self.levels = check_levels(levels)
        self.codes, self.dim = prod(self.levels), len(self.levels)
        halves = (np.array(self.levels) - 1) / 2
        self.halves = Buffer(halves.astype(checks.float_dtype("dtype", dtype)), persistent=False)  # h, (D,)
        self.counts_of_levels = Buffer(np.array(self.levels, np.int64), persistent=False)  # L, (D,)
        places = np.cumprod([1, *self.levels[:-1]]).astype(np.int64)
        self.places = Buffer(places, persistent=False)  # 1, L_1, L_1 L_2, ..., (D,)
        self.pass_counts = Buffer(np.zeros(self.codes, np.int64))

    def forward(self, z: Any) -> Quantized:
        """Latents z (N, D, ...) -> the levels next to them. A latent with NaN stays NaN, its index is that of digits 0.

        Raises ValueError for another D, TypeError for another dtype than the layer's.
        """
        z = self._check_latents(z)
        bounded = F.tanh(self._as_rows(z))  # (M, D), in (-1, 1)
        digits = self._digits(bounded.data)  # (M, D)
        quantized = F.straight_through(bounded, Tensor.wrap(self._levels_of(digits)))  # rounding passes gradients on
        index = self._index(digits)  # (M,)
        xp = self.halves.backend.xp
        perplexity, usage = perplexity_and_usage(self._count(index, z.dtype), xp)
        loss = Tensor.wrap(xp.zeros((), z.dtype))  # nothing to learn beside the encoder
        indices = Tensor.wrap(index.reshape((z.shape[0], *z.shape[2:])))
        return Quantized(self._as_maps(quantized, z.shape), indices, loss, perplexity, usage)

    def encode(self, z: Any) -> Tensor:
        """Latents z (N, D, ...) -> the indices of the levels next to them (N, ...), int64. Nothing is counted.

        Raises ValueError for another D, TypeError for another dtype than the layer's.
        """
        z = self._check_latents(z)
        index = self._index(self._digits(F.tanh(self._as_rows(z).detach()).data))
        return Tensor.wrap(index.reshape((z.shape[0], *z.shape[2:])))

    def decode(self, indices: Any) -> Tensor:
        """Indices (N, ...) -> their levels (N, D, ...). TypeError unless integers, ValueError outside [0, codes)."""
        indices = as_tensor(indices)
        if indices.dtype.kind not in "iu":
            raise TypeError(f"FiniteScalarQuantizer needs integers as indices, got {checks.shown(indices)}")
        if indices.ndim < 1:
            raise ValueError(f"FiniteScalarQuantizer needs indices (N, ...), got shape {indices.shape}")
        if indices.size and (indices.data.min() < 0 or indices.data.max() >= self.codes):
            raise ValueError(f"indices must be in [0, {self.codes}), got {indices.data.min()} to {indices.data.max()}")
        index = indices.data.astype(np.int64).reshape(-1, 1)
        digits = index // self.places.data % self.counts_of_levels.data  # (M, D)
        rows = Tensor.wrap(self._levels_of(digits.astype(self.halves.dtype)))
        return self._as_maps(rows, (indices.shape[0], self.dim, *indices.shape[1:]))

    def initialize(self, rows: np.ndarray) -> None:
        """Check latents, rows (M, D): there is nothing to start. TypeError, ValueError as for VectorQuantizer."""
        self._check_rows(rows, self.halves.dtype)

    def _check_latents(self, z: Any) -> Tensor:
        z = super()._check_latents(z)
        if z.dtype != self.halves.dtype:
            raise TypeError(f"FiniteScalarQuantizer needs z of dtype {self.halves.dtype}, got {z.dtype}")
        return z

    def _digits(self, bounded: Array) -> Array:
        """tanh(z) (M, D) -> digits (M, D), whole numbers in floating point; NaN where z is NaN."""
        halves, xp = self.halves.data, self.halves.backend.xp
        return xp.rint(halves * bounded + halves)

    def _levels_of(self, digits: Array) -> Array:
        """Digits (M, D) -> z_q (M, D)."""
        return digits / self.halves.data - 1

    def _index(self, digits: Array) -> Array:
        """Digits (M, D) -> index (M,)."""
        xp = self.halves.backend.xp
        whole = xp.where(digits == digits, digits, xp.zeros_like(digits)).astype(np.int64)
        return (whole * self.places.data).sum(axis=1)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.levels))


def check_levels(levels: Any) -> tuple[int, ...]:
    """levels as a tuple of ints; TypeError and ValueError as FiniteScalarQuantizer says."""
    checked = checks.integers("levels", levels, 2)
    if not checked:
        raise ValueError(f"levels must be at least one int, got {checks.shown(levels)}")
    if prod(checked) > MOST_CODES:
        raise ValueError(f"levels must make at most {MOST_CODES:,} codes (their product), got {checks.shown(levels)}")
    return checked
