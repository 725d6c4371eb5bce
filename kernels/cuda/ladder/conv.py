"""The convolution by its definition, for readers, tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

from ...contract import Array
from ...geometry import ConvGeometry
from .. import launcher
from ..arrays import contiguous, empty
from ..launcher import ceil_div

MODULES = {"convolution": launcher.Module(Path(__file__).with_name("convolution.cu"))}
REGISTERS = {"conv2d_naive": 64}

THREADS = 256


def conv2d(x: Array, w: Array, g: ConvGeometry) -> Array:
    """The cross-correlation of x (N, C, H, W) with w (OC, C/G, KH, KW) -> y (N, OC, OH, OW)."""
    y = empty(g.y_shape, x.dtype)
    sizes = {name: getattr(g, name) for name in ("N", "C", "H", "W", "KH", "KW", "OH", "OW", "groups")} | {"OC": g.OC}
    for name in ("stride", "padding", "dilation"):
        sizes[f"{name}_h"], sizes[f"{name}_w"] = getattr(g, name)
    kernel = MODULES["convolution"].kernel("conv2d_naive", x.dtype)
    kernel[ceil_div(y.size, THREADS), THREADS](contiguous(x), contiguous(w), y, sizes)
    return y
