"""The vector quantiser of the VQ-VAE: a codebook that learns (van den Oord, Vinyals & Kavukcuoglu 2017).

Of its inputs z it takes the nearest codes e = e_k(z) and adds to the loss, with sg for "held constant",

    codebook term  ||sg[z] - e||^2     moves the codes to the inputs that chose them,
    commitment     ||z - sg[e]||^2     keeps the inputs near their codes.

||.||^2 is summed over the D numbers of a latent and averaged over the latents: those of one image, as in the paper, and
the images of the batch. Neither the size of the batch nor that of the image scales it.

update='gradient' trains the codebook with the first term; the loss is codebook term + commitment * second term.
update='ema' replaces the first term by its solution, the mean of the inputs of each code, taken as a moving average
(appendix A.1): with n_k inputs that chose code k in a batch, and s_k their sum,

    N_k <- decay N_k + (1 - decay) n_k,    m_k <- decay m_k + (1 - decay) s_k,    e_k = m_k / N_k.

N_k starts at 1 and m_k at e_k, hence a code that nobody chooses stays where it is. (From N_k = 0 the first division by
nearly nothing throws unused codes a hundred thousand times as far out.) In the division, and only there, N_k is
replaced by its Laplace-smoothed value (N_k + eps) / (N + K eps) * N, where N is the sum of all N_k.

A code is dead when its N_k falls below `restart` times the mean one. It starts anew: an input of the batch becomes the
code, and its statistics those of a code there at twice that bound, with which it learns fast and has time to. Nothing
here reads a number of the device on the host or has a shape that depends on one, so a training step with all of this
can be captured as a CUDA graph.
"""

from __future__ import annotations

from math import exp, log
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels import backend, checks
from minivae.kernels.contract import Array
from minivae.random import current_generator

from . import init
from .module import Buffer, Module

UPDATES = ("ema", "gradient")
LLOYD_STEPS = 10


