"""Which taps the forward pass and the input gradient of a convolution use, along one axis, and what they read.

A tap is one position p of the kernel. The input gradient is the transpose of the forward pass as a linear map of x.
Here it is written as a *gather*: each element of dx looks up what it needs from dy. The forward pass reads input row h
for output row i through tap p if h = i * s - ph + p * d, with stride s, padding ph and dilation d; so row h of dx gets
something from row i of dy through tap p. Write h + ph = u * s + a with 0 <= a < s; a is called the *phase* of row h.
Then

    p * d = a  (mod s)    and    i = u + (a - p * d) / s.

So the rows of one phase use only every (s / gcd(s, d))-th tap, and if u grows by one, i grows by one. Hence for each
phase the input gradient is a correlation of stride 1, of dy with a part of the flipped kernel, whose results go to
every s-th row. No inserted zero is multiplied, and no element is written twice. Example: with kernel 4, stride 2 and
padding 1, even rows of dx have phase 1 and use taps 1 and 3, odd rows have phase 0 and use taps 0 and 2. With stride 1
there is only one phase: dx is the correlation of dy, padded by d (KH - 1) - ph rows, with the kernel turned by 180
degrees. Columns have phases in the same way.

Phases that read the same rows of dy share one correlation, with a column for each pair of phase and channel. If s
divides the kernel size and d = 1, all phases do.

Sources: Dumoulin & Visin 2016, chapter 4, for the transposed convolution; Shi et al. 2016, "Is the deconvolution layer
the same as a convolutional layer?", for its phases.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from ..geometry import ConvGeometry


class Taps(NamedTuple):
    """What a correlation reads along one axis: output u reads source position start + u * stride + t * dilation.

    t = 0, 1, ... counts the taps, of which there are `number`; u counts the outputs. Positions outside the source read
    as zero.
    """

    start: int
    stride: int
    dilation: int
    number: int
    outputs: int


def forward_taps(g: ConvGeometry) -> tuple[Taps, Taps]:
    """What the forward pass reads along H and along W."""
    return (
        Taps(-g.padding[0], g.stride[0], g.dilation[0], g.KH, g.OH),
        Taps(-g.padding[1], g.stride[1], g.dilation[1], g.KW, g.OW),
    )


class Phase(NamedTuple):
    """One phase of one axis.

    taps: the taps that it uses, in the order in which dy is read.
    offset, first_u, end_u: its input positions are h = u * stride + offset with first_u <= u < end_u.
    """

    taps: slice
    offset: int
    first_u: int
    end_u: int


class Phases(NamedTuple):
    """Phases of one axis that read the same positions of dy.

    window: what they read, for u = first_u, first_u + 1, ...
    """

    phases: tuple[Phase, ...]
    window: Taps
    first_u: int


@lru_cache(maxsize=1000)
def phases(g: ConvGeometry, axis: int) -> tuple[Phases, ...]:
    """The phases of an axis (0 for H, 1 for W) that read anything, grouped by what they read."""
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
    """The first tap p with p * dilation = a (mod stride), or `kernel` if there is none."""
    return next((p for p in range(kernel) if p * dilation % stride == a), kernel)
