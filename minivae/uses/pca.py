"""Principal component analysis: the best linear autoencoder, in closed form.

A linear autoencoder with codes of `dim` numbers has the smallest squared error if it projects x - mean onto the first
`dim` right singular vectors of the centred images (Eckart & Young 1936). The error, summed over all images, is then the
sum of the squares of the other singular values.
"""

from __future__ import annotations

from math import prod

import numpy as np

from minivae.kernels import checks

from .metrics import squared_error


class PCA:
    """The first `dim` principal components of images x (N, ...), float32 or float64.

    With P numbers in an image, dim is at most min(N, P). components: (dim, P), with orthonormal rows; mean: (P,).
    Results have the dtype of x. Raises ValueError for another dim, for NaN or infinity; TypeError for other dtypes.
    """

    def __init__(self, x: np.ndarray, dim: int) -> None:
        x, dim = checks.array("images", x, "f"), checks.integer("dim", dim, 1)
        if x.dtype.name not in ("float32", "float64"):
            raise TypeError(f"images must be float32 or float64, got {x.dtype}")
        if x.ndim < 2 or not x.size:
            raise ValueError(f"images must have shape (N, ...), with no length 0, got {x.shape}")
        self.shape = x.shape[1:]
        rows = x.reshape(len(x), prod(self.shape))  # (N, P)
        if not 1 <= dim <= min(rows.shape):
            raise ValueError(f"dim must be in [1, {min(rows.shape)}] for images {x.shape}, got {dim}")
        checks.check_finite(x, "images")
        self.mean = rows.mean(axis=0, dtype=np.float64).astype(x.dtype)
        self.components = np.linalg.svd(rows - self.mean, full_matrices=False)[2][:dim]

    @classmethod
    def at_most(cls, x: np.ndarray, dim: int) -> PCA:
        """PCA with `dim` components or, if images x (N, ...) have fewer, with all of them."""
        x, dim = checks.array("images", x, "f"), checks.integer("dim", dim, 1)
        return cls(x, max(1, min(dim, *x.shape[:1], prod(x.shape[1:]))))

    def truncated(self, dim: int) -> PCA:
        """PCA with the first `dim` of these components, without a new decomposition; ValueError if there are fewer."""
        if checks.integer("dim", dim, 1) > len(self.components):
            raise ValueError(f"dim must be in [1, {len(self.components)}], got {dim}")
        fewer = object.__new__(PCA)
        fewer.shape, fewer.mean, fewer.components = self.shape, self.mean, self.components[:dim]
        return fewer

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images (N, ...) -> codes (N, dim)."""
        x = checks.array("images", x, "f").astype(self.mean.dtype, copy=False)
        if not x.ndim or x.shape[1:] != self.shape:
            raise ValueError(f"images must have shape {('N', *self.shape)}, got {x.shape}")
        checks.check_finite(x, "images")
        return (x.reshape(len(x), prod(self.shape)) - self.mean) @ self.components.T

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Codes (N, dim) -> images (N, ...)."""
        z = checks.array("codes", z, "iuf").astype(self.mean.dtype, copy=False)
        if z.ndim != 2 or z.shape[1] != len(self.components):
            raise ValueError(f"codes must have shape (N, {len(self.components)}), got {z.shape}")
        checks.check_finite(z, "codes")
        return (z @ self.components + self.mean).reshape(len(z), *self.shape)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images (N, ...) -> their projections onto the components, (N, ...)."""
        return self.inverse_transform(self.transform(x))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """-||x - reconstruct(x)||^2 of each image, (N,)."""
        return -squared_error(x, self.reconstruct(x))
