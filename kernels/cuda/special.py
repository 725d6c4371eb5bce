"""The error function (kernel in special.cu)."""

from __future__ import annotations

from math import prod
from pathlib import Path

from ..contract import Array
from ..cpu.blocks import logical_order
from . import launcher
from .arrays import empty, in_memory_order
from .launcher import ceil_div

MODULE = launcher.Module(Path(__file__).with_name("special.cu"))
REGISTERS = {"erf_of": 32}

THREADS = 256


def erf(x: Array) -> Array:
    """The error function, to a few units in the last place, in the layout of x."""
    order, (inputs,) = in_memory_order(x)
    y = empty(tuple(x.shape[axis] for axis in order), x.dtype)
    count = prod(x.shape)
    MODULE.kernel("erf_of", x.dtype)[ceil_div(count, THREADS), THREADS](inputs, y, count)
    return logical_order(y, order)
