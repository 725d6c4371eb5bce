"""The IDX files of MNIST and Fashion-MNIST: where they are found, how they are read, where they come from.

An IDX file is a header of big-endian 32-bit numbers, a magic one (two zero bytes, the code of the element type, the
number of axes) and the length of each axis, followed by the elements in C order. It may be compressed with gzip.
"""

from __future__ import annotations

import gzip
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

UNSIGNED_BYTE = 0x08
MIRROR = "MINIVAE_MIRROR"  # an address to download from instead: <mirror>/<data set>/<file>
FOLDER = "MINIVAE_DATA"  # a folder with the files, or with a folder named after the data set


class Source(NamedTuple):
    """A data set in four IDX files: images and labels of the training and the test part."""

    address: str
    md5: dict[str, str]
    class_names: tuple[str, ...]
    system_folder: str | None = None


FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SOURCES = {
    "fashion-mnist": Source(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {
            "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
    ),
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        {
            "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        tuple("0123456789"),
    ),
}


def read_idx(path: str | Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, gzipped or not. ValueError for a truncated or foreign file."""
    path = Path(path)
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{str(path)!r} is a damaged gzip file: {error}") from error
    if len(raw) < 4 or raw[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise ValueError(f"{str(path)!r} is no IDX file of unsigned bytes: it begins {raw[:4].hex() or 'nothing'}")
    header = 4 + 4 * raw[3]
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4) if len(raw) >= header else ()
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected or len(raw) < header:
        raise ValueError(f"{str(path)!r} must have {expected:,} bytes for shape {shape}, it has {len(raw):,}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def load_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x_train (N, H, W), y_train (N,), x_test, y_test) as bytes. ValueError where a file does not fit another."""
    arrays = [read_idx(_present(folder, name)) for name in FILES]
    for images, labels, part in ((arrays[0], arrays[1], "train"), (arrays[2], arrays[3], "t10k")):
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"{str(folder)!r}: {part} has images {images.shape} and labels {labels.shape}")
    return arrays[0], arrays[1], arrays[2], arrays[3]


def find(name: str, folder: str | Path | None = None) -> Path:
    """The folder that holds the four files of a data set, downloaded if need be.

    Looked for in the folder given, in $MINIVAE_DATA, where Debian's package puts them, and in the user's cache. A
    folder given that does not hold them is a FileNotFoundError.
    """
    source = SOURCES[name]
    named = [Path(p) for p in (folder, os.environ.get(FOLDER)) if p]
    for place in named[:1] if folder else named:
        for candidate in (place, place / name):
            if holds_all(candidate):
                return candidate
        if folder:
            raise FileNotFoundError(f"{str(place)!r} does not hold the files {', '.join(FILES)} (or .gz) of {name}")
    for candidate in (Path(source.system_folder or ""), cache_folder() / name):
        if str(candidate) != "." and holds_all(candidate):
            return candidate
    return download(name, cache_folder() / name)


def holds_all(folder: Path) -> bool:
    """Whether all four files are there, gzipped or not."""
    return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in FILES)


def _present(folder: Path, file: str) -> Path:
    return folder / file if (folder / file).is_file() else folder / f"{file}.gz"


def cache_folder() -> Path:
    """Where this user's programs keep what they can download again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "minivae" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minivae"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minivae"


def download(name: str, folder: Path) -> Path:
    """Fetch the four files with a progress bar and check them; OSError, with what to do instead, if that fails.

    A file appears under its name only when its checksum was right.
    """
    try:
        import pooch
        import tqdm  # noqa: F401 - pooch's progress bar
    except ImportError as error:
        raise ImportError(f"downloading {name} needs pooch and tqdm: pip install 'minivae[cli]'") from error
    source = SOURCES[name]
    mirror = os.environ.get(MIRROR)
    address = f"{mirror.rstrip('/')}/{name}" if mirror else source.address
    pooch.get_logger().setLevel("ERROR")
    for file in FILES:
        url = f"{address}/{file}.gz"
        try:
            pooch.retrieve(url, f"md5:{source.md5[file]}", f"{file}.gz", folder, progressbar=sys.stderr.isatty())
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            reason = "its checksum is wrong" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise OSError(
                f"could not download {url} ({reason}); put the four files of {name} into a folder and name it "
                f"in ${FOLDER}"
            ) from error
    return folder
