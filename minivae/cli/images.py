"""Loads the images of a training in the shape that was asked for, and sets some of them aside for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from minivae import data as datasets
from minivae.data import Dataset, shards, sound, video
from minivae.data.batches import digest
from minivae.data.lazy import select
from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import random_bits

SPLIT = 0x5E7A << 48  # xor-ed into the seed, so that the split shares no draws with other noise of that seed
PARTS = ("x_train", "y_train", "x_test", "y_test")


def load(name: str, image_shape: Sequence[int] | None = None) -> Dataset:
    """Load a data set by name, file or folder, as minivae.datasets.load() does.

    image_shape: (C, H, W), or (T, C, H, W) of clips. Flat rows of a file are given this shape, 'shapes' are drawn in
    it, sounds are cut into segments and videos into clips of it, and all other images must have it already. Raises
    ValueError if they have another one.
    """
    if image_shape is not None and len(image_shape) not in (3, 4):
        asked = " ".join(map(str, image_shape))
        raise ValueError(f"--image-shape takes 3 numbers, C H W, or of clips 4, T C H W, got {asked}")
    given = image_shape if takes_shape(name, image_shape) else None
    data = datasets.load(name, image_shape=given)
    if image_shape is not None and (found := data.x_train.shape[1:]) != tuple(image_shape):
        raise ValueError(f"the images of {name!r} have shape {found}, not {tuple(image_shape)}")
    return data


def kind(data: Dataset) -> str:
    """Say what a data set holds: 'images', 'sounds' or 'videos'."""
    return "sounds" if data.sample_rate is not None else "videos" if data.frame_rate is not None else "images"


def are_sounds(name: str) -> bool:
    """Say, before it is loaded, whether a data set or a folder holds sounds."""
    return name == "syllables" or (name not in datasets.names() and sound.is_folder_of_sounds(Path(name)))


def takes_shape(name: str, image_shape: Sequence[int] | None = None) -> bool:
    """Say whether images of this data set are given any shape: generated ones, those of .npy and .npz files, sounds, or
    videos."""
    if name in datasets.names():
        return name in ("shapes", "syllables", "moving-clothes")
    of_videos = video.takes(Path(name), 0 if image_shape is None else len(image_shape))
    path = Path(name)
    return of_videos or path.is_file() or sound.is_folder_of_sounds(path) or shards.is_folder(path)


def set_aside(data: Dataset, share: float | None, seed: int) -> tuple[Dataset, np.ndarray, np.ndarray | None]:
    """Set training images aside: -> the data set without them, these images (n, C, H, W), and their labels (n,).

    share: in (0, 1), of the training images; which ones they are depends on the seed and on their number alone. With
    None nothing is set aside, and the test images and their labels are returned in place of it. Raises ValueError for a
    share that leaves no image for one of the two parts.
    """
    if share is None:
        return data, data.x_test, data.y_test
    share, seed = checks.number("validation", share, "(0, 1)"), checks.seed("seed", seed)
    N = len(data.x_train)
    count = round(share * N)
    if not 0 < count < N:
        raise ValueError(f"--validation {share} of {N} training images leaves nothing for one of the two parts")
    order = np.argsort(random_bits(N, Noise(seed ^ SPLIT, 0)), kind="stable")
    rest, chosen = np.sort(order[count:]), np.sort(order[:count])

    def rows(array: np.ndarray | None, index: np.ndarray) -> np.ndarray | None:
        return None if array is None else array[index]

    training = replace(
        data,
        x_train=select(data.x_train, rest),
        y_train=rows(data.y_train, rest),
        factors_train=rows(data.factors_train, rest),
    )
    return training, select(data.x_train, chosen), rows(data.y_train, chosen)


def sizes(share: float | None, training: np.ndarray, validation: np.ndarray, test: np.ndarray) -> str:
    """Say '3,600 training, 400 validation and 1,000 test'; without a share the test images serve for both."""
    between = " and" if share is None else f", {len(validation):,} validation and"
    return f"{len(training):,} training{between} {len(test):,} test"


def in_memory(data: Dataset) -> Dataset:
    """Return the data set or, of one whose images stay in files, examples at even distances; then say so.

    Whatever needs all its images at once is computed from these: tables, pictures, PCA, and other baselines.
    """
    part = data.in_memory()
    if part is not data:
        counts = [f"{len(x):,}" for x in (part.x_train, data.x_train, part.x_test, data.x_test)]
        print(
            "{} of {} training and {} of {} test images, at even distances, stand for all".format(*counts), flush=True
        )
    return part


def digests(data: Dataset) -> dict[str, str]:
    """Compute the SHA-256 of images and labels, by which a changed data set is noticed."""
    return {part: digest(getattr(data, part)) for part in PARTS}
