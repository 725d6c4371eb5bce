"""Read videos, as files by PyAV or as folders of PNG frames, and cut them into clips (N, T, C, H, W) in [0, 1].

Each video is cut into clips of T frames that do not overlap; the frames at its end that make no whole clip are left
out. A frame is scaled until it covers H x W pixels, and what is over at two sides is cut off, so nothing is stretched.
C = 1 makes it grey. The later clips of each video are for testing, so no frame of a test clip is in a training clip;
yet both show the same scene, and what is measured on them is how well it is carried on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from minivae.kernels import checks

from .archive import reading
from .files import load_png_folder

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".gif")
FRAME_RATE = 10.0  # frames a second where none is known
HELD_OUT = 5  # the last fifth of the clips of each video is for testing
COLOURS = {1: ("gray", "L"), 3: ("rgb24", "RGB")}  # PyAV's and Pillow's name of the frames with C channels


def is_video(path: Path) -> bool:
    """Return whether it is a file with the name of a video, or a folder with such files in it."""
    return (path.is_file() and path.suffix.lower() in SUFFIXES) or (path.is_dir() and bool(_videos(path)))


def takes(path: Path, sizes: int) -> bool:
    """Return whether load() is to read what is there for an image_shape of so many sizes: videos, PNGs with four."""
    return is_video(path) or (sizes == 4 and path.is_dir())


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def load(path: Path, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Read the training clips and the test clips of the shape (T, C, H, W), float32, and the frames a second.

    path: a video, a folder of videos or a folder of PNG frames in the order of their names. The frame rate is that of
    the first video. Raises ValueError for files that are damaged or no videos, for those with fewer frames than a clip,
    for fewer than two clips in all and for C other than 1 and 3; ImportError where PyAV, or for PNGs Pillow, is needed
    and missing.
    """
    T, C, H, W = checks.integers("image_shape (T, C, H, W)", shape, 1, count=4)
    if T < 2 or C not in COLOURS:
        raise ValueError(f"clips have at least 2 frames, grey or RGB, got image_shape (T, C, H, W) = {tuple(shape)}")
    if path.is_dir() and not _videos(path):
        videos, rate = [_png_frames(path, C, H, W)], FRAME_RATE
        paths = [path]
    else:
        paths = _videos(path) if path.is_dir() else [path]
        decoded = [_decoded(file, C, H, W) for file in paths]
        videos, rate = [frames for frames, _ in decoded], decoded[0][1]
    train, test = [], []
    for file, frames in zip(paths, videos, strict=True):
        count = len(frames) // T
        if not count:
            raise ValueError(f"{str(file)!r} has {len(frames)} frame(s), a clip has {T}; --image-shape T C H W sets T")
        clips = frames[: count * T].reshape(count, T, C, H, W)
        held = max(1, count // HELD_OUT) if count > 1 else 0
        train.append(clips[: count - held])
        test.append(clips[count - held :])
    x_train, x_test = np.concatenate(train), np.concatenate(test)
    if not len(x_test):
        raise ValueError(
            f"{str(path)!r} has no video of two clips, 2 x {T} frames; training and testing need at least that"
        )
    checks.elements("clips", x_train.shape)
    return *(np.divide(x, np.float32(255), dtype=np.float32) for x in (x_train, x_test)), rate


def covering(width: int, height: int, W: int, H: int) -> tuple[int, int]:
    """Return the size of a frame of this width and height after scaling it until it covers W x H pixels."""
    scale = max(W / width, H / height)
    return max(W, ceil(width * scale - 1e-9)), max(H, ceil(height * scale - 1e-9))


def _cropped(frame: np.ndarray, H: int, W: int) -> np.ndarray:
    """Return the middle of a frame: (h, w) or (h, w, 3) -> (C, H, W)."""
    top, left = (frame.shape[0] - H) // 2, (frame.shape[1] - W) // 2
    frame = frame[top : top + H, left : left + W]
    return frame[None] if frame.ndim == 2 else frame.transpose(2, 0, 1)


def _decoded(path: Path, C: int, H: int, W: int) -> tuple[np.ndarray, float]:
    """Read all frames of a video (frames, C, H, W), bytes, and the frames a second."""
    try:
        import av
    except ImportError as error:
        raise ImportError(f"reading {str(path)!r} needs PyAV: pip install 'minivae[video]'") from error
    frames = []
    with reading(path, "video"), av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            width, height = covering(frame.width, frame.height, W, H)
            scaled: Any = frame.reformat(width, height, COLOURS[C][0], interpolation="AREA")
            frames.append(_cropped(scaled.to_ndarray(), H, W))
        rate = float(stream.average_rate or FRAME_RATE)
    if not frames:
        raise ValueError(f"{str(path)!r} has no frames")
    return np.stack(frames), rate


def _png_frames(folder: Path, C: int, H: int, W: int) -> np.ndarray:
    """Read the PNGs of a folder as the frames of a video (frames, C, H, W), bytes."""
    from PIL import Image

    (x, _), classes = load_png_folder(folder)
    if classes is not None:
        raise ValueError(f"{str(folder)!r} must hold the PNG frames of one video, it holds sub-folders {classes[:3]}")
    pixels = np.rint(x * 255).astype(np.uint8)  # (frames, c, h, w)
    frames = []
    for image in pixels:
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).convert(COLOURS[C][1])
        resized = picture.resize(covering(picture.width, picture.height, W, H), Image.Resampling.BOX)
        frames.append(_cropped(np.asarray(resized), H, W))
    return np.stack(frames)
