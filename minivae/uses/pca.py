"""Principal component analysis: the best linear autoencoder, in closed form.

Of all ways to send images through dim numbers linearly, projecting x - mean on the first right singular vectors of the
centred images leaves the smallest squared error (Eckart & Young 1936): the sum of the squares of the other singular
values.
"""

from __future__ import annotations

from math import prod

import numpy as np

from minivae.data import check_finite

from .metrics import squared_error


class PCA:
    """The first `dim` principal components of images x (N, ...), at most min(N, numbers in an image).

    components: (dim, P), orthonormal rows, P numbers in an image; mean: (P,).
    Raises ValueError for other dim, NaN or infinity; TypeError unless images are floating numbers.
    """

    def __init__(self, x: np.ndarray, dim: int) -> None:
        if x.dtype.kind != "f":
            raise TypeError(f"images must be floating numbers, got {x.dtype}; for bytes use x / np.float32(255)")
        self.shape = x.shape[1:]
        rows = x.reshape(len(x), prod(self.shape))  # (N, P)
        if not 1 <= dim <= min(rows.shape):
            raise ValueError(f"dim must be in [1, {min(rows.shape)}] for images {x.shape}, got {dim}")
        check_finite(x, "images")
        self.mean = rows.mean(axis=0, dtype=np.float64).astype(x.dtype)
        self.components = np.linalg.svd(rows - self.mean, full_matrices=False)[2][:dim]

    @classmethod
    def at_most(cls, x: np.ndarray, dim: int) -> PCA:
        """Of `dim` components or, where images x (N, ...) have fewer, of all there are."""
        return cls(x, min(dim, len(x), prod(x.shape[1:])))

    def truncated(self, dim: int) -> PCA:
        """The same with fewer components, without a decomposition. ValueError for more of them."""
        if not 1 <= dim <= len(self.components):
            raise ValueError(f"dim must be in [1, {len(self.components)}], got {dim}")
        fewer = object.__new__(PCA)
        fewer.shape, fewer.mean, fewer.components = self.shape, self.mean, self.components[:dim]
        return fewer

    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images (N, ...) -> codes (N, dim)."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"images must have shape {('N', *self.shape)}, got {x.shape}")
        return (x.reshape(len(x), prod(self.shape)) - self.mean) @ self.components.T

    def inverse_transform(self, z: np.ndarray) -> np.ndarray:
        """Codes (N, dim) -> images (N, ...)."""
        return (z @ self.components + self.mean).reshape(len(z), *self.shape)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """The nearest images (N, ...) that `dim` components can make."""
        return self.inverse_transform(self.transform(x))

    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """-||x - reconstruct(x)||^2 of each image, (N,)."""
        return -squared_error(x, self.reconstruct(x))
