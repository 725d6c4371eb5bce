"""What the passes of a convolution read, along one axis: the forward pass, and the input gradient, phase by phase.

The input gradient is the transpose of the forward pass as a map of x. Written as a *gather*,
input row h gets something from output i through tap p if the forward pass reads it so, h = i * s - ph + p * d. Let
h + ph = u * s + a with 0 <= a < s, where a is called the *phase* of row h. Then

    p * d = a  (mod s)    and    i = u + (a - p * d) / s.

So the rows of one phase use every (s / gcd(s, d))-th tap only, and as u goes up by one, so does i: the input gradient
is, for each phase, a correlation of stride 1 of dy with a part of the flipped kernel, and its results go to every s-th
row. No inserted zero is ever multiplied, and no place is added to twice. With stride 1 there is one phase, and we have
the well-known correlation with the flipped kernel. Columns have phases in the same way. Phases that read the same rows
of dy (all of them, where s divides the kernel and d = 1) share one correlation, with phases times channels outputs.

Sources: Dumoulin & Visin 2016, chapter 4, for the transposed convolution; Shi et al. 2016, "Is the deconvolution layer
the same as a convolutional layer?", for its phases.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import NamedTuple

from .geometry import ConvGeometry


class Reads(NamedTuple):
    """What one axis of a convolution reads: output u reads source positions start + u * stride + t * dilation.

    t counts the taps of the kernel, u the outputs. Positions outside the source read as zero.
    """

    start: int
    stride: int
    dilation: int
    taps: int
    outputs: int

    def part(self, outputs: slice) -> Reads:
        """The same for some of the outputs."""
        return self._replace(start=self.start + outputs.start * self.stride, outputs=outputs.stop - outputs.start)

    @property
    def extent(self) -> int:
        """How many source positions lie between the first and the last one read, both included."""
        return (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    def inside(self, size: int) -> slice:
        """The part of a source of that size which lies in the extent."""
        first = max(self.start, 0)
        return slice(first, max(first, min(self.start + self.extent, size)))


def forward_reads(g: ConvGeometry) -> tuple[Reads, Reads]:
    """What the forward pass reads, down and across."""
    return (
        Reads(-g.padding[0], g.stride[0], g.dilation[0], g.KH, g.OH),
        Reads(-g.padding[1], g.stride[1], g.dilation[1], g.KW, g.OW),
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
    """Phases of one axis that read the same positions of dy: `reads`, for outputs u = first_u, first_u + 1, ..."""

    phases: tuple[Phase, ...]
    reads: Reads
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
        reads = Reads(first_u + reads_first, 1, step * d // s, count, end_u - first_u)
        result.append(Phases(tuple(alike), reads, first_u))
    return tuple(result)


def _first_tap(a: int, stride: int, dilation: int, kernel: int) -> int:
    """The first tap p with p * dilation = a (mod stride), `kernel` if there is none."""
    return next((p for p in range(kernel) if p * dilation % stride == a), kernel)
