"""Denoising: how much nearer to the clean images a model brings noisy ones."""

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
    """PSNR in dB before and after, gain = after - before, and the images (N, C, H, W), clipped to [0, 1]."""

    noisy_psnr: float
    denoised_psnr: float
    gain: float
    noisy: np.ndarray
    denoised: np.ndarray


def denoising(
    model: Reconstructs, x: np.ndarray, kind: str = "gaussian", level: float = LEVEL, seed: int = 0
) -> Denoising:
    """Corrupt clean images x (N, C, H, W) in [0, 1] by models.corrupt(x, kind, level) and have them reconstructed.

    The model sees the noise as it is, unless its likelihood is for pixels in [0, 1] (model.unit_interval): then it
    sees them clipped. Pictures have pixels in [0, 1], so both the noisy and the denoised images are clipped to that
    before they are compared with x, which for Gaussian noise already takes part of the noise away.
    seed: of the noise, which is always the same for one seed. Raises ValueError for x outside [0, 1].
    """
    checks.offers("model", model, "reconstruct")
    x = images_as_floats(x)
    check_unit_interval(x)
    with fork(seed):
        seen = corrupt(x, kind, level)
    noisy = np.clip(seen, 0, 1)
    denoised = np.clip(model.reconstruct(noisy if getattr(model, "unit_interval", False) else seen), 0, 1)
    before, after = psnr(x, noisy), psnr(x, denoised)
    gain = 0.0 if after == before else after - before  # both are infinite where there is no noise to take away
    return Denoising(before, after, gain, noisy, denoised)
