"""im2col of a 4 x 4 image, by kernels/reference/conv.py, and the phases of a stride, by kernels/cuda/taps.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.kernels.cuda import taps
from minivae.kernels.geometry import ConvGeometry, conv2d_geometry
from minivae.kernels.reference import conv

from .sheet import BLUE, FAINT, GREEN, GREY, ORANGE, PAPER, PURPLE, SMALL, STRONG, Sheet

IM2COL, PHASES = (6.4, 3.6), (6.4, 4.4)
ROW, TAP = 4, 1  # the patch and the tap that are marked
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
PIXEL = (2, 3)  # of dx, which is computed by hand
Places = dict[int, list[tuple[int, int]]]


def _geometry(size: int, kernel: int, **settings: Any) -> ConvGeometry:
    steps: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **settings}
    return conv2d_geometry((1, 1, size, size), (1, 1, kernel, kernel), **steps)


def find_im2col() -> dict[str, Any]:
    """An image, a kernel, the matrices that they become, their product, and the convolution."""
    g = _geometry(4, 2)
    x, w = np.arange(16.0).reshape(g.x_shape), np.arange(1.0, 5.0).reshape(g.w_shape)
    patches, weights = conv.im2col(x, g)[0], conv.weight_matrix(w, g)[0]
    arrays = {"x": x[0, 0], "w": w[0, 0], "patches": patches, "weights": weights, "product": patches @ weights}
    return {name: _whole(array) for name, array in {**arrays, "y": conv.conv2d(x, w, None, g)[0, 0]}.items()}


def _whole(array: np.ndarray) -> list[Any]:
    return array.astype(int).tolist()


def im2col(sheet: Sheet, found: dict[str, Any]) -> None:
    """The image with one patch marked, the matrix of patches, the weights, and the result as a column and an image."""
    i, j = divmod(ROW, 3)
    p, q = divmod(TAP, 2)
    blue, red = STRONG[BLUE], STRONG[ORANGE]

    def pixel(h: int, v: int) -> str:
        return ORANGE if i <= h < i + 2 and j <= v < j + 2 else PAPER

    def patch(row: int, tap: int) -> str:
        return ORANGE if row == ROW else BLUE if tap == TAP else PAPER

    sheet.grid((0.25, 2.95), found["x"], pixel)
    sheet.frame((0.25 + 0.3 * q, 2.95 - 0.3 * (p + 3)), (0.9, 0.9), blue)
    sheet.text((0.85, 3.2), "image x", align="center")
    sheet.grid((0.55, 1.2), found["w"])
    sheet.text((0.85, 1.4), "kernel w", align="center")
    sheet.grid((2.05, 2.95), found["patches"], patch)
    sheet.frame((2.05, 2.95 - 0.3 * (ROW + 1)), (1.2, 0.3), red)
    sheet.frame((2.05 + 0.3 * TAP, 0.25), (0.3, 2.7), blue)
    sheet.text((2.65, 3.2), "P = im2col(x)", align="center")
    sheet.text((3.45, 1.6), "x", align="center")
    sheet.grid((3.65, 2.2), found["weights"])
    sheet.text((3.8, 2.4), "W", align="center")
    sheet.text((4.17, 1.6), "=", align="center")
    sheet.grid((4.4, 2.95), found["product"], lambda row, _: patch(row, -1), (0.4, 0.3))
    sheet.text((4.6, 3.2), "P W", align="center")
    sheet.grid((5.1, 2.05), found["y"], lambda row, col: patch(3 * row + col, -1), (0.37, 0.3))
    sheet.text((5.65, 2.25), "image y", align="center")
    sheet.text((1.72, 2.95 - 0.3 * (ROW + 0.5)), "patch", SMALL, red, "center")
    sheet.text((0.25, 0.3), f"blue: what tap ({p}, {q}) reads", SMALL, blue)


def find_phases() -> dict[str, Any]:
    """dx of dy (3, 3), with kernel 4, stride 2 and padding 1; and for each row of dx its phase and its (tap, dy) pairs.

    Columns have the same phases as rows. A phase is named by the first row that it computes.
    """
    g = _geometry(6, 4, stride=2, padding=1)
    w, dy = np.arange(1.0, 17.0).reshape(g.w_shape), np.arange(1.0, 10.0).reshape(g.y_shape)
    rows: dict[int, Any] = {}
    for group in taps.phases(g, 0):
        for phase in group.phases:
            used = range(g.KH)[phase.taps]
            for u in range(phase.first_u, phase.end_u):
                first = group.window.start + u - group.first_u
                reads = [[tap, first + t * group.window.dilation] for t, tap in enumerate(used)]
                rows[u * g.stride[0] + phase.offset] = [pair for pair in reads if 0 <= pair[1] < g.OH]
    dx = conv.conv2d_input_grad(dy, w, None, g)
    phase_of = [h % g.stride[0] for h in range(g.H)]
    found = {"dx": dx[0, 0], "w": w[0, 0], "dy": dy[0, 0]}
    return {**{k: _whole(v) for k, v in found.items()}, "phase": phase_of, "rows": [rows[h] for h in range(g.H)]}


def phases(sheet: Sheet, found: dict[str, Any]) -> None:
    """dx by phase, the kernel by the phase that uses each tap, its four parts, and one pixel by hand."""
    rows, phase = found["rows"], found["phase"]
    phase_of_tap = {tap: phase[h] for h, pairs in enumerate(rows) for tap, _ in pairs}

    def pixel(h: int, v: int) -> str:
        return COLOURS[2 * phase[h] + phase[v]]

    def tap(p: int, q: int) -> str:
        return COLOURS[2 * phase_of_tap[p] + phase_of_tap[q]]

    h, v = PIXEL
    terms = [(found["w"][p][q], found["dy"][i][j]) for p, i in rows[h] for q, j in rows[v]]
    sheet.text((0.9, 4.2), "dy, 3 x 3", align="center")
    sheet.grid((0.45, 4.0), found["dy"], lambda i, j: GREY if _is_read(rows, i, j) else PAPER)
    sheet.text((0.9, 2.8), "kernel w, 4 x 4", align="center")
    sheet.grid((0.3, 2.6), found["w"], tap)
    sheet.text((2.75, 4.2), "w by phase, turned", align="center")
    for a in (0, 1):
        for b in (0, 1):
            _part(sheet, found, (a, b), (2.15 + 0.68 * b, 4.0 - 0.68 * a))
    sheet.text(
        (2.75, 2.25),
        "Each is a kernel of stride 1:\nit reads dy and makes the\npixels of its colour.",
        SMALL,
        align="center",
    )
    sheet.text((5.1, 4.2), "dx, 6 x 6", align="center")
    sheet.grid((4.08, 4.0), found["dx"], pixel, (0.34, 0.34))
    sheet.frame((4.08 + 0.34 * v, 4.0 - 0.34 * (h + 1)), (0.34, 0.34), STRONG[ORANGE])
    worked = " + ".join(f"{weight} * {d}" for weight, d in terms)
    sheet.text((0.3, 0.95), f"dx[{h}, {v}] = {worked} = {found['dx'][h][v]}", SMALL)
    even, odd = ([p for p, _ in max(rows[k::2], key=len)] for k in (0, 1))
    words = f"Even rows of dx use taps {_and(even)} of a column of w, odd rows taps {_and(odd)}; columns likewise."
    sheet.text((0.3, 0.65), words, SMALL)
    sheet.text((0.3, 0.35), "Stride 2, padding 1. No zero is inserted, and no pixel is written twice.", SMALL, FAINT)


def _is_read(rows: list[Any], i: int, j: int) -> bool:
    h, v = PIXEL
    return i in [d for _, d in rows[h]] and j in [d for _, d in rows[v]]


def _part(sheet: Sheet, found: dict[str, Any], ab: tuple[int, int], at: tuple[float, float]) -> None:
    """The part of the kernel that the phase (a, b) uses, in the order in which it reads dy."""
    a, b = ab
    rows = [[p for p, _ in max(found["rows"][k::2], key=len)] for k in ab]
    part = [[found["w"][p][q] for q in rows[1]] for p in rows[0]]
    sheet.grid(at, part, lambda *_: COLOURS[2 * found["phase"][a] + found["phase"][b]])


def _and(numbers: list[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))
