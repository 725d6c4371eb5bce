"""Eight 64-bit words in device memory that captured kernels read and the host sets before each launch (live.cu)."""

from __future__ import annotations

import struct
from pathlib import Path

from ..contract import Array
from . import launcher
from .arrays import zeros

MODULE = launcher.Module(Path(__file__).with_name("live.cu"))
REGISTERS = {"write_words": 32}

WORDS = 8


class LiveNumbers:
    """At most eight numbers, in the order of their `add`; `set` writes all, in the order of the current stream."""

    def __init__(self) -> None:
        self._words = zeros(WORDS, "uint64")
        self._dtypes: list[str] = []

    def add(self, dtype: str) -> Array:
        """A new number as an array of one element, 'uint64', 'int64' or 'float64'. RuntimeError after the eighth."""
        if len(self._dtypes) == WORDS:
            raise RuntimeError(f"a captured step can have {WORDS} live numbers, this one needs more")
        place = len(self._dtypes)
        self._dtypes.append(dtype)
        return self._words[place : place + 1].view(dtype)

    def set(self, *values: float) -> None:
        """The numbers in the order in which they were added."""
        words = {f"w{i}": 0 for i in range(WORDS)}
        for i, (dtype, value) in enumerate(zip(self._dtypes, values, strict=True)):
            packed = struct.pack("<d", value) if dtype == "float64" else (int(value) % 2**64).to_bytes(8, "little")
            words[f"w{i}"] = int.from_bytes(packed, "little")
        MODULE.kernel("write_words")[1, 32](self._words, words)
