"""The measured operations in plain NumPy or CuPy, written briefly, as a user without special kernels would write them.

xp is the module numpy or cupy. The results with NumPy are what the results of the kernels are compared with before they
are timed. The times with CuPy are a column of their own, which shows what is gained by the hand-written kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, pi
from typing import Any

from minivae.kernels.contract import Array
from minivae.kernels.geometry import ConvGeometry


def matmul(xp: Any, a: Array, b: Array) -> Array:
    return xp.matmul(a, b)


# ---- convolution without groups: one product for each tap, that is for each position (p, q) in the kernel ----


def _taps(padded: Array, g: ConvGeometry) -> Iterator[tuple[int, int, Array]]:
    """For each tap (p, q), yield p, q and the view (N, C, OH, OW) of the padded images that the tap reads."""
    (sh, sw), (dh, dw) = g.stride, g.dilation
    for p in range(g.KH):
        for q in range(g.KW):
            rows = slice(p * dh, p * dh + (g.OH - 1) * sh + 1, sh)
            columns = slice(q * dw, q * dw + (g.OW - 1) * sw + 1, sw)
            yield p, q, padded[:, :, rows, columns]


def _pad(xp: Any, x: Array, g: ConvGeometry) -> Array:
    (ph, pw) = g.padding
    return xp.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))


def conv2d(xp: Any, x: Array, w: Array, g: ConvGeometry) -> Array:
    y = xp.zeros((g.OC, g.N, g.OH, g.OW), x.dtype)
    for p, q, seen in _taps(_pad(xp, x, g), g):
        y += xp.tensordot(w[:, :, p, q], seen, (1, 1))
    return y.transpose(1, 0, 2, 3)


def conv2d_input_grad(xp: Any, dy: Array, w: Array, g: ConvGeometry) -> Array:
    (ph, pw) = g.padding
    padded = xp.zeros((g.N, g.C, g.H + 2 * ph, g.W + 2 * pw), dy.dtype)
    for p, q, seen in _taps(padded, g):
        seen += xp.tensordot(w[:, :, p, q], dy, (0, 1)).transpose(1, 0, 2, 3)
    return padded[:, :, ph : ph + g.H, pw : pw + g.W]


def conv2d_weight_grad(xp: Any, dy: Array, x: Array, g: ConvGeometry) -> Array:
    dw = xp.empty(g.w_shape, x.dtype)
    for p, q, seen in _taps(_pad(xp, x, g), g):
        dw[:, :, p, q] = xp.tensordot(dy, seen, ((0, 2, 3), (0, 2, 3)))
    return dw


# ---- norms and losses ----


def batch_norm(xp: Any, x: Array, weight: Array, bias: Array, eps: float) -> Array:
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / xp.sqrt(var + eps) * weight[:, None, None] + bias[:, None, None]


def group_norm(xp: Any, x: Array, weight: Array, bias: Array, groups: int, eps: float) -> Array:
    rows = x.reshape(len(x), groups, -1)
    rows = (rows - rows.mean(2, keepdims=True)) / xp.sqrt(rows.var(2, keepdims=True) + eps)
    return rows.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def bernoulli_nll(xp: Any, logits: Array, x: Array) -> Array:
    return (xp.maximum(logits, 0) - x * logits + xp.log1p(xp.exp(-xp.abs(logits)))).sum(1)


def gaussian_nll(xp: Any, mean: Array, log_var: Array, x: Array) -> Array:
    return 0.5 * (log(2 * pi) + log_var + (x - mean) ** 2 * xp.exp(-log_var)).sum(1)


def softmax_cross_entropy(xp: Any, logits: Array, target: Array) -> Array:
    top = logits.max(1, keepdims=True)
    return xp.log(xp.exp(logits - top).sum(1)) + top[:, 0] - logits[xp.arange(len(logits)), target]


def nearest_code(xp: Any, x: Array, codebook: Array) -> Array:
    return ((codebook**2).sum(1) / 2 - x @ codebook.T).argmin(1)


# ---- optimiser ----


def adam_step(
    xp: Any,
    params: list[Array],
    grads: list[Array],
    m: list[Array],
    v: list[Array],
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    b1, b2 = betas
    for p, g, m_i, v_i in zip(params, grads, m, v, strict=True):
        m_i[...] = b1 * m_i + (1 - b1) * g
        v_i[...] = b2 * v_i + (1 - b2) * g * g
        p -= lr / (1 - b1**step) * m_i / (xp.sqrt(v_i / (1 - b2**step)) + eps)
