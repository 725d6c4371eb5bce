"""VQGAN (Esser, Rombach & Ommer 2021): a VQ-VAE whose reconstructions a discriminator judges as well.

A code stands for all the images that have it, and a likelihood of single pixels is lowest where the decoder paints
their mean. Hence the fewer the codes, the more the images blur. The adversary D (adversarial.py) asks for one image
that looks real in the place of the mean. With the VQ-VAE's loss of vqvae.py,

    generator's loss = nll + vq + lambda L_G                                                              (equation 6)

where lambda (equation 7) makes L_G pull as hard at the decoder's last layer as the nll does, times gan_weight. Encoder
and decoder minimise it; L_G reaches the encoder through the straight-through estimator as the nll does. D minimises
L_D. (The paper's reconstruction term is a distance in the features of VGG, a network trained on ImageNet; here it is
the pixels' likelihood, so that the model stays one of nats.)

**A number to expect.** The nll of a VQGAN is higher than the plain VQ-VAE's, since the mean is what is best for it: an
edge whose place the codes leave open costs a sharp image twice, where it is and where it should be. Codes, bound and
priors are a VQ-VAE's in every way, and D is no part of them; what it is for is measured by uses/realism.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minivae.autograd import Tensor

from .adversarial import Adversarial
from .vqvae import VQVAE, VQVAELoss


class VQGANLoss(NamedTuple):
    """Scalars, averaged over the batch: loss = nll + vq + weight * generator + discriminator, where only the weights
    of D have a gradient of the last term, and none of the others.

    nll: nats per image. vq: the quantiser's terms. generator, discriminator: L_G and L_D. weight: gan_weight * lambda.
    real, made: shares of patches of real and of made images that D judged rightly.
    """

    loss: Tensor
    nll: Tensor
    vq: Tensor
    generator: Tensor
    discriminator: Tensor
    weight: Tensor
    real: Tensor
    made: Tensor


class VQGAN(Adversarial, VQVAE):
    """A VQGAN is a VQ-VAE with a discriminator. Its parameters are those of Adversarial and, by keyword, of VQVAE."""

    def build(self) -> None:
        """Make the VQ-VAE and D."""
        super().build()
        self.build_discriminator()

    def loss(self, x: Any) -> VQVAELoss | VQGANLoss:  # type: ignore[override]
        """Return the VQ-VAE's loss and, in training from discriminator_start on, those of both players besides."""
        x = self.tensor(x)  # (N, C, H, W)
        vqvae, output = self._loss_and_output(x)  # output (N, C, H, W)
        if not self.playing():
            return vqvae
        contest = self._contest(x, output, vqvae.nll)
        return VQGANLoss(vqvae.loss + contest.loss, vqvae.nll, vqvae.vq, *contest[1:])
