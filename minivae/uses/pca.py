"""Principal component analysis: the best linear autoencoder, in closed form.

Of all ways to send images through dim numbers linearly, projecting x - mean on the first right singular vectors of the
centred images leaves the smallest squared error (Eckart & Young 1936): the sum of the squares of the other singular
values.
"""

from __future__ import annotations

from math import prod

import numpy as np

from minivae.kernels import checks

from .metrics import squared_error


class PCA:
    """The first `dim` principal components of images x (N, ...), at most min(N, numbers in an image).

    components: (dim, P), orthonormal rows, P numbers in an image; mean: (P,).
    Raises ValueError for other dim, NaN or infinity; TypeError unless images are floating numbers, of which x must be
    float32 or float64: results have its dtype.
    """

    def __init__(self, x: np.ndarray, dim: int) -> None:
        x, dim = checks.array("images", x, "f"), checks.integer("dim", dim, 1)
        if x.dtype.name not in ("float32", "float64"):
            raise TypeError(f"images must be float32 or float64, got {x.dtype}")
        if x.ndim < 2 or not x.size:
            raise ValueError(f"images must have shape (N, ...), none of them 0, got {x.shape}")
        self.shape = x.shape[1:]
        rows = x.reshape(len(x), prod(self.shape))  # (N, P)
        if not 1 <= dim <= min(rows.shape):
            raise ValueError(f"dim must be in [1, {min(rows.shape)}] for images {x.shape}, got {dim}")
        checks.check_finite(x, "images")
        self.mean = rows.mean(axis=0, dtype=np.float64).astype(x.dtype)
        self.components = np.linalg.svd(rows - self.mean, full_matrices=False)[2][:dim]

    @classmethod
    def at_most(cls, x: np.ndarray, dim: int) -> PCA:
        """Of `dim` components or, where images x (N, ...) have fewer, of all there are."""
        x, dim = checks.array("images", x, "f"), checks.integer("dim", dim, 1)
        return cls(x, max(1, min(dim, *x.shape[:1], prod(x.shape[1:]))))

    def truncated(self, dim: int) -> PCA:
        """The same with fewer components, without a decomposition. ValueError for more of them."""
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
        """The nearest images (N, ...) that `dim` components can make."""
        return self.inverse_transform(self.transform(x))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """-||x - reconstruct(x)||^2 of each image, (N,)."""
        return -squared_error(x, self.reconstruct(x))
