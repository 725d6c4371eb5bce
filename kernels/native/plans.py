"""The tables that describe the passes of a convolution to the C kernels, made once for each geometry.

Every pass consists of one or more products with A(i, k) = a[row[i] + col[k]] (see product.c). `a` is an image in padded
channels-last memory, (Hp, Wp, C). A tap is one position (p, q) of the kernel.

* Forward pass: i counts output pixels, k counts pairs of tap and channel, and B is w. Output pixel (i, j) reads from
  padded pixel (i sh, j sw) on; tap (p, q) lies (p dh, q dw) further.
* Weight gradient: the same tables exchange their roles. i counts pairs of tap and channel, k counts pixels, B is dy.
* Input gradient: input row h receives something from output row i through tap p if h = i s - padding + p d. Write
  h + padding = u s + a with 0 <= a < s; a is called the *phase* of row h. Then p d = a (mod s) and
  i = u + (a - p d) / s. So all rows of one phase use the same taps, and if u grows by one, i grows by one. Columns have
  phases in the same way. Hence each pair of a row phase and a column phase is a forward pass of stride 1 over dy, whose
  results go to every s-th row and column: no inserted zero is multiplied, and no result is written twice. If there are
  few channels, one product computes all phases, with a column for each pair of phase and channel.

Sources: Dumoulin & Visin 2016, chapter 4, for the transposed convolution; Shi et al. 2016, "Is the deconvolution layer
the same as a convolutional layer?", for its phases.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..geometry import ConvGeometry
from .library import structures

FEW_CHANNELS = 16  # fewer channels than this do not fill a vector


class Plan(NamedTuple):
    """The address of a C structure (plans.h).

    kept: the structure, and the arrays and structures that it points to; the plan keeps them alive.
    repeats: how often the bias of each group must be repeated, because one row of a product is that many pixels.
    """

    address: int
    kept: tuple[Any, ...]
    repeats: int = 1


class _Start(NamedTuple):
    """Where the operands of a product begin, in numbers from the start of the arrays."""

    a: int
    b: int
    c: int
    bias: int


class _Matrix(NamedTuple):
    """The offsets of an operand's rows and columns. image: the step from the rows of one image to those of the next."""

    rows: np.ndarray
    columns: np.ndarray
    image: int = 0


class _Results(NamedTuple):
    """The same for the result c. If columns is None, column j has offset j."""

    rows: np.ndarray
    columns: np.ndarray | None
    image: int = 0


@lru_cache(maxsize=512)
def forward_plan(g: ConvGeometry) -> Plan:
    """The plan of the forward pass, a Pass: one product for each group."""
    source, pixels, taps = _forward_reads(g)
    C, OC, kernel = g.C // g.groups, g.OC // g.groups, g.KH * g.KW
    tables = _Tables()
    w_taps = _sums(_steps(g.KH, g.KW), _steps(g.KW, 1), _steps(C, kernel))
    for group in _groups(g):
        tables.piece(
            start=_Start(a=group * C, b=group * OC * C * kernel, c=group * OC, bias=group * OC),
            a=_Matrix(pixels, taps, source.Hp * source.Wp * g.C),
            b=_Matrix(w_taps, _steps(OC, C * kernel)),
            c=_Results(_steps(g.OH * g.OW, g.OC), None, g.OH * g.OW * g.OC),
            width=g.OW,
        )
    return tables.plan(source, g.OH * g.OW * g.OC, g.OH * g.OW * g.OC * C * kernel, _depthwise_taps(g))


@lru_cache(maxsize=512)
def weight_grad_plan(g: ConvGeometry) -> Plan:
    """The plan of the weight gradient, a WeightPass."""
    source, pixels, taps = _forward_reads(g)
    C, OC = g.C // g.groups, g.OC // g.groups
    dy = structures()["Source"](g.N, g.OC, g.OH, g.OW, 0, 0, g.OH, g.OW)
    tables = _Tables()
    axes = tables.axis(taps), tables.axis(pixels, source.Hp * source.Wp * g.C, as_table=True)
    structure = structures()["WeightPass"](source, dy, g.groups, g.KH * g.KW, C, OC, *axes)
    return Plan(ctypes.addressof(structure), (structure, *tables.arrays))


