"""The variational autoencoder (Kingma & Welling 2013; Rezende, Mohamed & Wierstra 2014).

A decoder p(x | z) and a prior p(z) = N(0, I) make a model of images, log p(x) = log E_{p(z)} p(x | z), that cannot be
computed. An encoder q(z | x) = N(mu(x), exp(log_var(x))) bounds it from below,

    log p(x) >= ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)),

with equality when q is the posterior. Training minimises the mean of nll + beta * kl over the examples: nll is a
one-sample estimate of the first term through z = mu + exp(log_var / 2) * eps, kl is in closed form, both in nats per
example. beta = 1 is the bound; other values trade it for independent latents (Higgins et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels.contract import Noise
from minivae.nn.likelihoods import LIKELIHOODS
from minivae.nn.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from minivae.random import default_generator
from minivae.training import Estimator


class VAELoss(NamedTuple):
    """Scalars, in nats per example, averaged over the batch: loss = nll + beta * kl."""

    loss: Tensor
    nll: Tensor
    kl: Tensor


class VAE(Estimator):
    """Variational autoencoder over images.

    image_shape: (C, H, W). latent_dim: D. arch: 'conv' or 'dense'. likelihood: 'bernoulli' (pixels in [0, 1]) or
    'gaussian' (one learned variance). beta: weight of the KL term, >= 0. channels: of the strided convolutions,
    (32, 64) unless given. hidden: of the dense layers, (256,) for 'conv' and (400, 400) for 'dense' unless given.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 16,
        arch: str = "conv",
        likelihood: str = "bernoulli",
        beta: float = 1.0,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] | None = None,
    ) -> None:
        _check(image_shape, latent_dim, arch, likelihood, beta, channels)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.beta = latent_dim, arch, beta
        self.channels, self.hidden, self.likelihood = channels, hidden, likelihood
        self.history = []
        shape = (int(image_shape[0]), int(image_shape[1]), int(image_shape[2]))
        if arch == "conv":
            sizes = (32, 64) if channels is None else channels, (256,) if hidden is None else hidden
            self.encoder = conv_encoder(shape, *sizes, 2 * latent_dim)
            self.decoder = conv_decoder(shape, *sizes, latent_dim)
        else:
            layers = (400, 400) if hidden is None else hidden
            self.encoder = dense_encoder(shape, layers, 2 * latent_dim)
            self.decoder = dense_decoder(shape, layers, latent_dim)
        self.observation = LIKELIHOODS[likelihood]()
        self.unit_interval = self.observation.unit_interval

    # ---- the model ----

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """q(z | x): mu and log_var, (N, D) each."""
        h = self.encoder(self.tensor(x))  # (N, 2 D)
        return h[:, : self.latent_dim], h[:, self.latent_dim :]

    def terms(self, x: Any, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """nll (N,) and kl (N,) in nats, with one sample of z; `noise` fixes the sample."""
        x = self.tensor(x)
        mu, log_var = self.posterior(x)
        z = F.reparameterize(mu, log_var, noise)
        nll = self.observation.nll(self.decoder(z), x)
        return nll, F.gaussian_kl(mu, log_var).sum(axis=1)

    def loss(self, x: Any, noise: Noise | None = None) -> VAELoss:
        """The mean of nll + beta * kl over images x (N, C, H, W)."""
        nll, kl = (term.mean() for term in self.terms(x, noise))
        return VAELoss(nll + self.beta * kl, nll, kl)

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images -> the means of q(z | x), (N, D)."""
        return self.batched(lambda x: self.posterior(x)[0], self.check_images(x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Latents (N, D) -> the expected images (N, C, H, W)."""
        z = np.asarray(z)
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must have shape (N, {self.latent_dim}), got {z.shape}")
        return self.batched(lambda z: self.observation.mean(self.decoder(z)), z)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """decode(encode(x)): without noise."""
        return self.decode(self.encode(x))

    def sample(self, n: int = 1) -> np.ndarray:
        """n images (n, C, H, W): the decoder's means for z drawn from the prior."""
        if n < 1:
            raise ValueError(f"the number of samples must be at least 1, got {n}")
        return self.decode(default_generator.normal((n, self.latent_dim)))

    def score_samples(self, x: np.ndarray, samples: int = 1) -> np.ndarray:
        """The ELBO of each image in nats (N,), its expectation estimated with `samples` draws of z."""
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        x = self.check_images(x)
        total = np.zeros(len(x))
        for _ in range(samples):
            total -= self.batched(lambda x: F.add(*self.terms(x)), x)
        return total / samples

    def transform(self, x: np.ndarray) -> np.ndarray:
        """encode(x), under scikit-learn's name."""
        return self.encode(x)

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """decode(z), under scikit-learn's name."""
        return self.decode(z)

    def bits_per_dim(self, nats: float) -> float:
        """nats per image in bits per channel and pixel, see nn.likelihoods."""
        return self.observation.bits_per_dim(nats, tuple(self.image_shape))


def _check(
    image_shape: Sequence[int], latent_dim: int, arch: str, likelihood: str, beta: float, channels: Sequence[int] | None
) -> None:
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be (C, H, W), got {image_shape!r}")
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
    if arch not in ("conv", "dense"):
        raise ValueError(f"arch must be 'conv' or 'dense', got {arch!r}")
    if arch == "dense" and channels is not None:
        raise ValueError("channels belong to arch='conv'")
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {sorted(LIKELIHOODS)}, got {likelihood!r}")
    if not 0 <= beta < np.inf:
        raise ValueError(f"beta must be a number >= 0, got {beta}")
