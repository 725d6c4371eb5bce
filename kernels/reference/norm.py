"""Normalisation by batch (Ioffe & Szegedy 2015) and by group of channels (Wu & He 2018), with their gradients.

Some elements of x are normalised together: those of one channel in the whole batch, or those of one group of channels
in one example. With E the mean over such a set, s = sqrt(var + eps) and var the biased variance E (x - E x)^2,

    x_hat = (x - E x) / s,        y = weight x_hat + bias        (weight and bias per channel).

**The gradients.** weight and bias are used by every element of their channel, so dweight = sum of dy x_hat and
dbias = sum of dy. For x, let g = weight dy be the gradient with respect to x_hat. Then

    dx = (g - E g - x_hat E(g x_hat)) / s.

Why: x_hat depends on x directly, which gives g / s, and also through the mean and the variance of its set of n
elements. Through the mean, d x_hat_j / d x_i = -1 / (n s) for every j; multiplied by g_j and summed over j this gives
-E g / s. Through the variance, d x_hat / d var = -x_hat / (2 s^2) and d var / d x = 2 (x - E x) / n = 2 s x_hat / n,
which gives -x_hat E(g x_hat) / s. (The variance depends on x through the mean too, but this adds nothing, because the
sum of x - E x is 0.)

A check: adding a constant to x does not change x_hat, so dx must sum to 0 over the set, and it does. Without eps,
scaling x would not change x_hat either, and dx would be orthogonal to x_hat.
"""

from __future__ import annotations

from math import prod

import numpy as np

from .matrix import reduce_sum

Normalized = tuple[np.ndarray, np.ndarray, np.ndarray]


def batch_norm(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float) -> Normalized:
    """x (N, C, ...) -> y, mean (C,), var (C,): y = (x - mean) / sqrt(var + eps) * weight + bias, per channel.

    mean and var are over all axes but the channel's (algorithm 1 of the paper).
    """
    x_hat, mean, var = _normalize(x, _all_but(1, x), eps)
    return _affine(x_hat, weight, bias), mean.reshape(-1), var.reshape(-1)


def batch_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> Normalized:
    """dx, dweight (C,), dbias (C,) of batch_norm. dx includes what x does through mean and var, which depend on it."""
    s = _per_channel(np.sqrt(var + x.dtype.type(eps)), x)
    x_hat = (x - _per_channel(mean, x)) / s
    dx = _normalize_grad(_affine(dy, weight, None), x_hat, s, _all_but(1, x))
    return dx, *_affine_grad(dy, x_hat)


def group_norm(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int, eps: float
) -> Normalized:
    """x (N, C, ...) -> y, mean (N, groups), var (N, groups): as batch_norm, per example and group of channels."""
    x_hat, mean, var = _normalize(_grouped(x, groups), (2,), eps)
    return _affine(x_hat.reshape(x.shape), weight, bias), mean[:, :, 0], var[:, :, 0]


def group_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> Normalized:
    """dx, dweight (C,), dbias (C,) of group_norm; the number of groups is mean.shape[1]."""
    groups, s = mean.shape[1], np.sqrt(var + x.dtype.type(eps))[:, :, None]
    x_hat = (_grouped(x, groups) - mean[:, :, None]) / s
    dx = _normalize_grad(_grouped(_affine(dy, weight, None), groups), x_hat, s, (2,))
    return dx.reshape(x.shape), *_affine_grad(dy, x_hat.reshape(x.shape))


def _normalize(x: np.ndarray, axes: tuple[int, ...], eps: float) -> Normalized:
    """x_hat, mean, var. It takes two passes over x: E x^2 - (E x)^2 would lose all digits where the mean is large."""
    mean = _mean(x, axes)
    centred = x - mean
    var = _mean(centred * centred, axes)
    return centred / np.sqrt(var + x.dtype.type(eps)), mean, var


def _normalize_grad(g: np.ndarray, x_hat: np.ndarray, s: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """dx for x_hat = (x - E x) / s, from the gradient g with respect to x_hat."""
    return (g - _mean(g, axes) - x_hat * _mean(g * x_hat, axes)) / s


def _affine(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None) -> np.ndarray:
    """weight x + bias, per channel of x (N, C, ...); what is None is left out."""
    y = x if weight is None else x * _per_channel(weight, x)
    return y if bias is None else y + _per_channel(bias, x)


def _affine_grad(dy: np.ndarray, x_hat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dweight (C,) and dbias (C,), from dy and x_hat (N, C, ...)."""
    axes = _all_but(1, dy)
    return reduce_sum(dy * x_hat, axes, False), reduce_sum(dy, axes, False)


def _mean(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean over these axes, which are kept with length 1; 0 for an empty batch."""
    return reduce_sum(x, axes, True) / max(prod(x.shape[a] for a in axes), 1)


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, ...) -> (N, groups, elements of a group)."""
    return x.reshape(len(x), groups, prod(x.shape[1:]) // groups)


def _per_channel(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(C,) -> (C, 1, ...), which broadcasts with x (N, C, ...)."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _all_but(axis: int, x: np.ndarray) -> tuple[int, ...]:
    return tuple(a for a in range(x.ndim) if a != axis)
