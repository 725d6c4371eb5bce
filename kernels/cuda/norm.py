"""Normalisation by batch and by group of channels, forward and backward (norm.cu).

The mathematics is in kernels/reference/norm.py. Batch and group normalisation use the same kernels, which see an array
(A, rows, channels). They differ in whether A counts the examples, which axes are the rows, and how many channels share
a mean and a variance. Channels-last memory and contiguous (N, C, ...) differ in the strides, and in what neighbouring
threads work on. Sums are computed in two stages, first over parts and then over the parts' sums, in float64 and in an
order that the shapes alone decide.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ..contract import Array
from . import launcher
from .arrays import contiguous, empty, logical_order, memory_order, zeros
from .launcher import ceil_div

MODULE = launcher.Module(Path(__file__).with_name("norm.cu"))
REGISTERS = {
    "moments": 56,
    "statistics": 40,
    "normalize": 56,
    "gradient_sums": 64,
    "gradient_means": 40,
    "affine_gradients": 56,
    "input_gradient": 64,
}

THREADS = 256
FILL = 1056  # blocks that keep a large GPU busy: eight for each of an H200's 132 multiprocessors
ROWS = 64  # the most rows that one thread takes
AFFINE = (32, 8)


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array]:
    """x (N, C, ...) -> y, mean (C,), var (C,): y = (x - mean) / sqrt(var + eps) * weight + bias, per channel."""
    return _normalize(x, weight, bias, None, eps)


def batch_norm_grad(
    dy: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx, dweight (C,), dbias (C,) of batch_norm. dx includes what x does through mean and var."""
    return _normalize_grad(dy, x, weight, mean, var, None, eps)


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, groups: int, eps: float
) -> tuple[Array, Array, Array]:
    """x (N, C, ...) -> y, mean (N, groups), var (N, groups): as batch_norm, per example and group of channels."""
    return _normalize(x, weight, bias, groups, eps)


