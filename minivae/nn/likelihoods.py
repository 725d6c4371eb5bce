"""Likelihoods: a decoder's output read as a distribution p(x | z) over images, and -log p of an image in nats.

**Bernoulli.** The output l is a logit: the pixel is 1 with probability p = sigmoid(l) = 1 / (1 + exp(-l)). With
softplus(l) = log(1 + exp(l)), hence log p = -softplus(-l) and log(1 - p) = -softplus(l), a pixel x costs

    -log p(x) = -x log p - (1 - x) log(1 - p)
              = x softplus(-l) + (1 - x) softplus(l)
              = softplus(l) - x l,                        because softplus(-l) = softplus(l) - l.

No logarithm of a p that may have been rounded to 0 is left in it. For example l = 2 means p = 0.881; x = 1 costs
2.127 - 2 = 0.127 nats, which is -log 0.881, and x = 0 costs 2.127 nats, which is -log 0.1192.

**Nats and bits.** A nat is the unit of -log p with the natural logarithm and a bit that with base 2: a bit is
log 2 = 0.693 nats. An ideal code made for p spends -log2 p(x) bits on the image x. Bits per dimension divide this by
the number of dimensions, pixels times channels, so that images of different sizes compare:

    bits/dim = nats / (C H W log 2),                      e.g. 243.64 nats for 28 x 28 pixels are 0.448 bits/dim.

For binary images with the Bernoulli likelihood this is the length of a code, and 1 bit/dim is what a model that knows
nothing achieves (p = 1/2). For grey images it is not, because the formula above is no distribution over grey values:
it is the cost of a binary image averaged over images that are white with probability x in each pixel. Such numbers
compare models of the same grey images with each other, and with nothing else.

**Logistic mixture** (Salimans, Karpathy, Chen & Kingma 2017, PixelCNN++). It is a distribution over the 256 levels of
8-bit pixels, so its nats are the length of a code and its bits/dim are those that are published; 8 is what a model that
knows nothing achieves. A pixel of level k is y = 2 k / 255 - 1 in [-1, 1]. The logistic distribution of mean m and
scale s has the distribution function sigmoid((y - m) / s), so y has the probability of the interval that is rounded to
it:

    P(k) = sigmoid((y + 1/255 - m) / s) - sigmoid((y - 1/255 - m) / s),

where the first term is 1 for k = 255 and the second is 0 for k = 0: what lies outside of [-1, 1] counts for the levels
at its ends. So the sum over k telescopes to 1. For example m = -1, s = 1/255 gives the level 0 the probability
sigmoid(1) = 0.731 and the level 1 sigmoid(3) - sigmoid(1) = 0.222: 0.45 and 2.2 bits. A mixture of K of them has
weights softmax(logits); kernels/reference/likelihood.py has its logarithm in a form that is exact in float32, where the
paper's code replaces small differences of sigmoids by a density. Two things differ from the paper. The channels of a
pixel have mixtures of their own and are independent given z, where the paper lets red move the mean of green, and both
that of blue: for grey images it is the same, and in a VAE z can say what the channels share. And s = exp(-7) + exp(r),
where the paper clips log s at -7, below which no gradient is left.

**Continuous Bernoulli** (Loaiza-Ganem & Cunningham 2019). The Bernoulli formula lacks a constant to be a density over
grey pixels in [0, 1]. With it, p(x) = exp(x l) / Z, where Z is the integral of exp(x l) over [0, 1]:

    -log p(x) = A(l) - x l,    A(l) = log Z = log((exp(l) - 1) / l) = max(l, 0) + log(1 - exp(-|l|)) - log |l|,
    mean = A'(l) = 1 / (1 - exp(-l)) - 1 / l,
    sample = log(1 + u (exp(l) - 1)) / l, the inverse of the distribution function, for u uniform in [0, 1].

For l -> 0 it is the uniform distribution: A = l/2 + l^2/24 - ..., mean = 1/2 + l/12 - .... For l = 2 (p = 0.881) A =
1.161 and the mean is 0.657, not 0.881; x = 1 costs 1.161 - 2 = -0.839 nats, as the density there is 2.31. Where |l| is
large the mean is 1 - 1/l or -1/l: images must be decoded by it, not by sigmoid(l).

**Gaussian.** It has a density over continuous pixels, and -log of a density may be negative. Published bits/dim are
those of 8-bit images, whose pixels are integers k. A pixel x = k / 255 stands for an interval of width 1/255, so its
probability is about p(x) / 255, which adds log2 255 = 7.99 to the bits/dim of the density. That takes the density at
the interval's centre for its mean over the interval. With the smallest sigma here the two differ by 0.01 bits for a
pixel at the decoder's mean, by 0.03 and 0.07 bits the other way two and three sigma from it, and by less with a larger
one. Published results usually *dequantise* instead: uniform noise of the interval's width is added to x, in training
and in evaluation, which makes the mean of -log(p(x) width) an upper bound on the discrete -log P(k) (Theis, van den
Oord & Bethge 2016). That is not done here, so these bits/dim estimate the discrete ones and do not bound them.

The continuous Bernoulli's bits/dim are computed in the same way and compare with nothing else. Its density at x = 0 is
about -l, without a bound: with l = -1000 a black pixel would get the "probability" 1000 / 255 = 3.9, and images with a
black background get bits/dim as low as the logits have grown.

**Samples.** sample(output) draws pixels; mean(output) is their expectation, which pictures usually show, as it is what
the decoder knows without the noise of independent pixels.
"""

