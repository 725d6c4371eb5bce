"""Checkpoints: arrays by name and a dictionary of plain values, in one file that holds data and no code.

`.npz` is read with allow_pickle=False; `.safetensors` is written and read where the package safetensors is installed.
A file is written under another name, forced to the disk, and renamed: whatever interrupts this, a full disk or a pulled
plug, the file of that name is either the old one or the new one, whole.
"""

from __future__ import annotations

import errno
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

META = "minivae"  # the entry that holds the plain values, as JSON


def save_checkpoint(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and meta (JSON values) to a .npz or .safetensors file; OSError if the disk or folder refuses."""
    path = Path(path)
    if META in arrays:
        raise ValueError(f"the name {META!r} is taken by the checkpoint itself")
    text = json.dumps(meta)
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        blob = save({k: np.asarray(v, order="C") for k, v in arrays.items()}, {META: text})
        atomic_write(path, lambda file: file.write(blob))
    elif path.suffix == ".npz":
        atomic_write(path, lambda file: np.savez(file, **{META: np.array(text), **arrays}))  # type: ignore[arg-type]
    else:
        raise ValueError(f"a checkpoint is a .npz or .safetensors file, got {str(path)!r}")


def load_checkpoint(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, meta) of a file that save_checkpoint wrote. ValueError for a truncated or foreign file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {str(path)!r}")
    try:
        if path.suffix == ".safetensors":
            arrays, text = _read_safetensors(path)
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            text = str(arrays.pop(META))
        return arrays, json.loads(text)
    except (ValueError, KeyError, EOFError, OSError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is no readable minivae checkpoint: {error or type(error).__name__}") from error


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()[META]  # noqa: SIM118
    except (SafetensorError, TypeError) as error:
        raise ValueError(str(error)) from error


def atomic_write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside path, sync it, and rename it to path. An OSError names the file."""
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
    """Remove the temporary files in which killed processes were writing the file `name`, or without it any file."""
    pattern = re.compile(rf"\.{re.escape(name) or '.+'}\.[0-9]+\.tmp")
    for path in folder.iterdir():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)
