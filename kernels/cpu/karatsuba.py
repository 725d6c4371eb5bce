"""Convolutions whose kernel is twice their stride, with 9 products instead of 16.

Cut the pixels of a row into bundles a_0, a_1, ... of as many as the stride, and the kernel into halves k_0 and k_1 of
the same size: output i is a_i k_0 + a_(i+1) k_1. Two neighbours see three bundles, and need three products:

    y_0 = a_0 k_0 + a_1 k_1  =  (a_0 - a_1) k_0  +  a_1 (k_0 + k_1)
    y_1 = a_1 k_0 + a_2 k_1  =                      a_1 (k_0 + k_1)  +  (a_2 - a_1) k_1

In both directions it is three times three products for four outputs. All three passes are of this kind: they are the
sums over (i, j) of a product of three factors,

    differences(x)[i, j]   halves(w)[i, j]   spread(dy)[i, j],

where spread, (d_0, d_0 + d_1, d_1), is the transpose of how the products add up to y; each pass leaves one of the three
out and ends with its transpose. Only sums and differences are formed, so integers stay exact. What that costs pays
where there are many channels: 4x4 kernels of stride 2 with 128 become 1.2 to 1.5 times faster.

Sources: Karatsuba & Ofman 1962; Winograd 1980 ("Arithmetic Complexity of Computations"), where it is F(2, 2); Lavin &
Gray 2015, "Fast algorithms for convolutional neural networks".

Notation: s rows and t columns in a bundle, I x J tiles of 2 x 2 outputs, K = s t C numbers in a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..geometry import ConvGeometry
from ..reads import Reads
from .activation import cut_off
from .columns import COLUMNS, REGION, RESULT, TILE_BYTES, Tile, cut, tiles, workspace
from .matrix import PER_MICROSECOND
from .threads import share

PLANE, SUM = 3, 4  # slots of workspace()
BUNDLES = 5  # that four outputs read, about: (2 I + 1) (2 J + 1) / (I J)
CHANNELS = 64  # with fewer the sums cost more than they save


def applies(g: ConvGeometry) -> bool:
    """Whether a convolution is of this kind, with an even number of outputs both ways, and has enough channels."""
    twice = all(size == 2 * stride for size, stride in zip((g.KH, g.KW), g.stride, strict=True))
    even = g.OH % 2 == g.OW % 2 == 0
    return twice and even and g.dilation == (1, 1) and g.groups == 1 and min(g.C, g.O) >= CHANNELS


def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool) -> np.ndarray:
    """x (N, C, H, W), w (O, C, KH, KW), b (O,) -> y (N, O, OH, OW)."""
    last, k = x.transpose(0, 2, 3, 1), halves(w, g)
    y = np.empty((g.N, g.OH, g.OW, g.O), x.dtype)
    share(g.N, _microseconds(g), lambda part: _forward(last[part], k, b, g, relu, y[part]))
    return y.transpose(0, 3, 1, 2)


def conv2d_input_grad(dy: np.ndarray, w: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool) -> np.ndarray:
    """dy (N, O, OH, OW), w (O, C, KH, KW), b (C,) -> dx (N, C, H, W)."""
    last, k = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)), halves(w, g)
    dx = np.empty((g.N, g.H, g.W, g.C), dy.dtype)
    share(g.N, _microseconds(g), lambda part: _input_grad(last[part], k, b, g, relu, dx[part]))
    return dx.transpose(0, 3, 1, 2)


def conv2d_weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """dy (N, O, OH, OW), x (N, C, H, W) -> dw (O, C, KH, KW)."""
    of_dy, of_x = np.ascontiguousarray(dy.transpose(0, 2, 3, 1)), x.transpose(0, 2, 3, 1)
    parts = share(g.N, _microseconds(g), lambda part: _weight_grad(of_dy[part], of_x[part], g))
    dk = parts.pop(0)
    while parts:
        dk += parts.pop(0)
    return halves_transposed(dk, g)


def _microseconds(g: ConvGeometry) -> float:
    """About how long a pass takes one thread."""
    return g.N * g.OH * g.OW * g.O * g.C * g.KH * g.KW * 9 / 16 / PER_MICROSECOND


def halves(w: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """w (O, C, KH, KW) -> (3, 3, O, K): k_0, k_0 + k_1, k_1 in both directions."""
    (s, t), last = g.stride, np.ascontiguousarray(w.transpose(0, 2, 3, 1))
    k = last.reshape(g.O, 2, s, 2, t, g.C)
    sums = np.empty((3, 3, g.O, s, t, g.C), w.dtype)
    for i, row in enumerate((k[:, 0], k[:, 0] + k[:, 1], k[:, 1])):
        sums[i, 0], sums[i, 2] = row[:, :, 0], row[:, :, 1]
        np.add(row[:, :, 0], row[:, :, 1], out=sums[i, 1])
    return sums.reshape(3, 3, g.O, s * t * g.C)


def halves_transposed(sums: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """(3, 3, O, K) -> (O, C, KH, KW)."""
    s, t = g.stride
    sums = sums.reshape(3, 3, g.O, s, t, g.C)
    w = np.empty((g.O, 2, s, 2, t, g.C), sums.dtype)
    for a in range(2):
        row = sums[a] + sums[a + 1]
        for b in range(2):
            np.add(row[b], row[b + 1], out=w[:, a, :, b])
    return np.ascontiguousarray(w.reshape(g.O, g.KH, g.KW, g.C).transpose(0, 3, 1, 2))


def tiles_of_four(image: np.ndarray, g: ConvGeometry) -> Iterator[Tile]:
    """Tiles of image (N, H, W, C) whose outputs are I x J groups of 2 x 2 outputs of the convolution."""
    down, across = (
        Reads(-padding, 2 * stride, 1, 3 * stride, outputs // 2)
        for padding, stride, outputs in zip(g.padding, g.stride, (g.OH, g.OW), strict=True)
    )
    return tiles(image, down, across, BUNDLES * g.stride[0] * g.stride[1] * g.C * image.itemsize)


def differences(tile: Tile, g: ConvGeometry) -> Iterator[np.ndarray]:
    """For i = 0, 1, 2: (3, pixels / 4, K) of a tile, valid until the next one."""
    (s, t), (n, _, width, C) = g.stride, tile.region.shape
    I, J = tile.down.outputs, tile.across.outputs  # noqa: E741
    bundles = tile.region.reshape(n, 2 * I + 1, s * width * C)
    plane = workspace(PLANE, (n, I, s * width * C), bundles.dtype)
    matrix = workspace(COLUMNS, (3, n, I, J, s, t * C), bundles.dtype)
    for i in range(3):
        rows = bundles[:, 1::2] if i == 1 else np.subtract(bundles[:, i : i + 2 * I : 2], bundles[:, 1::2], out=plane)
        across = rows.reshape(n, I, s, 2 * J + 1, t * C).transpose(0, 1, 3, 2, 4)
        middle = across[:, :, 1::2]
        np.subtract(across[:, :, :-1:2], middle, out=matrix[0])
        matrix[1] = middle
        np.subtract(across[:, :, 2::2], middle, out=matrix[2])
        yield matrix.reshape(3, n * I * J, s * t * C)


def add_differences_transposed(region: np.ndarray, i: int, matrix: np.ndarray, g: ConvGeometry) -> None:
    """Adds matrix (3, pixels / 4, K) for this i to region (n, rows, width, C); i = 0 comes first, and overwrites."""
    (s, t), (n, height, width, C) = g.stride, region.shape
    I, J = height // s // 2, width // t // 2  # noqa: E741
    first, middle, last = matrix.reshape(3, n, I, J, s, t * C)
    plane = workspace(PLANE, (n, I, s, 2 * J + 1, t * C), region.dtype)
    across = plane.transpose(0, 1, 3, 2, 4)
    np.subtract(middle, first, out=across[:, :, 1::2])
    across[:, :, 1::2] -= last
    across[:, :, 0] = first[:, :, 0]
    np.add(first[:, :, 1:], last[:, :, :-1], out=across[:, :, 2:-1:2])
    across[:, :, -1] = last[:, :, -1]
    bundles, rows = region.reshape(n, 2 * I + 1, s * width * C), plane.reshape(n, I, s * width * C)
    if i == 0:
        bundles[:, :-1:2], bundles[:, -1] = rows, 0
        np.negative(rows, out=bundles[:, 1::2])
    elif i == 1:
        bundles[:, 1::2] += rows
    else:
        bundles[:, 1::2] -= rows
        bundles[:, 2::2] += rows


def spread(dy: np.ndarray) -> Iterator[np.ndarray]:
    """dy (n, OH, OW, O) -> for i = 0, 1, 2: (3, pixels / 4, O), valid until the next one."""
    n, OH, OW, O = dy.shape  # noqa: E741
    I, J = OH // 2, OW // 2  # noqa: E741
    pairs = dy.reshape(n, I, 2, OW * O)
    plane = workspace(SUM, (n, I, OW * O), dy.dtype)
    matrix = workspace(RESULT, (3, n, I, J, O), dy.dtype)
    for i in range(3):
        rows = np.add(pairs[:, :, 0], pairs[:, :, 1], out=plane) if i == 1 else pairs[:, :, i // 2]
        across = rows.reshape(n, I, J, 2, O)
        matrix[0], matrix[2] = across[:, :, :, 0], across[:, :, :, 1]
        np.add(across[:, :, :, 0], across[:, :, :, 1], out=matrix[1])
        yield matrix.reshape(3, n * I * J, O)


def add_spread_transposed(y: np.ndarray, i: int, matrix: np.ndarray) -> None:
    """Adds matrix (3, pixels / 4, O) for this i to y (n, I, 2, 2 J, O); the first to reach a row overwrite it."""
    n, I, _, width, O = y.shape  # noqa: E741
    products = matrix.reshape(3, n, I, width // 2, O)
    rows = y[:, :, 0] if i == 0 else workspace(SUM, (n, I, width, O), y.dtype)
    pairs = rows.reshape(n, I, width // 2, 2, O)
    np.add(products[0], products[1], out=pairs[:, :, :, 0])
    np.add(products[1], products[2], out=pairs[:, :, :, 1])
    if i == 1:
        y[:, :, 0] += rows
        y[:, :, 1] = rows
    elif i == 2:
        y[:, :, 1] += rows


def _forward(x: np.ndarray, k: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool, out: np.ndarray) -> None:
    """Some examples x (n, H, W, C), k = halves(w), b (O,) -> out (n, OH, OW, O)."""
    for tile in tiles_of_four(x, g):
        y = out[tile.batch, 2 * tile.rows.start : 2 * tile.rows.stop]
        pairs = y.reshape(len(y), tile.down.outputs, 2, g.OW, g.O)
        for i, matrix in enumerate(differences(tile, g)):
            products = workspace(RESULT, (3, len(matrix[0]), g.O), out.dtype)
            add_spread_transposed(pairs, i, np.matmul(matrix, k[i].transpose(0, 2, 1), out=products))
        _finish(y, b, relu)


def _weight_grad(dy: np.ndarray, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
    """Some examples dy (n, OH, OW, O), x (n, H, W, C) -> their share of the gradient of halves(w), (3, 3, O, K)."""
    dk = np.zeros((3, 3, g.O, g.stride[0] * g.stride[1] * g.C), x.dtype)
    for tile in tiles_of_four(x, g):
        of_tile = dy[tile.batch, 2 * tile.rows.start : 2 * tile.rows.stop]
        for i, (of_x, of_dy) in enumerate(zip(differences(tile, g), spread(of_tile), strict=True)):
            if tile.batch.start == tile.rows.start == 0:
                np.matmul(of_dy.transpose(0, 2, 1), of_x, out=dk[i])
            else:
                dk[i] += np.matmul(of_dy.transpose(0, 2, 1), of_x)
    return dk


def _input_grad(
    dy: np.ndarray, k: np.ndarray, b: np.ndarray | None, g: ConvGeometry, relu: bool, out: np.ndarray
) -> None:
    """Some examples dy (n, OH, OW, O), k = halves(w), b (C,) -> out (n, H, W, C)."""
    (s, t), (top, left) = g.stride, g.padding
    K, tiles_each = s * t * g.C, g.OH * g.OW // 4
    for batch in cut(len(dy), BUNDLES * tiles_each * K * dy.itemsize, TILE_BYTES):
        part = out[batch]
        region = workspace(REGION, (len(part), (g.OH + 1) * s, (g.OW + 1) * t, g.C), dy.dtype)
        for i, of_dy in enumerate(spread(dy[batch])):
            matrix = workspace(COLUMNS, (3, len(part) * tiles_each, K), dy.dtype)
            add_differences_transposed(region, i, np.matmul(of_dy, k[i], out=matrix), g)
        reached = region[:, top : top + g.H, left : left + g.W]
        part[:, : reached.shape[1], : reached.shape[2]] = reached
        part[:, reached.shape[1] :], part[:, :, reached.shape[2] :] = 0, 0
        _finish(part, b, relu)


def _finish(y: np.ndarray, b: np.ndarray | None, relu: bool) -> None:
    """Adds b (channels,) to y (n, rows, width, channels), and cuts off what is negative, in place."""
    rows = y.reshape(len(y), y.shape[1], y.shape[2] * y.shape[3])
    if b is not None:
        rows += np.tile(b, y.shape[2])
    if relu:
        cut_off(rows)
