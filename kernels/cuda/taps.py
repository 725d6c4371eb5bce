"""Through which taps the passes of a convolution read, along one axis: the forward pass, and the input gradient.

The input gradient is the transpose of the forward pass as a map of x. Written as a *gather*, input row h gets something
from output i through tap p if the forward pass reads it so, h = i * s - ph + p * d. Let h + ph = u * s + a with
0 <= a < s, where a is called the *phase* of row h. Then

    p * d = a  (mod s)    and    i = u + (a - p * d) / s.

So the rows of one phase use every (s / gcd(s, d))-th tap only, and as u goes up by one, so does i: the input gradient
is, for each phase, a correlation of stride 1 of dy with a part of the flipped kernel, and its results go to every s-th
row. No inserted zero is ever multiplied, and no place is added to twice. With stride 1 there is one phase: dx is the
correlation of dy, padded by d (KH - 1) - ph rows, with the kernel turned by 180 degrees. Columns have phases in the
same way. Phases that read the same rows of dy (all of them, where s divides the kernel and d = 1) share one
correlation, with phases times channels outputs.

Sources: Dumoulin & Visin 2016, chapter 4, for the transposed convolution; Shi et al. 2016, "Is the deconvolution layer
the same as a convolutional layer?", for its phases.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from ..geometry import ConvGeometry


class Taps(NamedTuple):
    """What one axis of a convolution reads: output u reads source positions start + u * stride + t * dilation.

    t counts the taps, of which there are `number`, u the outputs. Positions outside the source read as zero.
    """

    start: int
    stride: int
    dilation: int
    number: int
    outputs: int


def forward_taps(g: ConvGeometry) -> tuple[Taps, Taps]:
    """What the forward pass reads, down and across."""
    return (
        Taps(-g.padding[0], g.stride[0], g.dilation[0], g.KH, g.OH),
        Taps(-g.padding[1], g.stride[1], g.dilation[1], g.KW, g.OW),
    )


class Phase(NamedTuple):
    """One phase of one axis.

    taps: the kernel taps it uses, in the order in which dy is read.
    first_u, end_u: the input positions h = u * stride + offset of this phase have first_u <= u < end_u.
    """

    taps: slice
    offset: int
    first_u: int
    end_u: int


class Phases(NamedTuple):
    """Phases of one axis that read the same positions of dy: `window`, for outputs u = first_u, first_u + 1, ..."""

    phases: tuple[Phase, ...]
    window: Taps
    first_u: int


@lru_cache(maxsize=1000)
def phases(g: ConvGeometry, axis: int) -> tuple[Phases, ...]:
    """The phases of an axis that read anything, those that read the same together."""
    s, d, padding = g.stride[axis], g.dilation[axis], g.padding[axis]
    kernel, size = (g.KH, g.KW)[axis], (g.H, g.W)[axis]
    step = s // gcd(s, d)
    together: dict[tuple[int, int], list[Phase]] = {}
    for a in range(s):
        taps = range(kernel)[_first_tap(a, s, d, kernel) :: step][::-1]
        offset = a - padding
        first_u, end_u = -(offset // s), -((offset - size) // s)
        if taps and first_u < end_u:
            flipped = slice(taps[0], taps[-1] - 1 if taps[-1] else None, -step)
            reads_first = (a - taps[0] * d) // s
            together.setdefault((reads_first, len(taps)), []).append(Phase(flipped, offset, first_u, end_u))
    result = []
    for (reads_first, count), alike in together.items():
        first_u, end_u = min(each.first_u for each in alike), max(each.end_u for each in alike)
        window = Taps(first_u + reads_first, 1, step * d // s, count, end_u - first_u)
        result.append(Phases(tuple(alike), window, first_u))
    return tuple(result)


def _first_tap(a: int, stride: int, dilation: int, kernel: int) -> int:
    """The first tap p with p * dilation = a (mod stride), `kernel` if there is none."""
    return next((p for p in range(kernel) if p * dilation % stride == a), kernel)
