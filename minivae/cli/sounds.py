"""Writes the sounds and pictures of a VQ-VAE of waveforms: a .wav file beside each .png, of the same name."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivae import figures
from minivae.data import Dataset
from minivae.models import VQVAE1d
from minivae.training.checkpoint import atomic_write

SHOWN, HEARD = 5, 20  # segments on a picture, and in a sound
GAP = 0.15  # seconds between two segments of a sound
WINDOW, HOP = 256, 64  # samples of a spectrogram's frames, and from one to the next
RANGE = 60.0  # dB: what is so far below the loudest is black


def draw(model: VQVAE1d, data: Dataset, folder: Path) -> None:
    """Write what a training leaves: reconstructions and, of a model with classes, one segment in all voices."""
    y = None if model.classes is None else data.y_test
    draw_reconstructions(model, data.x_test[:HEARD], None if y is None else y[:HEARD], folder / "reconstructions.png")
    if model.classes is not None and y is not None:
        names = data.class_names or tuple(map(str, range(model.classes)))
        _draw_voices(model, data.x_test[0], names[int(y[0])], names, folder / "voices.png")


def draw_reconstructions(model: VQVAE1d, x: np.ndarray, y: np.ndarray | None, path: Path) -> None:
    """Segments x (N, 1, 1, T) of labels y beside their reconstructions; in the sound each is followed by its own."""
    seen = rows(model.reconstruct(x, y))
    x = rows(model.check_images(x))
    _save(path, {"test": x, "reconstructed": seen}, "test segments and their reconstructions", model.sample_rate)
    write_wav(path.with_suffix(".wav"), np.stack([x, seen], axis=1).reshape(-1, x.shape[1]), model.sample_rate)


def _draw_voices(model: VQVAE1d, x: np.ndarray, own: str, names: tuple[str, ...], path: Path) -> None:
    """A test segment x (1, 1, T) of the speaker `own`, then its codes in the voice of each speaker."""
    codes = model.encode(x[None])
    voices = rows(np.concatenate([model.decode(codes, k) for k in range(len(names))]))
    shown = np.concatenate([rows(x[None]), voices])
    title = f"a test segment of {own!r}, and its codes in the voices of {', '.join(names[:SHOWN])}"
    _save(path, {"": shown[: 1 + SHOWN]}, title, model.sample_rate)
    write_wav(path.with_suffix(".wav"), shown[: 1 + HEARD], model.sample_rate)


def draw_samples(model: VQVAE1d, prior: Any, count: int, path: Path, temperature: float, label: int | None) -> None:
    """Draw new segments in the voice `label`, without it in all voices in turn."""
    y = labels_of(model, count) if label is None or model.classes is None else np.full(count, label)
    x = rows(model.sample(count, prior, temperature, y))
    title = f"samples from the {type(prior).__name__} prior at temperature {temperature:g} and the decoder"
    _save(path, {"sampled": x}, title, model.sample_rate)
    write_wav(path.with_suffix(".wav"), x, model.sample_rate)


def labels_of(model: VQVAE1d, count: int) -> np.ndarray | None:
    """Labels (count,), all voices in turn; None for a model without classes."""
    return None if model.classes is None else np.arange(count) % model.classes


def rows(x: np.ndarray) -> np.ndarray:
    """(N, 1, 1, T) -> (N, T), within [-1, 1]."""
    return np.clip(x[:, 0, 0], -1, 1)


def write_wav(path: Path, segments: np.ndarray, rate: int) -> None:
    """Write segments (N, T) in [-1, 1] one after the other, with pauses, as 16-bit samples, whole or not at all."""
    spaced = np.pad(segments, [(0, 0), (0, round(GAP * rate))]).ravel()
    samples = np.round(spaced * 32767).astype("<i2")

    def write(file: Any) -> None:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(samples.tobytes())

    atomic_write(path, write)


# ---- pictures ----


def spectrogram(x: np.ndarray) -> np.ndarray:
    """x (T,) -> the power of frames in dB (WINDOW / 2 + 1, frames), frequencies from 0 to half the sampling rate."""
    x = np.pad(x, (0, max(0, WINDOW - len(x))))
    frames = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP] * np.hanning(WINDOW)
    return 10 * np.log10(np.abs(np.fft.rfft(frames, axis=1)).T ** 2 + 1e-10)


def _save(path: Path, groups: Mapping[str, np.ndarray], title: str, rate: int) -> None:
    """Draw waveform and spectrogram of the first segments (N, T) of each group; segments are columns."""
    columns = min(SHOWN + 1, *(len(x) for x in groups.values()))
    with figures.new_figure(path, 2.4 * columns + 0.6, 2.6 * len(groups) + 0.4) as figure:
        axes = figure.subplots(2 * len(groups), columns, squeeze=False)
        figure.suptitle(title, fontsize=10)
        first = next(iter(groups.values()))
        loudest = max(spectrogram(x).max() for x in first[:columns])
        for i, (name, segments) in enumerate(groups.items()):
            for j, x in enumerate(segments[:columns]):
                _draw_one(axes[2 * i][j], axes[2 * i + 1][j], x, rate, float(np.abs(first[j]).max()), loudest)
            axes[2 * i][0].set_ylabel(name, fontsize=8)
            axes[2 * i + 1][0].set_ylabel("kHz", fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("seconds", fontsize=8)


def _draw_one(above: Any, below: Any, x: np.ndarray, rate: int, peak: float, loudest: float) -> None:
    """The waveform x (T,) on one axis and its spectrogram on the other."""
    seconds = len(x) / rate
    above.plot(np.arange(len(x)) / rate, x, linewidth=0.4)
    above.set_xlim(0, seconds)
    above.set_ylim(-1.05 * peak - 1e-6, 1.05 * peak + 1e-6)
    shown = {"origin": "lower", "aspect": "auto", "cmap": "magma", "extent": (0, seconds, 0, rate / 2000)}
    below.imshow(spectrogram(x), vmin=loudest - RANGE, vmax=loudest, **shown)
    for axis in (above, below):
        axis.tick_params(labelsize=6)
