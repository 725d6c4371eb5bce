"""The models and layers that both suites measure, on the CPU and on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import minivae as mv
from minivae.kernels.geometry import ConvGeometry, conv2d_geometry

BATCHES = (32, 128, 512)


class Model(NamedTuple):
    """The shape (C, H, W) of the images of a model, and the function that makes the model."""

    image_shape: tuple[int, int, int]
    make: Callable[[], Any]


def _vqvae() -> mv.models.VQVAE:
    sizes = {"codes": 512, "code_dim": 64, "channels": 128, "residual_channels": 32, "residual_blocks": 2}
    return mv.models.VQVAE((3, 32, 32), **sizes, restart=0.0)


MODELS = {
    "dense VAE": Model((1, 28, 28), lambda: mv.models.VAE(latent_dim=20, arch="dense", hidden=(400, 400))),
    "conv VAE": Model((1, 28, 28), lambda: mv.models.VAE(latent_dim=16, channels=(32, 64), hidden=(256,))),
    "VQ-VAE": Model((3, 32, 32), _vqvae),
}


class Layer(NamedTuple):
    """A convolution of square images (C, H, H) to OC channels, with a square kernel."""

    C: int
    H: int
    OC: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def geometry(self, batch: int) -> ConvGeometry:
        x, w = (batch, self.C, self.H, self.H), (self.OC, self.C, self.kernel, self.kernel)
        return conv2d_geometry(x, w, self.stride, self.padding, 1, 1)

    def __str__(self) -> str:
        return f"{self.C}x{self.H}x{self.H} -> {self.OC}, {self.kernel}x{self.kernel} stride {self.stride}"


LAYERS = (
    Layer(1, 28, 32, 4, 2, 1),
    Layer(32, 14, 64, 4, 2, 1),
    Layer(16, 28, 32, 3, 1, 1),
    Layer(32, 28, 32, 3, 1, 1),
    Layer(64, 14, 64, 3, 1, 1),
    Layer(3, 32, 64, 4, 2, 1),
    Layer(64, 16, 128, 4, 2, 1),
    Layer(128, 8, 128, 3, 1, 1),
    Layer(128, 8, 32, 3, 1, 1),
    Layer(32, 8, 128, 1),
    Layer(128, 8, 64, 1),
    Layer(64, 32, 64, 3, 1, 1),
    Layer(128, 32, 128, 3, 1, 1),
)


def images(batch: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random images (batch, *shape), float32 in [0, 1)."""
    return np.random.default_rng(seed).random((batch, *shape), dtype=np.float32)
