"""The models, one file for each paper; base.py has what all of them offer their user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minivae.kernels import checks
from minivae.nn import Module
from minivae.training.checkpoint import open_checkpoint

from .autoencoder import Autoencoder, corrupt
from .base import Codec, Estimator
from .btcvae import BetaTCVAE
from .contractive import ContractiveAutoencoder
from .cvae import ConditionalVAE
from .iwae import IWAE
from .pixelcnn import PixelCNN
from .sparse import SparseAutoencoder
from .vae import VAE
from .vaegan import VAEGAN
from .video_prior import VideoPrior
from .video_vqvae import VideoVQVAE
from .vqgan import VQGAN
from .vqvae import VQVAE
from .vqvae1d import VQVAE1d
from .vqvae2 import VQVAE2
from .vqvae2_prior import VQVAE2Prior
from .wavenet import WaveNet
from .wavenet_vqvae import WaveNetVQVAE

__all__ = [
    "IWAE",
    "VAE",
    "VAEGAN",
    "VQGAN",
    "VQVAE",
    "VQVAE2",
    "Autoencoder",
    "BetaTCVAE",
    "Codec",
    "ConditionalVAE",
    "ContractiveAutoencoder",
    "Estimator",
    "PixelCNN",
    "SparseAutoencoder",
    "VQVAE1d",
    "VQVAE2Prior",
    "VideoPrior",
    "VideoVQVAE",
    "WaveNet",
    "WaveNetVQVAE",
    "corrupt",
    "load",
]

AUTOENCODERS = (Autoencoder, SparseAutoencoder, ContractiveAutoencoder)
MODELS: dict[str, type[Estimator]] = {
    cls.__name__: cls
    for cls in (
        *AUTOENCODERS,
        *(VAE, ConditionalVAE, IWAE, BetaTCVAE, VAEGAN),
        *(VQVAE, VQVAE1d, WaveNetVQVAE, VQVAE2, VideoVQVAE, VQGAN),
        *(PixelCNN, WaveNet),
    )
}


def load(path: str | Path, classes: Sequence[type[Estimator]] = (), **modules: Module) -> Estimator:
    """Load the model in a file, of whichever class it is.

    classes: your own classes of models. The file names its class, which must be one of these or one of minivae's.
    modules: encoder=, decoder=, ... for a model that was given some, see Estimator.load.

    Raises ValueError for an unreadable file, an unknown class, two classes of one name and what Estimator.load refuses;
    TypeError for classes that are not Estimators.
    """
    known = MODELS.copy()
    for cls in classes if isinstance(classes, (list, tuple)) else [classes]:
        if not isinstance(classes, (list, tuple)) or not (isinstance(cls, type) and issubclass(cls, Estimator)):
            raise TypeError(f"classes must be a sequence of Estimators, got {checks.shown(cls)}")
        if known.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"there are two classes of the name {cls.__name__!r}, got {cls} and {known[cls.__name__]}")
    with open_checkpoint(path) as file:
        name = file.meta.get("model")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{str(path)!r} holds {name!r}, not one of {sorted(known)}; classes=[...] takes your own")
    return known[name].load(path, **modules)
