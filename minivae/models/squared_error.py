"""What autoencoders share that compare an image with its reconstruction by the squared error.

L(x, x_hat) = ||x - x_hat||^2, summed over channels and pixels
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.autograd import Tensor

from .arrays import shaped
from .base import Codec


class SquaredErrorCodec(Codec):
    """It is a Codec whose codes are vectors (N, D), and whose score is minus the squared error.

    The decoder's output is linear, in the units of the pixels, and is returned as it is: squared errors are those of
    training, and images outside [0, 1] are no error. Whoever shows images with pixels in [0, 1] clips them.
    """

    def forward(self, x: Any) -> Tensor:
        """Return x_hat for x (N, C, H, W), of the same shape."""
        return self._decoded(self._encoded(self.tensor(x)))

    def _encoded(self, x: Tensor) -> Tensor:
        """Return the codes (N, D) of images (N, C, H, W)."""
        return shaped("encoder", self.encoder(x), len(x), self.latent_dim)

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return the codes (N, D) of images, which are taken as they are: nothing is corrupted."""
        return self.batched(self._encoded, self.check_images(x))

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Return the images (N, C, H, W) of codes (N, D), not clipped."""
        return self.batched(self._decoded, self.check_latents(z))

    def denoise(self, x: np.ndarray) -> np.ndarray:
        """Return reconstruct(x) for noisy images x."""
        return self.reconstruct(x)

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """Return -||x - x_hat||^2 of each image (N,): the lower, the less it looks like the training images."""
        return -self.batched(lambda x: squared_error(x, self(x)), self.check_images(x))


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """Return the squared error of each image: (N, C, H, W) both -> (N,)."""
    if x.shape != y.shape:
        raise ValueError(f"images must have the decoder's shape {y.shape}, got {x.shape}")
    difference = x - y
    return (difference * difference).sum(axis=(1, 2, 3))
