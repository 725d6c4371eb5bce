"""The part of a table that says which share of a model's samples is whole (uses/wholeness.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae import uses
from minivae.data import Dataset
from minivae.models import VAE, VQVAE, VQVAE2, PixelCNN, VQVAE2Prior
from minivae.models.vqvae2_prior import Codes
from minivae.random import current_generator, fork
from minivae.uses.wholeness import SMALLEST

from .gallery import TEMPERATURE, of_prior
from .pixels import in_unit_interval

COUNT = 1000  # the most samples and test images that are judged
SEED = 0x3A7  # of the samples


def judged(model: VAE | VQVAE | VQVAE2, prior: PixelCNN | VQVAE2Prior | None, data: Dataset) -> dict[str, Any]:
    """Shares of whole images by what they are, a uses.Wholeness each; nothing for data that have no judge."""
    if not _has_judge(data):
        return {}
    judge = uses.WholenessJudge(data.x_train, data.y_train)  # type: ignore[arg-type] # which _has_judge has seen
    x = model.check_images(data.x_test[:COUNT])
    with fork(SEED):
        images = {"test images": x, "their reconstructions": model.reconstruct(x), **_samples(model, prior)}
    return {name: judge.judge(np.clip(found, 0, 1)) for name, found in images.items()}


def _has_judge(data: Dataset) -> bool:
    """Say whether a judge can be trained: of labelled pictures of two classes that are not too small."""
    if data.y_train is None or len(np.unique(data.y_train)) < 2 or not len(data.x_test):
        return False
    return in_unit_interval(data) and min(data.x_train.shape[2:]) >= SMALLEST


def _samples(model: VAE | VQVAE | VQVAE2, prior: PixelCNN | VQVAE2Prior | None) -> dict[str, np.ndarray]:
    if isinstance(model, VAE):
        return {"samples": model.sample(COUNT)}
    if isinstance(model, VQVAE2):
        codes: Any = Codes(_uniform(model.top_shape, model.top_codes), _uniform(model.code_shape, model.codes))
    else:
        codes = _uniform(model.code_shape, model.quantizer.codes)
    samples = {"samples, uniform prior": model.decode(codes)}
    if prior is not None:
        for temperature in dict.fromkeys((1.0, TEMPERATURE)):
            samples[f"samples, temperature {temperature:g}"] = of_prior(model, prior, COUNT, temperature)
    return samples


def _uniform(shape: tuple[int, ...], codes: int) -> np.ndarray:
    """Draw COUNT maps of this shape, each code as likely as any other."""
    return (current_generator().uniform((COUNT, *shape), np.float64) * codes).astype(np.int64)
