"""Which view belongs to which model, and all commands of `minivae train` but that of priors."""

from __future__ import annotations

from minivae import models
from minivae.models.base import Estimator

from . import adversarial, autoencoder, btcvae, cvae, penalised, vae, video, vqvae, vqvae1d, vqvae2
from .view import View

COMMANDS = (
    *autoencoder.COMMANDS,
    *penalised.COMMANDS,
    *vae.COMMANDS,
    *btcvae.COMMANDS,
    *cvae.COMMANDS,
    *vqvae.COMMANDS,
    *vqvae2.COMMANDS,
    *vqvae1d.COMMANDS,
    *adversarial.COMMANDS,
    *video.COMMANDS,
)
VIEWS: dict[type[Estimator], View] = {
    models.Autoencoder: autoencoder.AutoencoderView(),
    models.SparseAutoencoder: penalised.SparseView(),
    models.ContractiveAutoencoder: penalised.ContractiveView(),
    models.VAE: vae.VAEView(),
    models.BetaTCVAE: btcvae.BetaTCVAEView(),
    models.ConditionalVAE: cvae.ConditionalVAEView(),
    models.VQVAE: vqvae.VQVAEView(),
    models.VQVAE2: vqvae2.VQVAE2View(),
    models.VQVAE1d: vqvae1d.VQVAE1dView(),
    models.VideoVQVAE: video.VideoView(),
}


def view_of(model: Estimator) -> View:
    """Return the view of a model, which is that of the nearest class above it. Raise TypeError if there is none."""
    for cls in type(model).__mro__:
        if cls in VIEWS:
            return VIEWS[cls]
    raise TypeError(f"there is no table for a {type(model).__name__}")