class Quantized(NamedTuple):
    """What a VectorQuantizer makes of z (N, D, ...).

    quantized: (N, D, ...), the codes, with the straight-through gradient. indices: (N, ...), int64.
    loss, perplexity, usage: scalars. Perplexity is exp(entropy) of how often each code was chosen in this batch, from 1
    to K; usage the share of the codes that were chosen at all. Both depend on the size of the batch: for those of a
    whole pass over the data see begin_pass() and end_pass().
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor
    usage: Tensor


class VectorQuantizer(Module):
    """A codebook of `codes` vectors of length `dim`.

    update: 'ema' or 'gradient'. commitment: weight of the commitment term, >= 0. decay: of the moving averages, in
    (0, 1); in 'gradient' those of the counts alone. restart: a code is dead when its share of the inputs is below this
    part of the mean share, in [0, 1); 0 for never. eps: of the Laplace smoothing. The codes are N(0, 1) until
    initialize() takes them from data.
    """

    def __init__(
        self,
        codes: int,
        dim: int,
        update: str = "ema",
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.05,
        eps: float = 1e-5,
        dtype: Any = np.float32,
    ) -> None:
        self.codes, self.dim = checks.integer("codes", codes, 1), checks.integer("dim", dim, 1)
        self.update, self.commitment = (
            checks.choice("update", update, UPDATES),
            checks.number("commitment", commitment, "[0, inf)"),
        )
        self.decay, self.restart = checks.number("decay", decay, "(0, 1)"), checks.number("restart", restart, "[0, 1)")
        self.eps, dtype = checks.number("eps", eps, "(0, inf)"), checks.float_dtype("dtype", dtype)
        self.codebook: Tensor = init.normal((codes, dim), dtype)
        self.counts = Buffer(np.ones(codes, dtype))  # N
        self.sums: Tensor | None = None  # m
        if update == "ema":
            self.codebook = Buffer(self.codebook.data)
            self.sums = Buffer(self.codebook.data)
        self.pass_counts = Buffer(np.zeros(codes, np.int64))
        self.initialized = Buffer(np.zeros((), np.int64))

    def forward(self, z: Any) -> Quantized:
        """z (N, D, ...) -> Quantized; in training mode the codebook learns afterwards. ValueError for another D."""
        z = self._checked(z)
        rows = self._rows(z)
        codes, index = F.quantize(rows, self.codebook)
        loss = self._loss(rows, codes)
        quantized = self._images(F.straight_through(rows, codes), z.shape)  # after the losses, which need z itself
        counts = self._count(index.data, rows.dtype)
        perplexity, usage = self._spread(counts)
        self.pass_counts.inplace()[...] += counts.astype(np.int64)
        if self.training:
            self._learn(rows.data, index.data, counts)
        return Quantized(quantized, index.reshape((z.shape[0], *z.shape[2:])), loss, perplexity, usage)

    def encode(self, z: Any) -> Tensor:
        """z (N, D, ...) -> the indices of the nearest codes (N, ...), and nothing else happens."""
        z = self._checked(z)
        _, index = F.quantize(self._rows(z).detach(), self.codebook)
        return index.reshape((z.shape[0], *z.shape[2:]))

    def decode(self, indices: Any) -> Tensor:
        """Indices (N, ...) -> their codes (N, D, ...). TypeError unless integers, ValueError outside [0, codes)."""
        codes = F.embedding(indices, self.codebook)  # (N, ..., D)
        if codes.ndim < 2:
            raise ValueError(f"VectorQuantizer needs indices (N, ...), got shape {codes.shape[:-1]}")
        return F.transpose(codes, (0, codes.ndim - 1, *range(1, codes.ndim - 1)))

    def _checked(self, z: Any) -> Tensor:
        z = as_tensor(z)
        if z.ndim < 2 or z.shape[1] != self.dim:
            raise ValueError(f"VectorQuantizer needs z (N, {self.dim}, ...), got {z.shape}")
        return z

    def _rows(self, z: Tensor) -> Tensor:
        """(N, D, ...) -> (M, D), a row for each latent."""
        return F.reshape(F.transpose(z, (0, *range(2, z.ndim), 1)), (-1, self.dim))

    def _images(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The way back."""
        last = F.reshape(rows, (shape[0], *shape[2:], shape[1]))  # (N, ..., D)
        return F.transpose(last, (0, len(shape) - 1, *range(1, len(shape) - 1)))

    def _loss(self, rows: Tensor, codes: Tensor) -> Tensor:
        """rows, codes (M, D) -> (): each term a sum over D and a mean over M."""
        to_code = rows - codes.detach()
        loss = (to_code * to_code).sum(axis=1).mean() * self.commitment
        if self.update == "gradient":
            to_input = codes - rows.detach()
            loss = loss + (to_input * to_input).sum(axis=1).mean()
        return loss

    # ---- learning without gradients ----

    def _count(self, index: Array, dtype: Any) -> Array:
        """How often each code was chosen, (K,)."""
        kernels = self.codebook.backend
        ones = kernels.xp.ones((len(index), 1), dtype)
        return kernels.segment_sum(ones, index, self.codes).reshape(self.codes)

    def _spread(self, counts: Array) -> tuple[Tensor, Tensor]:
        """Perplexity and usage."""
        xp = self.codebook.backend.xp
        p = counts / xp.maximum(counts.sum(), 1)
        entropy = -(p * xp.log(xp.where(p > 0, p, xp.ones_like(p)))).sum()
        used = (counts > 0).astype(counts.dtype)
        return Tensor.wrap(xp.asarray(xp.exp(entropy))), Tensor.wrap(xp.asarray(used.mean()))

    def _learn(self, rows: Array, index: Array, counts: Array) -> None:
        """The moving averages, the codebook that follows from them, and the restart of dead codes."""
        _decay(self.counts, counts, self.decay)
        if self.sums is not None:
            _decay(self.sums, self.codebook.backend.segment_sum(rows, index, self.codes), self.decay)
            N = self.counts.data
            total = N.sum()
            smoothed = (N + self.eps) / (total + self.codes * self.eps) * total
            self.codebook.inplace()[...] = self.sums.data / smoothed[:, None]
        if self.restart and len(rows):
            self._restart(rows, counts)

    def _restart(self, rows: Array, counts: Array) -> None:
        """Dead codes that this batch does not use become inputs of it, code k one of the k-th of K equal parts."""
        xp, device = self.codebook.backend.xp, self.codebook.device
        bound = self.restart * self.counts.data.mean()
        dead = (self.counts.data < bound) & (counts == 0)  # (K,)
        part = xp.arange(self.codes) + current_generator().uniform((self.codes,), np.float64, device)  # in [k, k + 1)
        chosen = xp.minimum((part * (len(rows) / self.codes)).astype(np.int64), len(rows) - 1)
        fresh = rows[chosen]  # (K, D)
        self.codebook.inplace()[...] = xp.where(dead[:, None], fresh, self.codebook.data)
        if self.sums is not None:
            self.sums.inplace()[...] = xp.where(dead[:, None], fresh * (2 * bound), self.sums.data)
        self.counts.inplace()[...] = xp.where(dead, 2 * bound, self.counts.data)

    # ---- codes from data ----

    def initialize(self, rows: np.ndarray) -> None:
        """Set the codebook to the k-means of rows (M, D) on the host, and its statistics to match.

        ValueError if there are fewer rows than codes, rows of another length, NaN or infinity.
        """
        rows = checks.array("rows", rows, "f")
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"the codebook is made from vectors (M, {self.dim}), got {rows.shape}")
        with np.errstate(over="ignore"):  # beyond the codebook's dtype becomes infinity, which is found
            rows = np.ascontiguousarray(rows, self.codebook.dtype)
        checks.check_finite(rows, "rows")
        codebook = self.codebook.backend.asarray(k_means(rows, self.codes))
        self.codebook.inplace()[...] = codebook
        self.counts.inplace()[...] = 1
        if self.sums is not None:
            self.sums.inplace()[...] = codebook
        self.initialized.inplace()[...] = 1

    # ---- over a whole pass ----

    def begin_pass(self) -> None:
        """Forget how often the codes were chosen."""
        self.pass_counts.inplace()[...] = 0

    def end_pass(self) -> dict[str, float]:
        """perplexity and usage since begin_pass(); nothing if there was no input."""
        counts = self.pass_counts.numpy()
        if not counts.any():
            return {}
        p = counts[counts > 0] / counts.sum()
        return {"perplexity": exp(-sum(q * log(q) for q in p.tolist())), "usage": len(p) / self.codes}

    def extra_repr(self) -> str:
        return f"{self.codes}, {self.dim}, update={self.update!r}, commitment={self.commitment}, decay={self.decay}"


