"""Numbers that differ from replay to replay of a captured step: eight 64-bit words in device memory (live.cu)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from ..contract import Array
from . import launcher
from .arrays import zeros

MODULE = launcher.Module(Path(__file__).with_name("live.cu"))
REGISTERS = {"write_words": 32}

WORDS = 8


class LiveNumbers:
    """It holds at most eight numbers that captured kernels read. A function for each tells what it is now."""

    def __init__(self) -> None:
        self._words = zeros(WORDS, "uint64")
        self._numbers: list[tuple[str, Callable[[], float]]] = []

    def add(self, dtype: str, now: Callable[[], float]) -> Array:
        """Add a number and return it as an array of one element, 'uint64', 'int64' or 'float64'.

        Raises RuntimeError after the eighth.
        """
        place = len(self._numbers)
        if place == WORDS:
            raise RuntimeError(f"a captured step can have {WORDS} live numbers, this one needs more")
        self._numbers.append((dtype, now))
        return self._words[place : place + 1].view(dtype)

    def update(self) -> None:
        """Write the present values of all of them, in the order of the current stream."""
        words = {f"w{i}": 0 for i in range(WORDS)}
        for i, (dtype, now) in enumerate(self._numbers):
            value = now()
            packed = struct.pack("<d", value) if dtype == "float64" else (int(value) % 2**64).to_bytes(8, "little")
            words[f"w{i}"] = int.from_bytes(packed, "little")
        MODULE.kernel("write_words")[1, 32](self._words, words)
