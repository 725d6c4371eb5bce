"""The convolution, its input gradient and its weight gradient, by the kernels of conv.cu.

The notation is that of geometry.py. A *job* is one launch: how the weights are arranged, and one correlation.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array
from ..geometry import ConvGeometry
from . import launcher
from .activation import bias_relu
from .arrays import aligned, channels_last, empty, xp
from .launcher import ceil_div
from .matrix import FILL, reduce_sum
from .settings import settings
from .taps import Phases, Taps, forward_taps, phases

# (T, P, Q, unit): tiles of 16 P x 16 Q results, for channels whose number is a multiple of unit. If unit is 4 or more,
# four channels are read at once. The largest tile has no registers left to handle channels that end within a tile.
_TILES = [
    *[("float", *tile, unit) for tile in ((4, 4), (8, 4)) for unit in (1, 4)],
    ("float", 8, 8, 8),
    *[("double", 4, 4, unit) for unit in (1, 4)],
]
MODULE = launcher.Module(
    Path(__file__).with_name("conv.cu"),
    {
        "correlate_registers": _TILES,
        "weight_grad_registers": _TILES,
        "correlate_tensor_cores": [(1,), (4,)],
        "weight_grad_tensor_cores": [(1,), (4,)],
    },
)
REGISTERS = {
    "arrange_kernel": 40,
    "correlate_registers": 128,
    "correlate_tensor_cores": 160,
    "weight_grad_registers": 128,
    "weight_grad_tensor_cores": 160,
}

THREADS = 256
DEEPEST_TILE = 16


def conv2d(x: Array, w: Array, b: Array | None, g: ConvGeometry, relu: bool = False) -> Array:
    """The cross-correlation of x (N, C, H, W) with w (OC, C/G, KH, KW), plus b (OC,) -> y (N, OC, OH, OW).

    With relu the result is max(y, 0).
    """
    if relu:
        return bias_relu(conv2d(x, w, None, g), b)
    y = _correlate(x, w, b, (g.N, g.OH, g.OW, g.OC), [_forward_job(g)], True)
    return y.transpose(0, 3, 1, 2)


def conv2d_input_grad(dy: Array, w: Array, b: Array | None, g: ConvGeometry, relu: bool = False) -> Array:
    """The transpose of conv2d as a linear map of x: dy (N, OC, OH, OW) -> dx (N, C, H, W), plus b (C,), then relu."""
    if relu:
        return bias_relu(conv2d_input_grad(dy, w, None, g), b)
    jobs = [_phase_job(g, of_h, of_w) for of_h in _runs(g, 0) for of_w in _runs(g, 1)]
    covered = sum(arrangement["bundle_h"] * arrangement["bundle_w"] for arrangement, _ in jobs)
    dx = _correlate(dy, w, b, (g.N, g.H, g.W, g.C), jobs, covered == prod(g.stride))
    return dx.transpose(0, 3, 1, 2)


def conv2d_weight_grad(dy: Array, x: Array, g: ConvGeometry) -> Array:
    """The transpose of conv2d as a linear map of w: dy (N, OC, OH, OW), x (N, C, H, W) -> dw (OC, C/G, KH, KW)."""
    pixels = g.N * g.OH * g.OW
    if not pixels:
        return xp().zeros(g.w_shape, x.dtype)
    _, correlation = _forward_job(g)
    C, OC = g.C // g.groups, g.OC // g.groups
    K = C * g.KH * g.KW
    name, rows, columns, arguments = _product(x.dtype, K, OC, C)
    tiles = ceil_div(K, rows) * ceil_div(OC, columns)
    per_split = _per_split(tiles * g.groups, pixels)
    splits = ceil_div(pixels, per_split)
    dw = empty((splits, *g.w_shape), x.dtype)
    correlation |= {"k_per_split": per_split, "split_step": prod(g.w_shape)}
    kernel = MODULE.kernel(f"weight_grad_{name}", *arguments)
    kernel[(tiles, splits, g.groups), THREADS](aligned(channels_last(dy)), aligned(channels_last(x)), dw, correlation)
    return reduce_sum(dw, (0,), False) if splits > 1 else dw[0]


# ---- what is computed ----


class Job(NamedTuple):
    """The structs Arrangement (conv.cu) and Correlation (gather.cuh) of one launch."""

    arrangement: dict[str, Any]
    correlation: dict[str, Any]


def _forward_job(g: ConvGeometry) -> Job:
    of_h, of_w = forward_taps(g)
    arrangement = {"bundle_h": 1, "bundle_w": 1, "tap_h": 0, "tap_w": 0, "tap_step_h": 1, "tap_step_w": 1}
    to = {"DH": g.OH, "DW": g.OW, "to_first_h": 0, "to_first_w": 0, "to_stride_h": 1, "to_stride_w": 1}
    return _job(g, arrangement | {"exchanged": False}, of_h, of_w, (g.H, g.W, g.C), g.OC, to)


def _phase_job(g: ConvGeometry, of_h: Phases, of_w: Phases) -> Job:
    """The job for these phases of the input gradient. The bundle of (u, v) has one pixel for each pair of phases."""
    (row, *_), (col, *_) = of_h.phases, of_w.phases
    arrangement = {
        **{"bundle_h": len(of_h.phases), "tap_h": row.taps.start, "tap_step_h": row.taps.step},
        **{"bundle_w": len(of_w.phases), "tap_w": col.taps.start, "tap_step_w": col.taps.step},
    }
    to = {
        **{"DH": g.H, "to_first_h": of_h.first_u * g.stride[0] + row.offset, "to_stride_h": g.stride[0]},
        **{"DW": g.W, "to_first_w": of_w.first_u * g.stride[1] + col.offset, "to_stride_w": g.stride[1]},
    }
    return _job(g, arrangement | {"exchanged": True}, of_h.window, of_w.window, (g.OH, g.OW, g.OC), g.C, to)


def _job(
    g: ConvGeometry,
    arrangement: dict[str, Any],
    of_h: Taps,
    of_w: Taps,
    source: tuple[int, int, int],
    channels: int,
    to: dict[str, int],
) -> Job:
    """A job that reads of_h and of_w from a source (H, W, C), and writes this many channels to the destination `to`."""
    H, W, C = source
    taps = {"taps_h": of_h.number, "taps_w": of_w.number}
    both = {**taps, "groups": g.groups, "C": C // g.groups, "outputs": channels // g.groups}
    correlation = {
        **both,
        **{"N": g.N, "H": H, "W": W, "U": of_h.outputs, "V": of_w.outputs, "bundle_w": arrangement["bundle_w"]},
        **{"first_h": of_h.start, "stride_h": of_h.stride, "step_h": of_h.dilation},
        **{"first_w": of_w.start, "stride_w": of_w.stride, "step_w": of_w.dilation},
        "columns": arrangement["bundle_h"] * arrangement["bundle_w"] * both["outputs"],
        "k_per_split": 2**31 - DEEPEST_TILE,
        "split_step": 0,
        **to,
    }
    return Job({**arrangement, **both, "KH": g.KH, "KW": g.KW}, correlation)


def _runs(g: ConvGeometry, axis: int) -> Iterator[Phases]:
    """Groups of phases that one launch can compute: they read the same and write neighbouring rows."""
    for together in phases(g, axis):
        run = together.phases[:1]
        for phase in together.phases[1:]:
            if g.dilation[axis] == 1 and phase.offset == run[-1].offset + 1:
                run = (*run, phase)
            else:
                yield together._replace(phases=run)
                run = (phase,)
        yield together._replace(phases=run)


# ---- how it is computed: one launch for each job ----


def _correlate(x: Array, w: Array, b: Array | None, shape: tuple[int, ...], jobs: list[Job], covered: bool) -> Array:
    """A new array of this shape, channels-last, with the results of all jobs, which read x (N, C, H, W); plus b.

    covered: whether the jobs write every pixel. If not, the other pixels are zero (plus b).
    """
    x = aligned(channels_last(x))
    splits = min((_splits(x.dtype, correlation) for _, correlation in jobs), default=1)
    make = empty if covered else xp().zeros
    y = make((splits, *shape), x.dtype)
    early = b if splits == 1 and covered else None  # the kernel adds b itself if its sums are complete
    for arrangement, correlation in jobs:
        if correlation["N"]:
            _launch(x, _arranged(w, arrangement), early, y, correlation, splits)
    y = reduce_sum(y, (0,), False) if splits > 1 else y[0]
    return y if b is None or early is not None else y + b


def _arranged(w: Array, arrangement: dict[str, Any]) -> Array:
    """The weights as matrices, flat (see Arrangement in conv.cu)."""
    s = arrangement
    out = empty(prod(s[k] for k in ("groups", "taps_h", "taps_w", "C", "bundle_h", "bundle_w", "outputs")), w.dtype)
    MODULE.kernel("arrange_kernel", w.dtype)[ceil_div(out.size, THREADS), THREADS](xp().ascontiguousarray(w), out, s)
    return out


def _launch(x: Array, w: Array, b: Array | None, y: Array, s: dict[str, Any], splits: int) -> None:
    pixels, K = s["N"] * s["U"] * s["V"], s["taps_h"] * s["taps_w"] * s["C"]
    name, rows, columns, arguments = _product(x.dtype, pixels, s["columns"], s["C"])
    per_split = ceil_div(ceil_div(K, splits), DEEPEST_TILE) * DEEPEST_TILE
    tiles = ceil_div(pixels, rows) * ceil_div(s["columns"], columns)
    kernel = MODULE.kernel(f"correlate_{name}", *arguments)
    kernel[(tiles, splits, s["groups"]), THREADS](x, w, b, y, s | {"k_per_split": per_split, "split_step": y[0].size})


def _product(dtype: np.dtype, rows: int, columns: int, channels: int) -> tuple[str, int, int, tuple[Any, ...]]:
    """The kernel whose tiles suit a product of this size: its name, its tile's rows and columns, template arguments.

    Large tiles read fewer bytes per flop (tile.cuh), but are used only if there are enough of them to fill the GPU.
    """
    unit = 1 if channels % 4 else 4
    if settings.allow_tf32 and dtype == np.float32:
        return "tensor_cores", 128, 128, (unit,)
    P, Q = 4, 4
    if dtype == np.float32 and ceil_div(rows, 128) * ceil_div(columns, 64) >= FILL // 2:
        P = 8
        if columns > 64 and channels % 8 == 0:
            Q = unit = 8
    return "registers", 16 * P, 16 * Q, (dtype, P, Q, unit)


def _splits(dtype: np.dtype, s: dict[str, Any]) -> int:
    """Into how many splits the sum over k is cut, so that a product with few tiles fills the GPU."""
    if not s["N"]:
        return 1
    pixels, K = s["N"] * s["U"] * s["V"], s["taps_h"] * s["taps_w"] * s["C"]
    _, rows, columns, _ = _product(dtype, pixels, s["columns"], s["C"])
    return ceil_div(K, _per_split(ceil_div(pixels, rows) * ceil_div(s["columns"], columns) * s["groups"], K))


def _per_split(tiles: int, length: int) -> int:
    """The length of a split of a sum of this length, a multiple of a tile's depth."""
    splits = max(1, min(FILL // tiles, length // 128))
    return ceil_div(ceil_div(length, splits), DEEPEST_TILE) * DEEPEST_TILE
