"""The measures: squared error, peak signal-to-noise ratio, area under the ROC curve."""

from __future__ import annotations

from math import inf, log10, prod

import numpy as np

from minivae.data.batches import range_text
from minivae.kernels import checks


def squared_error(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """||x - y||^2 of each image, summed over channels and pixels: (N, ...) both -> (N,), float64.

    Raises ValueError for different shapes, NaN or infinity; TypeError for arrays of anything but numbers.
    """
    x, y = _images("x", x), _images("y", y)
    if x.shape != y.shape:
        raise ValueError(f"images to compare must have one shape, got {x.shape} and {y.shape}")
    difference = (x - y).reshape(len(x), prod(x.shape[1:]))
    return np.einsum("np,np->n", difference, difference)


def check_unit_interval(x: np.ndarray) -> None:
    """Raise ValueError for images with NaN or pixels outside [0, 1], for which psnr() is not defined."""
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"pixels must lie in [0, 1], got {range_text(x.min(), x.max())}")


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    """The peak signal-to-noise ratio in dB of images y (N, ...) compared with x, whose pixels lie in [0, 1].

    It is 10 log10(peak^2 / e), where peak = 1 and e is the squared error averaged over all pixels of all images; it is
    infinite for equal images. Raises ValueError for different shapes, for no images, for NaN or infinity, and for x
    outside [0, 1]; TypeError for arrays of anything but numbers.
    """
    x = _images("x", x)
    if not x.size:
        raise ValueError(f"there are no images to compare, their shape is {x.shape}")
    check_unit_interval(x)
    mean = float(squared_error(x, y).sum()) / x.size
    return -10 * log10(mean) if mean else inf


def _images(name: str, x: np.ndarray) -> np.ndarray:
    """x in float64; ValueError for an array without axes, NaN or infinity."""
    x = checks.array(name, x).astype(np.float64)
    if not x.ndim:
        raise ValueError(f"{name} must be images (N, ...), got shape {x.shape}")
    checks.check_finite(x, name)
    return x


def roc_auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve, in [0, 1]: 1 if every positive example scores higher than every negative one.

    It is the probability that a random positive example scores higher than a random negative one, where equal scores
    count one half; scores that carry no information give 0.5. Let R_i be the rank of example i, equal scores having
    their mean rank. With n positive and m negative examples the area is

        (sum of R_i over the positive examples - n (n + 1) / 2) / (n m)      (Mann & Whitney 1947).

    scores: (N,); positive: (N,) booleans. Raises TypeError unless `positive` are booleans; ValueError for other shapes,
    for NaN, and if all examples are positive or all negative.
    """
    scores, positive = checks.array("scores", scores, "iuf"), checks.array("positive", positive, "b")
    if scores.ndim != 1 or scores.shape != positive.shape:
        raise ValueError(f"roc_auc needs (N,) scores and booleans, got {scores.shape} and {positive.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"scores must not be NaN, got nan at index {np.isnan(scores).argmax()}")
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        raise ValueError(f"roc_auc needs positive and negative examples, got {n} and {m}")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))
