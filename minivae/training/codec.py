"""Codec: what a model offers that has codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.kernels import checks

from .estimator import Estimator


class Codec(Estimator):
    """An Estimator with codes: it has encode(x) and decode(z), which scikit-learn knows under other names."""

    latent_dim: int  # of those whose codes are vectors

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images -> codes (N, ...)."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode()")

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Codes (N, ...) -> images (N, C, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} does not define decode()")

    def transform(self, x: np.ndarray) -> np.ndarray:
        """encode(x)."""
        return self.encode(x)

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """decode(z)."""
        return self.decode(z)

    def fit_transform(self, x: np.ndarray, y: Any = None, **options: Any) -> np.ndarray:
        """fit(x, y, **options) and then encode(x)."""
        return self.fit(x, y, **options).encode(x)

    def check_latents(self, z: Any) -> np.ndarray:
        """z as (N, latent_dim) in the model's dtype.

        Raises TypeError unless z are integers or floating numbers, ValueError for other shapes, NaN and infinity.
        """
        z = checks.array("latents", z, "iuf")
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"latents must have shape (N, {self.latent_dim}), got {z.shape}")
        with np.errstate(over="ignore"):
            z = z.astype(self.parameters()[0].dtype, copy=False)
        checks.check_finite(z, "latents")
        return z
