"""Training against an adversary (Goodfellow et al. 2014): what VAE-GAN and VQGAN have in common.

A likelihood that treats pixels one by one is lowest for the mean of all images that a code may stand for, and a mean is
blurred. A discriminator D learns to tell real images x from made ones x'; the model, the *generator*, learns to make
images that it takes for real. D(x) is a score for each patch (discriminator.py). Its two losses are

    hinge             L_D = (E max(0, 1 - D(x)) + E max(0, 1 + D(x'))) / 2           L_G = -E D(x')
    non-saturating    L_D = (E softplus(-D(x)) + E softplus(D(x'))) / 2              L_G = E softplus(-D(x'))

**Where they come from.** Read p = sigmoid(D) as the probability of being real. As -log p = softplus(-D) and
-log(1 - p) = softplus(D), the second L_D is the cross-entropy of a classifier of two classes that are equally frequent.
The generator is to raise the loss on x'; but its gradient, that of -log(1 - p), is p, and vanishes where D is sure of
itself, p -> 0, just when there is most to learn. -log p makes the same images better, with the gradient p - 1, which
does not vanish: hence "non-saturating" (Goodfellow et al. 2014, section 3). The hinge loss (Lim & Ye 2017) asks
of scores only to be right by a margin of 1: what is beyond -1 and 1 has no gradient.

**A small example.** Scores of two real patches are 2 and 0.5, those of two made ones -3 and 0. Then the hinge loss is
L_D = ((0 + 0.5) / 2 + (0 + 1) / 2) / 2 = 0.375, and L_G = -(-3 + 0) / 2 = 1.5. A D that says c everywhere, with c in
[-1, 1], has L_D = ((1 - c) + (1 + c)) / 2 = 1: that is the loss of knowing nothing, 0 that of being sure. The sign of
L_G is easily wrong: the generator *minimises -D(x')*, so that scores of its images rise.

**Two players, one step.** The generator's step must not train D to be deceived, and D's step must not make the images
worse. So in L_G the weights of D are constants (`constant()`), in L_D the images are (detach()). Their sum then has
for each weight the gradient of its own player's loss. In alternating steps, generator first, D would see the same
images, made before the generator's step, and its own weights, which that step does not change: the same gradients.
And an optimiser moves each weight by its own gradient, moments and count of steps. So one backward pass and one step of
one optimiser are, bit by bit, two alternating steps of two optimisers (a test compares). Learning rate, schedule and
settings are common to both; clip_norm bounds the gradients of each player by themselves (Trainable.players).

**The adaptive weight** (Esser, Rombach & Ommer 2021, equation 7). L_rec is hundreds of nats and L_G a score, so what
weight makes both count? With the gradients at the weights w of the decoder's last layer,

    lambda = ||dL_rec / dw|| / (||dL_G / dw|| + delta),         delta = 1e-4, lambda at most 1e4 per pixel,

the two pull equally hard there, and in that sense no scale of either loss matters. For norms of 60 and 0.3 lambda is
60 / 0.3001 = 199.9. lambda is a constant in the loss. It stays on the device, so that the step can be captured into a
CUDA graph; autograd's gradient_at() walks only the part of the graph between w and the losses.

**A late start.** Until the reconstructions are near the images, D has an easy time and the generator learns to please
it by any means. So in the first `discriminator_start` epochs there is no D: the model is the plain one bit by bit. To
that end D's weights are drawn from a seed of their own.

**What to watch.** Each epoch's record has `real` and `made`, the shares of patches that D judged rightly. 0.5 both: D
knows nothing. Both near 1: D wins, L_G moves nothing, and a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.autograd.graph import Leaf, gradient_at
from minivae.kernels import backend_of, checks
from minivae.kernels.contract import Array
from minivae.nn.module import Module
from minivae.nn.networks import check_image_shape, conv_sizes
from minivae.random import Generator, current_generator, use_generator
from minivae.shards import current_shard

from .base import LikelihoodCodec
from .discriminator import NORMS, PatchDiscriminator

DELTA, MOST_PER_PIXEL = 1e-4, 1e4  # of the adaptive weight, as in the paper's code
OWN_SEED = 0xAD << 56  # xor-ed into the seed: D's weights take nothing from the noise of the others
WINS = 0.99


class Losses(NamedTuple):
    """Two losses of scores. discriminator: of those of real and of made images. generator: of those of made ones."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _hinge(real: Tensor, made: Tensor) -> Tensor:
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + made).mean())


def _cross_entropy(real: Tensor, made: Tensor) -> Tensor:
    return 0.5 * (F.softplus(-real).mean() + F.softplus(made).mean())


ADVERSARIES = {
    "hinge": Losses(_hinge, lambda made: -made.mean()),
    "non-saturating": Losses(_cross_entropy, lambda made: F.softplus(-made).mean()),
}


def adaptive_weight(reconstruction: Array, generator: Array, most: float, delta: float = DELTA) -> Tensor:
    """lambda, from the gradients of both losses at one weight; () in their dtype, at most `most`. No host waits."""
    kernels = backend_of(reconstruction, generator)
    ratio = kernels.global_norm([reconstruction]) / (kernels.global_norm([generator]) + delta)
    return Tensor.wrap(kernels.asarray(kernels.xp.minimum(ratio, most).astype(reconstruction.dtype)))


@contextmanager
def constant(module: Module) -> Iterator[None]:
    """In the with block, operations take the parameters of a module for constants; gradients pass through to x."""
    nodes = [(p, p._node) for p in module.parameters()]
    try:
        for p, _ in nodes:
            p._node = None
        yield
    finally:
        for p, node in nodes:
            p._node = node