from __future__ import annotations

from math import log, prod

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels.contract import Noise
from minivae.kernels.reference.likelihood import LEAST_SCALE
from minivae.random import noise_or_next

from .module import Module, Parameter

SIGMA_FLOOR = 0.01  # the least sigma of a Gaussian: where a decoder is exactly right, the density has no bound


class Likelihood(Module):
    """What all likelihoods offer: of images (N, C, H, W), given a decoder's output (N, channels(C), H, W).

    unit_interval: whether pixels must be in [0, 1]. pixel_levels: None, or 255 where they must be integers / 255, the
    pixels of 8-bit images.
    """

    unit_interval = True
    pixel_levels: int | None = None
    bits_note = ""  # what a table of bits/dim must say of them

    @staticmethod
    def channels(C: int) -> int:
        """Return the number of channels that the decoder of images with C channels must have."""
        return C

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log p(x) in nats per image: output and pixels -> (N,)."""
        raise NotImplementedError(f"{type(self).__name__} does not define nll()")

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image (N, C, H, W), differentiable by the output."""
        raise NotImplementedError(f"{type(self).__name__} does not define mean()")

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw an image (N, C, H, W) from p(x | z), without a gradient. noise: the draw to use, None for the next."""
        raise NotImplementedError(f"{type(self).__name__} does not define sample()")

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Return nats per image (C, H, W) in bits per channel and pixel: nats / (C H W log 2)."""
        return nats / (prod(image_shape) * log(2))


