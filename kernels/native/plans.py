"""The tables that describe the passes of a convolution to the C kernels, made once for each geometry.

Every pass is one product or several, A(i, k) = a[row[i] + col[k]] (see product.c). With an image as it lies in padded
channels-last memory, (Hp, Wp, C), a row i is a pixel and k a pair of tap and channel:

* forward: pixel (i, j) reads from (i sh, j sw) on, tap (p, q) lies (p dh, q dw) further; B is w.
* weight gradient: the same tables with their roles exchanged. A row is a pair of tap and channel, k a pixel; B is dy.
* input gradient: input row h gets something from output i through tap p if h = i s - padding + p d. Let h + padding =
  u s + a with 0 <= a < s, where a is the *phase* of row h. Then p d = a (mod s) and i = u + (a - p d) / s: rows of one
  phase use the same taps, and as u goes up by one, so does i. So each pair of phases, down and across, is a forward
  pass of stride 1 over dy whose results go to every s-th row and column. No inserted zero is multiplied, and no place
  is added to twice. Where there are few channels, all phases are one product, with phases times channels columns.

Sources: Dumoulin & Visin 2016, chapter 4, for the transposed convolution; Shi et al. 2016, "Is the deconvolution layer
the same as a convolutional layer?", for its phases.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..geometry import ConvGeometry
from .library import structures

FEW_CHANNELS = 16  # fewer fill no vector by themselves


class Plan(NamedTuple):
    """A C structure at an address; arrays and structures are what it points to.

    repeats: how often each group's bias is repeated, because a product's columns are that many pixels.
    """

    address: int
    kept: tuple[Any, ...]
    repeats: int = 1


@lru_cache(maxsize=512)
def forward_plan(g: ConvGeometry) -> Plan:
    """The forward pass: one product for each group."""
    source, pixels, taps = _forward_reads(g)
    C, OC, kernel = g.C // g.groups, g.OC // g.groups, g.KH * g.KW
    tables = _Tables()
    w_taps = _sums(_steps(g.KH, g.KW), _steps(g.KW, 1), _steps(C, kernel))
    for group in _groups(g):
        tables.piece(
            start=(group * C, group * OC * C * kernel, group * OC, group * OC),
            a=(pixels, taps, source.Hp * source.Wp * g.C),
            b=(w_taps, _steps(OC, C * kernel)),
            c=(_steps(g.OH * g.OW, g.OC), None, g.OH * g.OW * g.OC),
            across=g.OW,
        )
    return tables.plan(source, g.OH * g.OW * g.OC, g.OH * g.OW * g.OC * C * kernel, _depthwise_taps(g))


@lru_cache(maxsize=512)
def weight_grad_plan(g: ConvGeometry) -> Plan:
    """The weight gradient."""
    source, pixels, taps = _forward_reads(g)
    C, OC = g.C // g.groups, g.OC // g.groups
    dy = structures()["Source"](g.N, g.OC, g.OH, g.OW, 0, 0, g.OH, g.OW)
    tables = _Tables()
    axes = tables.axis(taps), tables.axis(pixels, source.Hp * source.Wp * g.C, as_table=True)
    structure = structures()["WeightPass"](source, dy, g.groups, g.KH * g.KW, C, OC, *axes)
    return Plan(ctypes.addressof(structure), (structure, *tables.arrays))


@lru_cache(maxsize=512)
def input_grad_plan(g: ConvGeometry) -> Plan:
    """The input gradient: for each group one product for each pair of phases, or one for all of them."""
    down = _phases(g.H, g.KH, g.stride[0], g.padding[0], g.dilation[0])
    across = _phases(g.W, g.KW, g.stride[1], g.padding[1], g.dilation[1])
    top, Hp = _extent(down, g.OH)
    left, Wp = _extent(across, g.OW)
    source = structures()["Source"](g.N, g.OC, g.OH, g.OW, top, left, Hp, Wp)
    alike = _are_alike(down, g.stride[0]) and _are_alike(across, g.stride[1])
    if g.C // g.groups < FEW_CHANNELS and g.stride != (1, 1) and alike and not is_depthwise(g):
        return _joint_plan(g, down, across)
    tables = _Tables()
    for rows in down:
        for columns in across:
            _add_phases(tables, g, source, rows, columns)
    products = g.OH * g.OW * g.OC * g.C // g.groups * g.KH * g.KW
    return tables.plan(source, g.H * g.W * g.C, products, _depthwise_taps(g))


# ---- depthwise convolutions, see depthwise.c ----

MOST_TAPS = 256  # DEPTH of product.c


def is_depthwise(g: ConvGeometry) -> bool:
    """Whether each channel is a group of its own, and the kernel not huge."""
    return 1 < g.groups == g.C == g.OC and g.KH * g.KW <= MOST_TAPS


def _groups(g: ConvGeometry) -> range:
    """The groups that products are made for: of a depthwise convolution, whose channels go side by side, the first."""
    return range(1) if is_depthwise(g) else range(g.groups)


def _depthwise_taps(g: ConvGeometry) -> int:
    return g.KH * g.KW if is_depthwise(g) else 0


# ---- fewer multiplications, see winograd.c ----


@lru_cache(maxsize=512)
def winograd_plan(g: ConvGeometry) -> Plan:
    """The forward pass, and the weight gradient, for a kernel of 3 x 3 and stride 1 or of twice its stride."""
    r, s = _taps_and_bundle(g)
    tiles_h, tiles_w = -(-g.OH // 2), -(-g.OW // 2)
    padded = (2 * tiles_h + r - 1) * s, (2 * tiles_w + r - 1) * s
    source = structures()["Source"](g.N, g.C, g.H, g.W, *g.padding, *padded)
    taps = _sums(_steps(r, s * g.KW), _steps(r, s), _steps(s, g.KW), _steps(s, 1), _steps(g.C, g.KH * g.KW))
    outputs = _steps(g.OC, g.C * g.KH * g.KW)
    return _fast_plan(source, (2, r, s, tiles_h, tiles_w, g.OH, g.OW, g.OC), taps, outputs)


@lru_cache(maxsize=512)
def winograd_turned_plan(g: ConvGeometry) -> Plan:
    """The input gradient of a convolution of stride 1: the forward pass of dy, with the kernel turned round."""
    (r, _), tiles_h, tiles_w = _taps_and_bundle(g), -(-g.H // 2), -(-g.W // 2)
    top, left = (r - 1 - padding for padding in g.padding)
    source = structures()["Source"](g.N, g.OC, g.OH, g.OW, top, left, 2 * tiles_h + r - 1, 2 * tiles_w + r - 1)
    turned = _steps(r, 1)[::-1]
    taps = _sums(turned * r, turned, _steps(g.OC, g.C * r * r))
    return _fast_plan(source, (2, r, 1, tiles_h, tiles_w, g.H, g.W, g.C), taps, _steps(g.C, r * r))


@lru_cache(maxsize=512)
def winograd_input_grad_plan(g: ConvGeometry) -> Plan:
    """The input gradient for a larger stride: the steps of the forward pass, transposed, in reverse order."""
    r, s = _taps_and_bundle(g)
    forward = winograd_plan(g)
    taps = _sums(_steps(r, s * g.KW), _steps(r, s), _steps(g.OC, g.C * g.KH * g.KW))
    inputs = _sums(_steps(s, g.KW), _steps(s, 1), _steps(g.C, g.KH * g.KW))
    structure = forward.kept[0]
    sizes = (2, r, s, structure.tiles_h, structure.tiles_w, g.OH, g.OW, g.OC)
    return _fast_plan(structure.source, sizes, taps, inputs)


def _taps_and_bundle(g: ConvGeometry) -> tuple[int, int]:
    return g.KH // g.stride[0], g.stride[0]


def _fast_plan(source: Any, sizes: Iterable[int], rows: np.ndarray, columns: np.ndarray) -> Plan:
    tables = _Tables()
    structure = structures()["FastPass"](source, *sizes, tables.axis(rows), tables.axis(columns))
    return Plan(ctypes.addressof(structure), (structure, *tables.arrays))


# ---- what passes read ----


def _forward_reads(g: ConvGeometry) -> tuple[Any, np.ndarray, np.ndarray]:
    """The padded source, where in it each output pixel begins, and how far from there each tap and channel lies."""
    (sh, sw), (ph, pw), (dh, dw) = g.stride, g.padding, g.dilation
    Hp, Wp = g.H, g.W
    if ph or pw:
        Hp, Wp = (g.OH - 1) * sh + (g.KH - 1) * dh + 1, (g.OW - 1) * sw + (g.KW - 1) * dw + 1
    source = structures()["Source"](g.N, g.C, g.H, g.W, ph, pw, Hp, Wp)
    pixels = _sums(_steps(g.OH, sh * Wp * g.C), _steps(g.OW, sw * g.C))
    taps = _sums(_steps(g.KH, dh * Wp * g.C), _steps(g.KW, dw * g.C), _steps(g.C // g.groups, 1))
    return source, pixels, taps


class _Phase(NamedTuple):
    """One phase of one axis: input positions h = first, first + stride, ..., `positions` of them.

    taps: of the kernel, ascending. reads: through each tap, the output that the first position reads; the next one
    reads the next output. first_u: of the first position, and offset: h = u * stride + offset.
    """

    first: int
    positions: int
    taps: tuple[int, ...]
    reads: tuple[int, ...]
    first_u: int
    offset: int


def _phases(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[_Phase]:
    """All phases of an axis, in the order of a. One that no output reads has no taps."""
    phases = []
    for a in range(stride):
        first = (a - padding) % stride
        if first >= size:
            continue
        u = (first + padding - a) // stride
        taps = tuple(p for p in range(kernel) if (p * dilation - a) % stride == 0)
        reads = tuple(u + (a - p * dilation) // stride for p in taps)
        phases.append(_Phase(first, -((first - size) // stride), taps, reads, u, a - padding))
    return phases


def _extent(phases: Sequence[_Phase], outputs: int) -> tuple[int, int]:
    """How many zeros there must be before the outputs, and how long the line is with those after them."""
    lowest = min([0, *(r for phase in phases for r in phase.reads)])
    highest = max([outputs, *(r + phase.positions for phase in phases for r in phase.reads)])
    return -lowest, highest - lowest


def _are_alike(phases: Sequence[_Phase], stride: int) -> bool:
    """Whether there is every phase, they all read the same outputs for one u, and their taps differ by a constant."""

    def reads_and_gaps(phase: _Phase) -> tuple[list[int], list[int]]:
        return [r - phase.first_u for r in phase.reads], [p - phase.taps[0] for p in phase.taps]

    alike = all(phase.taps and reads_and_gaps(phase) == reads_and_gaps(phases[0]) for phase in phases)
    return alike and len(phases) == stride


# ---- products of an input gradient ----


def _add_phases(tables: _Tables, g: ConvGeometry, source: Any, rows: _Phase, columns: _Phase) -> None:
    """The products, one for each group, whose results are the pixels of these phases."""
    (sh, sw), line, C, OC, kernel = g.stride, source.Wp * g.OC, g.C // g.groups, g.OC // g.groups, g.KH * g.KW
    channels = _steps(OC, 1)
    pixels = _sums(_steps(rows.positions, line), _steps(columns.positions, g.OC))
    down, across = (np.array(r.reads, np.int64) for r in (rows, columns))
    taps = _sums((down + source.top) * line, (across + source.left) * g.OC, channels)
    w_taps = _sums(np.array(rows.taps, np.int64) * g.KW, np.array(columns.taps, np.int64), channels * C * kernel)
    results = _sums(_steps(rows.positions, sh * g.W * g.C), _steps(columns.positions, sw * g.C))
    first = (rows.first * g.W + columns.first) * g.C
    for group in _groups(g):
        tables.piece(
            start=(group * OC, group * OC * C * kernel, first + group * C, group * C),
            a=(pixels, taps, source.Hp * source.Wp * g.OC),
            b=(w_taps, _steps(C, kernel)),
            c=(results, None, g.H * g.W * g.C),
            across=columns.positions,
        )


def _joint_plan(g: ConvGeometry, down: Sequence[_Phase], across: Sequence[_Phase]) -> Plan:
    """One product for all phases: a row for each pair (u, v), a column for each phase down, phase across and channel.

    Its results are whole blocks of stride x stride pixels, of which those at the edges may lie outside of the image.
    """
    (sh, sw), C, OC, kernel = g.stride, g.C // g.groups, g.OC // g.groups, g.KH * g.KW
    u0, U = _range_of_u(down)
    v0, V = _range_of_u(across)
    reads = [np.array([r - axis[0].first_u for r in axis[0].reads], np.int64) for axis in (down, across)]
    top, Hp = max(0, -(u0 + min(reads[0]))), max(g.OH, u0 + U + max(reads[0]))
    left, Wp = max(0, -(v0 + min(reads[1]))), max(g.OW, v0 + V + max(reads[1]))
    source = structures()["Source"](g.N, g.OC, g.OH, g.OW, top, left, Hp + top, Wp + left)
    line = source.Wp * g.OC
    pixels = _sums(_steps(U, line), _steps(V, g.OC))
    taps = _sums((reads[0] + u0 + top) * line, (reads[1] + v0 + left) * g.OC, _steps(OC, 1))
    first_taps = [np.array(axis[0].taps, np.int64) for axis in (down, across)]
    further = [np.array([phase.taps[0] - axis[0].taps[0] for phase in axis], np.int64) for axis in (down, across)]
    w_taps = _sums(first_taps[0] * g.KW, first_taps[1], _steps(OC, C * kernel))
    w_columns = _sums(further[0] * g.KW, further[1], _steps(C, kernel))
    step = V * sw * g.C
    results = _sums(_steps(U, sh * step), _steps(V, sw * g.C))
    columns = _sums(_steps(sh, step), _steps(sw, g.C), _steps(C, 1))
    tables = _Tables()
    for group in range(g.groups):
        tables.piece(
            start=(group * OC, group * OC * C * kernel, group * C, group * len(columns)),
            a=(pixels, taps, source.Hp * source.Wp * g.OC),
            b=(w_taps, w_columns),
            c=(results, columns, 0),
            across=V,
        )
    offsets = u0 * sh + down[0].offset, v0 * sw + across[0].offset  # of the first block's first pixel in the image
    cropping = (1, sh, step, -offsets[0], -offsets[1] * g.C, g.H, g.W * g.C)
    products = g.OH * g.OW * g.OC * C * kernel
    return tables.plan(source, g.H * g.W * g.C, products, 0, cropping, repeats=sh * sw)


def _range_of_u(phases: Sequence[_Phase]) -> tuple[int, int]:
    """The first u of all phases, and how many there are from there to the last."""
    first = min(phase.first_u for phase in phases)
    return first, max(phase.first_u + phase.positions for phase in phases) - first


# ---- tables ----


class _Tables:
    """Collects the products of a plan and the arrays that they point to."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.pieces: list[Any] = []
        self._known: dict[int, int] = {}

    def axis(self, offsets: np.ndarray, step: int = 0, as_table: bool = False) -> Any:
        """Offsets as an Axis of C, without a table where they are regular; `step` leads to the next image's."""
        gaps = np.diff(offsets)
        if not as_table and offsets.size and not offsets[0] and (gaps == gaps[:1]).all():
            return structures()["Axis"](1, int(gaps[0]) if gaps.size else 1, None)
        return structures()["Axis"](max(1, len(offsets)), step, self.keep(offsets))

    def keep(self, offsets: np.ndarray) -> int:
        """The address of the offsets, which stay where they are."""
        self.arrays.append(offsets)
        return offsets.ctypes.data

    def piece(
        self,
        start: tuple[int, int, int, int],
        a: tuple[np.ndarray, np.ndarray, int],
        b: tuple[np.ndarray, np.ndarray],
        c: tuple[np.ndarray, np.ndarray | None, int],
        across: int,
    ) -> None:
        """A product. start: of a, b, c and the bias. a: rows, columns and the step to the next image; c alike."""
        (rows, taps, image), (results, columns, result) = a, c
        reach = (int(taps.min()), int(taps.max())) if taps.size else (0, 0)
        axes = (
            self.axis(rows, image, as_table=True),
            self.axis(taps),
            self.axis(b[0]),
            self.axis(b[1]),
            self.axis(results, result, as_table=True),
        )
        self.pieces.append(
            structures()["Piece"](
                len(rows),
                across,
                len(taps),
                len(b[1]),
                *start,
                *reach,
                *axes,
                None if columns is None else self.keep(columns),
            )
        )

    def plan(
        self,
        source: Any,
        size: int,
        products: int,
        depthwise: int,
        cropping: Iterable[int] = (0,) * 7,
        repeats: int = 1,
    ) -> Plan:
        """The Pass of all these products. cropping: `crop` and what follows it in plans.h."""
        pieces = (structures()["Piece"] * len(self.pieces))(*self.pieces)
        numbers = (len(pieces), size, products, ctypes.addressof(pieces), depthwise, *cropping)
        structure = structures()["Pass"](source, *numbers)
        return Plan(ctypes.addressof(structure), (structure, pieces, *self.arrays), repeats)


def _steps(count: int, step: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * step


def _sums(*axes: np.ndarray) -> np.ndarray:
    """All sums of one offset of each axis, the last axis fastest."""
    total = np.zeros((), np.int64)
    for offsets in axes:
        total = np.add.outer(total, offsets)
    return np.ascontiguousarray(total.reshape(-1))
