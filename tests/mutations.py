"""Damage files at random, with a seed: flip bits, truncate, move pieces, rewrite numbers in headers."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = [b"0", b"1", b"7", b"-3", b"(3", b"30000", b"99999999999", b"1" + b"0" * 23, b"null", b"[]", b'"a"']


def flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one to three bits flipped."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def truncated(whole: bytes, rng: np.random.Generator) -> bytes:
    """A copy without the end."""
    return whole[: rng.integers(len(whole))]


def spliced(whole: bytes, rng: np.random.Generator) -> bytes:
    """A copy in which a piece is left out, doubled, set to zero or written over another place."""
    a, b = sorted(int(k) for k in rng.integers(len(whole), size=2))
    b = min(b, a + int(rng.choice([1, 4, 64, 4096])))
    piece, place = whole[a:b], int(rng.integers(len(whole)))
    kinds = [
        lambda: whole[:a] + whole[b:],
        lambda: whole[:b] + piece + whole[b:],
        lambda: whole[:a] + bytes(b - a) + whole[b:],
        lambda: whole[:place] + piece + whole[place + len(piece) :],
    ]
    return kinds[rng.integers(len(kinds))]()


def rewritten(whole: bytes, rng: np.random.Generator) -> bytes:
    """A copy in which a number that is written in digits is replaced, if possible without changing the length."""
    places = [m.span() for m in re.finditer(rb"(?<![0-9A-Za-z])[0-9]{1,6}(?![0-9A-Za-z])", whole)]
    if not places:
        return flipped(whole, rng)
    a, b = places[rng.integers(len(places))]
    new = NUMBERS[rng.integers(len(NUMBERS))]
    if whole[b : b + len(new)].isspace():  # a longer number may take the place of a header's padding
        return whole[:a] + new + whole[b + max(len(new) - (b - a), 0) :]
    return whole[:a] + new[: b - a].ljust(b - a) + whole[b:]


def mutations(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield `count` damaged copies, all of them different from the whole."""
    rng = np.random.default_rng(seed)
    kinds = [flipped, flipped, truncated, spliced, rewritten]
    made = 0
    while made < count:
        if (data := kinds[made % len(kinds)](whole, rng)) != whole:
            made += 1
            yield data


def check(load: Callable[[Path], Any], path: Path, data: bytes, same: Callable[[Any], bool], most: int) -> bool:
    """Write `data` to `path`, check what load(path) does with it, and return whether it was loaded.

    If load(path) succeeds, same(result) must hold; if it fails, it must raise ValueError or OSError with the name of
    the file in one line. In both cases its peak memory is at most `most` bytes.
    """
    path.write_bytes(data)
    result, message = None, None
    tracemalloc.start()
    try:
        result = load(path)
    except (ValueError, OSError) as error:
        message = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= most, f"{peak:,} bytes were taken for a file of {len(data):,}"
    if message is None:
        assert same(result), f"{path} was loaded with other values"
    else:
        assert path.name in message, message
        assert "\n" not in message, message
    return message is None
