"""VAE-GAN (Larsen, Sønderby, Larochelle & Winther 2016): a VAE whose images a discriminator judges as well.

The pixels' likelihood of a VAE compares images pixel by pixel. A stripe that is shifted by one pixel costs as much as
one that is missing, so where the latents do not say where the stripes are, the decoder paints their mean: grey. The
paper lets the hidden layers of a discriminator D (adversarial.py) say what is alike: with its features f(x),

    L = L_prior + L_like + L_GAN,
    L_prior = KL(q(z | x) || p(z)),        L_like = E_q ||f(x) - f(x')||^2 / 2,        x' the decoded z.

L_like is -log of a Gaussian N(f(x); f(x'), I) up to its constant: a likelihood of features. The decoder minimises
L_like and what D has against its images, the encoder L_prior and L_like alone, D its own loss (algorithm 1).

**What is done here.** The reconstruction is the pixels' nll plus feature_weight times L_like, so that the model stays a
VAE with a density of images:

    generator's loss = nll + beta kl + feature_weight L_like + lambda L_G,

where lambda makes L_G pull as hard as nll + feature_weight L_like does (times gan_weight; adversarial.py). D judges, as
in the paper, both reconstructions and images decoded from the prior, for which there is nothing to be near to: those
are what sample() shows. They are decoded from detached z, so that no gradient of L_G comes to the encoder.

**What is reported.** D is a way to train and no part of the model. Evaluation and score_samples report the ELBO in
nats, with the pixels' likelihood, as for any VAE. It is worse than the plain VAE's: its maximum is where images are
blurred. What the adversary is for is measured by uses/realism.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.random import noise_or_next

from .adversarial import Adversarial, constant
from .vae import VAE, VAELoss


class VAEGANLoss(NamedTuple):
    """Scalars, averaged over the batch: loss = nll + beta * kl + feature_weight * features + weight * generator +
    discriminator, where only the weights of D have a gradient of the last term, and none of the others.

    nll, kl: nats per image. features: L_like. generator, discriminator: L_G and L_D. weight: gan_weight * lambda.
    real, made: shares of patches of real and of made images that D judged rightly.
    """

    loss: Tensor
    nll: Tensor
    kl: Tensor
    features: Tensor
    generator: Tensor
    discriminator: Tensor
    weight: Tensor
    real: Tensor
    made: Tensor


class VAEGAN(Adversarial, VAE):
    """A VAEGAN is a VAE with a discriminator. It has the parameters of Adversarial and, by keyword, of VAE; and

    feature_weight: of the squared distance of D's features, >= 0. With binarize, D compares the grey images with the
    decoder's means.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        *,
        feature_weight: float = 0.1,
        discriminator_channels: Sequence[int] = (32, 64),
        **keywords: Any,
    ) -> None:
        checks.number("feature_weight", feature_weight, "[0, inf)")
        self.feature_weight = feature_weight
        super().__init__(image_shape, discriminator_channels=discriminator_channels, **keywords)

    def build(self) -> None:
        """Make the VAE and D."""
        super().build()
        self.build_discriminator()

    def loss(self, x: Any, noise: Noise | None = None) -> VAELoss | VAEGANLoss:  # type: ignore[override]
        """Return the VAE's loss and, in training from discriminator_start on, those of both players besides.

        noise: fixes the sample of z, by the draw after it the binarisation, and by the next one the prior's z.
        """
        x = self.tensor(x)  # (N, C, H, W)
        vae, z, output = self._loss_and_output(x, noise)  # z (N, D), output (N, C, H, W)
        if not self.playing():
            return vae
        features = self._feature_distance(x, output)  # ()
        after = noise_or_next(None if noise is None else noise._replace(draw=noise.draw + 2))
        prior = Tensor.wrap(z.backend.normal(z.shape, z.dtype, after))  # (N, D)
        made = self._decoded(F.cat([z.detach(), prior]))  # (2 N, C, H, W)
        likeness = float(self.feature_weight) * features
        contest = self._contest(x, made, vae.nll + likeness)
        return VAEGANLoss(vae.loss + likeness + contest.loss, vae.nll, vae.kl, features, *contest[1:])

    def _feature_distance(self, x: Tensor, output: Tensor) -> Tensor:
        """Return L_like, the mean over images of half the squared distance of D's features; D is not trained by it."""
        with constant(self.discriminator):
            real = self.discriminator(x).features  # (N, F, h, w)
            made = self.discriminator(self.observation.mean(output)).features  # (N, F, h, w)
        return 0.5 * ((real - made) ** 2).sum(axis=(1, 2, 3)).mean()
