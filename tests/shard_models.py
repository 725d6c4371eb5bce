"""Every model at a small size, with data for it: what tests/training/test_shards*.py train in shards.

A new model, or a new way of a model to look at its batch or to draw noise, needs a line in CASES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import minivae as mv
from minivae import models, nn

SHAPE = (1, 8, 8)
IMAGE = {"image_shape": SHAPE, "latent_dim": 3, "channels": (2, 3), "hidden": (5,)}
DENSE = {"image_shape": SHAPE, "latent_dim": 3, "hidden": (5,)}
# Codes that go out of use within a step, so that some are restarted.
CODEBOOK = {"codes": 6, "code_dim": 2, "residual_channels": 4, "decay": 0.5, "restart": 0.6}
VQ = {"image_shape": SHAPE, "channels": 4, "residual_blocks": 1, **CODEBOOK}
FSQ = {"image_shape": SHAPE, "channels": 3, "residual_channels": 2, "quantizer": "fsq", "levels": (3, 2)}
VQ1D = {"image_shape": (1, 1, 16), "channels": 4, "strides": (2, 2), "dilations": (1,), **CODEBOOK}
WAVE_VQ = {**VQ1D, "classes": 3, "wave_channels": 3, "wave_dilations": (1, 2), "wave_hidden": 4}
VIDEO = {"image_shape": (2, 1, 8, 8), "channels": 3, "blocks": 1, "time_kernel": 2, **CODEBOOK}
PIXELS = {"map_shape": (3, 4), "values": 4, "channels": 3, "layers": 2, "first_kernel": 3, "hidden": 5, "dropout": 0.3}
CONTEXT = {"context_shape": (2, 2), "context_values": (3,), "context_blocks": 1}
WAVE = {"map_shape": (1, 8), "values": 4, "channels": 3, "dilations": (1, 2), "hidden": 5, "dropout": 0.3}
ADVERSARY = {"discriminator_start": 0, "discriminator_channels": (2, 3)}


class OwnLoss(NamedTuple):
    loss: mv.Tensor


class Own(models.Codec):
    """A model of one's own: batch normalisation, dropout, and a term that looks at the whole batch."""

    def __init__(self, image_shape: tuple[int, ...] = SHAPE, width: int = 4, **keywords: Any) -> None:
        self.image_shape, self.width = image_shape, width
        super().__init__(**keywords)

    def build(self) -> None:
        self.layers = nn.Sequential(
            nn.Conv2d(1, self.width, 3, padding=1), nn.BatchNorm2d(self.width), nn.SiLU(), nn.Conv2d(self.width, 1, 1)
        )

    def loss(self, x: Any) -> OwnLoss:
        x = self.tensor(x)
        made = self.layers(mv.functional.dropout(x, 0.2, self.training))
        grey = mv.functional.batch_mean((made - x).mean(axis=(1, 2, 3)))  # of the whole batch
        assert grey.shape == ()
        return OwnLoss(((made - x) ** 2).sum(axis=(1, 2, 3)).mean() + grey**2)


class Case(NamedTuple):
    """A model, images (or maps, waves, clips) of its kind, and labels or contexts of them, or None."""

    make: Callable[[], models.Estimator]
    x: np.ndarray
    y: np.ndarray | None = None


