"""2-D convolution, its input gradient and its weight gradient.

Notation as in geometry.py; per group, with columns(x) as in columns.py (a row for each output pixel, a column for each
pair of tap and input channel):

    forward            y  = columns(x) @ w                                   (pixels, O)
    weight gradient    dw = columns(x)^T @ dy                                (KH * KW * C, O)

since y is linear in w. The input gradient is a correlation for each phase of the stride (see ../reads.py). Kernels of
twice the stride with many channels are done with fewer products (see karatsuba.py).

Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning".
"""

from __future__ import annotations

import numpy as np

from ..geometry import ConvGeometry
from ..reads import Phase, Phases, forward_reads, phases
from . import karatsuba
from .columns import RESULT, columns, kernel_rows, tiles, workspace
from .correlate import by_group, correlate
from .matrix import PER_MICROSECOND
from .threads import share


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False) -> np.ndarray:
    """Cross-correlation of x (N, C, H, W) with w (O, C / groups, KH, KW), plus b (O,) -> y (N, O, OH, OW)."""
    if karatsuba.applies(g):
        return karatsuba.conv2d(x, w, b, g, relu)
    y = np.empty((g.N, g.OH, g.OW, g.groups, g.O // g.groups), x.dtype)
    kernel = _channels_last(w, g).transpose(0, 2, 3, 4, 1)  # (groups, KH, KW, C / groups, O / groups)
    bias = None if b is None else b.reshape(g.groups, -1)

    def some(part: slice) -> None:
        for _ in correlate(x[part].transpose(0, 2, 3, 1), kernel, bias, *forward_reads(g), relu, out=y[part]):
            pass

    share(g.N, _microseconds(g), some)
    return y.reshape(g.N, g.OH, g.OW, g.O).transpose(0, 3, 1, 2)


def conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """The transpose of conv2d as a map of w: dy (N, O, OH, OW), x (N, C, H, W) -> dw (O, C / groups, KH, KW)."""
    if karatsuba.applies(g):
        return karatsuba.conv2d_weight_grad(dy, x, g)
    dy = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)).reshape(g.N, g.OH, g.OW, g.groups, g.O // g.groups)
    taps, C = g.KH * g.KW, g.C // g.groups
    shape = (g.groups, g.O // g.groups, taps * C)  # of dw^T, which is nearer to the layout of w than dw

    def of_some(part: slice) -> np.ndarray:
        dw = np.zeros(shape, x.dtype)
        image, grad = x[part].transpose(0, 2, 3, 1), dy[part]
        # Each tile adds a whole dw to the sum. Tiles that are larger than dw made 256 channels 1.5 times faster.
        tile_bytes = 4 * dw.nbytes
        for tile in tiles(image, *forward_reads(g), taps * g.C * x.itemsize, least_bytes=tile_bytes):
            transposed = by_group(grad[tile.batch, tile.rows]).transpose(0, 2, 1)
            for rows in kernel_rows(g.KH, tile_bytes):
                some_dw = dw[:, :, rows.start * g.KW * C : rows.stop * g.KW * C]
                of_tile = workspace(RESULT, some_dw.shape, x.dtype)
                some_dw += np.matmul(transposed, columns(tile, g.groups, rows), out=of_tile)
        return dw

    dw, *others = share(g.N, _microseconds(g), of_some)
    for other in others:
        dw += other
    return np.ascontiguousarray(dw.reshape(g.O, g.KH, g.KW, C).transpose(0, 3, 1, 2))


def conv2d_input_grad(
    dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool = False
) -> np.ndarray:
    """The transpose of conv2d as a map of x: dy (N, O, OH, OW) -> dx (N, C, H, W), plus b (C,)."""
    if karatsuba.applies(g):
        return karatsuba.conv2d_input_grad(dy, w, b, g, relu)
    dx = np.empty((g.N, g.H, g.W, g.groups, g.C // g.groups), dy.dtype)
    bias = None if b is None else b.reshape(g.groups, -1)
    down, across = phases(g, 0), phases(g, 1)
    if sum(len(each.phases) for each in down) * sum(len(each.phases) for each in across) < g.stride[0] * g.stride[1]:
        constant = np.zeros(dx.shape[3:], dx.dtype) if bias is None else bias
        dx[...] = np.maximum(constant, 0) if relu else constant  # some pixels are read by no output
    source = _channels_last(w, g)
    kernels = [(rows, cols, _phases_kernel(source, rows, cols)) for rows in down for cols in across]

    def some(part: slice) -> None:
        for rows, cols, kernel in kernels:
            _write_phases(dx[part], dy[part].transpose(0, 2, 3, 1), kernel, bias, rows, cols, g.stride, relu)

    share(g.N, _microseconds(g), some)
    return dx.reshape(g.N, g.H, g.W, g.C).transpose(0, 3, 1, 2)


def _phases_kernel(w: np.ndarray, down: Phases, across: Phases) -> np.ndarray:
    """w (groups, O, KH, KW, C) -> (groups, taps down, taps across, O, phases down * phases across * C)."""
    groups, O, _, _, C = w.shape  # noqa: E741
    A, B = len(down.phases), len(across.phases)
    kernel = np.empty((groups, down.reads.taps, across.reads.taps, O, A, B, C), w.dtype)
    for i, row in enumerate(down.phases):
        for j, col in enumerate(across.phases):
            kernel[:, :, :, :, i, j] = w[:, :, row.taps, col.taps].transpose(0, 2, 3, 1, 4)
    return kernel.reshape(*kernel.shape[:4], A * B * C)


def _write_phases(
    dx: np.ndarray,
    dy: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    down: Phases,
    across: Phases,
    stride: tuple[int, int],
    relu: bool,
) -> None:
    """Writes the pixels of dx (N, H, W, groups, C / groups) that have one of these row and one of these column phases.

    dy (N, OH, OW, O), kernel as _phases_kernel makes it, bias (groups, C / groups).
    """
    if stride == (1, 1):
        for _ in correlate(dy, kernel, bias, down.reads, across.reads, relu, out=dx):
            pass
        return
    A, B, C = len(down.phases), len(across.phases), dx.shape[4]
    if bias is not None:
        bias = np.tile(bias, A * B)
    for batch, rows, pixels in correlate(dy, kernel, bias, down.reads, across.reads, relu):
        pixels = pixels.reshape(*pixels.shape[:4], A, B, C)
        for i, row in enumerate(down.phases):
            to_h, from_u = _every(stride[0], row, down.first_u + rows.start, pixels.shape[1])
            for j, col in enumerate(across.phases):
                to_w, from_v = _every(stride[1], col, across.first_u, pixels.shape[2])
                dx[batch, to_h, to_w] = pixels[:, from_u, from_v, :, i, j]


def _every(stride: int, phase: Phase, first_u: int, count: int) -> tuple[slice, slice]:
    """Where the results for u = first_u, ..., first_u + count - 1 of a phase go in dx, and which of them go there."""
    first = max(first_u, phase.first_u)
    last = max(first, min(first_u + count, phase.end_u))
    start = first * stride + phase.offset
    return slice(start, start + (last - first) * stride, stride), slice(first - first_u, last - first_u)


def _microseconds(g: ConvGeometry) -> float:
    """About how long a pass takes: the products, and a nanosecond for each number that is copied into columns."""
    products = g.N * g.OH * g.OW * g.O * g.C // g.groups * g.KH * g.KW
    copied = g.N * g.C * g.H * g.W if g.KH * g.KW > 1 else 0
    return products / PER_MICROSECOND + 1e-3 * copied


def _channels_last(w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """w as (groups, O / groups, KH, KW, C / groups)."""
    last = np.ascontiguousarray(w.transpose(0, 2, 3, 1))
    return last.reshape(g.groups, g.O // g.groups, g.KH, g.KW, g.C // g.groups)
