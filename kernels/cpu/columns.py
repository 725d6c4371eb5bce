"""im2col: what a convolution reads, laid out as a matrix, so that a matrix product does the arithmetic.

An output pixel of a convolution is the inner product of the kernel with a window of the image. Write each window as one
row of a matrix, the *columns* (the name is im2col's; Chellapilla, Puri & Simard 2006), and the whole convolution is

    columns (pixels, KH * KW * C)  @  kernel (KH * KW * C, O)  =  output (pixels, O).

The matrix repeats each number of the image up to KH * KW times, so time goes into moving bytes. Three things keep the
cost low. The images lie in channels-last memory, where a row of a window is one contiguous run of KW * C numbers. The
matrix is made a tile at a time in one small buffer that stays in the cache, where the product finds it again. And zero
padding is added to a tile, not to the image.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from ..reads import Reads

REGION, COLUMNS, RESULT = 0, 1, 2  # slots of workspace()
TILE_BYTES = 2 << 20  # the best of 0.5, 1 and 2 MB; with 4 MB the products are about 10 % slower


class Tile(NamedTuple):
    """Some output pixels: all those in `rows` of the examples `batch`.

    region (n, row extent, column extent, C) is what they read, contiguous, with zeros where it leaves the image.
    It is valid until the next tile is made. down are the reads of these rows, from the region's first row on.
    """

    batch: slice
    rows: slice
    region: np.ndarray
    down: Reads
    across: Reads


def tiles(image: np.ndarray, down: Reads, across: Reads, pixel_bytes: int, least_bytes: int = 0) -> Iterator[Tile]:
    """Cuts the outputs of a convolution of image (N, H, W, C) into tiles of about TILE_BYTES or least_bytes.

    pixel_bytes is what the caller is going to need for each output pixel.
    A tile is a number of whole examples or, where one is larger than a tile, rows of one: its outputs are contiguous.
    """
    tile_bytes = max(TILE_BYTES, least_bytes)
    row_bytes = across.outputs * pixel_bytes
    for batch in cut(len(image), down.outputs * row_bytes, tile_bytes):
        for rows in cut(down.outputs, row_bytes, tile_bytes):
            part = down.part(rows)
            region = _padded(image[batch], part, across)
            yield Tile(batch, rows, region, part._replace(start=0), across._replace(start=0))


def kernel_rows(KH: int, tile_bytes: int) -> Iterator[slice]:
    """Cuts the rows of a kernel so that their columns need TILE_BYTES each, if all together need tile_bytes."""
    return cut(KH, -(-tile_bytes // KH), TILE_BYTES)


def cut(count: int, size: int, tile_bytes: int) -> Iterator[slice]:
    """Cuts `count` things of `size` bytes each into equal parts of at most tile_bytes, but of one thing at least."""
    parts = min(max(-(-count * size // tile_bytes), 1), count)
    return (slice(*edges) for edges in pairwise(count * k // parts for k in range(parts + 1) if parts))


def _padded(image: np.ndarray, down: Reads, across: Reads) -> np.ndarray:
    """The region that is read; the image itself where it is just that."""
    n, H, W, C = image.shape
    h, w = down.inside(H), across.inside(W)
    shape = (n, down.extent, across.extent, C)
    if h == slice(0, H) and w == slice(0, W) and image.shape == shape and image.flags.c_contiguous:
        return image
    region = workspace(REGION, shape, image.dtype)
    top, left = h.start - down.start, w.start - across.start
    bottom, right = top + h.stop - h.start, left + w.stop - w.start
    region[:, :top] = region[:, bottom:] = 0
    region[:, :, :left] = region[:, :, right:] = 0
    region[:, top:bottom, left:right] = image[:, h, w]
    return region


def columns(tile: Tile, groups: int, rows: slice | None = None) -> np.ndarray:
    """The columns of a tile, (groups, pixels, taps * C / groups), valid until the next call.

    With `rows` for these rows of the kernel only.

    Numbers that lie side by side in the region, the channels of a pixel or those of a whole kernel row, are copied as
    *one* element of a type of that size: NumPy's loop then runs over pixels and not over a handful of numbers. This
    makes the copy 8 times faster for one channel, 2 times for eight, and costs nothing for many.
    """
    region, down, across, first = tile.region, tile.down, tile.across, 0
    if rows is not None:
        down, first = down._replace(taps=rows.stop - rows.start), rows.start * down.dilation
    n, _, width, C = region.shape
    size, of_pixel, of_row = region.itemsize, C * region.itemsize, width * C * region.itemsize
    pixels = n * down.outputs * across.outputs
    if tile.down.taps == across.taps == down.stride == across.stride == 1:
        return region.reshape(pixels, groups, C // groups).transpose(1, 0, 2)
    run = C // groups
    axes = [
        (groups, run * size),
        (n, region[0].nbytes),
        (down.outputs, down.stride * of_row),
        (across.outputs, across.stride * of_pixel),
        (down.taps, down.dilation * of_row),
    ]
    if groups == 1 and across.dilation == 1:
        run *= across.taps
    else:
        axes.append((across.taps, across.dilation * of_pixel))
    shape, strides = zip(*axes, strict=True)
    element = np.dtype((np.void, run * size))
    matrix = workspace(COLUMNS, (*shape, run), region.dtype)
    matrix.view(element)[..., 0] = np.ndarray(shape, element, region, first * of_row, strides)
    return matrix.reshape(groups, pixels, down.taps * across.taps * C // groups)


_buffers = threading.local()  # .slots


def workspace(slot: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array in the slot-th buffer of this thread, valid until somebody asks for that slot again.

    Fresh memory would cost a page fault every 4 KiB and would not be in the cache. Functions number the arrays that
    they need at the same time, so that there are no more buffers than any one of them needs.
    """
    slots: dict[int, np.ndarray] = _buffers.__dict__.setdefault("slots", {})
    size = prod(shape) * dtype.itemsize
    if slot not in slots or slots[slot].nbytes < size:
        slots[slot] = np.empty(size, np.uint8)
    return slots[slot][:size].view(dtype).reshape(shape)
