"""The vector quantiser of the VQ-VAE: a codebook that learns (van den Oord, Vinyals & Kavukcuoglu 2017).

The codebook holds K vectors e_1, ..., e_K of length D, the codes. Each latent z, a vector of length D that the encoder
made, is replaced by the code that is nearest to it (equations 1 and 2 of the paper):

    k(z) = argmin_j ||z - e_j||,    z_q = e_{k(z)}.

**Straight-through.** The decoder sees z_q, and the encoder that made z has to learn from the decoder's gradient. But
argmin passes none on: a small step of z does not change the integer k, so the derivative of z_q by z is zero wherever
it exists. The straight-through estimator (Bengio et al. 2013) treats the quantiser in the backward pass as if it were
the identity: the gradient of the loss at z_q is handed to z unchanged. An example with D = 1: the codes are 0 and 1,
z = 0.8, so z_q = 1. If the decoder answers with dL/dz_q = 0.5, then z gets dL/dz = 0.5 as well. Gradient descent makes
z smaller, as the decoder wants z_q to be; once z is below 0.5 it chooses the code 0. This is no derivative but a good
guess as long as z lies close to its code.

**Codebook and commitment terms.** Straight-through leads past the codebook, whose codes would never learn, and nothing
keeps z close to its code. Hence the loss has two more terms beside the decoder's (equation 3, in which e is z_q):

    -log p(x | z_q)  +  ||sg[z] - e||^2  +  commitment ||z - sg[e]||^2.

sg[.], stop gradient, is the number itself in the forward pass and a constant in the backward pass (.detach()).

* The codebook term moves a code towards the latents that chose it. It does not move the latents.
* The commitment term moves a latent towards its code. Without it the encoder can run away from the codes: a step of the
  encoder may move all latents far, and the codes follow them at their own, slower pace.

In the example, with commitment 0.25: the code 1 gets the gradient 2 (1 - 0.8) = 0.4, which moves it down towards z;
z gets 0.5 from the decoder and 0.25 * 2 (0.8 - 1) = -0.1 from the commitment, 0.4 together. The models call the sum of
the two terms `vq`, for vector quantisation. ||.||^2 is a sum over the D numbers of a latent, and a mean over the
latents of an image, as in the paper, and over the images of the batch, so it depends on neither size.

**Moving averages.** update='gradient' trains the codebook by the codebook term. update='ema' leaves that term out of
the loss and uses its solution: sum_i ||z_i - e||^2 over the latents that chose a code is least where e is their mean.
As a batch holds a part of the data only, count and sum are exponential moving averages (appendix A.1). With n_k latents
of the batch that chose code k, and s_k their sum,

    N_k <- decay N_k + (1 - decay) n_k,    m_k <- decay m_k + (1 - decay) s_k,    e_k = m_k / N_k.

For example, with decay = 0.9, a code at e = 1 (N = 1, m = 1) that 0.8 and 0.6 chose moves towards their mean, 0.7:
N = 0.9 + 0.1 * 2 = 1.1, m = 0.9 + 0.1 * 1.4 = 1.04, e = 0.945.

At the beginning N_k is 1 and m_k is e_k. A code that no latent chooses stays where it is, because N_k and m_k shrink by
the same factor. (If N_k began at 0, the first division by nearly 0 would throw such a code a hundred thousand times as
far out.) As N_k may fall to 0, the division uses the Laplace-smoothed count (N_k + eps) / (N + K eps) * N in its place,
where N is the sum of all N_k. This draws a code to 0 once its N_k is about eps, if it is not restarted before.

**Dead codes.** A code far from all latents is chosen by none, gets no gradient and no average, and so never comes
closer: it is dead, and the decoder has to do with fewer codes. A code counts as dead when its N_k is below `restart`
times the mean of all N_k and no latent of the batch chose it. It is restarted: it becomes a latent of the batch, its
N_k becomes twice that bound and m_k = N_k e_k. A small N_k lets the next batches move the code far, and being above the
bound gives it time to be chosen. With a mean N_k of 10 and restart = 0.05 a code is dead below 0.5 and begins again at
1, from where decay = 0.99 needs 69 batches without a latent to bring it back to 0.5.

The training step can be captured as a CUDA graph: no number is read on the host, no shape depends on the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.kernels.contract import Array
from minivae.nn import init
from minivae.nn.module import Buffer
from minivae.random import current_generator
from minivae.shards import Shard, current_shard

from .base import CountingQuantizer, Quantized, perplexity_and_usage
from .k_means import k_means

UPDATES = ("ema", "gradient")
VECTORS_PER_CODE = 64  # that k-means should see


class VectorQuantizer(CountingQuantizer):
    """A codebook of K = `codes` vectors of length D = `dim`, which replace latents (van den Oord et al. 2017).

    update: 'ema' (moving averages) or 'gradient'. commitment: weight of the commitment term, >= 0. decay: of the moving
    averages, in (0, 1); with 'gradient' they are those of the counts alone. restart: a code is dead when its moving
    count is below this part of the mean one, in [0, 1); 0 restarts none. eps: of the Laplace smoothing, > 0. dtype:
    float32 or float64. The codes are N(0, 1) until initialize() takes them from data.

    Raises TypeError and ValueError for arguments of other types and outside these ranges.
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
        self.update = checks.choice("update", update, UPDATES)
        self.commitment = checks.number("commitment", commitment, "[0, inf)")
        self.decay, self.restart = checks.number("decay", decay, "(0, 1)"), checks.number("restart", restart, "[0, 1)")
        self.eps, dtype = checks.number("eps", eps, "(0, inf)"), checks.float_dtype("dtype", dtype)
        self.codebook: Tensor = init.normal((codes, dim), dtype)  # e, (K, D)
        self.counts = Buffer(np.ones(codes, dtype))  # N, (K,)
        self.sums: Tensor | None = None  # m, (K, D)
        if update == "ema":
            self.codebook = Buffer(self.codebook.data)
            self.sums = Buffer(self.codebook.data)
        self.pass_counts = Buffer(np.zeros(codes, np.int64))
        self.initialized = Buffer(np.zeros((), np.int64))

    def forward(self, z: Any) -> Quantized:
        """Latents z (N, D, ...) -> their codes; in training mode the codebook learns from z afterwards.

        Raises ValueError for another D, TypeError for another dtype than the codebook's.
        """
        z = self._check_latents(z)
        rows = self._as_rows(z)  # (M, D)
        codes, index = F.quantize(rows, self.codebook)  # (M, D) and (M,): equations 1 and 2
        loss = self._loss(rows, codes)
        quantized = F.straight_through(rows, codes)  # (M, D), the codes in the forward pass, rows in the backward pass
        counts = self._count(index.data, rows.dtype)  # (K,)
        perplexity, usage = perplexity_and_usage(counts, self.codebook.backend.xp)
        if self.training:
            self._learn(rows.data, index.data, counts)
        indices = index.reshape((z.shape[0], *z.shape[2:]))
        return Quantized(self._as_maps(quantized, z.shape), indices, loss, perplexity, usage)

    def _loss(self, z: Tensor, e: Tensor) -> Tensor:
        """The quantiser's terms of equation 3, for z (M, D) and their codes e (M, D)."""
        loss = self.commitment * mean_squared_distance(z, e.detach())  # commitment ||z - sg[e]||^2
        if self.update == "gradient":
            loss = loss + mean_squared_distance(z.detach(), e)  # ||sg[z] - e||^2
        return loss

    def encode(self, z: Any) -> Tensor:
        """Latents z (N, D, ...) -> the indices of the nearest codes (N, ...), int64. Nothing is learned or counted.

        Raises ValueError for another D, TypeError for another dtype than the codebook's.
        """
        z = self._check_latents(z)
        _, index = F.quantize(self._as_rows(z).detach(), self.codebook)
        return index.reshape((z.shape[0], *z.shape[2:]))

    def decode(self, indices: Any) -> Tensor:
        """Indices (N, ...) -> their codes (N, D, ...). TypeError unless integers, ValueError outside [0, codes)."""
        codes = F.embedding(indices, self.codebook)  # (N, ..., D)
        if codes.ndim < 2:
            raise ValueError(f"VectorQuantizer needs indices (N, ...), got shape {codes.shape[:-1]}")
        return F.transpose(codes, (0, codes.ndim - 1, *range(1, codes.ndim - 1)))

    # ---- learning without gradients ----

    def _learn(self, rows: Array, index: Array, counts: Array) -> None:
        """Appendix A.1 for the latents `rows` (M, D) of a batch, then the restart of dead codes.

        Each shard gives what it knows of its latents; one of them changes the codebook.
        """
        shard = current_shard()
        sums = shard.sum(self.codebook.backend.segment_sum(rows, index, self.codes))  # s, (K, D)
        fresh = self._random_latents(rows, shard) if self.restart and len(rows) else None
        if not shard.leads:
            return
        move_average(self.counts, counts, self.decay)  # N, from n
        if self.sums is not None:
            move_average(self.sums, sums, self.decay)  # m, from s
            N = self.counts.data
            total = N.sum()
            smoothed = (N + self.eps) / (total + self.codes * self.eps) * total
            self.codebook.inplace()[...] = self.sums.data / smoothed[:, None]  # e = m / N
        if fresh is not None:
            self._restart_dead_codes(fresh, counts)

    def _random_latents(self, rows: Array, shard: Shard) -> Array:
        """Return a latent of the batch for each code, (K, D), from the latents `rows` (M, D) of a shard.

        The latents of the batch are cut into K equal parts, and code k gets a random one of the k-th part, so that two
        codes get different ones wherever there are enough.
        """
        xp, device = self.codebook.backend.xp, self.codebook.device
        each = len(rows) // (shard.examples or len(rows))  # how many latents an example has, where there are shards
        first, total = shard.first * each, len(rows) if shard.batch is None else shard.batch * each
        part = xp.arange(self.codes) + current_generator().uniform((self.codes,), np.float64, device)  # in [k, k + 1)
        chosen = xp.minimum((part * (total / self.codes)).astype(np.int64), total - 1) - first
        own = (chosen >= 0) & (chosen < len(rows))
        return shard.sum(xp.where(own[:, None], rows[xp.where(own, chosen, 0)], 0).astype(rows.dtype))

    def _restart_dead_codes(self, fresh: Array, counts: Array) -> None:
        """Put dead codes on the latents `fresh` (K, D); counts (K,): how often the batch chose each code."""
        xp = self.codebook.backend.xp
        bound = self.restart * self.counts.data.mean()
        dead = (self.counts.data < bound) & (counts == 0)  # (K,)
        self.codebook.inplace()[...] = xp.where(dead[:, None], fresh, self.codebook.data)
        if self.sums is not None:
            self.sums.inplace()[...] = xp.where(dead[:, None], fresh * (2 * bound), self.sums.data)
        self.counts.inplace()[...] = xp.where(dead, 2 * bound, self.counts.data)

    # ---- codes from data ----

    def vectors_wanted(self) -> int:
        """How many latents initialize() should be given: 64 a code, or 0 once the codebook has been started."""
        return 0 if self.initialized.item() else VECTORS_PER_CODE * self.codes

    def codebooks(self) -> list[np.ndarray]:
        """The codebook (K, D), on the host."""
        return [self.codebook.numpy()]

    def initialize(self, rows: np.ndarray) -> None:
        """Set the codebook to the k-means of latents, rows (M, D) on the host: N_k to 1 and m_k to e_k.

        Raises TypeError unless they are floating numbers, ValueError for fewer rows than codes, rows of another length,
        NaN or infinity.
        """
        rows = self._check_rows(rows, self.codebook.dtype)
        codebook = self.codebook.backend.asarray(k_means(rows, self.codes))
        self.codebook.inplace()[...] = codebook
        self.counts.inplace()[...] = 1
        if self.sums is not None:
            self.sums.inplace()[...] = codebook
        self.initialized.inplace()[...] = 1

    def extra_repr(self) -> str:
        return f"{self.codes}, {self.dim}, update={self.update!r}, commitment={self.commitment}, decay={self.decay}"


def mean_squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||^2 of rows (M, D), averaged over the rows: ()."""
    difference = a - b
    return (difference * difference).sum(axis=1).mean()


def move_average(average: Tensor, value: Array, decay: float) -> None:
    """average <- decay average + (1 - decay) value, in place."""
    array = average.inplace()
    array *= decay
    array += (1 - decay) * value
