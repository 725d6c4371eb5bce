"""The models, one file a paper."""

from __future__ import annotations

from pathlib import Path

from minivae.training.checkpoint import open_checkpoint

from .autoencoder import Autoencoder, corrupt
from .base import Estimator
from .pixelcnn import PixelCNN
from .vae import VAE
from .vqvae import VQVAE

__all__ = ["VAE", "VQVAE", "Autoencoder", "PixelCNN", "corrupt", "load"]

MODELS: dict[str, type[Estimator]] = {"Autoencoder": Autoencoder, "PixelCNN": PixelCNN, "VAE": VAE, "VQVAE": VQVAE}


def load(path: str | Path) -> Estimator:
    """The model in a file, whichever class it is of. ValueError for an unreadable file or an unknown class."""
    with open_checkpoint(path) as file:
        name = file.meta.get("model")
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"{str(path)!r} holds {name!r}, not one of {sorted(MODELS)}")
    return MODELS[name].load(path)
