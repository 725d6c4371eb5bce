"""Normalisation by batch and by group of channels, forward and backward, as one pair of functions.

Let E be the mean over the elements that are normalised together: those of one channel in the whole batch (Ioffe &
Szegedy 2015) or those of one group of channels in one example (Wu & He 2018). With x' = (x - E x) / s,
s = sqrt(var + eps), y = x' w + b and g = dy w, the gradient of x' = x'(x, E x, var) is

    dx = (g - E g - x' E(g x')) / s,       dw = sum of dy x',       db = sum of dy      (sums per channel)

because x' stays the same when x is shifted, which g loses by E g, and when x is scaled, which it loses by its component
along x'. All sums are made of the sums over the pixels of each example and channel, (N, C).
"""

from __future__ import annotations

from math import prod

import numpy as np

from .blocks import logical_order, memory_order
from .columns import workspace
from .matrix import reduce_sum


def batch_norm(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, C, ...) -> y, mean (C,), var (C,): y = (x - mean) / sqrt(var + eps) * weight + bias per channel."""
    return _normalize(x, weight, bias, None, eps)


def batch_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dweight (C,), dbias (C,) of batch_norm, with mean and var as functions of x."""
    return _normalize_grad(dy, x, weight, mean, var, None, eps)


def group_norm(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (N, C, ...) -> y, mean (N, groups), var (N, groups): statistics per example and group of channels."""
    return _normalize(x, weight, bias, groups, eps)


def group_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx, dweight (C,), dbias (C,) of group_norm; the number of groups is mean.shape[1]."""
    return _normalize_grad(dy, x, weight, mean, var, mean.shape[1], eps)


def _normalize(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int | None, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = memory_order(x, fixed=1)
    mean = _mean(_pixel_sums(x), x, groups)
    y = x.transpose(order) - _along(mean, x, order)
    var = _mean(_pixel_products(y, y, order), x, groups)
    scale = 1 / np.sqrt(_spread(var, x) + x.dtype.type(eps))
    y *= _along(scale if weight is None else scale * weight, x, order)
    if bias is not None:
        y += _along(bias, x, order)
    return logical_order(y, order), mean, var


def _normalize_grad(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    groups: int | None,
    eps: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w = np.ones(x.shape[1], x.dtype) if weight is None else weight
    scale = 1 / np.sqrt(_spread(var, x) + x.dtype.type(eps))  # 1 / s, (N or 1, C)
    order = memory_order(x, fixed=1)
    upstream = dy.transpose(order)
    dx = x.transpose(order) - _along(mean, x, order)  # x' s
    sums = _pixel_sums(dy)  # of dy, (N, C)
    products = _pixel_products(dx, upstream, order) * scale  # of dy x', (N, C)
    mean_g, mean_gx = (_spread(_mean(each * w, x, groups), x) for each in (sums, products))
    dx *= _along(-scale * scale * mean_gx, x, order)
    of_dy = _along(scale * w, x, order)
    dx += np.multiply(upstream, of_dy, out=workspace(0, dx.shape, dx.dtype))
    dx -= _along(scale * mean_g, x, order)
    return logical_order(dx, order), reduce_sum(products, (0,), False), reduce_sum(sums, (0,), False)


def _pixel_sums(x: np.ndarray) -> np.ndarray:
    """(N, C, ...) -> (N, C)."""
    return reduce_sum(x, tuple(range(2, x.ndim)), False)


def _pixel_products(a: np.ndarray, b: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """The pixel sums of a * b, both in the given order of axes."""
    product = np.multiply(a, b, out=workspace(0, a.shape, a.dtype))
    return _pixel_sums(logical_order(product, order))


def _mean(sums: np.ndarray, x: np.ndarray, groups: int | None) -> np.ndarray:
    """E from sums (N, C) over the pixels of x: (C,) over the batch, or (N, groups)."""
    N, C = sums.shape
    pixels = prod(x.shape[2:])
    if groups is None:
        return reduce_sum(sums, (0,), False) / max(N * pixels, 1)
    return reduce_sum(sums.reshape(N, groups, C // groups), (2,), False) / (C // groups * pixels)


def _spread(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What belongs to each example and channel: (C,) -> (1, C), (N, groups) -> (N, C)."""
    return values[None] if values.ndim == 1 else np.repeat(values, x.shape[1] // values.shape[1], axis=1)


def _along(values: np.ndarray, x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """(C,), (N, groups) or (N or 1, C), as it belongs to the elements of x in the given order of axes, a view.

    What all examples share is written out for one of them, for in channels-last memory a loop over a few channels only
    would take longer than their arithmetic.
    """
    values = _spread(values, x)
    values = values.reshape(*values.shape, *(1,) * (x.ndim - 2))
    if len(values) == 1:
        values = np.broadcast_to(values, (1, *x.shape[1:])).transpose(order).copy()
    else:
        values = values.transpose(order)
    return np.broadcast_to(values, [x.shape[axis] for axis in order])
