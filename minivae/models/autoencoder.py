"""The autoencoder, and the denoising one (Vincent, Larochelle, Bengio & Manzagol 2008).

An encoder maps an image x to a code z = f(x) of few numbers, a decoder maps it back to x_hat = g(z), and training
minimises the mean over the images of the squared error

    ||x - x_hat||^2, summed over channels and pixels.

With a linear f and g (arch='dense', hidden=()) the best that can be reached is the error of PCA with as many
components (Bourlard & Kamp 1988; Baldi & Hornik 1989): what a deeper one gains over that is what nonlinearity is worth.

A denoising autoencoder sees in training x~ ~ q(x~ | x), a corrupted image, and is compared with the clean one:
||x - g(f(x~))||^2. It cannot do so without knowing what images look like, and its best answer is E[x | x~], the mean of
the images that x~ may come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minivae.autograd import Tensor
from minivae.data.batches import images_as_floats
from minivae.kernels.checks import check_finite, choice, number
from minivae.kernels.contract import Noise
from minivae.nn.networks import check_architecture, conv_decoder, conv_encoder, dense_decoder, dense_encoder
from minivae.random import noise_or_next

from .base import Codec

CORRUPTIONS = ("gaussian", "masking", "salt-and-pepper")
LEVEL = 0.3  # of a corruption, unless given


class AutoencoderLoss(NamedTuple):
    """loss: ||x - x_hat||^2 per image, averaged over the batch."""

    loss: Tensor


class Autoencoder(Codec):
    """Autoencoder over images.

    image_shape: (C, H, W). latent_dim: D. arch: 'dense', or 'conv' (strided convolutions down, transposed ones up).
    corruption: 'gaussian', 'masking' or 'salt-and-pepper' makes it a denoising autoencoder, see corrupt(); level: how
    much of it, 0.3 unless given. channels: of the strided convolutions, (32, 64) unless given. hidden: of the dense
    layers, (1000,) for 'dense' and none for 'conv' unless given; 'dense' with () is a linear autoencoder. The others:
    see Estimator.

    The decoder's output is linear, in the units of the pixels, and is returned as it is: squared errors are those of
    training, and images outside [0, 1] are no error. Whoever shows images with pixels in [0, 1] clips them.
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
            raise ValueError(f"level = {level!r} says how much of a corruption, and there is none: corruption is None")
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.channels, self.hidden = latent_dim, arch, channels, hidden
        self.corruption, self.level = corruption, level
        self._begin(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Encoder and decoder."""
        C, H, W = map(int, self.image_shape)
        if self.arch == "conv":
            sizes = (32, 64) if self.channels is None else self.channels, () if self.hidden is None else self.hidden
            self.encoder = conv_encoder((C, H, W), *sizes, self.latent_dim)
            self.decoder = conv_decoder((C, H, W), *sizes, self.latent_dim)
        else:
            layers = (1000,) if self.hidden is None else self.hidden
            self.encoder = dense_encoder((C, H, W), layers, self.latent_dim)
            self.decoder = dense_decoder((C, H, W), layers, self.latent_dim)

    # ---- the model ----

    def forward(self, x: Any) -> Tensor:
        """x (N, C, H, W) -> x_hat, of the same shape."""
        return self.decoder(self.encoder(self.tensor(x)))

    def loss(self, x: Any, noise: Noise | None = None) -> AutoencoderLoss:
        """The mean squared error of images x (N, C, H, W), in training mode of what is made of corrupted ones.

        noise: fixes the corruption; the next draw of minivae's generator unless given.
        """
        x = self.tensor(x)
        seen = x
        if self.training and self.corruption is not None:
            level = LEVEL if self.level is None else float(self.level)
            seen = _corrupted(x, self.corruption, level, noise_or_next(noise))
        return AutoencoderLoss(_squared_error(x, self(seen)).mean())

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images -> codes (N, D)."""
        return self.batched(self.encoder, self.check_images(x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Codes (N, D) -> images (N, C, H, W), not clipped."""
        return self.batched(self.decoder, self.check_latents(z))

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """decode(encode(x)): images are taken as they are, nothing is corrupted."""
        return self.batched(self, self.check_images(x))

    def denoise(self, x: np.ndarray) -> np.ndarray:
        """reconstruct(x), for noisy images x."""
        return self.reconstruct(x)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """-||x - x_hat||^2 of each image (N,): the lower, the less it looks like the images of training."""
        return -self.batched(lambda x: _squared_error(x, self(x)), self.check_images(x))


def corrupt(x: np.ndarray, kind: str, level: float = LEVEL, noise: Noise | None = None) -> np.ndarray:
    """A corrupted copy of images x, of any shape, with pixels in [0, 1]; every channel of a pixel by itself.

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
    """corrupt() on x's own device."""
    if kind == "gaussian":
        return x + level * Tensor.wrap(x.backend.normal(x.shape, x.dtype, noise))
    u = Tensor.wrap(x.backend.uniform(x.shape, np.dtype(np.float32), noise))
    kept = x * (u >= level).astype(x.dtype)  # the others are 0
    return kept if kind == "masking" else kept + (u < level / 2).astype(x.dtype)


def _squared_error(x: Tensor, y: Tensor) -> Tensor:
    """(N, C, H, W) both -> (N,)."""
    if x.shape != y.shape:
        raise ValueError(f"images must have the decoder's shape {y.shape}, got {x.shape}")
    difference = x - y
    return (difference * difference).sum(axis=(1, 2, 3))


def _check_corruption(kind: str, level: float) -> None:
    choice("corruption", kind, CORRUPTIONS)
    if kind == "gaussian":
        number("level of 'gaussian'", level, "[0, inf)")
    else:
        number(f"level of {kind!r}, a probability,", level, "[0, 1]")