def group_norm_grad(
    dy: Array, x: Array, weight: Array | None, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx, dweight (C,), dbias (C,) of group_norm; the number of groups is mean.shape[1]."""
    return _normalize_grad(dy, x, weight, mean, var, mean.shape[1], eps)


def _normalize(
    x: Array, weight: Array | None, bias: Array | None, groups: int | None, eps: float
) -> tuple[Array, Array, Array]:
    shape = (x.shape[1],) if groups is None else (x.shape[0], groups)
    if not x.size:
        return empty(x.shape, x.dtype), zeros(shape, x.dtype), zeros(shape, x.dtype)
    order, x = _in_order(x)
    plan = _plan(x, order, groups)
    sums, mean, var, y = plan.empty_sums(), empty(shape, x.dtype), empty(shape, x.dtype), empty(x.shape, x.dtype)
    plan.launch("moments", x, sums)
    plan.launch_per_group("statistics", sums, x, mean, var)
    plan.launch("normalize", x, _own(weight), _own(bias), mean, var, y, eps)
    return logical_order(y, order), mean, var


def _normalize_grad(
    dy: Array, x: Array, weight: Array | None, mean: Array, var: Array, groups: int | None, eps: float
) -> tuple[Array, Array, Array]:
    C = x.shape[1]
    if not x.size:
        return empty(x.shape, x.dtype), zeros(C, x.dtype), zeros(C, x.dtype)
    order, x = _in_order(x)
    plan = _plan(x, order, groups)
    dy, weight, mean, var = contiguous(dy.transpose(order)), _own(weight), contiguous(mean), contiguous(var)
    sums, means = plan.empty_sums(), empty((mean.size, 2), "float64")
    dx, dweight, dbias = empty(x.shape, x.dtype), empty(C, x.dtype), empty(C, x.dtype)
    plan.launch("gradient_sums", dy, x, mean, sums)
    plan.launch_per_group("gradient_means", sums, weight, var, means, eps)
    plan.kernel("affine_gradients")[ceil_div(C, AFFINE[0]), AFFINE](sums, var, dweight, dbias, eps, plan.layout)
    plan.launch("input_gradient", dy, x, weight, mean, var, means, dx, eps)
    return logical_order(dx, order), dweight, dbias


def _own(values: Array | None) -> Array | None:
    """weight or bias (C,) in contiguous memory; None stays None."""
    return None if values is None else contiguous(values)


def _in_order(x: Array) -> tuple[tuple[int, ...], Array]:
    """The order of the axes of x (N, C, ...) in memory, and x, C-contiguous with its axes in that order.

    N comes first, and C second or last. If N is not the slowest axis of x, or C lies between others, x is copied.
    """
    order = memory_order(x, fixed=1)
    if order[1] != 1 and order[-1] != 1:
        order = (*(axis for axis in order if axis != 1), 1)
    return order, contiguous(x.transpose(order))


class _Plan(NamedTuple):
    """How the kernels see x, which also decides with how many threads they are launched."""

    dtype: Any
    layout: dict[str, int]  # the struct Layout

    def kernel(self, name: str) -> launcher.Kernel:
        return MODULE.kernel(name, self.dtype)

    def empty_sums(self) -> Array:
        """A new array (A, parts, C, 2) for the sums of all blocks."""
        return empty((self.layout["A"], self.layout["parts"], self.layout["C"], 2), "float64")

    def launch(self, name: str, *arguments: Any) -> None:
        """Launches a kernel that visits all elements."""
        of = self.layout
        blocks = ceil_div(of["A"], of["packed"]) * ceil_div(of["C"], of["columns"])
        self.kernel(name)[(blocks, of["parts"]), (of["columns"] << of["lane_bits"], of["packed"])](*arguments, of)

    def launch_per_group(self, name: str, *arguments: Any) -> None:
        """Launches a kernel that has one block for each mean and variance."""
        of = self.layout
        sums = of["parts"] * of["C"] // of["groups"]
        self.kernel(name)[of["A"] * of["groups"], THREADS if sums > 128 else 32](*arguments, of)


def _plan(x: Array, order: tuple[int, ...], groups: int | None) -> _Plan:
    """The plan for a contiguous x, (N, C, ...) or (N, ..., C) as `order` says; groups is None for batch norm."""
    channels_last = order[-1] == 1
    N, C = x.shape[0], x.shape[-1 if channels_last else 1]
    pixels = prod(x.shape) // (N * C)
    pixel_step, c_step = (C, 1) if channels_last else (1, pixels)
    of_example = C * pixels
    if groups is None:
        A, R, a_step, groups = 1, N * pixels, 0, C
    else:
        A, R, a_step = N, pixels, of_example
    if channels_last:  # the pixels of the next example follow those of this one
        pixels = R
    columns = min(C, 32) if channels_last else 1
    lanes = _power_of_two(max(1, min(R // 4, THREADS // columns)))
    packed = min(A, max(1, THREADS // (columns * lanes)))
    blocks = ceil_div(A, packed) * ceil_div(C, columns)
    per_part = _rows_per_part(R, lanes, blocks)
    lines, ahead = divmod(lanes, pixels)
    return _Plan(
        x.dtype,
        {
            **{"A": A, "R": R, "pixels": pixels, "per_part": per_part, "ahead": ahead},
            **{"move": lines * of_example + ahead * pixel_step, "next_line": of_example - pixels * pixel_step},
            **{"a_step": a_step, "line_step": of_example, "pixel_step": pixel_step, "c_step": c_step},
            **{"C": C, "groups": groups, "columns": columns, "packed": packed},
            "lane_bits": lanes.bit_length() - 1,
            **{"parts": ceil_div(R, per_part), "per_row": ceil_div(C, columns)},
        },
    )


def _rows_per_part(R: int, lanes: int, blocks: int) -> int:
    """How many rows a part has: ROWS for each thread, or fewer, down to 4, if that helps to fill the GPU.

    It has more than ROWS for each thread only if a grid could not hold so many parts.
    """
    to_fill = ceil_div(R * blocks, FILL)
    rows = min(lanes * ROWS, max(lanes * 4, to_fill))
    return max(rows, ceil_div(R, launcher.GRID_LIMIT[1]))


def _power_of_two(n: int) -> int:
    """The largest power of two that is not above n."""
    return 1 << n.bit_length() - 1
