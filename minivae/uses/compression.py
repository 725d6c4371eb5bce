"""Compression: how well images are reconstructed from codes of few numbers, by a model and by PCA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from minivae.kernels import checks

from .metrics import check_unit_interval, psnr, squared_error
from .pca import PCA


class Reconstructs(Protocol):
    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> images of the same shape."""


class CompressionRow(NamedTuple):
    """The quality of the reconstructed test images for codes of `dim` numbers, by the model and by PCA.

    psnr, pca_psnr: in dB. squared_error, pca_squared_error: summed over an image, averaged over the images.
    """

    dim: int
    psnr: float
    pca_psnr: float
    squared_error: float
    pca_squared_error: float


def compression(
    train: Callable[[int], Reconstructs], x_train: np.ndarray, x_test: np.ndarray, dims: Sequence[int]
) -> list[CompressionRow]:
    """Compare the model train(dim) with PCA of x_train on x_test, for each dimension of the code: one row for each.

    train: a function that makes a model with codes of `dim` numbers and trains it, such as

        lambda dim: Autoencoder(x_train.shape[1:], latent_dim=dim).fit(x_train)

    x_train, x_test: images (N, C, H, W) in [0, 1]. Reconstructions are clipped to [0, 1] before they are compared.
    Raises ValueError, before anything is trained, for pixels outside [0, 1], for no dimensions, and for a dimension
    below 1 or above the number of principal components of x_train.
    """
    checks.function("train", train)
    dims = checks.integers("dims", dims, 1)
    if not dims:
        raise ValueError(f"compression needs at least one dimension, got {list(dims)}")
    x_train, x_test = checks.array("x_train", x_train, "f"), checks.array("x_test", x_test, "f")
    check_unit_interval(x_train)
    check_unit_interval(x_test)
    pca = PCA(x_train, max(dims))
    rows = []
    for dim in dims:
        model = train(dim)
        checks.offers("what train(dim) returns", model, "reconstruct")
        pictures = [np.clip(m.reconstruct(x_test), 0, 1) for m in (model, pca.truncated(dim))]
        errors = [float(squared_error(x_test, y).mean()) for y in pictures]
        rows.append(CompressionRow(dim, *(psnr(x_test, y) for y in pictures), *errors))
    return rows
