"""Find, download and read the IDX files of MNIST and Fashion-MNIST.

An IDX file (LeCun, Cortes & Burges, "The MNIST database of handwritten digits") is a header of big-endian 32-bit
numbers, followed by the elements in C order. The first number, the magic number, consists of two zero bytes, the code
of the element type and the number of axes; the length of each axis follows. So files of images (3 axes of unsigned
bytes) begin with 0x00000803 and files of labels with 0x00000801. The file may be compressed with gzip.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .archive import Readable, check_expansion, fill, reading

if TYPE_CHECKING:
    from logging import Logger

UNSIGNED_BYTE = 0x08
# Environment variables
MIRROR = "MINIVAE_MIRROR"  # another address to download from: <mirror>/<data set>/<file>.gz
FOLDER = "MINIVAE_DATA"  # a folder that holds the files, or a sub-folder with them that has the name of the data set


class Source(NamedTuple):
    """A data set in four IDX files.

    address: the URL of the folder they are downloaded from. md5: file name -> checksum of the gzipped file.
    system_folder: where a package of the operating system puts them.
    """

    address: str
    md5: dict[str, str]
    class_names: tuple[str, ...]
    system_folder: str | None = None


FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SOURCES = {
    "fashion-mnist": Source(  # https://github.com/zalandoresearch/fashion-mnist, "Get the data"
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
    "mnist": Source(  # PyTorch's copy; the first address, yann.lecun.com/exdb/mnist, no longer has the files
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


def read_idx(path: str | Path, axes: int) -> np.ndarray:
    """The array of bytes in an IDX file, gzipped or not.

    Raises ValueError for a damaged file, for a file of another format, and for another number of axes.
    """
    path = Path(path)
    with path.open("rb") as stored, reading(path, f"IDX file of bytes with {axes} axes"):
        size, packed = path.stat().st_size, stored.read(2) == b"\x1f\x8b"  # gzip's own magic number
        stored.seek(0)
        if packed:
            import gzip

            with gzip.open(stored) as file:
                return _read_idx(file, axes, size, packed)
        return _read_idx(stored, axes, size, packed)


def _read_idx(file: Readable, axes: int, size: int, packed: bool) -> np.ndarray:
    """The array in an open IDX file; size: bytes on the disk, before decompression if it is `packed`."""
    magic, header = bytes((0, 0, UNSIGNED_BYTE, axes)), 4 + 4 * axes
    start = file.read(header)
    if start[:4] != magic:
        raise ValueError(f"expected it to begin with {magic.hex()}, found {start[:4].hex() or 'nothing'}")
    if len(start) < header:
        raise ValueError(f"expected at least {header} bytes, found {len(start)}")
    shape = struct.unpack_from(f">{axes}I", start, 4)
    expected = header + prod(shape)
    if packed:
        check_expansion(expected, size)
    elif size != expected:
        raise ValueError(f"expected {expected:,} bytes for shape {shape}, found {size:,}")
    data = np.empty(prod(shape), np.uint8)
    fill(data, file)
    return data.reshape(shape)


def load_folder(folder: Path, classes: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x_train (N, H, W), y_train (N,), x_test, y_test) as bytes, from the four files of a folder.

    Raises ValueError for a damaged file, if the numbers of images and labels differ or are 0, and for labels that are
    not below `classes`.
    """
    arrays = []
    for images, labels in (FILES[:2], FILES[2:]):
        x, y = read_idx(_present(folder, images), 3), read_idx(_present(folder, labels), 1)
        if len(x) != len(y) or not x.size:
            raise ValueError(f"{str(folder)!r}: {images} has shape {x.shape}, {labels} has shape {y.shape}")
        if y.max() >= classes:
            raise ValueError(f"{str(folder)!r}: {labels} must hold labels below {classes}, found {y.max()}")
        arrays += [x, y]
    return arrays[0], arrays[1], arrays[2], arrays[3]


def find(name: str, folder: str | Path | None = None) -> Path:
    """The folder that holds the four files of a data set, which are downloaded if necessary.

    If `folder` is given, the files must be there or in its sub-folder of the data set's name; otherwise
    FileNotFoundError is raised. If it is not given, all places() are searched, and files that are found nowhere are
    downloaded into the user's cache.
    """
    for candidate in places(name) if folder is None else _with_subfolder(folder, name):
        if holds_all(candidate):
            return candidate
    if folder is not None:
        raise FileNotFoundError(f"{str(folder)!r} does not hold the files {', '.join(FILES)} (or .gz) of {name}")
    return download(name, cache_folder() / name)


def places(name: str) -> list[Path]:
    """The folders to search, in this order: $MINIVAE_DATA, the folder of Debian's package, the user's cache.

    A folder named after another data set is skipped, because all data sets use the same file names.
    """
    source, variable = SOURCES[name], os.environ.get(FOLDER)
    found = _with_subfolder(variable, name) if variable else []
    if source.system_folder:
        found.append(Path(source.system_folder))
    found.append(cache_folder() / name)
    return [place for place in found if place.name == name or place.name not in SOURCES]


def _with_subfolder(folder: str | Path, name: str) -> list[Path]:
    return [Path(folder) / name, Path(folder)]


def holds_all(folder: Path) -> bool:
    """Whether the folder holds all four files, gzipped or not."""
    return all((folder / file).is_file() or (folder / f"{file}.gz").is_file() for file in FILES)


def _present(folder: Path, file: str) -> Path:
    return folder / file if (folder / file).is_file() else folder / f"{file}.gz"


def cache_folder() -> Path:
    """The user's folder for files that can be downloaded again, by the conventions of the operating system."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "minivae" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "minivae"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minivae"


def download(name: str, folder: Path) -> Path:
    """Download the four files into a folder, with a progress bar on a terminal, and return the folder.

    A file gets its name only after its checksum has been found right; until then it is a temporary file, which is
    removed if anything fails. Raises OSError, which says what was tried and what to do instead; ImportError without
    pooch or tqdm.
    """
    try:
        import pooch
        import tqdm  # noqa: F401 - pooch's progress bar
    except ImportError as error:
        raise ImportError(f"downloading {name} needs pooch and tqdm: pip install 'minivae[cli]'") from error
    source, mirror = SOURCES[name], os.environ.get(MIRROR)
    address = f"{mirror.rstrip('/')}/{name}" if mirror else source.address
    for file in FILES:
        url, md5 = f"{address}/{file}.gz", f"md5:{source.md5[file]}"
        try:
            with _quiet(pooch.get_logger()):
                pooch.retrieve(url, md5, f"{file}.gz", folder, progressbar=sys.stderr.isatty())
        except (OSError, ValueError) as error:  # the errors of requests are OSErrors, a wrong checksum is a ValueError
            raise OSError(
                f"could not download {url} ({_reason(error)}), and {name} is not in "
                f"{', '.join(str(place) for place in places(name))}; put its files {', '.join(FILES)} (or .gz) there "
                f"by hand, or set ${FOLDER} to the folder that holds them"
            ) from error
    return folder


@contextmanager
def _quiet(logger: Logger) -> Iterator[None]:
    """Let the logger report errors only."""
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The message of the innermost error: 'Connection refused' says more than 'Max retries exceeded'."""
    if "does not match the known hash" in str(error):
        return "its checksum is wrong"
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {str(error).rstrip('.')}"
