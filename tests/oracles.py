"""Slow and obviously right: the formulas of kernels/contract.py as loops, in float64, to compare fast code with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minivae.kernels.geometry import ConvGeometry


def naive_conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry) -> np.ndarray:
    """x (N, C, H, W), w (O, C / groups, KH, KW), b (O,) -> y (N, O, OH, OW)."""
    x, w = np.float64(x), np.float64(w)
    y = np.zeros(g.y_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        y[:, o, i, j] += x[:, c, h, v] @ w[o, :, p, q].T
    return y if b is None else y + np.float64(b)[:, None, None]


def naive_conv2d_input_grad(dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry) -> np.ndarray:
    """dy (N, O, OH, OW), w (O, C / groups, KH, KW), b (C,) -> dx (N, C, H, W)."""
    dy, w = np.float64(dy), np.float64(w)
    dx = np.zeros(g.x_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        dx[:, c, h, v] += dy[:, o, i, j] @ w[o, :, p, q]
    return dx if b is None else dx + np.float64(b)[:, None, None]


def naive_conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """dy (N, O, OH, OW), x (N, C, H, W) -> dw (O, C / groups, KH, KW)."""
    dy, x = np.float64(dy), np.float64(x)
    dw = np.zeros(g.w_shape)
    for o, c, p, q, i, j, h, v in _reads(g):
        dw[o, :, p, q] += dy[:, o, i, j].T @ x[:, c, h, v]
    return dw


def _reads(g: ConvGeometry) -> Iterator[tuple[slice, slice, int, int, int, int, int, int]]:
    """Every (o, c, p, q, i, j, h, v): outputs o at (i, j) read channels c of the pixel (h, v) through the tap (p, q).

    o and c are the slices of one group: all its outputs read all its channels.
    """
    (sh, sw), (ph, pw), (dh, dw) = g.stride, g.padding, g.dilation
    per_o, per_c = g.O // g.groups, g.C // g.groups
    for p, q, i, j in np.ndindex(g.KH, g.KW, g.OH, g.OW):
        h, v = i * sh - ph + p * dh, j * sw - pw + q * dw
        if 0 <= h < g.H and 0 <= v < g.W:
            for k in range(g.groups):
                yield slice(k * per_o, (k + 1) * per_o), slice(k * per_c, (k + 1) * per_c), p, q, i, j, h, v
