"""Checkpoints: arrays by name and a dictionary of plain values, in one file that holds data and no code.

A `.npz` file is read without pickle; a `.safetensors` file needs the package safetensors. With the plain values a file
keeps the SHA-256 of all that it holds, and a file in which anything was changed is refused. Files of format 1 had no
digest and are read as they are. A file of format 2 states its format; otherwise damage to the word "digest" would make
it one of format 1.

A file is written under another name, forced to the disk, and renamed. Whatever interrupts this, a full disk or a pulled
plug, the file of that name is either the old one or the new one, whole.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from minivae.data.archive import KINDS, Archive, Header, reading

META = "minivae"  # the entry that holds the plain values, as JSON
FORMAT, DIGEST = "format", "digest"  # two entries among the plain values, both there or neither
KIND = "minivae checkpoint"
Arrays = dict[str, np.ndarray]


_writes: ContextVar[bool] = ContextVar("writes", default=True)


@contextmanager
def writing(allowed: bool) -> Iterator[None]:
    """Unless it is allowed, save_checkpoint() writes nothing inside the with block: of several ranks one writes."""
    token = _writes.set(allowed)
    try:
        yield
    finally:
        _writes.reset(token)


def save_checkpoint(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and meta (JSON values) to a .npz or .safetensors file; OSError if the disk or folder refuses."""
    path = Path(path)
    check_suffix(path)
    if not _writes.get():
        return
    if taken := [*({META} & arrays.keys()), *({FORMAT, DIGEST} & meta.keys())]:
        raise ValueError(f"the name {taken[0]!r} is taken by the checkpoint itself")
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    if objects := [name for name, array in arrays.items() if array.dtype.kind not in KINDS]:
        raise TypeError(f"a checkpoint holds arrays of numbers, not {objects[0]!r} of {arrays[objects[0]].dtype}")
    text = json.dumps({**meta, FORMAT: 2, DIGEST: digest(arrays, meta)})
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        blob = save(arrays, {META: text})
        atomic_write(path, lambda file: file.write(blob))
    else:
        atomic_write(path, lambda file: np.savez(file, **{META: np.array(text), **arrays}))  # type: ignore[arg-type]


def check_suffix(path: Path) -> None:
    """Raise ValueError for a path that does not say which kind of checkpoint it is."""
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"a checkpoint is a .npz or .safetensors file, got {str(path)!r}")


def load_checkpoint(path: str | Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what save_checkpoint wrote, as (arrays, meta). It raises ValueError for a damaged or foreign file."""
    with open_checkpoint(path) as file:
        return file.arrays(), file.meta


def digest(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> str:
    """Hash plain values and arrays with SHA-256: names, dtypes, shapes and the bytes in C order, little-endian."""
    total = sha256(json.dumps(meta).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], arrays[name].dtype.newbyteorder("<"), order="C")
        total.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


@dataclass(frozen=True)
class CheckpointFile:
    """It is an open checkpoint. meta holds its plain values, headers the shape and the dtype of each of its arrays."""

    path: Path
    meta: dict[str, Any]
    _digest: str | None
    headers: Mapping[str, Header | np.ndarray]
    _read: Callable[[], Arrays]

    @property
    def numbers(self) -> int:
        """The number of elements of all arrays together."""
        return sum(prod(header.shape) for header in self.headers.values())

    def check(self, expected: Mapping[str, np.ndarray]) -> None:
        """Raise ValueError unless the arrays have these names, shapes and dtypes. None of them is read."""
        with reading(self.path, KIND):
            missing, unexpected = (
                sorted(expected.keys() - self.headers.keys()),
                sorted(self.headers.keys() - expected.keys()),
            )
            if missing or unexpected:
                raise ValueError(f"its arrays do not fit: missing {missing}, unexpected {unexpected}")
            for name, array in expected.items():
                header = self.headers[name]
                if header.shape != array.shape or header.dtype != array.dtype:
                    raise ValueError(
                        f"{name} must have shape {array.shape} and dtype {array.dtype}, "
                        f"got {header.shape} and {header.dtype}"
                    )

    def arrays(self) -> Arrays:
        """Read all arrays. It raises ValueError if they are damaged or the digest is that of other contents."""
        with reading(self.path, KIND):
            arrays = self._read()
            if self._digest is not None and self._digest != digest(arrays, self.meta):
                raise ValueError("its contents were changed: they do not have the digest that was written with them")
            return arrays


@contextmanager
def open_checkpoint(path: str | Path) -> Iterator[CheckpointFile]:
    """Open a checkpoint and read its plain values and headers. It raises ValueError for a damaged or foreign file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    with path.open("rb") as file:
        with reading(path, KIND):
            headers, text, read = (_safetensors if path.suffix == ".safetensors" else _npz)(path, file)
            opened = CheckpointFile(path, *_plain_values(text), headers, read)
        yield opened


def _plain_values(text: str) -> tuple[dict[str, Any], str | None]:
    """Read the plain values and the digest, which is None in a file of format 1."""
    meta = json.loads(text)
    if not isinstance(meta, dict):
        raise ValueError(f"its plain values are no dictionary, but a {type(meta).__name__}")
    form, expected = meta.pop(FORMAT, 1), meta.pop(DIGEST, None)
    if (form, type(expected)) not in ((1, type(None)), (2, str)):
        raise ValueError(f"it says it has format {form} and digest {expected}; format 2 has a digest, format 1 none")
    return meta, expected


Contents = tuple[Mapping[str, "Header | np.ndarray"], str, Callable[[], Arrays]]


def _npz(path: Path, file: IO[bytes]) -> Contents:
    archive = Archive(file, path.stat().st_size)
    names = [name for name in archive.names if name != META]
    if len(names) == len(archive.names):
        raise ValueError(f"it has no entry {META!r}")
    archive.check_size()
    headers = {name: archive.header(name) for name in names}
    return headers, str(archive.read(META)), lambda: {name: archive.read(name) for name in names}


def _safetensors(path: Path, _: IO[bytes]) -> Contents:
    """Read all arrays at once: nothing is compressed, so that they take as much memory as the file has bytes."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = file.metadata() or {}
    if META not in meta:
        raise ValueError(f"it has no entry {META!r} in its metadata")
    return arrays, meta[META], lambda: arrays


def atomic_write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside path, sync it, and rename it to path. An OSError names that path.

    It is also raised for a device or pipe, which the renaming would remove.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no file but a device or a pipe", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the temporary files that killed processes have left of the file `name`; without a name, of any file."""
    pattern = re.compile(rf"\.{re.escape(name) or '.+'}\.[0-9]+\.tmp")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)
