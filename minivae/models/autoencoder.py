"""The autoencoder, and the denoising one (Vincent, Larochelle, Bengio & Manzagol 2008).

An encoder maps an image x to a code z = f(x) of few numbers, a decoder maps it back to x_hat = g(z), and training
minimises the mean over the images of the squared error

    L(x, x_hat) = ||x - x_hat||^2, summed over channels and pixels.                                                  (1)

**A linear one is PCA.** With f(x) = A x + a and g(z) = B z + b (arch='dense', hidden=()) every reconstruction lies in
one plane of D dimensions, b plus the columns of B. Of all such planes the one through the mean image along the D
principal components is nearest to the images, and the orthogonal projection onto it is such an f and g. So the least
error is PCA's, the sum of the variances that are left out: with variances 4, 2, 1 and D = 2 it is 1. Training finds the
plane, though not the components themselves: B M and M^-1 A do as well as B and A, for any invertible M. (Bourlard &
Kamp 1988; Baldi & Hornik 1989, who show that every other stationary point is a saddle.) What a deeper autoencoder gains
over PCA is what nonlinearity is worth.

**A denoising one learns E[x | x~].** In training it sees x~ ~ q(x~ | x), a corrupted image, and its output is compared
with the clean one: L(x, g(f(x~))). For any answer r to x~, with m = E[x | x~],

    E[ ||x - r||^2 | x~ ] = E[ ||x - m||^2 | x~ ] + ||m - r||^2,

as E[x - m | x~] = 0 removes the mixed term; the least is at r = m, the mean of the images that x~ may come from. Where
a masked pixel was white in three of four such images, the answer is 3/4. To give it, the network has to know what
images look like, which reconstruction alone does not ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minivae.autograd import Tensor
from minivae.data.batches import images_as_floats
from minivae.kernels.checks import check_finite, choice, number
from minivae.kernels.contract import Noise
from minivae.nn import Module
from minivae.nn.networks import check_architecture, check_image_shape, decoder_for, encoder_for
from minivae.random import noise_or_next

from .squared_error import SquaredErrorCodec, squared_error

CORRUPTIONS = ("gaussian", "masking", "salt-and-pepper")
LEVEL = 0.3  # the level of a corruption, unless given
HIDDEN: dict[str, tuple[int, ...]] = {"dense": (1000,), "conv": ()}  # sizes of the dense layers, unless given


class AutoencoderLoss(NamedTuple):
    """loss: ||x - x_hat||^2 per image, averaged over the batch."""

    loss: Tensor


class Autoencoder(SquaredErrorCodec):
    """An Autoencoder maps images to codes and back.

    image_shape: (C, H, W). latent_dim: D. arch: 'dense', or 'conv' (strided convolutions down, transposed ones up).
    corruption: 'gaussian', 'masking' or 'salt-and-pepper' makes it a denoising autoencoder, see corrupt(); level: how
    much of it, 0.3 unless given. channels: of the strided convolutions, (32, 64) unless given. hidden: of the dense
    layers, (1000,) for 'dense' and none for 'conv' unless given; 'dense' with () is a linear autoencoder. encoder,
    decoder: Modules of your own, (N, C, H, W) -> (N, D) and (N, D) -> (N, C, H, W), in place of those that arch,
    channels and hidden describe. Estimator says more about them and about the other parameters.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 64,
        arch: str = "dense",
        corruption: str | None = None,
        level: float | None = None,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] | None = None,
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
        if corruption is not None:
            _check_corruption(corruption, LEVEL if level is None else level)
        elif level is not None:
            raise ValueError(f"level = {level!r} needs a kind of corruption, got corruption = None")
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.channels, self.hidden = latent_dim, arch, channels, hidden
        self.corruption, self.level = corruption, level
        self.keep_modules({"encoder": encoder, "decoder": decoder}, ("arch", "channels", "hidden"))
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Make encoder and decoder."""
        hidden = HIDDEN[self.arch] if self.hidden is None else self.hidden
        layers = self.arch, check_image_shape(self.image_shape), self.channels, hidden, self.latent_dim
        self.encoder = self.module("encoder", lambda: encoder_for(*layers))
        self.decoder = self.module("decoder", lambda: decoder_for(*layers))

    # ---- the model ----

    def loss(self, x: Any, noise: Noise | None = None) -> AutoencoderLoss:
        """Return equation 1, the mean over images x (N, C, H, W). In training mode x_hat is made of corrupted images.

        noise: fixes the corruption, and is the next draw of minivae's generator unless given.
        """
        x = self.tensor(x)  # (N, C, H, W)
        seen = x
        if self.training and self.corruption is not None:
            level = LEVEL if self.level is None else float(self.level)
            seen = _corrupted(x, self.corruption, level, noise_or_next(noise))  # x~, (N, C, H, W)
        z = self._encoded(seen)  # (N, D)
        x_hat = self._decoded(z)  # (N, C, H, W)
        return AutoencoderLoss(squared_error(x, x_hat).mean())


def corrupt(x: np.ndarray, kind: str, level: float = LEVEL, noise: Noise | None = None) -> np.ndarray:
    """Return a corrupted copy of images x of any shape, with pixels in [0, 1].

    Each channel of a pixel is corrupted by itself.

    'gaussian' adds normal noise of standard deviation `level` and does not clip. 'masking' sets each pixel to 0 with
    probability `level`. 'salt-and-pepper' sets it to 0 or to 1, with probability level / 2 each.
    noise: the next draw of minivae's generator unless given.

    Raises ValueError for an unknown kind, a negative level, a probability above 1, NaN or infinity; TypeError unless x
    is float32 or float64.
    """
    x = images_as_floats(x)
    check_finite(np.atleast_1d(x), "images")
    _check_corruption(kind, level)
    return _corrupted(Tensor(x), kind, float(level), noise_or_next(noise)).numpy()


def _corrupted(x: Tensor, kind: str, level: float, noise: Noise) -> Tensor:
    """Return what corrupt() does to x, computed on x's own device."""
    if kind == "gaussian":
        return x + level * Tensor.wrap(x.backend.normal(x.shape, x.dtype, noise))
    u = Tensor.wrap(x.backend.uniform(x.shape, np.dtype(np.float32), noise))
    kept = x * (u >= level).astype(x.dtype)  # the others are 0
    return kept if kind == "masking" else kept + (u < level / 2).astype(x.dtype)


def _check_corruption(kind: str, level: float) -> None:
    choice("corruption", kind, CORRUPTIONS)
    if kind == "gaussian":
        number("level of 'gaussian'", level, "[0, inf)")
    else:
        number(f"level of {kind!r}, a probability,", level, "[0, 1]")
