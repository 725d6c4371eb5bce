"""How real images look that a model makes, in two numbers: their sharpness, and a Frechet distance to the data.

A likelihood of pixels is best where images are blurred, so it cannot say what an adversary is for.

**Sharpness.** The Laplacian of an image, the sum of its second derivatives, is large at edges and in texture, and small
where brightness changes slowly. On a grid it is the convolution with

    0   1   0
    1  -4   1
    0   1   0

and the energy of an image is the mean of its squares over channels and inner pixels. (Pech-Pacheco et al. 2000 take its
variance for a measure of focus; over an image the mean of a Laplacian is nearly 0, so that the two are nearly one.)
For example, in one dimension the edge 0 0 1 1 has the second differences 1 and -1, energy 1, and the blurred edge
0 1/3 2/3 1 has 0 and 0. `sharpness` is the energy of some images in proportion to that of real ones: 1 is as sharp as
the data, 0.5 blurred. Noise is sharp too, and beyond 1 an image has more texture than the data: the number tells blur
from its absence, not good from bad.

**The Frechet distance.** A trained classifier turns each image into a vector of features. Take those of real images
for a sample of a Gaussian N(m, S), those of made images for one of N(n, T). The distance of the two,

    d^2 = ||m - n||^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2)                   (Frechet 1957; Dowson & Landau 1982)

is the least mean squared distance of pairs (x, y), x from the one and y from the other. For N(0, 1) and N(3, 4) it is
9 + 1 + 4 - 2 x 2 = 10: move by 3, stretch by 1. It grows with features that are wrong (blurred, torn) and with kinds of
images that are missing, so a model that draws one perfect shirt for ever is far away. **It is not the FID** (Heusel et
al. 2017), whose features are those of an Inception network trained on ImageNet: here they are of the small classifier
of wholeness.py, trained on the data at hand, and numbers compare only where data and judge are the same. As with the
FID, few images give a larger distance; compare equally many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minivae.data.batches import images_as_floats
from minivae.kernels import checks

from .wholeness import WholenessJudge


class Realism(NamedTuple):
    """sharpness: energy of the Laplacian in proportion to that of real images. frechet: d^2 of the features."""

    sharpness: float
    frechet: float


def laplacian_energy(x: np.ndarray) -> float:
    """Return the mean square of the Laplacian of images (N, C, H, W), over all images, channels and inner pixels.

    Raises TypeError and ValueError for what are no images, fewer than one of them, sizes below 3 x 3, NaN and infinity.
    """
    x = images_as_floats(x)
    if x.ndim != 4 or not len(x) or not x.shape[1] or min(x.shape[2:]) < 3:
        raise ValueError(f"a Laplacian needs images (N, C, H, W) of at least 3 x 3, got shape {x.shape}")
    checks.check_finite(x, "x")
    x = x.astype(np.float64)
    rows = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1]
    columns = x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:]
    return float(((rows + columns - 4 * x[:, :, 1:-1, 1:-1]) ** 2).mean())


def sharpness(made: np.ndarray, real: np.ndarray) -> float:
    """Return the Laplacian energy of made images in proportion to that of real ones, (N, C, H, W) and (M, C, H, W).

    Raises what laplacian_energy() raises, and ValueError for real images without an edge and those of another shape.
    """
    made_energy, real_energy = laplacian_energy(made), laplacian_energy(real)
    if np.shape(made)[1:] != np.shape(real)[1:]:
        raise ValueError(f"images to compare must have one shape, got {np.shape(made)[1:]} and {np.shape(real)[1:]}")
    if not real_energy:
        raise ValueError("sharpness is relative to real images, got some without any edge")
    return made_energy / real_energy


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return d^2 of the Gaussians with the means and covariances of a (N, F) and b (M, F), >= 0.

    The covariances are those of the samples themselves (divided by N), so that two equal sets have distance 0.
    Raises TypeError for arrays of other dtypes, ValueError for other shapes, no rows, NaN and infinity.
    """
    a, b = (checks.array(name, value, "iuf").astype(np.float64) for name, value in (("a", a), ("b", b)))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.size or not b.size:
        raise ValueError(f"features must be (N, F) and (M, F), at least one of each, got {a.shape} and {b.shape}")
    for name, value in (("a", a), ("b", b)):
        checks.check_finite(value, name)
    shift = a.mean(axis=0) - b.mean(axis=0)
    S, T = (_covariance(x) for x in (a, b))
    root = _square_root(S)
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ T @ root), 0)).sum()  # the trace of a root
    return max(0.0, float(shift @ shift + np.trace(S) + np.trace(T) - 2 * cross))


def _covariance(x: np.ndarray) -> np.ndarray:
    """Return the covariance, divided by N: (N, F) -> (F, F)."""
    x = x - x.mean(axis=0)
    return x.T @ x / len(x)


def _square_root(S: np.ndarray) -> np.ndarray:
    """Return the symmetric square root of a covariance (F, F): S = V diag(l) V^T has V diag(l^1/2) V^T."""
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # rounding makes eigenvalues of 0 negative


def realism(judge: WholenessJudge, made: np.ndarray, real: np.ndarray) -> Realism:
    """Return sharpness and Frechet distance, in the judge's features, of made images (N, C, H, W) to real ones
    (M, C, H, W).

    Raises what sharpness() and WholenessJudge.features() raise, and TypeError for a judge without features().
    """
    checks.offers("judge", judge, "features")
    return Realism(sharpness(made, real), frechet_distance(judge.features(made), judge.features(real)))
