"""Make fashion_mini.npz from Fashion-MNIST: python -m minivae.data.make_fashion_mini [FOLDER]

The result holds the first 400 images of each class in the training file and the first 100 in the test file, in the
order of these files. FOLDER holds the four IDX files; without it they are searched for as in idx.find(). The same
images give the same file, byte for byte, with the same version of zlib.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .idx import find, load_folder

PER_CLASS = {"train": 400, "test": 100}
PATH = Path(__file__).with_name("fashion_mini.npz")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every member: the earliest one that a zip archive can hold


def make(folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """{x_train: (4000, 28, 28), y_train: (4000,), x_test: (1000, 28, 28), y_test: (1000,)}, all bytes."""
    x_train, y_train, x_test, y_test = load_folder(find("fashion-mnist", folder))
    arrays = {}
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        chosen = np.sort(np.concatenate([np.flatnonzero(y == k)[: PER_CLASS[part]] for k in range(10)]))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x[chosen], y[chosen]
    return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what np.savez_compressed writes, but with a fixed date and operating system in the archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


if __name__ == "__main__":
    write(PATH, make(*sys.argv[1:2]))
    print(f"wrote {PATH}, {PATH.stat().st_size:,} bytes")
