"""Sums over axes, and sums of rows that share an index (kernels in matrix.cu). The product of matrices is in gemm.py.

Both sums are bitwise the same each time, because the shapes alone decide which thread adds which numbers and in which
order the sums of the threads are added.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from ..contract import Array
from . import launcher
from .arrays import contiguous, empty, logical_order, memory_order, zeros
from .launcher import ceil_div

MODULE = launcher.Module(Path(__file__).with_name("matrix.cu"))
REGISTERS = {"sum_middle": 40, "count_digits": 32, "scan_counts": 32, "move_rows": 40, "sum_segments": 40}

THREADS = 256
FILL = 264  # blocks that keep a large GPU busy: two for each of an H200's 132 multiprocessors
CHAIN = 64  # the most numbers that a thread adds one after the other
DIGITS = 256  # rows are sorted by the digits of their index in base 256; a block has as many threads
CHUNKS = 256  # the most chunks of rows in a sort; one block scans them all, so there are at most DIGITS
SEGMENT = (32, 8)


def reduce_sum(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """The sum of x over the given axes (non-negative, ascending), accumulated in float64.

    Axes that are neighbours in memory are summed at once, the fastest ones first. The sum over (N, H, W) of images in
    channels-last memory is therefore a single sum over the rows of an (N * H * W, C) matrix.
    """
    if not axis:
        return x.copy()
    left = list(memory_order(x))
    y = contiguous(x.transpose(left))
    while not set(axis).isdisjoint(left):
        end = 1 + max(place for place, a in enumerate(left) if a in axis)
        start = end - 1
        while start > 0 and left[start - 1] in axis:
            start -= 1
        outer, run, inner = y.shape[:start], y.shape[start:end], y.shape[end:]
        y = _sum_middle(y, prod(outer), prod(run), prod(inner)).reshape(outer + inner)
        del left[start:end]
    y = logical_order(y, left)
    return y.reshape(tuple(1 if a in axis else n for a, n in enumerate(x.shape))) if keepdims else y


def _sum_middle(x: Array, A: int, R: int, B: int) -> Array:
    """x, contiguous and read as (A, R, B), -> (A, B). A long R is cut into parts, whose sums a second pass adds."""
    if R == 0:
        return zeros((A, B), x.dtype)
    if not A * B:
        return empty((A, B), x.dtype)
    lanes = _power_of_two(min(ceil_div(R, 4), THREADS // min(B, 32)))
    columns = min(B, THREADS // lanes)
    groups = THREADS // (lanes * columns)
    blocks = ceil_div(A, groups) * ceil_div(B, columns)
    per_part = ceil_div(R, _parts(R, lanes, blocks))
    parts = ceil_div(R, per_part)
    sums = empty((A, parts, B), x.dtype)
    sizes = {"A": A, "R": R, "B": B, "per_part": per_part, "columns": columns, "groups": groups}
    sizes |= {"per_row": ceil_div(B, columns), "lane_bits": lanes.bit_length() - 1}
    MODULE.kernel("sum_middle", x.dtype)[(blocks, parts), (columns * lanes, groups)](x, sums, sizes)
    return _sum_middle(sums, A, parts, B) if parts > 1 else sums


def _parts(R: int, lanes: int, blocks: int) -> int:
    """Into how many parts R is cut.

    There are so many that no thread adds more than CHAIN numbers. There are more, if that helps to fill the GPU and
    still leaves each thread half as many numbers, but at most as many as one part of the second pass can add.
    """
    half = lanes * CHAIN // 2
    to_fill = min(ceil_div(FILL, blocks), ceil_div(R, half), half)
    return min(max(ceil_div(R, lanes * CHAIN), to_fill), launcher.GRID_LIMIT[1])


def _power_of_two(n: int) -> int:
    """The largest power of two that is not above n."""
    return 1 << n.bit_length() - 1


def segment_sum(rows: Array, index: Array, count: int) -> Array:
    """rows (M, D), index (M,) in [0, count) -> (count, D): out[k] = sum of rows[m] over all m with index[m] = k.

    The rows are sorted by their index, and each block adds those of one index, in float64.
    """
    M, D = rows.shape
    if M == 0:
        return zeros((count, D), rows.dtype)
    rows, index = contiguous(rows), contiguous(index)
    sums = empty((count, D), rows.dtype)
    grid = (count, ceil_div(D, SEGMENT[0]))
    MODULE.kernel("sum_segments", rows.dtype)[grid, SEGMENT](rows, index, _stable_order(index, count), sums, M, D)
    return sums


def _stable_order(index: Array, count: int) -> Array:
    """np.argsort(index, kind="stable") for an index (M,) in [0, count): int64 (M,).

    CuPy's argsort waits for the device, so it cannot be part of a CUDA graph (cupy#9126).
    """
    M = index.shape[0]
    per_chunk = ceil_div(M, CHUNKS * DIGITS) * DIGITS
    chunks = ceil_div(M, per_chunk)
    counts, totals = empty((DIGITS, chunks), "int32"), empty(DIGITS, "int32")
    order = None
    for shift in range(0, max(1, (count - 1).bit_length()), 8):
        sorted_order = empty(M, "int64")
        MODULE.kernel("count_digits")[chunks, DIGITS](index, order, counts, M, per_chunk, shift)
        MODULE.kernel("scan_counts")[DIGITS, DIGITS](counts, totals, chunks)
        MODULE.kernel("move_rows")[chunks, DIGITS](index, order, sorted_order, counts, totals, M, per_chunk, shift)
        order = sorted_order
    return order