class Contest(NamedTuple):
    """What an Adversarial adds to a loss: `loss`, whose gradient is lambda L_G for the generator and L_D for D.

    weight: lambda times gan_weight. real, made: shares of patches that D judged rightly.
    """

    loss: Tensor
    generator: Tensor
    discriminator: Tensor
    weight: Tensor
    real: Tensor
    made: Tensor


class Adversarial(LikelihoodCodec):
    """It gives a model a discriminator D; see the head of this file. It has the parameters of the model by keyword, and

    adversary: 'hinge' or 'non-saturating'. gan_weight: factor of the adaptive weight lambda, >= 0.
    discriminator_start: after how many epochs D begins; before that, and in evaluation, the loss is the model's.
    discriminator_channels: of D's strided convolutions. discriminator_norm: 'group' or 'none'.

    While self.playing() the subclass adds _contest(...).loss to its loss. Its build() ends in build_discriminator().
    """

    discriminator: PatchDiscriminator

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        *,
        adversary: str = "hinge",
        gan_weight: float = 0.5,
        discriminator_start: int = 5,
        discriminator_channels: Sequence[int] = (16, 32),
        discriminator_norm: str = "group",
        **keywords: Any,
    ) -> None:
        checks.choice("adversary", adversary, sorted(ADVERSARIES))
        checks.number("gan_weight", gan_weight, "[0, inf)")
        checks.integer("discriminator_start, a number of epochs,", discriminator_start, 0)
        channels = checks.integers("discriminator_channels", discriminator_channels, 1)
        if not channels:
            raise ValueError(f"discriminator_channels must be at least one number, got {discriminator_channels}")
        checks.choice("discriminator_norm", discriminator_norm, NORMS)
        conv_sizes(check_image_shape(image_shape), channels)
        self.adversary, self.gan_weight, self.discriminator_start = adversary, gan_weight, discriminator_start
        self.discriminator_channels, self.discriminator_norm = discriminator_channels, discriminator_norm
        super().__init__(image_shape=image_shape, **keywords)  # type: ignore[call-arg] # every such codec has it

    def build_discriminator(self) -> None:
        """Make D from a seed of its own, which belongs to the present draw: all other noise stays what it was."""
        now = current_generator()
        own = Generator(now.seed ^ OWN_SEED)
        own.draw = now.draw
        with use_generator(own):
            shape, channels = check_image_shape(self.image_shape), tuple(map(int, self.discriminator_channels))
            self.discriminator = PatchDiscriminator(shape, channels, self.discriminator_norm)

    def begin_epoch(self, epoch: int) -> None:
        """Let D wait for its first epoch. A captured step sees its mode, and is captured anew when it changes."""
        self.discriminator.train(epoch > self.discriminator_start)

    def playing(self) -> bool:
        """Return whether D takes part: in training, after its start."""
        return self.discriminator.training

    def players(self, params: list[Tensor]) -> list[list[Tensor]]:
        """Return the generator's parameters and D's, for clip_norm."""
        of_d = {id(p) for p in self.discriminator.parameters()}
        return [[p for p in params if id(p) not in of_d], [p for p in params if id(p) in of_d]]

    def _contest(self, x: Tensor, output: Tensor, reconstruction: Tensor) -> Contest:
        """Let D judge real images x (N, C, H, W) and those of the decoder's output (M, C, H, W).

        reconstruction: (), the loss that L_G is weighed against. Raises ValueError for a decoder whose weights are all
        frozen.
        """
        losses, made = ADVERSARIES[self.adversary], self.observation.mean(output)  # (M, C, H, W)
        with constant(self.discriminator):
            generator = losses.generator(self.discriminator(made).scores)  # ()
        weight = self._weight(reconstruction, generator)  # ()
        scores = self.discriminator(F.cat([x, made.detach()])).scores  # (N + M, 1, h, w)
        real, fake = scores[: len(x)], scores[len(x) :]
        discriminator = losses.discriminator(real, fake)  # ()
        shares = [(right.detach() > 0).astype(output.dtype).mean() for right in (real, -fake)]
        return Contest(weight * generator + discriminator, generator, discriminator, weight, *shares)

    def _weight(self, reconstruction: Tensor, generator: Tensor) -> Tensor:
        """lambda times gan_weight, by the gradients at the last matrix of weights of the decoder."""
        leaves = [p._node for p in self.decoder.parameters() if p.ndim > 1 and isinstance(p._node, Leaf)]
        one = reconstruction.backend.xp.ones_like(reconstruction.data)
        nodes = [loss._node for loss in (reconstruction, generator)]
        found = [gradient_at(leaves[-1], node, one) for node in nodes if leaves and node is not None]
        shard = current_shard()
        gradients = [shard.sum(gradient * shard.share) for gradient in found if gradient is not None]
        if len(gradients) < 2:
            raise ValueError(
                "the adversary's weight needs gradients at a weight of the decoder, got a frozen one or no_grad()"
            )
        most = MOST_PER_PIXEL * prod(self.image_shape)  # L_rec is a sum over pixels; the paper's is a mean
        return adaptive_weight(gradients[0], gradients[1], most) * float(self.gan_weight)

    def end_epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Warn when D has won for two epochs on end, once."""
        wins = [min(record.get("real", 0), record.get("made", 0)) > WINS for record in history[-3:]]
        if wins[-2:] == [True, True] and wins[:-2] != [True]:
            warnings.warn(
                f"the discriminator wins: it judges {history[-1]['real']:.1%} of real and {history[-1]['made']:.1%} of "
                f"made patches rightly in epoch {history[-1]['epoch']}, and the model learns little from it; smaller "
                "discriminator_channels, a later discriminator_start or a larger gan_weight may help",
                RuntimeWarning,
                stacklevel=2,
            )
