"""k-means: how a codebook starts, so that its vectors lie where the encoder's outputs are."""

from __future__ import annotations

import numpy as np

from minivae.kernels import backend
from minivae.random import current_generator

LLOYD_STEPS = 10


def k_means(rows: np.ndarray, k: int) -> np.ndarray:
    """rows (M, D) -> k centres (k, D): k-means++ (Arthur & Vassilvitskii 2007), then LLOYD_STEPS of Lloyd.

    k-means++ makes rows the first centres. It draws them with minivae's generator, one after the other, with a
    probability proportional to the squared distance from the nearest centre so far. A step of Lloyd's algorithm moves
    each centre to the mean of the rows that are nearest to it; a centre without rows stays. Raises ValueError for fewer
    rows than centres.
    """
    M = len(rows)
    if k > M:
        raise ValueError(f"k-means needs at least as many vectors as codes, got {M} vectors for {k} codes; take fewer")
    draws = current_generator().uniform((k,), np.float64)
    centres = np.empty((k, rows.shape[1]), rows.dtype)
    distance = np.ones(M)
    for i, draw in enumerate(draws):
        total = np.cumsum(distance)
        chosen = min(int(np.searchsorted(total, draw * total[-1], side="right")), M - 1)
        centres[i] = rows[chosen]
        to_centre = ((rows - centres[i]) ** 2).sum(axis=1)
        distance = np.minimum(distance, to_centre) if i else to_centre.astype(np.float64)
    kernels, ones = backend("cpu"), np.ones((M, 1), rows.dtype)
    for _ in range(LLOYD_STEPS):
        index = kernels.nearest_code(rows, centres)
        counts = kernels.segment_sum(ones, index, k)  # (k, 1)
        means = kernels.segment_sum(rows, index, k) / np.maximum(counts, 1)
        centres = np.where(counts > 0, means, centres)
    return centres