class Bernoulli(Likelihood):
    """Pixels are 1 with probability sigmoid(output), independently of each other.

    Pixels may be anything in [0, 1]. For grey ones nll() is the usual cross-entropy, which serves to train but does not
    compare with the nats of binary images (see above).
    """

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log p(x) in nats per image: logits and pixels (N, ...) -> (N,)."""
        return F.bernoulli_nll(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image, sigmoid(output), of the same shape."""
        return F.sigmoid(output)

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw a binary image of the same shape."""
        return (_uniform(output, output.shape, noise) < F.sigmoid(output.detach())).astype(output.dtype)


class Gaussian(Likelihood):
    """Pixels are normal around the output, all with the same variance, which is trained (Rybkin et al. 2020).

    The variance exp(log_var) is at least SIGMA_FLOOR^2. log_var = floor + softplus(raw - floor), where raw is the
    trained Parameter: this is smooth, and close to raw where raw is well above the floor.
    """

    unit_interval = False

    def __init__(self) -> None:
        self.raw_log_var = Parameter(np.zeros((), np.float32))  # sigma starts at about 1

    @property
    def log_var(self) -> Tensor:
        """The logarithm of the variance, ()."""
        floor = 2 * log(SIGMA_FLOOR)
        return F.softplus(self.raw_log_var - floor) + floor

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log of the density of x in nats per image: means and pixels (N, ...) -> (N,)."""
        return F.gaussian_nll(output, self.log_var, x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image, which is the output itself."""
        return output

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw an image of the same shape, whose pixels may be outside of [0, 1]."""
        mean = output.detach()
        return F.reparameterize(mean, F.broadcast_to(self.log_var.detach(), mean.shape), noise)

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Return bits per channel and pixel of 8-bit images (C, H, W): nats / (C H W log 2) + log2 255."""
        return _bits_of_density(nats, image_shape)


class LogisticMixture(Likelihood):
    """8-bit pixels have a mixture of COMPONENTS discretised logistic distributions, each channel of each pixel its own.

    The output has for each channel of the image, one after the other, the logits of the K weights, K means and K raw
    scales r; see above.
    """

    pixel_levels = 255
    COMPONENTS = 5

    @staticmethod
    def channels(C: int) -> int:
        """Return 3 K C: each component has a logit, a mean and a raw scale."""
        return 3 * LogisticMixture.COMPONENTS * C

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log P(x) in nats per image: (N, 3 K C, H, W), pixels level / 255 (N, C, H, W) -> (N,)."""
        return F.logistic_mixture_nll(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image (N, C, H, W) before pixels are rounded, which is within 1/510 of the exact mean.

        A pixel is y ~ logistic(m, s) clipped to [-1, 1]. As E[y] = -1 + integral of P(y > t) over t in [-1, 1], which
        is sigmoid((m - t) / s), E[y] = -1 + s (softplus((m + 1) / s) - softplus((m - 1) / s)).
        """
        weights, mean, scale = self._parts(output)
        upper, lower = F.softplus((mean + 1) / scale), F.softplus((mean - 1) / scale)
        return (weights * scale * (upper - lower)).sum(axis=2) / 2  # (N, C, H, W), x = (y + 1) / 2

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw 8-bit pixels (N, C, H, W): a component by its weight, then a logistic number, rounded to its level."""
        weights, mean, scale = self._parts(output.detach())
        choice = _uniform(output, mean[:, :, 0].shape, noise)  # (N, C, H, W)
        m, s, below = mean[:, :, 0], scale[:, :, 0], weights[:, :, 0]
        for k in range(1, mean.shape[2]):
            later = choice >= below  # than component k - 1
            m, s = F.where(later, mean[:, :, k], m), F.where(later, scale[:, :, k], s)
            below = below + weights[:, :, k]
        u = F.maximum(_uniform(output, m.shape, _after(noise)), 1e-30)
        y = m + s * (F.log(u) - F.log1p(-u))  # the inverse of sigmoid((y - m) / s) = u
        levels = output.backend.xp.rint(F.clip((y + 1) * 127.5, 0.0, 255.0).data)
        return Tensor.wrap(levels / output.dtype.type(255))

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights, means and scales of the components, (N, C, K, H, W) each, for pixels in [-1, 1]."""
        N, channels, *size = output.shape
        K = self.COMPONENTS
        parts = F.reshape(output, (N, channels // (3 * K), 3, K, *size))
        return F.softmax(parts[:, :, 0], axis=2), parts[:, :, 1], F.exp(parts[:, :, 2]) + LEAST_SCALE


class ContinuousBernoulli(Likelihood):
    """Pixels in [0, 1] have the density exp(x output) / Z, independently of each other; see above."""

    bits_note = "bits/dim are those of a density that has no bound at 0 and 1, and compare with nothing else"

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log of the density of x in nats per image: logits and pixels (N, ...) -> (N,)."""
        return F.continuous_bernoulli_nll(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """Return the expected image, of the same shape."""
        return F.continuous_bernoulli_mean(output)

    def sample(self, output: Tensor, noise: Noise | None = None) -> Tensor:
        """Draw an image of the same shape, whose pixels are in [0, 1]."""
        logits = output.detach()
        u = _uniform(output, output.shape, noise)
        size = F.maximum(F.abs(logits), 1e-12)  # below that, x is u
        x = -F.log1p(u * Tensor.wrap(output.backend.xp.expm1(-size.data))) / size  # for the logit -size
        return F.where(logits > 0, 1 - x, x)  # 1 - x has the distribution of the opposite logit

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Return nats / (C H W log 2) + log2 255, as for the Gaussian, but without a lower bound; see above."""
        return _bits_of_density(nats, image_shape)


def _bits_of_density(nats: float, image_shape: tuple[int, ...]) -> float:
    return nats / (prod(image_shape) * log(2)) + log(255) / log(2)


def _uniform(like: Tensor, shape: tuple[int, ...], noise: Noise | None) -> Tensor:
    """Return uniform numbers in [0, 1), on the device and in the dtype of `like`."""
    return Tensor.wrap(like.backend.uniform(shape, like.dtype, noise_or_next(noise)))


def _after(noise: Noise | None) -> Noise | None:
    """Return the draw after `noise`; None, the generator's next, stays None."""
    return None if noise is None else noise._replace(draw=noise.draw + 1)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "logistic": LogisticMixture,
    "continuous-bernoulli": ContinuousBernoulli,
}
