"""Data sets: embedded, generated, downloaded, or the user's own. Users import this package as `minivae.datasets`.

    data = mv.datasets.load("fashion-mini")
    data.x_train        # (4000, 1, 28, 28), float32 in [0, 1]

Training reads its images through Batches, in a seeded order that can be saved and restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels import checks
from minivae.kernels.checks import check_finite

from . import files, idx, moving_clothes, shapes, shards, sound, syllables, video
from .batches import Batches
from .lazy import LazyArray, in_memory, select

__all__ = ["Batches", "Dataset", "check_finite", "load", "names"]

SHAPES_TRAIN, SHAPES_TEST, SHAPES_IMAGE = 4000, 1000, (1, 32, 32)
SYLLABLES_TRAIN, SYLLABLES_TEST, SEGMENT = 2400, 200, (1, 1, 4096)  # SEGMENT: also of the user's own sounds
CLIPS_TRAIN, CLIPS_TEST, CLIP, VIDEO_CLIP = 4000, 200, (8, 1, 32, 32), (8, 3, 64, 64)  # VIDEO_CLIP: of the user's own
HELD_OUT = 10  # every tenth image becomes a test image where the data set has no test part


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training and test images of a data set, with labels and factors where it has them.

    x_train, x_test: images (N, C, H, W), float32; images that were stored as bytes are scaled to [0, 1].
    Images in .npy files that are large, see data.shards, are LazyArrays (data.lazy) and stay there.
    y_train, y_test: labels (N,), int64, or None. class_names: the name of each label, or None.
    factors_train, factors_test: the table (N, 5) from which generated images were drawn, or None; factor_names names
    its columns. sample_rate: samples a second of sounds, whose segments are images (N, 1, 1, T); None for images.
    frame_rate: frames a second of videos, whose clips are (N, T, C, H, W); None for others.

    Raises TypeError or ValueError for fields that do not fit together.
    """

    name: str
    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray | None = None
    y_test: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    factors_train: np.ndarray | None = None
    factors_test: np.ndarray | None = None
    factor_names: tuple[str, ...] | None = None
    sample_rate: int | None = None
    frame_rate: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.name, str):
            raise TypeError(f"the name of a data set must be a str, got {checks.shown(self.name)}")
        if self.frame_rate is not None:
            checks.number("frame_rate", self.frame_rate, "(0, inf)")
        axes, owner = (4, "") if self.frame_rate is None else (5, f" of frame_rate={self.frame_rate}")
        for part in ("train", "test"):
            x = getattr(self, f"x_{part}")
            _check_part(f"x_{part}{owner}", x, None, axes, "f")
            _check_part(f"y_{part}", getattr(self, f"y_{part}"), len(x), 1, "iu")
            _check_part(f"factors_{part}", getattr(self, f"factors_{part}"), len(x), 2, "f")
        for name in ("class_names", "factor_names"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, tuple) and all(isinstance(v, str) for v in value)):
                raise TypeError(f"{name} must be a tuple of str or None, got {checks.shown(value)}")
        if self.sample_rate is not None:
            checks.integer("sample_rate", self.sample_rate, 1)

    @property
    def value_range(self) -> tuple[float, float]:
        """The lowest and the highest pixel of both parts; floating-point images from files need not lie in [0, 1].

        Of a LazyArray they are those of its sample().
        """
        parts = [in_memory(x) for x in (self.x_train, self.x_test)]
        return min(float(x.min()) for x in parts), max(float(x.max()) for x in parts)

    def in_memory(self) -> Dataset:
        """This data set or, if it has LazyArrays, one with their sample() and its labels: for tables and pictures."""
        fields: dict[str, np.ndarray | None] = {}
        for part in ("train", "test"):
            x: Any = getattr(self, f"x_{part}")
            if isinstance(x, LazyArray):
                rows = x.spaced()
                fields[f"x_{part}"] = x[rows]
                for name in (f"y_{part}", f"factors_{part}"):
                    array = getattr(self, name)
                    fields[name] = None if array is None else array[rows]
        return replace(self, **fields) if fields else self  # type: ignore[arg-type] # which are arrays


def _check_part(name: str, x: np.ndarray | None, count: int | None, ndim: int, kinds: str) -> None:
    """Raise TypeError or ValueError unless x is an array with `ndim` axes and `count` rows.

    Images have count = None: any number of rows is right, and they must be there. Labels and factors may be None.
    """
    if x is None and count is not None:
        return
    if (
        not (type(x) is np.ndarray or (count is None and isinstance(x, LazyArray)))
        or x.dtype.kind not in kinds
        or not x.dtype.isnative
    ):
        raise TypeError(f"{name} must be a plain array of dtype kind {' or '.join(kinds)}, got {checks.shown(x)}")
    if x.ndim != ndim or (count is not None and len(x) != count):
        raise ValueError(f"{name} must have {ndim} axes{'' if count is None else f' and {count} rows'}, got {x.shape}")


