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

**Gaussian.** It has a density over continuous pixels, and -log of a density may be negative. Published bits/dim are
those of 8-bit images, whose pixels are integers k. A pixel x = k / 255 stands for an interval of width 1/255, so its
probability is about p(x) / 255, which adds log2 255 = 7.99 to the bits/dim of the density. That takes the density at
the interval's centre for its mean over the interval. With the smallest sigma here the two differ by 0.01 bits for a
pixel at the decoder's mean, by 0.03 and 0.07 bits the other way two and three sigma from it, and by less with a larger
one. Published results usually *dequantise* instead: uniform noise of the interval's width is added to x, in training
and in evaluation, which makes the mean of -log(p(x) width) an upper bound on the discrete -log P(k) (Theis, van den
Oord & Bethge 2016). That is not done here, so these bits/dim estimate the discrete ones and do not bound them.
"""

from __future__ import annotations

from math import log, prod

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor

from .module import Module, Parameter

SIGMA_FLOOR = 0.01  # the least sigma of a Gaussian: where a decoder is exactly right, the density has no bound


class Bernoulli(Module):
    """Pixels are 1 with probability sigmoid(output), independently of each other.

    Pixels may be anything in [0, 1]. For grey ones nll() is the usual cross-entropy, which serves to train but does not
    compare with the nats of binary images (see above).
    """

    unit_interval = True

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """-log p(x) in nats per image: logits and pixels (N, ...) -> (N,)."""
        return F.bernoulli_nll(output, x)

    def mean(self, output: Tensor) -> Tensor:
        """The expected image, sigmoid(output), of the same shape."""
        return F.sigmoid(output)

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Nats per image (C, H, W) in bits per channel and pixel: nats / (C H W log 2)."""
        return nats / (prod(image_shape) * log(2))


class Gaussian(Module):
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
        """-log of the density of x in nats per image: means and pixels (N, ...) -> (N,)."""
        return F.gaussian_nll(output, self.log_var, x)

    def mean(self, output: Tensor) -> Tensor:
        """The expected image, which is the output itself."""
        return output

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Nats per image (C, H, W) in bits per channel and pixel of 8-bit images: nats / (C H W log 2) + log2 255."""
        return nats / (prod(image_shape) * log(2)) + log(255) / log(2)


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian]] = {"bernoulli": Bernoulli, "gaussian": Gaussian}
