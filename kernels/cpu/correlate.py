"""Correlation of an image with a kernel, tile by tile, in one of two orders: shift then multiply, or the reverse.

    out[i, j] = sum over taps t of image[i + row of t, j + column of t] @ kernel[t]

*Shift, then multiply.* The shifted images of all taps side by side are the columns of im2col, and one matrix product
multiplies and adds. It moves taps * C numbers for an output pixel.

*Multiply, then shift.* One matrix product multiplies every pixel with all taps at once; the result of each tap is a
plane, and the planes are added, each shifted by its tap. With stride 1 and zeros between the image rows a shift in two
dimensions is a shift along memory, so this is one long addition for each tap. It moves taps * O numbers for a pixel. A
decoder's last layer, which makes one channel or three out of many, is 2 to 4 times faster this way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..reads import Reads
from .activation import cut_off
from .columns import RESULT, columns, tiles, workspace

FEW = 3  # adding a number to a shifted plane takes about as long as copying so many into the columns

Pixels = tuple[slice, slice, np.ndarray]


def correlate(
    image: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    down: Reads,
    across: Reads,
    relu: bool,
    out: np.ndarray | None = None,
) -> Iterator[Pixels]:
    """Yields (batch, rows, pixels), where pixels (n, rows, width, groups, O / groups) are a part of the result.

    With relu negative pixels become 0, while they are in the cache.

    image (N, H, W, C), kernel (groups, taps down, taps across, C / groups, O / groups), bias (groups, O / groups).
    With `out` (N, rows, width, groups, O / groups), contiguous, the result is written there and pixels are a part of
    it. Without, pixels are valid until the next ones are made.
    """
    taps, C, O = down.taps * across.taps, *kernel.shape[3:]  # noqa: E741 - as in geometry.py, but of one group
    few = FEW * O * down.extent * across.extent <= C * down.outputs * across.outputs
    order = _multiply_then_shift if few and taps > 1 == down.stride == across.stride else _shift_then_multiply
    return order(image, kernel, bias, down, across, relu, out)


def _shift_then_multiply(
    image: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    down: Reads,
    across: Reads,
    relu: bool,
    out: np.ndarray | None,
) -> Iterator[Pixels]:
    groups, O = len(kernel), kernel.shape[4]  # noqa: E741
    matrix = kernel.reshape(groups, -1, O)
    per_row = across.outputs * groups * O
    if bias is not None:
        bias = np.tile(bias.ravel(), across.outputs)
    for tile in tiles(image, down, across, groups * matrix.shape[1] * image.itemsize):
        if out is None:
            shape = (len(tile.region), tile.down.outputs, across.outputs, groups, O)
            pixels = workspace(RESULT, shape, image.dtype)
        else:
            pixels = out[tile.batch, tile.rows]
        np.matmul(columns(tile, groups), matrix, out=by_group(pixels))
        whole_rows = pixels.reshape(pixels.size // per_row, per_row)  # few long loops instead of one for each pixel
        if bias is not None:
            whole_rows += bias
        if relu:
            cut_off(whole_rows)
        yield tile.batch, tile.rows, pixels


def _multiply_then_shift(
    image: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    down: Reads,
    across: Reads,
    relu: bool,
    out: np.ndarray | None,
) -> Iterator[Pixels]:
    groups, taps, O = len(kernel), down.taps * across.taps, kernel.shape[4]  # noqa: E741
    matrix = kernel.transpose(0, 1, 2, 4, 3).reshape(groups, taps * O, -1)
    for tile in tiles(image, down, across, max(groups * taps * O, image.shape[3]) * image.itemsize):
        n, height, width, C = tile.region.shape
        count = n * height * width
        planes = workspace(RESULT, (groups, taps, O, count), image.dtype)
        by_pixel = tile.region.reshape(count, groups, C // groups)
        np.matmul(matrix, by_pixel.transpose(1, 2, 0), out=planes.reshape(groups, taps * O, count))
        shifts = [p * down.dilation * width + q * across.dilation for p, q in np.ndindex(down.taps, across.taps)]
        total = planes[:, 0, :, : count - shifts[-1]]
        for tap in range(1, taps):
            total += planes[:, tap, :, shifts[tap] : shifts[tap] + total.shape[2]]
        if bias is not None:
            total += bias[:, :, None]
        if relu:
            cut_off(total)
        # Where a shift ran over the end of a row or an image the sum means nothing: these pixels are cut off.
        grid = planes[:, 0].reshape(groups, O, n, height, width)[..., : tile.down.outputs, : across.outputs]
        pixels = grid.transpose(2, 3, 4, 0, 1)
        if out is not None:
            out[tile.batch, tile.rows] = pixels
        yield tile.batch, tile.rows, pixels


def by_group(pixels: np.ndarray) -> np.ndarray:
    """Contiguous pixels (n, rows, width, groups, channels) as matrices (groups, n * rows * width, channels): a view."""
    n, rows, width, groups, channels = pixels.shape
    return pixels.reshape(n * rows * width, groups, channels).transpose(1, 0, 2)
