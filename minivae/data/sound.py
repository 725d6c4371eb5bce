"""Read sounds: .wav files of whole numbers with the standard library; .flac, .ogg and other .wav files with soundfile.

A folder of recordings becomes segments of equal length, (N, 1, 1, T) in [-1, 1]: a waveform has the shape of an image
of one row. All recordings must have one sampling rate; nothing is resampled. Channels are averaged into one. The end of
a recording that makes no whole segment is left out.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivae.kernels import checks

from .archive import reading

SUFFIXES = (".wav", ".flac", ".ogg")
SILENCE = 1e-4  # a recording whose peak is lower, 80 dB below the loudest possible, is silent
HELD_OUT = 10  # every tenth recording is for testing
Segments = tuple[np.ndarray, np.ndarray | None]  # (N, 1, 1, T) and labels (N,) or None


def is_folder_of_sounds(path: Path) -> bool:
    """Whether it is a folder that has sounds in it or in its sub-folders."""
    return path.is_dir() and any(_sounds(folder) for folder in (path, *_folders(path)))


def load_folder(folder: Path, length: int) -> tuple[Segments, Segments, tuple[str, ...] | None, int]:
    """The training and test segments of `length` samples, the names of the classes and the sampling rate in Hz.

    If the sounds lie in sub-folders, each sub-folder is a class, such as a speaker; otherwise labels and class names
    are None. Every tenth recording is for testing, of fewer than ten the last tenth of the segments of each.

    Raises ValueError if there are sounds both in the folder and in sub-folders; for files that are damaged, empty,
    silent or shorter than a segment; for sampling rates that differ; and for too few segments. ImportError if soundfile
    is needed and missing.
    """
    loose, by_class = _sounds(folder), {f.name: _sounds(f) for f in _folders(folder)}
    by_class = {name: paths for name, paths in by_class.items() if paths}
    if bool(loose) == bool(by_class):
        found = "both" if loose else "no sounds"
        raise ValueError(f"{str(folder)!r} must hold sounds, or sub-folders of sounds; it holds {found}")
    paths = loose or [path for own in by_class.values() for path in own]
    recordings, rate = _read_all(paths, length)
    pieces = [x[: len(x) // length * length].reshape(-1, 1, 1, length) for x in recordings]
    classes = np.repeat(np.arange(len(by_class)), [len(own) for own in by_class.values()])
    y = np.repeat(classes, [len(piece) for piece in pieces]) if by_class else None
    x, held = np.concatenate(pieces), np.concatenate(_held_out(pieces))
    if held.all() or not held.any():
        raise ValueError(f"{str(folder)!r} has {len(x)} segment(s) of {length} samples; training and testing need more")
    train, test = ((x[rows], None if y is None else y[rows]) for rows in (~held, held))
    return train, test, tuple(by_class) or None, rate


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _held_out(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Which segments of each recording are for testing, as booleans."""
    if len(pieces) >= HELD_OUT:
        return [np.full(len(piece), i % HELD_OUT == HELD_OUT - 1) for i, piece in enumerate(pieces)]
    return [np.arange(n) >= n - max(1, n // HELD_OUT) if n > 1 else np.zeros(n, bool) for n in map(len, pieces)]


def _read_all(paths: Sequence[Path], length: int) -> tuple[list[np.ndarray], int]:
    """The recordings, each (samples,), and their one sampling rate."""
    recordings: list[np.ndarray] = []
    short, rate = [], 0
    for path in paths:
        x, own = read(path)
        if recordings and own != rate:
            raise ValueError(
                f"{str(path)!r} has {own} samples a second, {str(paths[0])!r} has {rate}; resample one of them"
            )
        if len(x) < length:
            short.append(path)
        rate = own
        recordings.append(x)
    if short:
        raise ValueError(
            f"{len(short)} of {len(paths)} recordings are shorter than a segment of {length} samples, the first is "
            f"{str(short[0])!r}; remove them or choose a shorter segment"
        )
    return recordings, rate


def read(path: Path) -> tuple[np.ndarray, int]:
    """The samples of a recording, (samples,), float32 in [-1, 1], and its sampling rate in Hz.

    Raises ValueError for what is no sound, or an empty or silent one, or has NaN or infinity; ImportError if soundfile
    is needed and missing.
    """
    found = _read_wave(path) if path.suffix.lower() == ".wav" else None
    x, rate = _read_soundfile(path) if found is None else found
    if not len(x):
        raise ValueError(f"{str(path)!r} is empty: it has no samples")
    checks.check_finite(x, str(path))
    if np.abs(x).max() < SILENCE:
        raise ValueError(f"{str(path)!r} is silent: no sample is above {SILENCE:g}")
    return x.mean(axis=1, dtype=np.float32), rate


def _read_wave(path: Path) -> tuple[np.ndarray, int] | None:
    """A .wav of whole numbers: (samples, channels), rate. None for one of another format."""
    with path.open("rb") as file, reading(path, "sound"):
        try:
            with wave.open(file) as sound:
                count, width, channels = sound.getnframes(), sound.getsampwidth(), sound.getnchannels()
                data, rate = np.frombuffer(sound.readframes(count), np.uint8), sound.getframerate()
        except wave.Error as error:
            if "unknown format" in str(error):
                return None
            raise
        if len(data) != count * width * channels:
            raise ValueError(f"it ends after {len(data)} of {count * width * channels} bytes of samples")
        return _as_floats(data.reshape(count, channels, width)), rate


def _as_floats(data: np.ndarray) -> np.ndarray:
    """Bytes (samples, channels, width), the lowest first, -> float32 in [-1, 1). One byte is unsigned in a .wav."""
    if data.shape[2] == 1:
        return (data[:, :, 0].astype(np.float32) - 128) / 128
    wide = np.zeros((*data.shape[:2], 4), np.uint8)
    wide[:, :, 4 - data.shape[2] :] = data  # the sign is in the highest byte
    return (wide.view("<i4")[:, :, 0] / 2.0**31).astype(np.float32)


def _read_soundfile(path: Path) -> tuple[np.ndarray, int]:
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(f"reading {str(path)!r} needs soundfile: pip install 'minivae[audio]'") from error
    with path.open("rb") as file, reading(path, "sound"):
        return soundfile.read(file, dtype="float32", always_2d=True)