def names() -> list[str]:
    """The names that load() knows."""
    return ["fashion-mini", "shapes", "syllables", "moving-clothes", *idx.SOURCES]


def load(name: str | Path, folder: str | Path | None = None, image_shape: Sequence[int] | None = None) -> Dataset:
    """Load a data set by its name, or images from a .npy file, a .npz file or a folder of PNGs, or sounds or videos.

    name: one of
        'fashion-mini'              4,000 + 1,000 images of Fashion-MNIST, which are part of this package
        'shapes'                    4,000 + 1,000 generated images, (1, 32, 32) or image_shape (1, S, S)
        'syllables'                 2,400 + 200 generated sounds that resemble speech, see data.syllables, by speaker
        'moving-clothes'            1,000 + 200 generated clips of moving images of Fashion-MNIST, see
                                     data.moving_clothes; (8, 1, 32, 32) or image_shape (T, 1, H, W)
        'fashion-mnist', 'mnist'    60,000 + 10,000 images from four IDX files
        a path                      the user's own images, see data.files, or a folder of .npy files, see data.shards,
                                    or of .wav, .flac or .ogg files, see data.sound, or a video or a folder of videos
                                    or, with an image_shape of four ints, of PNG frames, see data.video; a Path, or a
                                    str with a '/', is always a path
    folder: where the IDX files are. Without it they are searched for in $MINIVAE_DATA, in Debian's package and in the
        user's cache, and downloaded if they are not found.
    image_shape: (C, H, W), for arrays in which each image is a flat row; (1, 1, T) for sounds, T = 4096 unless given.
        (T, C, H, W) for videos, (8, 3, 64, 64) unless given, which are cut and scaled to it.

    If the user's own images have no test part, every tenth image is held out for testing, at least one.

    Raises ValueError for an unknown name, for files that are damaged or do not fit, and for an argument that the data
    set does not use; TypeError for images that are not bytes, booleans or floating-point numbers; OSError if a download
    fails or `folder` lacks the files; ImportError if the extra minivae[cli] is needed.
    """
    _check_arguments(name, folder, image_shape)
    if name == "fashion-mini":
        return _fashion_mini()
    if name == "shapes":
        return _shapes(SHAPES_IMAGE if image_shape is None else image_shape)
    if name == "syllables":
        return _syllables(SEGMENT if image_shape is None else image_shape)
    if name == "moving-clothes":
        return _moving_clothes(CLIP if image_shape is None else image_shape)
    if name in idx.SOURCES:
        class_names = idx.SOURCES[str(name)].class_names
        parts = idx.load_folder(idx.find(str(name), folder), len(class_names))
        return _labelled(str(name), *parts, class_names)
    return _own(Path(name), image_shape)


def _check_arguments(name: str | Path, folder: str | Path | None, image_shape: Sequence[int] | None) -> None:
    if not isinstance(name, (str, Path)):
        raise TypeError(f"the name of a data set must be a str or a Path, got {name!r}")
    if not str(name):
        raise ValueError("the name of a data set is empty")
    if folder is not None and not isinstance(folder, (str, Path)):
        raise TypeError(f"folder must be a str or a Path, got {folder!r}")
    if folder is not None and name not in idx.SOURCES:
        raise ValueError(
            f"folder holds the files of {' or '.join(idx.SOURCES)}; {str(name)!r} does not use it, got {str(folder)!r}"
        )
    if image_shape is None:
        return
    sizes = checks.integers("image_shape (C, H, W)", image_shape, 1)
    of_clips = name == "moving-clothes" or (name not in names() and video.takes(Path(name), len(sizes)))
    if len(sizes) != (4 if of_clips else 3):
        wanted = "4 ints (T, C, H, W)" if of_clips else "3 ints (C, H, W)"
        raise ValueError(f"the image_shape of {str(name)!r} must be {wanted}, got {checks.shown(image_shape)}")
    if name == "fashion-mini" or name in idx.SOURCES:
        raise ValueError(f"the images of {name!r} have a fixed shape; image_shape cannot change it, got {image_shape}")


def _fashion_mini() -> Dataset:
    names = ("x_train", "y_train", "x_test", "y_test")
    arrays = files.read_arrays(Path(__file__).with_name("fashion_mini.npz"), names)
    x_train, y_train, x_test, y_test = (arrays[name] for name in names)
    return _labelled("fashion-mini", x_train, y_train, x_test, y_test, idx.SOURCES["fashion-mnist"].class_names)


def _labelled(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    class_names: tuple[str, ...],
) -> Dataset:
    return Dataset(
        name,
        files.as_images(x_train, name),
        files.as_images(x_test, name),
        y_train.astype(np.int64),
        y_test.astype(np.int64),
        class_names,
    )


