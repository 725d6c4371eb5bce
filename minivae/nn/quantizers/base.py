"""What all quantisers have in common: they replace each latent, a vector of D numbers, by one of finitely many vectors.

    VectorQuantizer            vector.py         the nearest of K learned vectors, one integer for a latent
    FiniteScalarQuantizer      finite_scalar.py  each number rounded to one of a few levels, one integer for a latent
    ResidualVectorQuantizer    residual.py       a sum of vectors, one from each of several codebooks: several integers

A model, its prior and the commands use them through the methods of Quantizer alone, and need not know which one it is:

    z (N, D, h, w)  --encode-->  indices (N, *code_shape(h, w)) in [0, codes)  --decode-->  z_q (N, D, h, w)

Calling a quantiser makes a Quantized: z_q with a gradient that reaches z, the indices, the quantiser's terms of the
loss, and how evenly the codes were used.

**Perplexity** says how evenly the codes are used: exp of the entropy of p_k, the share of the latents that chose code
k. It is the number of codes that, used equally often, would have the same entropy: 2 for two codes that are used half
of the time each, 1 for one that is always used, 1.38 for shares of 0.9 and 0.1, and K at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels import checks
from minivae.kernels.contract import Array
from minivae.nn.module import Buffer, Module
from minivae.shards import current_shard


class Quantized(NamedTuple):
    """What a quantiser makes of latents z (N, D, ...).

    quantized: (N, D, ...), the vectors that replace the latents; its gradient reaches z. indices: (N, ...), int64, in
    [0, codes); (N, stages, ...) of a ResidualVectorQuantizer. loss: (), the quantiser's terms of the loss. perplexity:
    (), from 1 to `codes`. usage: (), the share of the codes that were chosen at all. The last two are (stages,) of a
    ResidualVectorQuantizer, and those of this batch. Larger batches use more codes: for a whole pass over the data see
    begin_pass() and end_pass().
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor
    usage: Tensor


class Quantizer(Module):
    """Base of the quantisers. codes: the number of values of an index. dim: D, the length of a latent.

    A subclass defines forward(), encode() and decode(), and what else below differs for it.
    """

    codes: int
    dim: int

    def forward(self, z: Any) -> Quantized:
        """Latents z (N, D, ...) -> Quantized."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def encode(self, z: Any) -> Tensor:
        """Latents z (N, D, ...) -> indices, int64. Nothing is learned or counted."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode()")

    def decode(self, indices: Any) -> Tensor:
        """Indices -> the vectors that they stand for, (N, D, ...)."""
        raise NotImplementedError(f"{type(self).__name__} does not define decode()")

    def code_shape(self, *size: int) -> tuple[int, ...]:
        """The shape of the indices of one map of latents of this size: (h, w) -> (h, w), or (stages, h, w)."""
        return size

    def vectors_wanted(self) -> int:
        """How many latents initialize() should be given; 0 if there is nothing left to initialise."""
        return 0

    def initialize(self, rows: np.ndarray) -> None:
        """Start what is learned from latents, rows (M, D) on the host."""
        raise NotImplementedError(f"{type(self).__name__} does not define initialize()")

    def codebooks(self) -> list[np.ndarray]:
        """The learned vectors that the indices stand for, on the host; empty for a quantiser that learns none."""
        return []

    def begin_pass(self) -> None:
        """Begin to count anew how often each code is chosen."""
        raise NotImplementedError(f"{type(self).__name__} does not define begin_pass()")

    def end_pass(self) -> dict[str, float]:
        """perplexity and usage of all latents since begin_pass(); an empty dictionary if there were none."""
        raise NotImplementedError(f"{type(self).__name__} does not define end_pass()")

    # ---- latents as rows ----

    def _check_latents(self, z: Any) -> Tensor:
        z = as_tensor(z)
        if z.ndim < 2 or z.shape[1] != self.dim:
            raise ValueError(f"{type(self).__name__} needs z (N, {self.dim}, ...), got {z.shape}")
        return z

    def _check_rows(self, rows: Any, dtype: Any) -> np.ndarray:
        """rows (M, D) of floating numbers as an array of this dtype, or an error as initialize() says."""
        rows = checks.array("rows", rows, "f")
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"the codebook is made from vectors (M, {self.dim}), got {rows.shape}")
        with np.errstate(over="ignore"):  # beyond the dtype becomes infinity, which is found
            rows = np.ascontiguousarray(rows, dtype)
        checks.check_finite(rows, "rows")
        return rows

    def _as_rows(self, z: Tensor) -> Tensor:
        """(N, D, ...) -> (M, D): a row for each latent."""
        return F.reshape(F.transpose(z, (0, *range(2, z.ndim), 1)), (-1, self.dim))

    def _as_maps(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """(M, D) -> shape (N, D, ...): the inverse of _as_rows()."""
        last = F.reshape(rows, (shape[0], *shape[2:], shape[1]))  # (N, ..., D)
        return F.transpose(last, (0, len(shape) - 1, *range(1, len(shape) - 1)))


class CountingQuantizer(Quantizer):
    """A quantiser with one index for a latent, which counts the indices of a pass in `pass_counts` (codes,)."""

    pass_counts: Buffer

    def _count(self, index: Array, dtype: Any) -> Array:
        """index (M,) -> how many latents of the batch chose each code, (codes,); they count for the pass too."""
        kernels, shard = self.pass_counts.backend, current_shard()
        ones = kernels.xp.ones((len(index), 1), dtype)
        counts = shard.sum(kernels.segment_sum(ones, index, self.codes).reshape(self.codes))
        if shard.leads:
            self.pass_counts.inplace()[...] += counts.astype(np.int64)
        return counts

    def begin_pass(self) -> None:
        """Begin to count anew how often each code is chosen."""
        self.pass_counts.inplace()[...] = 0

    def end_pass(self) -> dict[str, float]:
        """perplexity and usage of all latents since begin_pass(); an empty dictionary if there were none."""
        counts = self.pass_counts.numpy()
        if not counts.any():
            return {}
        p = counts[counts > 0] / counts.sum()
        return {"perplexity": exp(-sum(q * log(q) for q in p.tolist())), "usage": len(p) / self.codes}


def perplexity_and_usage(counts: Array, xp: Any) -> tuple[Tensor, Tensor]:
    """Both () of counts (K,), on the device."""
    p = counts / xp.maximum(counts.sum(), 1)
    entropy = -(p * xp.log(xp.where(p > 0, p, xp.ones_like(p)))).sum()
    used = (counts > 0).astype(counts.dtype)
    return Tensor.wrap(xp.asarray(xp.exp(entropy))), Tensor.wrap(xp.asarray(used.mean()))
