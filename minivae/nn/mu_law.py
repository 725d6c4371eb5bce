"""Mu-law (ITU-T G.711): sound samples as integers with finer steps near 0, and a likelihood over these integers.

A sample x in [-1, 1] is compressed to sign(x) log(1 + mu |x|) / log(1 + mu), again in [-1, 1], of which 2^bits
intervals of equal length are the levels. For example 8 bits and mu = 255 put x = 0.001 into level 133 and x = 0.002
into level 137 of 256, but 0.5 and 0.501 both into level 240. A level stands for the middle of its interval.

**The likelihood** (van den Oord et al. 2016, "WaveNet", section 2.2) is a categorical distribution over the 256 levels
of each sample, given by a softmax. It has any shape, where a Gaussian is one bump of one width. Its nats are those of a
discrete distribution: they are never negative, a uniform one costs log 256 of them, 8 bits, and an ideal code for the
8-bit mu-law samples has their length. A Gaussian's nats are of a density, and do not compare with them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log, log1p, prod
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import backend_of
from minivae.kernels.contract import Array, Noise
from minivae.ops.likelihood import CrossEntropy

from .categorical import draw
from .layers import Linear
from .likelihoods import Likelihood

MU = 255
LEVELS = 256  # of the likelihood: 8 bits
AT_A_TIME = 16  # examples whose logits are held at once, 256 numbers for each sample


def levels_of(x: Array, levels: int = LEVELS) -> Array:
    """Return the levels of samples in [-1, 1], of any shape: int64 in [0, levels), an even number of them."""
    xp, half = backend_of(x).xp, levels // 2
    compressed = xp.log1p(MU * abs(x)) / log1p(MU)  # in [0, 1]
    step = xp.minimum((compressed * half).astype(np.int64), half - 1)
    return xp.where(x < 0, half - 1 - step, half + step)


def values_of(level: Array, levels: int = LEVELS) -> Array:
    """Return the middles of the intervals of levels, of any shape: float64 in (-1, 1)."""
    xp, half = backend_of(level).xp, levels // 2
    signed = (level + 0.5 - half) / half  # (-1, 1), the compressed sample
    return xp.sign(signed) * xp.expm1(abs(signed) * log1p(MU)) / MU


class MuLaw(Likelihood):
    """Samples have independent categorical distributions over 256 levels, whose logits are linear in the features.

    features: the number H of them that the decoder gives for each sample, (N, H, 1, T).
    """

    unit_interval = False

    def __init__(self, features: int) -> None:
        self.head = Linear(features, LEVELS)

    def logits(self, output: Tensor) -> Tensor:
        """Return logits (N T, 256), a row for each sample, for features (N, H, 1, T)."""
        N, H, _, T = output.shape
        rows = F.transpose(F.reshape(output, (N, H, T)), (0, 2, 1))  # (N, T, H)
        return self.head(F.reshape(rows, (N * T, H)))

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log P of the levels of x in nats per example: features (N, H, 1, T), samples (N, 1, 1, T) -> (N,)."""

        def nll(output: Tensor, x: Tensor) -> Tensor:
            levels = Tensor.wrap(levels_of(x.data).reshape(-1))
            return F.reshape(CrossEntropy.apply(self.logits(output), levels), (len(x), x.size // max(1, len(x)))).sum(1)

        return in_parts(nll, output, x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected samples, (N, H, 1, T) -> (N, 1, 1, T)."""

        def mean(output: Tensor) -> Tensor:
            p = F.softmax(self.logits(output), axis=1)  # (N T, 256)
            kernels = p.backend
            values = kernels.asarray(values_of(np.arange(LEVELS)).astype(p.dtype))
            return F.reshape(F.matmul(p, Tensor.wrap(values[:, None])), (len(output), 1, *output.shape[2:]))

        return in_parts(mean, output)

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw samples from the distribution, (N, H, 1, T) -> (N, 1, 1, T).

        noise: the draw to use for the first part of many examples, each later part uses the one after; None for the
        generator's next ones.
        """
        draws = iter(range(len(output) // AT_A_TIME + 1))

        def sample(output: Tensor) -> Tensor:
            logits, later = self.logits(output.detach()).data, next(draws)  # (N T, 256)
            own = None if noise is None else noise._replace(draw=noise.draw + later)
            values = values_of(draw(logits, noise=own)).astype(logits.dtype)
            return Tensor.wrap(values.reshape(len(output), 1, *output.shape[2:]))

        return in_parts(sample, output)

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Return nats per waveform in bits per sample of 8-bit mu-law: nats / (T log 2)."""
        return nats / (prod(image_shape) * log(2))


def in_parts(function: Callable[..., Tensor], *tensors: Any) -> Tensor:
    """Join what a function returns for the first AT_A_TIME examples, for the next ones, and so on."""
    N = len(tensors[0])
    parts = [function(*(t[k : k + AT_A_TIME] for t in tensors)) for k in range(0, max(N, 1), AT_A_TIME)]
    return parts[0] if len(parts) == 1 else F.cat(parts, axis=0)
