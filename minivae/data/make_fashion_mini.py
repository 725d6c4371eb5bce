"""Makes fashion_mini.npz from Fashion-MNIST: python -m minivae.data.make_fashion_mini [FOLDER]

The first 400 images of each class of the training file and the first 100 of the test file, in the order of the files.
FOLDER holds the four IDX files; Debian's package dataset-fashion-mnist is the default. The same images make the same
file, byte for byte, as long as zlib compresses in the same way.
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
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can hold, given to every member


def make(folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """x_train (4000, 28, 28), y_train, x_test (1000, 28, 28), y_test, all bytes."""
    x_train, y_train, x_test, y_test = load_folder(find("fashion-mnist", folder))
    arrays = {}
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        chosen = np.sort(np.concatenate([np.flatnonzero(y == k)[: PER_CLASS[part]] for k in range(10)]))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x[chosen], y[chosen]
    return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """What np.savez_compressed writes, without the date and the operating system of the day."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


if __name__ == "__main__":
    write(PATH, make(*sys.argv[1:2]))
    print(f"wrote {PATH}, {PATH.stat().st_size:,} bytes")