def k_means(rows: np.ndarray, k: int) -> np.ndarray:
    """rows (M, D) -> (k, D): centres by k-means++ (Arthur & Vassilvitskii 2007) and a few steps of Lloyd's algorithm.

    k-means++ draws each centre among the rows with a probability proportional to the squared distance from the nearest
    centre so far, with minivae's generator. Lloyd moves each centre to the mean of the rows that are nearest to it; one
    without rows stays. ValueError for fewer rows than centres.
    """
    M = len(rows)
    if k > M:
        raise ValueError(f"k-means needs at least as many vectors as codes, got {M} vectors for {k} codes; take fewer")
    draws = current_generator().uniform((k,), np.float64)
    centres = np.empty((k, rows.shape[1]), rows.dtype)
    distance = np.ones(M)
    for i, draw in enumerate(draws):
        total = np.cumsum(distance)
        chosen = min(int(np.searchsorted(total, draw * total[-1], side="right")), M - 1)
        centres[i] = rows[chosen]
        to_centre = ((rows - centres[i]) ** 2).sum(axis=1)
        distance = np.minimum(distance, to_centre) if i else to_centre.astype(np.float64)
    kernels, ones = backend("cpu"), np.ones((M, 1), rows.dtype)
    for _ in range(LLOYD_STEPS):
        index = kernels.nearest_code(rows, centres)
        counts = kernels.segment_sum(ones, index, k)  # (k, 1)
        means = kernels.segment_sum(rows, index, k) / np.maximum(counts, 1)
        centres = np.where(counts > 0, means, centres)
    return centres


def _decay(average: Tensor, value: Array, decay: float) -> None:
    array = average.inplace()
    array *= decay
    array += (1 - decay) * value
