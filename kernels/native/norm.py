"""Normalisation by batch and by group of channels, with their gradients: the Python side of norm.c.

The kernels read and write channels-last memory; other inputs are copied.
"""

from __future__ import annotations

import numpy as np

from .layout import channels_last, channels_second
from .library import Kernel

_normalize, _normalize_grad = Kernel("normalize"), Kernel("normalize_grad")

Normalized = tuple[np.ndarray, np.ndarray, np.ndarray]


def batch_norm(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, eps: float) -> Normalized:
    """x (N, C, ...) -> y, mean (C,), var (C,): y = (x - mean) / sqrt(var + eps) * weight + bias, per channel."""
    return _forward(x, weight, bias, eps, (x.shape[1],), 1)


def batch_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> Normalized:
    """dx, dweight (C,), dbias (C,) of batch_norm. dx includes what x does through mean and var."""
    return _backward(dy, x, weight, mean, var, eps, 1)


def group_norm(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None, groups: int, eps: float
) -> Normalized:
    """x (N, C, ...) -> y, mean (N, groups), var (N, groups): as batch_norm, per example and group of channels."""
    return _forward(x, weight, bias, eps, (len(x), groups), len(x))


def group_norm_grad(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float
) -> Normalized:
    """dx, dweight (C,), dbias (C,) of group_norm; the number of groups is mean.shape[1]."""
    return _backward(dy, x, weight, mean, var, eps, len(x))


def _forward(
    x: np.ndarray,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    eps: float,
    groups: tuple[int, ...],
    sets: int,
) -> Normalized:
    x_ = channels_last(x)
    y, mean, var = np.empty_like(x_), np.empty(groups, x.dtype), np.empty(groups, x.dtype)
    rows = _rows(x_, sets)
    _normalize[x.dtype](
        sets, rows, x.shape[1], groups[-1], eps, x_, _contiguous(weight), _contiguous(bias), y, mean, var
    )
    return channels_second(y), mean, var


def _backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray | None, mean: np.ndarray, var: np.ndarray, eps: float, sets: int
) -> Normalized:
    x_, dy_ = channels_last(x), channels_last(dy)
    C = x.shape[1]
    dx, dweight, dbias = np.empty_like(x_), np.empty(C, x.dtype), np.empty(C, x.dtype)
    mean, var = np.ascontiguousarray(mean), np.ascontiguousarray(var)
    rows = _rows(x_, sets)
    _normalize_grad[x.dtype](
        sets, rows, C, mean.shape[-1], eps, dy_, x_, _contiguous(weight), mean, var, dx, dweight, dbias
    )
    return channels_second(dx), dweight, dbias


def _rows(x: np.ndarray, sets: int) -> int:
    """How many rows of channels (pixels) of x (N, ..., C) are in one set (see norm.c)."""
    return x.size // max(1, sets * x.shape[-1])


def _contiguous(a: np.ndarray | None) -> np.ndarray | None:
    return None if a is None else np.ascontiguousarray(a)
