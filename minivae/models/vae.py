"""The variational autoencoder (Kingma & Welling 2013; Rezende, Mohamed & Wierstra 2014).

A decoder p(x | z) and a prior p(z) = N(0, I) make a model of images, p(x) = E_{p(z)}[p(x | z)]. This integral cannot be
computed, and almost no z drawn from the prior explains a given image. An encoder q(z | x) = N(mu(x), exp(log_var(x)))
says where to look. The numbers in parentheses are those of the first paper's equations.

**The bound.** As log is concave, the logarithm of a mean is at least the mean of the logarithms (Jensen):

    log p(x) = log E_q[ p(x, z) / q(z | x) ]  >=  E_q[ log p(x, z) - log q(z | x) ]  =:  ELBO(x).                   (2)

How much is lost? log p(x) = log p(x, z) - log p(z | x) for every z, so also on average over q; with log q(z | x) added
and subtracted,

    log p(x) = ELBO(x) + KL(q(z | x) || p(z | x)).                                                                  (1)

The gap is a KL divergence: 0 where q is the true posterior, positive elsewhere. So maximising the ELBO does two things.
log p(x) does not depend on the encoder, so that whatever the encoder gains closes the gap; whatever the decoder gains
makes the images more likely or the posterior easier to meet. With log p(x, z) = log p(x | z) + log p(z) the bound is
what the loss computes:

    ELBO(x) = E_q[log p(x | z)] - KL(q(z | x) || p(z)).                                                             (3)

Training minimises the mean of nll + beta * kl over the examples. nll estimates minus the first term, by one sample of
z; kl is the second, in closed form. beta = 1 is the bound, other values trade it for independent latents (Higgins et
al. 2017). Both are in **nats** per example, summed over pixels and latents: a nat is the unit of natural logarithms,
1 / log 2 = 1.44 bits, so that 255.65 nats for 784 pixels are 0.470 bits each.

**The KL in closed form.** For one latent z = mu + sigma eps with eps ~ N(0, 1) and log_var = log sigma^2,

    log q(z | x) = -(log 2 pi + log_var + eps^2) / 2        and E_q[eps^2] = 1,
    log p(z)     = -(log 2 pi + z^2) / 2                    and E_q[z^2] = mu^2 + exp(log_var),
    KL = E_q[log q - log p] = (mu^2 + exp(log_var) - 1 - log_var) / 2.                                  (10, appendix B)

It is 0 for mu = 0, sigma = 1; a shift of the mean to mu = 1 costs 0.5 nats, a deviation of sigma = 1/2 costs 0.318.

**The gradient through a sample.** For F(mu) = E_q[f(z)] there are two estimators by one sample of z, both unbiased:

    pathwise:        f'(mu + sigma eps)           as z = mu + sigma eps, where the noise eps does not depend on mu   (4)
    score function:  f(z) eps / sigma             as dF/dmu = integral of f dq/dmu = E_q[f(z) d log q(z)/dmu]

The second multiplies noise by the value of f, the first looks at its slope. For f(z) = z^2, mu = sigma = 1, where the
gradient is 2, the first has variance 4 and the second 30 (200,000 draws: 3.99 and 29.9). If f is the sum of z_j^2 over
16 latents, the first still has variance 4 in each of them and the second 1260 (1258), as the noise of all others comes
in. A VAE's f has the size of hundreds of nats. Hence z = mu + exp(log_var / 2) * eps, "the reparameterisation trick".

**Why log_var and logits.** A layer gives any real numbers; as log_var or as a logit each of them is allowed, and no
logarithm of a rounded 0 is ever taken. For a black pixel and the logit 20 the nll is -log(1 - sigmoid(20)). In float32
sigmoid(20) is 1 and this is infinite; written with the logit it is softplus(20) = 20 (nn/likelihoods.py derives it).

**Posterior collapse.** A latent that the decoder does not use yet lowers no nll, but pays its KL. The quickest way down
is q(z_j | x) = N(0, 1) for all x, at a KL of 0. Then z_j is noise that says nothing of x, the decoder learns to ignore
it, and no gradient leads back. Two remedies change the loss, in training mode only:

* warm-up (Sønderby et al. 2016, section 2.3): the weight of kl rises linearly from 0 to beta over the first steps, so
  that latents are used before they are paid for;
* free bits (Kingma et al. 2016, equation 15): of kl = sum_j KL_j, each latent's mean over the batch counts as at least
  lambda nats, kl -> sum_j max(lambda, mean KL_j). With lambda = 0.1, KLs of 0.02, 0.05 and 2.3 count as 0.1, 0.1 and
  2.3: nothing pushes the first two further down, and whatever a latent says for less than 0.1 nats is free.

In evaluation mode the loss is nll + beta * kl, whatever was done in training: its numbers compare between models.
importance.py estimates log p(x) itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.lazy import LazyArray
from minivae.kernels import backend, checks
from minivae.kernels.contract import Noise
from minivae.nn.likelihoods import LIKELIHOODS
from minivae.nn.module import Buffer, Module
from minivae.nn.networks import ImageShape, check_architecture, check_image_shape, decoder_for, encoder_for
from minivae.random import current_generator, noise_or_next

from .arrays import shaped
from .base import LikelihoodCodec
from .importance import importance_log_likelihood
from .latent_space import LatentSpace

HIDDEN = {"conv": (256,), "dense": (400, 400)}  # sizes of the dense layers, unless given
BINARY_SEED, BINARY_BLOCK = 0xB17, 1024  # seed of the one binarisation that evaluations see; images per draw


class VAELoss(NamedTuple):
    """All are scalars in nats per example, averaged over the batch. loss = nll + beta * kl, except that warm-up and
    free bits change the loss; they do not change nll and kl."""

    loss: Tensor
    nll: Tensor
    kl: Tensor


class VAE(LatentSpace, LikelihoodCodec):
    """A VAE is a variational autoencoder of images.

    image_shape: (C, H, W). latent_dim: D. arch: 'conv' or 'dense'. likelihood: 'bernoulli' (pixels in [0, 1]) or
    'gaussian' (one learned variance), 'logistic' (a mixture for 8-bit images, pixels integers / 255) or
    'continuous-bernoulli' (a density over [0, 1]); see nn.likelihoods. beta: weight of the KL term, >= 0. channels: of
    the strided convolutions, (32, 64) unless given. hidden: of the dense layers, (256,) for 'conv' and (400, 400) for
    'dense' unless given. kl_warmup: over how many steps of the optimiser (not epochs) the weight of the KL term rises
    from 0 to beta, in each fit anew. free_bits: lambda, in nats per latent, >= 0. binarize: 'dynamic' takes grey
    pixels, with likelihood 'bernoulli', as the probabilities of black and white ones, which are drawn anew each time an
    image is trained on. encoder, decoder: Modules of your own, in place of those that arch, channels and hidden
    describe. The encoder gives mu and then log_var, (N, C, H, W) -> (N, 2 D); the decoder gives the parameters of the
    likelihood, such as logits or means, (N, D) -> (N, *output_shape), which is (C, H, W) except for 'logistic'.
    Estimator says more about them and about the other parameters.

    With binarize, the nats are those of binary images. loss() draws them from minivae's generator, so that evaluate()
    always has the same ones; score_samples, log_likelihood and latent_usage see binarized(x). encode and what builds
    on it take x as it is, the mean of its binarisations, so that a code carries no noise.
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
        encoder: Module | None = None,
        decoder: Module | None = None,
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
        self.keep_modules({"encoder": encoder, "decoder": decoder}, ("arch", "channels", "hidden"))
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Make encoder, decoder and likelihood."""
        # The present weight of kl. It is a buffer so that a captured step finds it on the device, and it is not saved
        # because it follows from the step.
        self.beta_now = Buffer(np.array(self.beta, np.float32), persistent=False)
        shape, hidden = check_image_shape(self.image_shape), HIDDEN[self.arch] if self.hidden is None else self.hidden
        (seen, inputs), layers, out = self._inputs(shape), (self.channels, hidden), self.output_shape
        self.encoder = self.module("encoder", lambda: encoder_for(self.arch, seen, *layers, 2 * self.latent_dim))
        self.decoder = self.module("decoder", lambda: decoder_for(self.arch, out, *layers, inputs))
        self.build_observation()

    def _inputs(self, shape: ImageShape) -> tuple[ImageShape, int]:
        """Return the shape of what the encoder is given for an image of this shape, and the length of what
        the decoder is given."""
        return shape, self.latent_dim

    # ---- the model ----

    def loss(self, x: Any, noise: Noise | None = None) -> VAELoss:
        """Return minus equation 10, the mean of nll + beta * kl over images x (N, C, H, W); in training mode with
        warm-up and free bits. noise: fixes the sample of z and, by the draw after it, the binarisation.
        """
        return self._loss_and_output(x, noise)[0]

    def _loss_and_output(self, x: Any, noise: Noise | None, *y: Tensor) -> tuple[VAELoss, Tensor, Tensor]:
        """Return the loss, the sample z (N, D) and the decoder's output for it (N, C, H, W). y: what encoder and
        decoder are given besides x and z."""
        x = self._black_and_white(self.tensor(x), noise)  # (N, C, H, W)
        mu, log_var = self.posterior(x, *y)  # (N, D) both
        z = F.reparameterize(mu, log_var, noise)  # (N, D)
        output = self._decoded(z, *y)  # (N, C, H, W)
        nll = self.observation.nll(output, x).mean()  # (), the mean of (N,)
        return self._weighted(nll, F.gaussian_kl(mu, log_var)), z, output

    def _weighted(self, nll: Tensor, kl: Tensor) -> VAELoss:
        """Return the loss of nll (), a mean over a batch, and the KL of each latent of each image (N, D): nll + beta *
        kl, in training mode with warm-up and free bits."""
        limited = self.training and self.free_bits
        kl = F.batch_mean(kl) if limited else kl.mean(axis=0)  # (D,): a limit applies to the mean of the whole batch
        penalty = F.maximum(kl, float(self.free_bits)) if limited else kl  # (D,)
        beta = self.beta_now if self.training and self.kl_warmup else float(self.beta)  # NumPy's would make float64
        return VAELoss(nll + beta * penalty.sum(), nll, kl.sum())

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return mu and log_var of q(z | x), (N, D) each."""
        x = self.tensor(x)
        h = shaped("encoder", self.encoder(x), len(x), 2 * self.latent_dim)  # (N, 2 D)
        return h[:, : self.latent_dim], h[:, self.latent_dim :]

    def elbo(self, x: Any, noise: Noise | None = None) -> Tensor:
        """Return equation 10 for each image (N,), in nats, with one sample of z; `noise` fixes the sample."""
        return self._elbo(self.tensor(x), noise)

    def _elbo(self, x: Tensor, noise: Noise | None, *y: Tensor) -> Tensor:
        mu, log_var = self.posterior(x, *y)  # (N, D) both
        z = F.reparameterize(mu, log_var, noise)  # (N, D)
        return -self.observation.nll(self._decoded(z, *y), x) - F.gaussian_kl(mu, log_var).sum(axis=1)  # (N,)

    def before_step(self, step: int, steps: int) -> None:
        """Raise the weight of the KL term: 0 in step 0, beta from step kl_warmup on."""
        if self.kl_warmup:
            self.beta_now.inplace()[...] = self.beta * min(1.0, step / self.kl_warmup)

    def log_weights(self, x: Any, samples: int = 1, noise: Noise | None = None) -> Tensor:
        """Return log p(x, z) - log q(z | x) in nats for `samples` draws from q(z | x): (N, C, H, W) -> (samples, N)."""
        x = self.tensor(x)
        log_ratio, nll = self._draws(x, *self.posterior(x), samples, noise)  # (samples, N) both
        return log_ratio - nll

    def _draws(
        self, x: Tensor, mu: Tensor, log_var: Tensor, samples: int, noise: Noise | None, *y: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return log p(z) - log q(z | x) and -log p(x | z) for draws from q(z | x) = N(mu, exp(log_var)): each
        (samples, N). y: what the decoder is given besides z."""
        samples, noise, N = checks.integer("samples", samples, 1), noise_or_next(noise), len(x)
        noise = noise._replace(example=noise.example * samples)  # as an image has `samples` rows
        x, mu, log_var, *given = (_repeat(t, samples) for t in (x, mu, log_var, *y))  # (N * samples, ...)
        z = F.reparameterize(mu, log_var, noise)  # (N * samples, D)
        eps = Tensor.wrap(z.backend.normal(z.shape, z.dtype, noise))  # (z - mu) / sigma; exp(-log_var) could overflow
        log_ratio = 0.5 * (log_var + eps * eps - z * z).sum(axis=1)  # (N * samples,)
        nll = self.observation.nll(self._decoded(z, *given), x)  # (N * samples,)
        return log_ratio.reshape(N, samples).T, nll.reshape(N, samples).T

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return the means (N, D) of q(z | x) for images."""
        return self.batched(lambda x: self.posterior(x)[0], self.check_images(x))

    def decode(self, z: np.ndarray, pixels: bool = False) -> np.ndarray:
        """Return the expected images (N, C, H, W) for latents (N, D); with pixels=True, images drawn from p(x | z)."""
        with self.own_noise():
            return self.batched(lambda z: self._image(self._decoded(z), pixels), self.check_latents(z))

    def sample(self, n: int = 1, pixels: bool = False) -> np.ndarray:
        """Return n images (n, C, H, W): the decoder's means for z drawn from the prior.

        pixels: draw the pixels too, each from p(x | z). That is a sample of the model, means are what people look at.
        """
        n = checks.integer("n", n, 1)
        checks.elements("an array of samples", (n, *self.image_shape))
        with self.own_noise():
            return self.decode(current_generator().normal((n, self.latent_dim)), pixels)

    def binarized(self, x: np.ndarray) -> np.ndarray:
        """Return images as evaluations see them: with binarize, black and white, always drawn by the same noise.

        Binary images stay as they are, and the first n images do not depend on the later ones.
        """
        x = self.check_images(x)
        if self.binarize is None:
            return x
        if isinstance(x, LazyArray):
            return cast(np.ndarray, LazyArray(_Binarized(x)))
        binary = np.empty_like(x)
        for draw, start in enumerate(range(0, len(x), BINARY_BLOCK)):
            block = x[start : start + BINARY_BLOCK]
            binary[start : start + BINARY_BLOCK] = _binary_uniform(draw, block.shape) < block
        return binary

    def _black_and_white(self, x: Tensor, noise: Noise | None) -> Tensor:
        """With binarize, draw pixels with probabilities x of white, by the draw after `noise`; 0 and 1 stay."""
        if self.binarize is None:
            return x
        after = noise_or_next(None if noise is None else noise_or_next(noise)._replace(draw=noise.draw + 1))
        uniform = Tensor.wrap(x.backend.uniform(x.shape, np.dtype(np.float32), after))
        return (uniform < x).astype(x.dtype)

    def score_samples(self, x: np.ndarray, samples: int = 1) -> np.ndarray:
        """Return the ELBO of each image in nats (N,), its expectation estimated with `samples` draws of z."""
        return self._mean_elbo(self.binarized(x), samples)

    def _mean_elbo(self, x: np.ndarray, samples: int, *y: np.ndarray) -> np.ndarray:
        total = np.zeros(len(x))
        with self.own_noise():
            for _ in range(checks.integer("samples", samples, 1)):
                total += self.batched(self.elbo, x, *y)
        return total / samples

    def log_likelihood(
        self, x: np.ndarray, samples: int = 5000, rows: int = 2048, progress: bool = False
    ) -> np.ndarray:
        """Estimate log p(x) of each image in nats (N,) from below by `samples` draws of z, see models.importance.

        rows: how many draws are in memory at a time. progress: a bar on a terminal. Raises ValueError for samples < 1.
        """
        x = self.binarized(x)
        with self.own_noise(), self.evaluating():
            return self.check_output(importance_log_likelihood(self.log_weights, x, samples, rows, progress))


class _Binarized:
    """It is the source of a LazyArray: the images of another one, as binarized() makes them of images in memory."""

    def __init__(self, grey: LazyArray) -> None:
        self.grey, self.shape, self.dtype = grey, grey.shape, grey.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        x = self.grey[rows]
        for draw in np.unique(rows // BINARY_BLOCK):
            own = rows // BINARY_BLOCK == draw
            inside = rows[own] % BINARY_BLOCK
            uniform = _binary_uniform(int(draw), (inside.max() + 1, *self.shape[1:]))
            x[own] = uniform[inside] < x[own]
        return x


def _binary_uniform(draw: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the thresholds of a block of images, of which the first do not depend on how many there are."""
    return backend("cpu").uniform(shape, np.dtype(np.float32), Noise(BINARY_SEED, draw))


def _check(likelihood: str, beta: float, kl_warmup: int, free_bits: float, binarize: str | None) -> None:
    checks.choice("likelihood", likelihood, sorted(LIKELIHOODS))
    checks.number("beta", beta, "[0, inf)")
    checks.integer("kl_warmup, a number of steps,", kl_warmup, 0)
    checks.number("free_bits", free_bits, "[0, inf)")
    if binarize is not None:
        checks.choice("binarize", binarize, ("dynamic",))
        if likelihood != "bernoulli":
            raise ValueError(f"binarize makes binary images, for likelihood 'bernoulli' and not {likelihood!r}")


def _repeat(x: Tensor, times: int) -> Tensor:
    """Repeat each example so many times on end: (N, ...) -> (N * times, ...)."""
    N, *rest = x.shape
    return F.reshape(F.broadcast_to(F.unsqueeze(x, 1), (N, times, *rest)), (N * times, *rest))
