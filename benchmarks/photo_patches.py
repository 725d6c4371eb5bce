"""Cut photographs into colour images of 64 x 64 pixels, a data set of real images for the VQ-VAE-2.

    pip install scikit-image scikit-learn pillow
    python benchmarks/photo_patches.py patches.npz
    minivae train vqvae2 --data patches.npz --stride 4 --codes 256 --top-codes 256 --out runs/photos

Without --photos the photographs are those that come with scikit-learn and scikit-image (a temple, a flower, a cat, a
portrait, a cup, a motorcycle, a rocket): few, so that a model of them knows these seven scenes and no others. --photos
FOLDER takes a folder of your own. A photograph is made smaller first: a pixel of the patches is the mean of --shrink x
--shrink of its pixels. The right quarter of each photograph is for the test, and no patch of the training has a pixel
of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

IN_SKLEARN = ["china.jpg", "flower.jpg"]
IN_SKIMAGE = ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"]
TEST = 0.25  # of the width of each photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help=".npz file to write")
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: those of the two packages)")
    parser.add_argument("--size", type=int, default=64, help="height and width of a patch")
    parser.add_argument("--step", type=int, default=8, help="pixels from one patch of the training to the next")
    parser.add_argument("--shrink", type=int, default=2, help="how many times smaller photographs are made first")
    args = parser.parse_args()
    paths = list(of_packages()) if args.photos is None else sorted(p for p in args.photos.iterdir() if p.is_file())
    training, test = split([shrunk(read(path), args.shrink) for path in paths], args.size, args.step)
    np.savez(args.out, x_train=training, x_test=test)
    print(f"{len(training):,} training and {len(test):,} test patches of {len(paths)} photographs are in {args.out}")


def of_packages() -> Iterator[Path]:
    """The files of the photographs in the two packages."""
    for package, folder, names in (("sklearn", "datasets/images", IN_SKLEARN), ("skimage", "data", IN_SKIMAGE)):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; install it, or give --photos a folder of photographs")
        yield from (Path(spec.origin).parent / folder / name for name in names)


def read(path: Path) -> np.ndarray:
    """A photograph as (3, H, W), float32 in [0, 1]."""
    from PIL import Image

    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32)
    return pixels.transpose(2, 0, 1) / np.float32(255)


def shrunk(photo: np.ndarray, factor: int) -> np.ndarray:
    """(3, H, W) -> (3, H // factor, W // factor), the means of factor x factor pixels."""
    C, H, W = photo.shape
    h, w = H // factor, W // factor
    return photo[:, : h * factor, : w * factor].reshape(C, h, factor, w, factor).mean(axis=(2, 4))


def split(photos: list[np.ndarray], size: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches (N, 3, size, size) of the left parts of photographs, and of their right parts, which overlap less."""
    training: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for photo in photos:
        border = min(round((1 - TEST) * photo.shape[2]), photo.shape[2] - size)
        training += patches(photo[:, :, : max(border, 0)], size, step)
        test += patches(photo[:, :, max(border, 0) :], size, size // 4)
    if not training or not test:
        raise SystemExit(f"no photograph is large enough for patches of {size} x {size} on both sides")
    return np.stack(training), np.stack(test)


def patches(photo: np.ndarray, size: int, step: int) -> list[np.ndarray]:
    """All patches (3, size, size) of a photograph (3, H, W) whose corners are multiples of step."""
    _, H, W = photo.shape
    corners = [(i, j) for i in range(0, H - size + 1, step) for j in range(0, W - size + 1, step)]
    return [photo[:, i : i + size, j : j + size] for i, j in corners]


if __name__ == "__main__":
    main()
