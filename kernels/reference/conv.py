"""Convolution, its input gradient and its weight gradient: three products of the same matrices.

Notation (see geometry.py): x (N, C, H, W), w (OC, C/G, KH, KW), y (N, OC, OH, OW), G groups, stride (sh, sw), padding
(ph, pw), dilation (dh, dw). The groups are independent convolutions of C / G channels each; in the matrices they are a
leading axis.

Each output pixel of a convolution is a weighted sum of one *patch* of the input, the KH x KW x C/G numbers that lie
under the kernel there. Write every patch as a row of a matrix P (this rearrangement is called *im2col*) and the weights
as a matrix W. Then the three passes are

    y  = P W              P = im2col(x)       one row per output pixel, one column per tap and input channel
    dW = P^T dy           for dW[k,o] = sum over all rows i of P[i,k] dy[i,o]
    dP = dy W^T           for dP[i,k] = sum over all outputs o of dy[i,o] W[k,o], and dx = col2im(dP)

A *tap* is one position (p, q) of the kernel. Through one tap all outputs together read a window of the padded input:
with strides (sh, sw) and dilations (dh, dw) it is every sh-th row from p * dh on and every sw-th column from q * dw on.
im2col copies the window of each tap into P. *col2im* is its transpose: it adds each number of dP to the input element
it was read from, because the gradient of an element that was read several times is the sum over all those reads.
Padding is a border of zeros around the input; its gradient is dropped.

**The input gradient is a transposed convolution.** If y_j is the sum of A_ji x_i over i, then dx_i is the sum of A_ji
dy_j over j: the gradient is the product with the transposed matrix. Take one row of four inputs, a kernel (a, b) and
stride 2. The convolution is the product with a matrix A, and its input gradient the product with A^T:

    [y0]   [a b 0 0] [x0]          [dx0]   [a 0]             [a dy0]
    [y1] = [0 0 a b] [x1]          [dx1]   [b 0] [dy0]       [b dy0]
                     [x2]          [dx2] = [0 a] [dy1]   =   [a dy1]
                     [x3]          [dx3]   [0 b]             [b dy1]

The second product turns two numbers into four: it enlarges by the stride, which is what decoders use a *transposed
convolution* for. So `conv2d_input_grad` is both the backward pass of the convolution and, with a bias, the forward pass
of the transposed convolution. The input gradient of the transposed convolution is `conv2d`, and its weight gradient is
`conv2d_weight_grad` with x and dy exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..geometry import ConvGeometry


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False) -> np.ndarray:
    """The cross-correlation of x (N, C, H, W) with w (OC, C/G, KH, KW), plus b (OC,) -> y (N, OC, OH, OW).

    y[n,o,i,j] = b[o] + sum_{c,p,q} w[o,c,p,q] x[n, c0+c, i sh - ph + p dh, j sw - pw + q dw], where x is zero outside
    the image and c0 is the first channel of o's group. With relu the result is max(y, 0).
    """
    y = im2col(x, g) @ weight_matrix(w, g)  # (G, N OH OW, OC/G)
    return _biased(_images(y, g.N, g.OH, g.OW), b, relu)


def conv2d_input_grad(
    dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False
) -> np.ndarray:
    """The transpose of conv2d as a linear map of x: dy (N, OC, OH, OW) -> dx (N, C, H, W), plus b (C,).

    dx[n,c0+c,h,v] = b[c0+c] + sum of w[o,c,p,q] dy[n,o,i,j] over the outputs o of the group and all (p,q,i,j) through
    which conv2d reads x[n,c0+c,h,v]; c0 is the first channel of the group. A gradient has no b and no relu. The forward
    pass of a transposed convolution may have both; with relu the result is max(dx, 0).
    """
    patches = _rows(dy, g) @ weight_matrix(w, g).swapaxes(1, 2)  # (G, N OH OW, KH KW C/G)
    return _biased(col2im(patches, g), b, relu)


def conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The transpose of conv2d as a linear map of w: dy (N, OC, OH, OW), x (N, C, H, W) -> dw (OC, C/G, KH, KW).

    dw[o,c,p,q] = sum_{n,i,j} dy[n,o,i,j] x[n, c0+c, i sh - ph + p dh, j sw - pw + q dw].
    """
    dw = im2col(x, g).swapaxes(1, 2) @ _rows(dy, g)  # (G, KH KW C/G, OC/G)
    dw = dw.reshape(g.groups, g.KH, g.KW, g.C // g.groups, g.OC // g.groups)
    return dw.transpose(0, 4, 3, 1, 2).reshape(g.w_shape)


def im2col(x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """x (N, C, H, W) -> its patches (G, N * OH * OW, KH * KW * C/G), one row for each output pixel."""
    (ph, pw), channels = g.padding, g.C // g.groups
    padded = np.pad(_by_group(x, g.groups), [(0, 0), (0, 0), (ph, ph), (pw, pw), (0, 0)])
    patches = np.empty((g.groups, g.N, g.OH, g.OW, g.KH, g.KW, channels), x.dtype)
    for p, q, window in _windows(padded, g):
        patches[:, :, :, :, p, q] = window
    return patches.reshape(g.groups, g.N * g.OH * g.OW, g.KH * g.KW * channels)


def col2im(patches: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The transpose of im2col: patches (G, N * OH * OW, KH * KW * C/G) -> (N, C, H, W).

    Each number of a patch is added to the pixel that im2col reads it from.
    """
    (ph, pw), channels = g.padding, g.C // g.groups
    patches = patches.reshape(g.groups, g.N, g.OH, g.OW, g.KH, g.KW, channels)
    padded = np.zeros((g.groups, g.N, g.H + 2 * ph, g.W + 2 * pw, channels), patches.dtype)
    for p, q, window in _windows(padded, g):
        window += patches[:, :, :, :, p, q]
    return _images(padded[:, :, ph : ph + g.H, pw : pw + g.W], g.N, g.H, g.W)


def weight_matrix(w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """w (OC, C/G, KH, KW) -> W (G, KH * KW * C/G, OC/G)."""
    w = w.reshape(g.groups, g.OC // g.groups, g.C // g.groups, g.KH, g.KW).transpose(0, 3, 4, 2, 1)
    return w.reshape(g.groups, g.KH * g.KW * (g.C // g.groups), g.OC // g.groups)


def _windows(padded: np.ndarray, g: ConvGeometry) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each tap: p, q and the view (G, N, OH, OW, C/G) of the padded images that all outputs read through it."""
    (sh, sw), (dh, dw) = g.stride, g.dilation
    for p, q in np.ndindex(g.KH, g.KW):
        rows = slice(p * dh, p * dh + (g.OH - 1) * sh + 1, sh)
        columns = slice(q * dw, q * dw + (g.OW - 1) * sw + 1, sw)
        yield p, q, padded[:, :, rows, columns]


def _by_group(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W) -> (G, N, H, W, C/G)."""
    N, C, H, W = x.shape
    return x.reshape(N, groups, C // groups, H, W).transpose(1, 0, 3, 4, 2)


def _rows(y: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """(N, OC, OH, OW) -> (G, N * OH * OW, OC/G), one row for each pixel."""
    return _by_group(y, g.groups).reshape(g.groups, g.N * g.OH * g.OW, g.OC // g.groups)


def _images(rows: np.ndarray, N: int, H: int, W: int) -> np.ndarray:
    """(G, N * H * W, C/G) or (G, N, H, W, C/G) -> (N, C, H, W) in channels-last memory."""
    G, channels = rows.shape[0], rows.shape[-1]
    pixels = rows.reshape(G, N, H, W, channels).transpose(1, 2, 3, 0, 4)
    return pixels.reshape(N, H, W, G * channels).transpose(0, 3, 1, 2)


def _biased(y: np.ndarray, b: np.ndarray | None, relu: bool) -> np.ndarray:
    """y (N, C, H, W) plus b (C,), then with relu max(y, 0)."""
    y = y if b is None else y + b[:, None, None]
    return np.maximum(y, 0) if relu else y