@lru_cache(maxsize=512)
def input_grad_plan(g: ConvGeometry) -> Plan:
    """The plan of the input gradient, a Pass: for each group one product for each pair of phases, or one for all."""
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
    """Whether each channel is a group of its own and depthwise.c can hold the offsets of all taps."""
    return 1 < g.groups == g.C == g.OC and g.KH * g.KW <= MOST_TAPS


def _groups(g: ConvGeometry) -> range:
    """The groups that get a product. A depthwise convolution has one, for the first channel; all others follow it."""
    return range(1) if is_depthwise(g) else range(g.groups)


def _depthwise_taps(g: ConvGeometry) -> int:
    """`depthwise` of a Pass."""
    return g.KH * g.KW if is_depthwise(g) else 0


# ---- fewer multiplications, see winograd.c ----


@lru_cache(maxsize=512)
def winograd_plan(g: ConvGeometry) -> Plan:
    """The plan of the forward pass and of the weight gradient, a FastPass.

    The kernel is 3 x 3 with stride 1, or its sides are twice its stride.
    """
    r, s = _taps_and_bundle(g)
    tiles_h, tiles_w = -(-g.OH // 2), -(-g.OW // 2)
    padded = (2 * tiles_h + r - 1) * s, (2 * tiles_w + r - 1) * s
    source = structures()["Source"](g.N, g.C, g.H, g.W, *g.padding, *padded)
    taps = _sums(_steps(r, s * g.KW), _steps(r, s), _steps(s, g.KW), _steps(s, 1), _steps(g.C, g.KH * g.KW))
    outputs = _steps(g.OC, g.C * g.KH * g.KW)
    sizes = {"r": r, "s": s, "tiles_h": tiles_h, "tiles_w": tiles_w, "H": g.OH, "W": g.OW, "C": g.OC}
    return _fast_plan(source, taps, outputs, sizes)


@lru_cache(maxsize=512)
def winograd_turned_plan(g: ConvGeometry) -> Plan:
    """The plan of the input gradient for stride 1: a forward pass over dy with the kernel turned by 180 degrees."""
    (r, _), tiles_h, tiles_w = _taps_and_bundle(g), -(-g.H // 2), -(-g.W // 2)
    top, left = (r - 1 - padding for padding in g.padding)
    source = structures()["Source"](g.N, g.OC, g.OH, g.OW, top, left, 2 * tiles_h + r - 1, 2 * tiles_w + r - 1)
    turned = _steps(r, 1)[::-1]
    taps = _sums(turned * r, turned, _steps(g.OC, g.C * r * r))
    sizes = {"r": r, "s": 1, "tiles_h": tiles_h, "tiles_w": tiles_w, "H": g.H, "W": g.W, "C": g.C}
    return _fast_plan(source, taps, _steps(g.C, r * r), sizes)


@lru_cache(maxsize=512)
def winograd_input_grad_plan(g: ConvGeometry) -> Plan:
    """The plan of the input gradient for a larger stride: the forward pass's steps, transposed, in reverse order."""
    r, s = _taps_and_bundle(g)
    forward = winograd_plan(g).kept[0]
    taps = _sums(_steps(r, s * g.KW), _steps(r, s), _steps(g.OC, g.C * g.KH * g.KW))
    inputs = _sums(_steps(s, g.KW), _steps(s, 1), _steps(g.C, g.KH * g.KW))
    sizes = {"tiles_h": forward.tiles_h, "tiles_w": forward.tiles_w, "H": g.OH, "W": g.OW, "C": g.OC}
    return _fast_plan(forward.source, taps, inputs, {"r": r, "s": s, **sizes})


def _taps_and_bundle(g: ConvGeometry) -> tuple[int, int]:
    """r and s of a FastPass: r taps along an axis, each of which reads a bundle of s pixels."""
    return g.KH // g.stride[0], g.stride[0]


def _fast_plan(source: Any, w_rows: np.ndarray, w_columns: np.ndarray, sizes: Mapping[str, int]) -> Plan:
    tables = _Tables()
    axes = {"w_row": tables.axis(w_rows), "w_col": tables.axis(w_columns)}
    structure = structures()["FastPass"](source, m=2, **sizes, **axes)
    return Plan(ctypes.addressof(structure), (structure, *tables.arrays))


# ---- what passes read ----


def _forward_reads(g: ConvGeometry) -> tuple[Any, np.ndarray, np.ndarray]:
    """The padded Source, the offset in it at which each output pixel begins, and the offset of each tap and channel."""
    (sh, sw), (ph, pw), (dh, dw) = g.stride, g.padding, g.dilation
    Hp, Wp = g.H, g.W
    if ph or pw:
        Hp, Wp = (g.OH - 1) * sh + (g.KH - 1) * dh + 1, (g.OW - 1) * sw + (g.KW - 1) * dw + 1
    source = structures()["Source"](g.N, g.C, g.H, g.W, ph, pw, Hp, Wp)
    pixels = _sums(_steps(g.OH, sh * Wp * g.C), _steps(g.OW, sw * g.C))
    taps = _sums(_steps(g.KH, dh * Wp * g.C), _steps(g.KW, dw * g.C), _steps(g.C // g.groups, 1))
    return source, pixels, taps


class _Phase(NamedTuple):
    """One phase of one axis: `positions` input positions h = first, first + stride, ...

    taps: the taps that the phase uses, ascending.
    reads: for each of these taps, the output that the first position reads through it; the next position reads the next
    output.
    first_u, offset: h = u * stride + offset, and first_u is the u of the first position.
    """

    first: int
    positions: int
    taps: tuple[int, ...]
    reads: tuple[int, ...]
    first_u: int
    offset: int


def _phases(size: int, kernel: int, stride: int, padding: int, dilation: int) -> list[_Phase]:
    """All phases of an axis, in the order of a. A phase whose positions no output reads has no taps."""
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
    """How many zeros dy needs before its `outputs` rows, and how many rows it has with the zeros on both sides."""
    lowest = min([0, *(r for phase in phases for r in phase.reads)])
    highest = max([outputs, *(r + phase.positions for phase in phases for r in phase.reads)])
    return -lowest, highest - lowest


def _are_alike(phases: Sequence[_Phase], stride: int) -> bool:
    """Whether one product can compute all phases of an axis.

    It can if no phase is missing, all of them read the same outputs for each u, and their taps differ by a constant.
    """

    def reads_and_gaps(phase: _Phase) -> tuple[list[int], list[int]]:
        return [r - phase.first_u for r in phase.reads], [p - phase.taps[0] for p in phase.taps]

    alike = all(phase.taps and reads_and_gaps(phase) == reads_and_gaps(phases[0]) for phase in phases)
    return alike and len(phases) == stride


# ---- products of an input gradient ----


def _add_phases(tables: _Tables, g: ConvGeometry, source: Any, rows: _Phase, columns: _Phase) -> None:
    """Adds the products, one for each group, that compute the pixels of one row phase and one column phase."""
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
            start=_Start(a=group * OC, b=group * OC * C * kernel, c=first + group * C, bias=group * C),
            a=_Matrix(pixels, taps, source.Hp * source.Wp * g.OC),
            b=_Matrix(w_taps, _steps(C, kernel)),
            c=_Results(results, None, g.H * g.W * g.C),
            width=columns.positions,
        )


def _joint_plan(g: ConvGeometry, down: Sequence[_Phase], across: Sequence[_Phase]) -> Plan:
    """The plan of an input gradient with one product for all phases of a group.

    The product has a row for each pair (u, v), and a column for each row phase, column phase and channel. So one row of
    results is a bundle of sh x sw pixels. Bundles at the edges may reach beyond the image, so the result is cropped.
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
            start=_Start(a=group * OC, b=group * OC * C * kernel, c=group * C, bias=group * len(columns)),
            a=_Matrix(pixels, taps, source.Hp * source.Wp * g.OC),
            b=_Matrix(w_taps, w_columns),
            c=_Results(results, columns),
            width=V,
        )
    h0, w0 = u0 * sh + down[0].offset, v0 * sw + across[0].offset  # where in the image the first bundle begins
    cropping = {"crop_rows": sh, "crop_step": step, "top": -h0, "left": -w0 * g.C, "H": g.H, "kept": g.W * g.C}
    products = g.OH * g.OW * g.OC * C * kernel
    return tables.plan(source, g.H * g.W * g.C, products, 0, {"crop": 1, **cropping}, repeats=sh * sw)


def _range_of_u(phases: Sequence[_Phase]) -> tuple[int, int]:
    """The smallest u of all phases, and how many values of u there are from it to the largest."""
    first = min(phase.first_u for phase in phases)
    return first, max(phase.first_u + phase.positions for phase in phases) - first


# ---- tables ----


class _Tables:
    """Collects the products (Pieces) of a plan, and the arrays that they point to."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.pieces: list[Any] = []

    def axis(self, offsets: np.ndarray, step: int = 0, as_table: bool = False) -> Any:
        """The offsets as an Axis of plans.h. It has no table if they are regular, unless as_table asks for one.

        step: what is added to the offsets of one image to get those of the next.
        """
        gaps = np.diff(offsets)
        if not as_table and offsets.size and not offsets[0] and (gaps == gaps[:1]).all():
            return structures()["Axis"](1, int(gaps[0]) if gaps.size else 1, None)
        return structures()["Axis"](max(1, len(offsets)), step, self.keep(offsets))

    def keep(self, offsets: np.ndarray) -> int:
        """The address of the offsets, which are kept alive."""
        self.arrays.append(offsets)
        return offsets.ctypes.data

    def piece(self, start: _Start, a: _Matrix, b: _Matrix, c: _Results, width: int) -> None:
        """Adds the product c = a b. width: how many rows of a make one row of pixels."""
        taps = a.columns
        lowest, highest = (int(taps.min()), int(taps.max())) if taps.size else (0, 0)
        self.pieces.append(
            structures()["Piece"](
                *(len(a.rows), width, len(taps), len(b.columns), *start, lowest, highest),
                a_row=self.axis(a.rows, a.image, as_table=True),
                a_col=self.axis(taps),
                b_row=self.axis(b.rows),
                b_col=self.axis(b.columns),
                c_row=self.axis(c.rows, c.image, as_table=True),
                c_col=None if c.columns is None else self.keep(c.columns),
            )
        )

    def plan(
        self,
        source: Any,
        size: int,
        products: int,
        depthwise: int,
        cropping: Mapping[str, int] | None = None,
        repeats: int = 1,
    ) -> Plan:
        """The plan with all these products, a Pass. cropping: the members of Pass that say how results are cropped."""
        pieces = (structures()["Piece"] * len(self.pieces))(*self.pieces)
        numbers = (len(pieces), size, products, ctypes.addressof(pieces), depthwise)
        structure = structures()["Pass"](source, *numbers, **(cropping or {}))
        return Plan(ctypes.addressof(structure), (structure, pieces, *self.arrays), repeats)


def _steps(count: int, step: int) -> np.ndarray:
    """0, step, 2 step, ...: `count` offsets."""
    return np.arange(count, dtype=np.int64) * step


def _sums(*axes: np.ndarray) -> np.ndarray:
    """All sums of one offset from each axis, flat, with the last axis fastest."""
    total = np.zeros((), np.int64)
    for offsets in axes:
        total = np.add.outer(total, offsets)
    return np.ascontiguousarray(total.reshape(-1))
