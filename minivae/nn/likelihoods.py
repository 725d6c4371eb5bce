"""What a decoder's output means: a distribution over images, with its negative log-likelihood in nats per example."""

from __future__ import annotations

from math import log, prod

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor

from .module import Module, Parameter

SIGMA_FLOOR = 0.01  # a Gaussian decoder may not become more certain than this: on exact pixels the density is unbounded


class Bernoulli(Module):
    """Pixels in [0, 1], each with probability sigmoid(output) of being 1.

    For grey pixels this is the usual cross-entropy: fit for training, not comparable with the nats of binary images.
    """

    unit_interval = True

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """(N, ...) -> (N,) nats."""
        return F.bernoulli_nll(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """The expected image."""
        return F.sigmoid(output)

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """nats / (C H W log 2)."""
        return nats / (prod(image_shape) * log(2))


class Gaussian(Module):
    """Pixels with mean `output` and one learned variance for all, exp(log_var) >= SIGMA_FLOOR^2 (Rybkin et al. 2020).

    log_var = floor + softplus(raw - floor), smooth, and close to raw where raw is well above the floor.
    """

    unit_interval = False

    def __init__(self) -> None:
        self.raw_log_var = Parameter(np.zeros((), np.float32))  # sigma starts at about 1

    @property
    def log_var(self) -> Tensor:
        floor = 2 * log(SIGMA_FLOOR)
        return F.softplus(self.raw_log_var - floor) + floor

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """(N, ...) -> (N,) nats."""
        return F.gaussian_nll(output, self.log_var, x)

    def mean(self, output: Tensor) -> Tensor:
        """The expected image."""
        return output

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Of pixels that are k / 255: a density p on [0, 1] gives such a value the probability p / 255."""
        return nats / (prod(image_shape) * log(2)) + log(255) / log(2)


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
