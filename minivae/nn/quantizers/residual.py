"""Residual vector quantisation, RVQ: several codebooks in a row (SoundStream, Zeghidour et al. 2021, algorithm 1).

The first stage replaces a latent z by the nearest of its K vectors. What is missing, the residual, goes to the next
stage, which has a codebook of its own, and so on:

    r_0 = z,    q_i = Q_i(r_{i-1}),    r_i = r_{i-1} - q_i,    i = 1, ..., S,      z_q = q_1 + ... + q_S,

so that z = z_q + r_S. S stages of K codes tell K^S vectors apart and store S K: four of 16 codes as many as one
codebook of 65,536. An example with D = 1: z = 0.8, stage 1 has the codes 0 and 1, stage 2 has -0.25 and 0.25. Then
q_1 = 1, r_1 = -0.2, q_2 = -0.25, z_q = 0.75, and r_2 = 0.05. The first stages say the most: the codes of stages
1, ..., s alone stand for q_1 + ... + q_s, so a shorter code is a prefix of the longer one.

**Gradients.** The sum is passed straight through to z (see vector.py), and each stage is a VectorQuantizer with its own
terms of the loss, its own moving averages and its own restarts:

    loss = sum over stages of  commitment ||r_{i-1} - sg[q_i]||^2   (+ ||sg[r_{i-1}] - e||^2 for update='gradient').

What the gradient of stage i's commitment is depends on which q are held constant in r_{i-1} = z - q_1 - ... - q_{i-1}:

* They must be the codes themselves, sg[q]. With q passed straight through, q = z + sg[q - z], the z in r_1 = z - q
  cancel out, and no stage but the first commits the encoder (encodec, issue 25; lucidrains/vector-quantize-pytorch,
  issue 33).
* Without sg[.], the residual of a later stage would also move the codes of the stages before it
  (descript-audio-codec, issue 107), which then learn from two places.

In the example, with commitment 0.25, z gets 0.25 * 2 (0.8 - 1) = -0.1 from stage 1 and 0.25 * 2 (-0.2 + 0.25) = 0.025
from stage 2.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, as_tensor
from minivae.kernels import checks
from minivae.nn.containers import ModuleList

from .base import Quantized, Quantizer
from .vector import VectorQuantizer

MOST_STAGES = 64


class ResidualVectorQuantizer(Quantizer):
    """`stages` codebooks of `codes` vectors of length `dim`: each quantises what the ones before it leave of a latent.

    stages: from 1 to 64. The other arguments are those of VectorQuantizer and hold for each stage. Indices are
    (N, stages, ...). Raises TypeError and ValueError for arguments of other types and ranges.
    """

    def __init__(
        self,
        codes: int,
        dim: int,
        stages: int,
        update: str = "ema",
        commitment: float = 0.25,
        decay: float = 0.99,
        restart: float = 0.05,
        eps: float = 1e-5,
        dtype: Any = np.float32,
    ) -> None:
        stages = checks.integer("stages", stages, 1, MOST_STAGES)
        of_each = (codes, dim, update, commitment, decay, restart, eps, dtype)
        self.stages = ModuleList(VectorQuantizer(*of_each) for _ in range(stages))
        self.codes, self.dim = self.stages[0].codes, self.stages[0].dim

    def _each(self) -> list[Any]:
        """The stages, from the first to the last."""
        return list(self.stages)

    def forward(self, z: Any) -> Quantized:
        """Latents z (N, D, ...) -> the sums of their codes; in training mode each stage learns from its residuals.

        Raises ValueError for another D, TypeError for another dtype than the codebooks'.
        """
        z = self._check_latents(z)
        residual, parts = z, []
        for stage in self._each():
            parts.append(stage(residual))  # q_i = Q_i(r_{i-1})
            residual = residual - parts[-1].quantized.detach()  # r_i = r_{i-1} - sg[q_i]
        quantized = F.straight_through(z, _sum([part.quantized.detach() for part in parts]))
        return Quantized(
            quantized,
            F.stack([part.indices for part in parts], axis=1),  # (N, S, ...)
            _sum([part.loss for part in parts]),
            F.stack([part.perplexity for part in parts]),  # (S,)
            F.stack([part.usage for part in parts]),
        )

    def encode(self, z: Any) -> Tensor:
        """Latents z (N, D, ...) -> the indices of all stages (N, stages, ...), int64. Nothing is learned or counted.

        Raises ValueError for another D, TypeError for another dtype than the codebooks'.
        """
        residual, indices = self._check_latents(z).detach(), []
        for stage in self._each():
            indices.append(stage.encode(residual))
            residual = residual - stage.decode(indices[-1]).detach()
        return F.stack(indices, axis=1)

    def decode(self, indices: Any) -> Tensor:
        """Indices (N, s, ...) of the first s stages -> the sums of their codes (N, D, ...), for s from 1 to `stages`.

        TypeError unless they are integers, ValueError outside [0, codes) and for another number of stages.
        """
        indices = as_tensor(indices)
        if indices.ndim < 2 or not 1 <= indices.shape[1] <= len(self.stages):
            raise ValueError(
                f"ResidualVectorQuantizer needs indices (N, s, ...) of s = 1 to {len(self.stages)} stages, "
                f"got shape {indices.shape}"
            )
        return _sum([self.stages[i].decode(indices[:, i]) for i in range(indices.shape[1])])

    def code_shape(self, *size: int) -> tuple[int, ...]:
        """The shape of the indices of one map of latents of this size: (h, w) -> (stages, h, w)."""
        return (len(self.stages), *size)

    # ---- codes from data ----

    def vectors_wanted(self) -> int:
        """How many latents initialize() should be given, or 0 once the codebooks have been started."""
        return max(stage.vectors_wanted() for stage in self._each())

    def initialize(self, rows: np.ndarray) -> None:
        """Set each codebook to the k-means of the residuals that the stages before it leave of rows (M, D).

        Raises TypeError and ValueError as VectorQuantizer.initialize() does.
        """
        codebook = self.stages[0].codebook
        rows = self._check_rows(rows, codebook.dtype)
        for stage in self._each():
            stage.initialize(rows)
            residual = Tensor.wrap(codebook.backend.asarray(rows))
            rows = (residual - stage.decode(stage.encode(residual)).detach()).numpy()

    def codebooks(self) -> list[np.ndarray]:
        """The codebooks (K, D) of all stages, on the host."""
        return [codebook for stage in self._each() for codebook in stage.codebooks()]

    # ---- over a whole pass ----

    def begin_pass(self) -> None:
        """Begin to count anew how often each code of each stage is chosen."""
        for stage in self._each():
            stage.begin_pass()

    def end_pass(self) -> dict[str, float]:
        """perplexity_1, usage_1, ..., of each stage since begin_pass(), after means over the stages.

        `perplexity` is exp of the mean of the stages' entropies, `usage` the mean of their usages. An empty dictionary
        if there were no latents.
        """
        found = [stage.end_pass() for stage in self._each()]
        if not found[0]:
            return {}
        means = {
            "perplexity": exp(sum(log(of["perplexity"]) for of in found) / len(found)),
            "usage": sum(of["usage"] for of in found) / len(found),
        }
        return means | {f"{name}_{i}": value for i, of in enumerate(found, 1) for name, value in of.items()}


def _sum(parts: list[Tensor]) -> Tensor:
    """The sum of Tensors of one shape, from the first to the last."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
