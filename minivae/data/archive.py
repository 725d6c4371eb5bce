"""Read arrays from untrusted files: .npy streams, .npz archives, and a limit on how much a compressed file may hold.

The size that a header states is compared with the size of the file, or of the archive's member, before memory is
allocated for it. The data is then read in steps up to their last byte, because checksums are compared only there, and
nothing may follow. Deflate compresses at most about a thousandfold, and images of black and white shapes compress a
hundredfold; a file that claims to hold more than RATIO times its own size is refused.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import numpy as np

STEP = 1 << 20  # bytes read at a time
RATIO, SMALL = 250, 16 << 20  # a file may expand to RATIO times its size, and in any case to SMALL bytes
MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 10_000  # bytes, as in NumPy
LONGEST_REASON = 400  # characters of an error message
KINDS = "biufcU"  # the dtype kinds that are read: booleans, numbers, text


class Readable(Protocol):
    """An open file, or a decompressor that is read like one."""

    def read(self, size: int, /) -> bytes: ...


class Header(NamedTuple):
    """What the header of a .npy stream states about its array."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran_order: bool

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn every error inside the block into ValueError('<path> is no readable <kind>: <reason>').

    A damaged file makes zipfile, zlib, NumPy and Pillow raise errors of many types.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
        raise ValueError(f"{str(path)!r} is no readable {kind}: {reason}") from error


def check_expansion(stated: int, stored: int) -> None:
    """Raise ValueError if a file of `stored` bytes states more content than max(SMALL, RATIO * stored) bytes."""
    if stated > max(SMALL, RATIO * stored):
        raise ValueError(
            f"it says it holds {stated:,} bytes, more than {RATIO} times its {stored:,} bytes on the disk; "
            "if the data is good, save it without compression (np.save, np.savez)"
        )


def fill(buffer: np.ndarray, file: Readable) -> None:
    """Read len(buffer) bytes into the buffer; ValueError if the rest of the file is shorter or longer."""
    view = buffer.data
    done = 0
    while done < len(view):
        step = file.read(min(STEP, len(view) - done))
        if not step:
            raise ValueError(f"its data ends after {done:,} of {len(view):,} bytes")
        view[done : done + len(step)] = step
        done += len(step)
    if file.read(1):
        raise ValueError(f"its data continues after the {len(view):,} bytes that its header states")


def read_header(file: Readable, size: int) -> Header:
    """The header of a .npy stream of `size` bytes; ValueError unless the array fills the rest of the stream."""
    start = file.read(8)
    if start[:6] != MAGIC or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError(f"an array starts with {MAGIC.hex()} and version 1 or 2, found {start.hex() or 'nothing'}")
    parse, width = (
        (np.lib.format.read_array_header_1_0, 2) if start[6] == 1 else (np.lib.format.read_array_header_2_0, 4)
    )
    prefix = file.read(width)
    length = int.from_bytes(prefix, "little")
    if length > LONGEST_HEADER:
        raise ValueError(f"the header of an array has at most {LONGEST_HEADER:,} bytes, this one {length:,}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of headers that Python 2 wrote
        shape, fortran_order, dtype = parse(BytesIO(prefix + file.read(length)))
    header = Header(shape, dtype, fortran_order)
    if header.dtype.kind not in KINDS or not header.dtype.itemsize:
        raise ValueError(f"the elements of an array must be numbers, booleans or text, got {header.dtype}")
    found = size - len(start) - width - length
    if min(header.shape, default=0) < 0 or header.nbytes != found:
        raise ValueError(
            f"an array {header.shape} of {header.dtype} takes {header.nbytes:,} bytes, there are {found:,}"
        )
    return header


def read_array(file: Readable, size: int) -> np.ndarray:
    """The array in a .npy stream of `size` bytes; ValueError if it is not one."""
    header = read_header(file, size)
    data = np.empty(header.nbytes, np.uint8)
    fill(data, file)
    return data.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")


class Archive:
    """The .npz archive in an open file of `size` bytes; its arrays are read one by one.

    A damaged archive makes the methods raise whatever zipfile raises, so they must be called inside reading().
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._zip, self._size, self._taken = zipfile.ZipFile(file), size, 0
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._zip.infolist():
            name = member.filename.removesuffix(".npy")
            if name in self._members:
                raise ValueError(f"two of its members are called {name!r}")
            self._members[name] = member

    @property
    def names(self) -> list[str]:
        return list(self._members)

    def check_size(self) -> None:
        """Raise ValueError if all arrays together are too large for a file of this size."""
        check_expansion(sum(member.file_size for member in self._members.values()), self._size)

    def header(self, name: str) -> Header:
        """The shape and dtype of an array, whose data is not read."""
        member = self._members[name]
        with self._named(name), self._zip.open(member) as file:
            return read_header(file, member.file_size)

    def read(self, name: str) -> np.ndarray:
        """The array of this name; ValueError if the arrays read so far are too large for a file of this size."""
        member = self._members[name]
        self._taken += member.file_size
        check_expansion(self._taken, self._size)
        with self._named(name), self._zip.open(member) as file:
            return read_array(file, member.file_size)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        """Put the name of the array in front of the message of any error."""
        try:
            yield
        except Exception as error:
            raise ValueError(f"{name}: {error or type(error).__name__}") from error
