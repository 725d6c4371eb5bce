"""Makes fashion_mini.npz from Fashion-MNIST: python -m minivae.data.make_fashion_mini [FOLDER]

The first 400 images of each class of the training file and the first 100 of the test file, in the order of the files.
FOLDER holds the four IDX files; Debian's package dataset-fashion-mnist is the default.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from .idx import SOURCES, load_folder

PER_CLASS = {"train": 400, "test": 100}
PATH = Path(__file__).with_name("fashion_mini.npz")


def make(folder: str | Path | None = None) -> dict[str, np.ndarray]:
    """x_train (4000, 28, 28), y_train, x_test (1000, 28, 28), y_test, unsigned bytes."""
    x_train, y_train, x_test, y_test = load_folder(Path(folder or SOURCES["fashion-mnist"].system_folder or "."))
    arrays = {}
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        chosen = np.sort(np.concatenate([np.flatnonzero(y == k)[: PER_CLASS[part]] for k in range(10)]))
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x[chosen], y[chosen]
    return arrays


if __name__ == "__main__":
    np.savez_compressed(PATH, **make(*sys.argv[1:2]))  # type: ignore[arg-type]
    print(f"wrote {PATH}, {PATH.stat().st_size:,} bytes")