def _shapes(image_shape: Sequence[int]) -> Dataset:
    size = image_shape[2]
    checks.elements("images", (SHAPES_TRAIN + SHAPES_TEST, 1, size, size))
    if tuple(image_shape) != (1, size, size):
        raise ValueError(f"shapes are grey and square, image_shape must be (1, S, S), got {tuple(image_shape)}")
    x, table = shapes.generate(SHAPES_TRAIN + SHAPES_TEST, size)
    y = table[:, 0].astype(np.int64)
    cut = SHAPES_TRAIN
    return Dataset(
        "shapes", x[:cut], x[cut:], y[:cut], y[cut:], shapes.SHAPES, table[:cut], table[cut:], shapes.FACTORS
    )


def _syllables(image_shape: Sequence[int]) -> Dataset:
    x, y = syllables.generate(SYLLABLES_TRAIN + SYLLABLES_TEST, _segment_length(image_shape))
    x, cut = x[:, None, None], SYLLABLES_TRAIN
    parts = x[:cut], x[cut:], y[:cut], y[cut:]
    return Dataset("syllables", *parts, syllables.SPEAKERS, sample_rate=syllables.RATE)


def _moving_clothes(image_shape: Sequence[int]) -> Dataset:
    """Clips of the embedded images at half their height and width, each pixel the mean of four; those of the test
    images are for testing."""
    clothes = _fashion_mini()
    parts = []
    for part, count in (("train", CLIPS_TRAIN), ("test", CLIPS_TEST)):
        x, y = getattr(clothes, f"x_{part}"), getattr(clothes, f"y_{part}")
        half = x.reshape(len(x), 1, 14, 2, 14, 2).mean(axis=(3, 5))
        clips, chosen = moving_clothes.generate(half, count, image_shape, moving_clothes.SEEDS[part])
        parts.append((clips, y[chosen]))
    (x, y), (x_test, y_test) = parts
    rate = video.FRAME_RATE
    return Dataset("moving-clothes", x, x_test, y, y_test, clothes.class_names, frame_rate=rate)


def _segment_length(image_shape: Sequence[int]) -> int:
    """T of (1, 1, T); ValueError for another shape."""
    T = image_shape[2]
    if tuple(image_shape) != (1, 1, T):
        raise ValueError(f"the image_shape of sounds must be (1, 1, T), for T samples, got {tuple(image_shape)}")
    checks.elements("sounds", (SYLLABLES_TRAIN + SYLLABLES_TEST, T))
    return T


def _own(path: Path, image_shape: Sequence[int] | None) -> Dataset:
    if sound.is_folder_of_sounds(path):
        T = _segment_length(SEGMENT if image_shape is None else image_shape)
        (x, y), (x_test, y_test), class_names, rate = sound.load_folder(path, T)
        return Dataset(path.name, x, x_test, y, y_test, class_names, sample_rate=rate)
    if video.takes(path, 0 if image_shape is None else len(image_shape)):
        x, x_test, frame_rate = video.load(path, VIDEO_CLIP if image_shape is None else image_shape)
        return Dataset(path.name, x, x_test, frame_rate=frame_rate)
    if shards.is_folder(path) or (path.is_file() and shards.is_large(path)):
        return _held_out(path, *shards.load(path, image_shape), None)
    if path.is_dir():
        if image_shape is not None:
            raise ValueError(f"image_shape is for arrays; {str(path)!r} is a folder of PNGs, which state their shape")
        part, class_names = files.load_png_folder(path)
        return _held_out(path, part, None, class_names)
    if path.is_file():
        return _held_out(path, *files.load_array(path, image_shape), None)
    known = ", ".join(names())
    hint = checks.did_you_mean(str(path), names())
    raise ValueError(f"unknown data set {str(path)!r}: no file or folder of that name, and not one of {known}{hint}")


def _held_out(path: Path, train: files.Part, test: files.Part | None, class_names: tuple[str, ...] | None) -> Dataset:
    """The data set of these parts; without a test part every tenth image becomes a test image.

    Raises ValueError for fewer than two images, and for training and test images of different shapes.
    """
    (x, y), name = train, path.name
    if test is None:
        if len(x) < 2:
            raise ValueError(f"{str(path)!r} has {len(x)} image(s); training and testing need at least 2")
        held = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
        held[-1] |= len(x) < HELD_OUT
        rows, rest = np.flatnonzero(held), np.flatnonzero(~held)
        test = select(x, rows), None if y is None else y[rows]
        x, y = select(x, rest), None if y is None else y[rest]
    if test[0].shape[1:] != x.shape[1:]:
        raise ValueError(f"{str(path)!r}: training images {x.shape[1:]} and test images {test[0].shape[1:]} differ")
    return Dataset(name, x, test[0], y, test[1], class_names)