def _numbers(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Of 8-bit pixels, which every likelihood takes."""
    return low + (high - low) * (np.random.default_rng(0).integers(0, 256, shape) / 255)


def _integers(most: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, most, shape)


N = 22
IMAGES, WAVES, CLIPS = _numbers(N, *SHAPE), _numbers(N, 1, 1, 16, low=-1), _numbers(N, 2, 1, 8, 8)
MAPS, SEQUENCES, LABELS = _integers(4, N, 3, 4), _integers(4, N, 1, 8), _integers(3, N)


def _of_frames() -> Case:
    prior = models.VideoPrior(
        models.PixelCNN(**PIXELS, context_shape=(3, 4), context_values=(5, 5), context_motion=1), frames=2
    )
    maps, contexts = prior.examples(_integers(4, N // 2, 2, 3, 4))
    return Case(lambda: models.VideoPrior(models.PixelCNN(**prior.frame.get_params()), 2).frame, maps, contexts)


def _of_levels() -> dict[str, Case]:
    def prior() -> models.VQVAE2Prior:
        top = {**PIXELS, "map_shape": (2, 2), "values": 3, "classes": 3}
        context = {"context_shape": (2, 2), "context_values": (3, 3)}
        return models.VQVAE2Prior(models.PixelCNN(**top), models.PixelCNN(**{**PIXELS, "map_shape": (4, 4)}, **context))

    top, bottom = _integers(3, N, 2, 2), _integers(4, N, 4, 4)
    return {
        "VQVAE2Prior-top": Case(lambda: prior().top, top, LABELS),
        "VQVAE2Prior-bottom": Case(lambda: prior().bottom, bottom, prior().context(top, LABELS)),
    }


def _of_images(cls: type[models.Estimator], **settings: Any) -> Case:
    return Case(lambda: cls(**settings), IMAGES)


# free_bits lie between the KL of a latent in one shard and in another.
CASES: dict[str, Case] = {
    "VAE": _of_images(models.VAE, **IMAGE, kl_warmup=4, free_bits=0.055),
    "VAE-binarize": _of_images(models.VAE, **DENSE, arch="dense", binarize="dynamic"),
    "VAE-gaussian": _of_images(models.VAE, **DENSE, arch="dense", likelihood="gaussian"),
    "VAE-logistic": _of_images(models.VAE, **DENSE, arch="dense", likelihood="logistic"),
    "VAE-continuous": _of_images(models.VAE, **DENSE, arch="dense", likelihood="continuous-bernoulli"),
    "IWAE": _of_images(models.IWAE, **DENSE, arch="dense", importance_samples=3, binarize="dynamic"),
    "ConditionalVAE": Case(lambda: models.ConditionalVAE(**IMAGE, classes=3, free_bits=0.062), IMAGES, LABELS),
    "BetaTCVAE": _of_images(models.BetaTCVAE, **IMAGE),
    "BetaTCVAE-weighted": _of_images(models.BetaTCVAE, **IMAGE, sampling="weighted"),
    "Autoencoder": _of_images(models.Autoencoder, **DENSE),
    "Autoencoder-gaussian": _of_images(models.Autoencoder, **DENSE, corruption="gaussian"),
    "Autoencoder-masking": _of_images(models.Autoencoder, **DENSE, corruption="masking"),
    "Autoencoder-salt": _of_images(models.Autoencoder, **DENSE, corruption="salt-and-pepper"),
    "SparseAutoencoder": _of_images(models.SparseAutoencoder, **DENSE, sparsity="l1"),
    "SparseAutoencoder-kl": _of_images(models.SparseAutoencoder, image_shape=SHAPE, latent_dim=6, sparsity="kl"),
    "ContractiveAutoencoder": _of_images(models.ContractiveAutoencoder, image_shape=SHAPE, latent_dim=6),
    "ContractiveAutoencoder-estimate": _of_images(models.ContractiveAutoencoder, **DENSE),
    "VAEGAN": _of_images(models.VAEGAN, **IMAGE, **ADVERSARY),
    "VQVAE": _of_images(models.VQVAE, **VQ),
    "VQVAE-gradient": _of_images(models.VQVAE, **VQ, update="gradient", likelihood="logistic"),
    "VQVAE-fsq": _of_images(models.VQVAE, **FSQ),
    "VQVAE-rvq": _of_images(models.VQVAE, **VQ, quantizer="rvq", stages=2),
    "VQVAE2": _of_images(models.VQVAE2, **VQ, top_codes=4, stride=2),
    "VQVAE1d": Case(lambda: models.VQVAE1d(**VQ1D), WAVES),
    "VQVAE1d-labels": Case(lambda: models.VQVAE1d(**VQ1D, classes=3, update="gradient"), WAVES, LABELS),
    "VQVAE1d-mu-law": Case(lambda: models.VQVAE1d(**VQ1D, likelihood="mu-law"), WAVES),
    "WaveNetVQVAE": Case(lambda: models.WaveNetVQVAE(**WAVE_VQ), WAVES, LABELS),
    "VideoVQVAE": Case(lambda: models.VideoVQVAE(**VIDEO), CLIPS),
    "VQGAN": _of_images(models.VQGAN, **VQ, **ADVERSARY, adversary="non-saturating"),
    "PixelCNN": Case(lambda: models.PixelCNN(**PIXELS), MAPS),
    "PixelCNN-labels": Case(lambda: models.PixelCNN(**PIXELS, classes=3), MAPS, LABELS),
    "PixelCNN-context": Case(lambda: models.PixelCNN(**PIXELS, **CONTEXT), MAPS, _integers(3, N, 1, 2, 2)),
    "WaveNet": Case(lambda: models.WaveNet(**WAVE, classes=3), SEQUENCES, LABELS),
    "VideoPrior": _of_frames(),
    **_of_levels(),
    "Own": _of_images(Own),
}
