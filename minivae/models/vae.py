"""The variational autoencoder (Kingma & Welling 2013; Rezende, Mohamed & Wierstra 2014).

A decoder p(x | z) and a prior p(z) = N(0, I) make a model of images, log p(x) = log E_{p(z)} p(x | z), that cannot be
computed. An encoder q(z | x) = N(mu(x), exp(log_var(x))) bounds it from below,

    log p(x) >= ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)),

with equality when q is the posterior. Training minimises the mean of nll + beta * kl over the examples: nll is a
one-sample estimate of the first term through z = mu + exp(log_var / 2) * eps, kl is in closed form, both in nats per
example. beta = 1 is the bound; other values trade it for independent latents (Higgins et al. 2017).

A latent that has learned nothing yet costs nll nothing and kl something, so that it is switched off early and for good
(posterior collapse). Two remedies change the loss, in training mode only:

* warm-up (Sønderby et al. 2016, section 2.3): the weight of kl rises linearly from 0 to beta over the first steps;
* free bits (Kingma et al. 2016, equation 15): of kl = sum_j KL_j, each latent's mean over the batch counts as at least
  lambda nats, kl -> sum_j max(lambda, mean KL_j), so that below lambda nothing pushes it further down.

In evaluation mode the loss is nll + beta * kl, whatever was done in training: its numbers compare between models.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import backend, checks
from minivae.kernels.contract import Noise
from minivae.nn.likelihoods import LIKELIHOODS
from minivae.nn.module import Buffer
from minivae.nn.networks import check_architecture, conv_decoder, conv_encoder, dense_decoder, dense_encoder
from minivae.random import current_generator, noise_or_next

from .base import Codec
from .importance import importance_log_likelihood

ACTIVE = 0.01  # a latent is active where its posterior mean varies more than this over the data (Burda et al. 2015)
BINARY_SEED, BINARY_BLOCK = 0xB17, 1024  # the one binarisation of grey images that evaluations see; images to a draw


class VAELoss(NamedTuple):
    """Scalars, in nats per example, averaged over the batch. loss = nll + beta * kl but for warm-up and free bits,
    which change the loss alone: nll and kl are what they are."""

    loss: Tensor
    nll: Tensor
    kl: Tensor


class LatentUsage(NamedTuple):
    """What each latent is used for: KL_j in nats (D,), the variance of its posterior mean (D,), how many are active."""

    kl: np.ndarray
    variance: np.ndarray
    active: int


class VAE(Codec):
    """Variational autoencoder over images.

    image_shape: (C, H, W). latent_dim: D. arch: 'conv' or 'dense'. likelihood: 'bernoulli' (pixels in [0, 1]) or
    'gaussian' (one learned variance). beta: weight of the KL term, >= 0. channels: of the strided convolutions,
    (32, 64) unless given. hidden: of the dense layers, (256,) for 'conv' and (400, 400) for 'dense' unless given.
    kl_warmup: over how many steps of the optimiser (not epochs) the weight of the KL term rises from 0 to beta, in each
    fit anew. free_bits: lambda, in nats per latent, >= 0. binarize: 'dynamic' takes grey pixels, with likelihood
    'bernoulli', as the probabilities of black and white ones, which are drawn anew each time an image is trained on.
    The others: see Estimator.

    With binarize, the nats are those of binary images: loss() draws them from minivae's generator, under evaluate()
    therefore always the same, and score_samples, log_likelihood and latent_usage see binarized(x). encode and what
    builds on it take x as it is, the mean of its binarisations, so that a code carries no noise.
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
        kl_warmup: int = 0,
        free_bits: float = 0.0,
        binarize: str | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        check_architecture(image_shape, latent_dim, arch, channels, hidden)
        _check(likelihood, beta, kl_warmup, free_bits, binarize)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.beta = latent_dim, arch, beta
        self.channels, self.hidden, self.likelihood = channels, hidden, likelihood
        self.kl_warmup, self.free_bits, self.binarize = kl_warmup, free_bits, binarize
        self._begin(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Encoder, decoder and likelihood."""
        # The present weight of kl. It is a buffer so that a captured step finds it on the device, and it is not saved
        # because it follows from the step.
        self.beta_now = Buffer(np.array(self.beta, np.float32), persistent=False)
        C, H, W = map(int, self.image_shape)
        if self.arch == "conv":
            sizes = (32, 64) if self.channels is None else self.channels, (256,) if self.hidden is None else self.hidden
            self.encoder = conv_encoder((C, H, W), *sizes, 2 * self.latent_dim)
            self.decoder = conv_decoder((C, H, W), *sizes, self.latent_dim)
        else:
            layers = (400, 400) if self.hidden is None else self.hidden
            self.encoder = dense_encoder((C, H, W), layers, 2 * self.latent_dim)
            self.decoder = dense_decoder((C, H, W), layers, self.latent_dim)
        self.observation = LIKELIHOODS[self.likelihood]()
        self.unit_interval = self.observation.unit_interval

    # ---- the model ----

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """q(z | x): mu and log_var, (N, D) each."""
        h = self.encoder(self.tensor(x))  # (N, 2 D)
        return h[:, : self.latent_dim], h[:, self.latent_dim :]

    def latent_terms(self, x: Any, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """nll (N,) with one sample of z, and the kl of each latent (N, D), in nats; `noise` fixes the sample."""
        x = self.tensor(x)
        mu, log_var = self.posterior(x)
        z = F.reparameterize(mu, log_var, noise)
        return self.observation.nll(self.decoder(z), x), F.gaussian_kl(mu, log_var)

    def terms(self, x: Any, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """nll (N,) and kl (N,) in nats, with one sample of z."""
        nll, kl = self.latent_terms(x, noise)
        return nll, kl.sum(axis=1)

    def loss(self, x: Any, noise: Noise | None = None) -> VAELoss:
        """The mean of nll + beta * kl over images x (N, C, H, W), in training mode with warm-up and free bits.

        noise: fixes the sample of z and, by the draw after it, the binarisation.
        """
        x = self.tensor(x)
        if self.binarize is not None:
            after = None if noise is None else noise_or_next(noise)._replace(draw=noise.draw + 1)
            x = _bernoulli(x, noise_or_next(after))
        nll, kl = self.latent_terms(x, noise)
        nll, kl = nll.mean(), kl.mean(axis=0)  # (), (D,)
        charged = F.maximum(kl, float(self.free_bits)) if self.training and self.free_bits else kl
        beta = self.beta_now if self.training and self.kl_warmup else float(self.beta)  # NumPy's would make float64
        return VAELoss(nll + beta * charged.sum(), nll, kl.sum())

    def before_step(self, step: int, steps: int) -> None:
        """Raise the weight of the KL term: 0 in step 0, beta from step kl_warmup on."""
        if self.kl_warmup:
            self.beta_now.inplace()[...] = self.beta * min(1.0, step / self.kl_warmup)

    def log_weights(self, x: Any, samples: int = 1, noise: Noise | None = None) -> Tensor:
        """log p(x, z) - log q(z | x) for `samples` draws of z from q(z | x): (N, C, H, W) -> (samples, N) nats."""
        x, samples = self.tensor(x), checks.integer("samples", samples, 1)
        mu, log_var = (_repeat(t, samples) for t in self.posterior(x))  # (samples * N, D)
        noise = noise_or_next(noise)
        z = F.reparameterize(mu, log_var, noise)
        eps = Tensor.wrap(z.backend.normal(z.shape, z.dtype, noise))  # (z - mu) / sigma, which exp(-log_var) overflows
        log_ratio = 0.5 * (log_var + eps * eps - z * z).sum(axis=1)  # log p(z) - log q(z|x)
        nll = self.observation.nll(self.decoder(z), _repeat(x, samples))
        return (log_ratio - nll).reshape(samples, len(x))

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images -> the means of q(z | x), (N, D)."""
        return self.batched(lambda x: self.posterior(x)[0], self.check_images(x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Latents (N, D) -> the expected images (N, C, H, W)."""
        return self.batched(lambda z: self.observation.mean(self.decoder(z)), self.check_latents(z))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """decode(encode(x)): without noise."""
        return self.decode(self.encode(x))

    def sample(self, n: int = 1) -> np.ndarray:
        """n images (n, C, H, W): the decoder's means for z drawn from the prior."""
        n = checks.integer("n", n, 1)
        checks.elements("an array of samples", (n, *self.image_shape))
        with self.own_noise():
            return self.decode(current_generator().normal((n, self.latent_dim)))

    def binarized(self, x: np.ndarray) -> np.ndarray:
        """Images as evaluations see them: with binarize, grey pixels drawn black or white, always by the same noise.

        Binary images stay as they are, and the first n images do not depend on those behind them.
        """
        x = self.check_images(x)
        if self.binarize is None:
            return x
        binary = np.empty_like(x)
        for draw, start in enumerate(range(0, len(x), BINARY_BLOCK)):
            block = x[start : start + BINARY_BLOCK]
            noise = Noise(BINARY_SEED, draw)
            binary[start : start + BINARY_BLOCK] = (
                backend("cpu").uniform(block.shape, np.dtype(np.float32), noise) < block
            )
        return binary

    def score_samples(self, x: np.ndarray, samples: int = 1) -> np.ndarray:
        """The ELBO of each image in nats (N,), its expectation estimated with `samples` draws of z."""
        x, samples = self.binarized(x), checks.integer("samples", samples, 1)
        total = np.zeros(len(x))
        with self.own_noise():
            for _ in range(samples):
                total -= self.batched(lambda x: F.add(*self.terms(x)), x)
        return total / samples

    def log_likelihood(
        self, x: np.ndarray, samples: int = 5000, rows: int = 2048, progress: bool = False
    ) -> np.ndarray:
        """log p(x) of each image in nats (N,), estimated from below with `samples` draws of z: models.importance.

        rows: how many draws are in memory at a time. progress: a bar on a terminal. ValueError for samples < 1.
        """
        x = self.binarized(x)
        training = self.training
        self.eval()
        try:
            with self.own_noise(), self.parameters()[0].backend.session():
                found = importance_log_likelihood(self.log_weights, x, samples, rows, progress)
            return self.check_output(found)
        finally:
            self.train(training)

    def latent_usage(self, x: np.ndarray) -> LatentUsage:
        """KL of each latent over images x, and how many are active: Var_x(E[z_j | x]) > 0.01 (Burda et al. 2015).

        A collapsed latent has a KL near 0 and is not active. ValueError for no images.
        """
        x = self.binarized(x)
        if not len(x):
            raise ValueError(f"latent_usage needs at least one image, got shape {x.shape}")
        posterior = self.batched(lambda x: F.cat(self.posterior(x), axis=1), x).astype(np.float64)  # (N, 2 D)
        mu, log_var = np.split(posterior, 2, axis=1)
        kl = self.check_output((mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=0) / 2)
        variance = mu.var(axis=0)
        return LatentUsage(kl, variance, int((variance > ACTIVE).sum()))

    # ---- walks through the latent space ----

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int = 10) -> np.ndarray:
        """Images on the way from each of a to its partner in b, (N, C, H, W) both -> (N, steps, C, H, W).

        Decoded are `steps` >= 2 points of the straight line between their codes, the ends included.
        """
        steps = checks.integer("steps", steps, 2)  # the two ends
        start, end = self.encode(a), self.encode(b)
        if start.shape != end.shape:
            raise ValueError(f"interpolate needs as many images at both ends, got {len(start)} and {len(end)}")
        checks.elements("an array of images", (len(start), steps, *self.image_shape))
        t = np.linspace(0, 1, steps, dtype=start.dtype)[:, None]
        path = (1 - t) * start[:, None] + t * end[:, None]  # (N, steps, D)
        return self._decode_grid(path)

    def traverse(
        self, x: np.ndarray | None = None, dims: Sequence[int] | None = None, values: Sequence[float] | None = None
    ) -> np.ndarray:
        """One latent after the other moved through `values`: -> (len(dims), len(values), C, H, W).

        The others stay at the code of the image x (1, C, H, W), or at 0, the prior's mean, without one. dims: all
        unless given. values: -3, -2, ..., 3 unless given, in the prior's standard deviations.
        """
        chosen = range(self.latent_dim) if dims is None else checks.integers("dims", dims)
        if not len(chosen) or not all(0 <= d < self.latent_dim for d in chosen):
            raise ValueError(f"dims must be latents in [0, {self.latent_dim}), got {list(chosen)}")
        places = np.arange(-3.0, 4.0) if values is None else checks.array("values", values, "iuf").astype(np.float64)
        if places.ndim != 1 or not len(places):
            raise ValueError(f"values must be a list of numbers, got shape {places.shape}")
        checks.check_finite(places, "values")
        code = np.zeros((1, self.latent_dim)) if x is None else self.encode(x)
        if len(code) != 1:
            raise ValueError(f"traverse starts from one image, got {len(code)}")
        grid = np.tile(code, (len(chosen), len(places), 1))  # (dims, values, D)
        for row, d in enumerate(chosen):
            grid[row, :, d] = places
        return self._decode_grid(grid)

    def manifold(self, n: int = 20) -> np.ndarray:
        """The plane of two latents as n x n images (n * n, C, H, W), row by row, for latent_dim = 2 (else ValueError).

        The grid's points are quantiles (i + 1/2) / n of the prior, so that each image stands for an equal share of its
        probability (Kingma & Welling 2013, figure 4): latent 0 grows to the right, latent 1 upwards.
        """
        if self.latent_dim != 2:
            raise ValueError(f"the manifold is drawn for latent_dim = 2, this model has {self.latent_dim}")
        checks.elements("an array of images", (checks.integer("n", n, 1), n, *self.image_shape))
        points = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
        return self.decode(np.array([(right, up) for up in reversed(points) for right in points]))

    def _decode_grid(self, z: np.ndarray) -> np.ndarray:
        """(A, B, D) -> (A, B, C, H, W)."""
        images = self.decode(z.reshape(-1, self.latent_dim))
        return images.reshape(*z.shape[:2], *images.shape[1:])

    def bits_per_dim(self, nats: float) -> float:
        """nats per image in bits per channel and pixel, see nn.likelihoods."""
        return self.observation.bits_per_dim(checks.number("nats", nats), tuple(self.image_shape))


def _check(likelihood: str, beta: float, kl_warmup: int, free_bits: float, binarize: str | None) -> None:
    checks.choice("likelihood", likelihood, sorted(LIKELIHOODS))
    checks.number("beta", beta, "[0, inf)")
    checks.integer("kl_warmup, a number of steps,", kl_warmup, 0)
    checks.number("free_bits", free_bits, "[0, inf)")
    if binarize is not None:
        checks.choice("binarize", binarize, ("dynamic",))
        if likelihood != "bernoulli":
            raise ValueError(f"binarize makes binary images, for likelihood 'bernoulli' and not {likelihood!r}")


def _bernoulli(p: Tensor, noise: Noise) -> Tensor:
    """Black and white pixels with these probabilities of white; 0 and 1 stay as they are."""
    return (Tensor.wrap(p.backend.uniform(p.shape, np.dtype(np.float32), noise)) < p).astype(p.dtype)


def _repeat(x: Tensor, times: int) -> Tensor:
    """(N, ...) -> (times * N, ...), all of x again and again."""
    return F.reshape(F.broadcast_to(x, (times, *x.shape)), (times * x.shape[0], *x.shape[1:]))
