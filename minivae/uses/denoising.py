"""Denoising: how much closer a model brings noisy images to the clean ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minivae.data.batches import images_as_floats
from minivae.kernels import checks
from minivae.models.autoencoder import LEVEL, corrupt
from minivae.random import fork

from .compression import Reconstructs
from .metrics import check_unit_interval, psnr


class Denoising(NamedTuple):
    """The PSNR of the noisy and of the denoised images in dB, and the images (N, C, H, W), clipped to [0, 1].

    gain = denoised_psnr - noisy_psnr.
    """

    noisy_psnr: float
    denoised_psnr: float
    gain: float
    noisy: np.ndarray
    denoised: np.ndarray


def denoising(
    model: Reconstructs, x: np.ndarray, kind: str = "gaussian", level: float = LEVEL, seed: int = 0
) -> Denoising:
    """Corrupt clean images by models.corrupt(x, kind, level), let the model reconstruct them, and measure both by PSNR.

    x: (N, C, H, W) in [0, 1]. The model gets the noisy images as they are or, if its likelihood is defined for pixels
    in [0, 1] only (model.unit_interval), clipped, or for 8-bit pixels only, rounded to these too. Noisy and denoised
    images are both clipped to [0, 1] before they are compared with x; clipping alone already removes part of a Gaussian
    noise. seed: the seed of the noise; the same seed gives the same noise. Raises ValueError for x outside [0, 1].
    """
    checks.offers("model", model, "reconstruct")
    x = images_as_floats(x)
    check_unit_interval(x)
    with fork(seed):
        seen = corrupt(x, kind, level)
    noisy = np.clip(seen, 0, 1)
    given = noisy if getattr(model, "unit_interval", False) else seen
    if levels := getattr(model, "pixel_levels", None):
        given = np.rint(given * levels) / levels
    denoised = np.clip(model.reconstruct(given), 0, 1)
    before, after = psnr(x, noisy), psnr(x, denoised)
    gain = 0.0 if after == before else after - before  # without noise both can be infinite, and inf - inf is NaN
    return Denoising(before, after, gain, noisy, denoised)
