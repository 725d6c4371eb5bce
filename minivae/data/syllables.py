"""The data set `syllables`: generated sounds that resemble speech, by a source-filter model. It is not speech.

The model of the voice is that of formant synthesis (Fant 1960; Klatt 1980, "Software for a cascade/parallel formant
synthesizer"). A source, the pulses of the glottis for voiced sounds and noise for hissing ones, goes through a cascade
of resonators, the formants, whose frequencies make the vowel. A segment has two syllables, each a consonant and a
vowel; the formants glide from target to target.

    pulse       Rosenberg's (1971): with the phase p in [0, 1) of a period, (1 - cos(pi p / a)) / 2 while the glottis
                opens, p < a = 0.4, then cos(pi (p - a) / (2 b)) while it closes, b = 0.16, then 0. The lips radiate
                its derivative.
    resonator   y[t] = A x[t] + B y[t-1] + C y[t-2], with a formant of frequency f and bandwidth w at sampling rate r:
                C = -exp(-2 pi w / r), B = 2 exp(-pi w / r) cos(2 pi f / r), A = 1 - B - C, so that slow changes pass
                unchanged.

Four speakers differ by the pitch of their voice and the length of their vocal tract, which scales all formants. There
are five vowels, with the mean formants of 33 men (Peterson & Barney 1952, table II), and five consonants, much
simplified. What a model achieves on these sounds says little about speech: they have no words, no room and no noise.
"""

from __future__ import annotations

from math import pi

import numpy as np

from minivae.kernels.contract import Noise
from minivae.kernels.reference import normal, uniform

RATE = 8000  # samples a second
SEED = 0x5EECF
SPEAKERS = ("low", "deep", "high", "child")
PITCH = np.array([100.0, 130.0, 200.0, 270.0])  # Hz
TRACT = np.array([1.0, 1.08, 1.17, 1.28])  # factor of all formants
VOWELS = np.array([[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]])
# Formants, voice and noise of: nothing (a stop), s, sh, z, m.
CONSONANTS = np.array([[500, 1500, 2500], [2200, 2900, 3600], [1500, 2100, 2800], [300, 2600, 3500], [250, 1000, 2200]])
VOICE, HISS = np.array([0.0, 0.0, 0.0, 0.35, 0.45]), np.array([0.0, 0.9, 0.8, 0.6, 0.0])
BANDWIDTHS = np.array([70.0, 100.0, 150.0])  # Hz
PARTS = np.array([0.0, 0.15, 0.5, 0.65])  # where consonant, vowel, consonant, vowel begin, as a share of the segment
GLIDE = 0.03  # seconds from one target to the next
HIGHEST = np.array([2600.0, 3100.0, 3600.0])  # Hz: no formant is higher, so that none falls on another
AT_A_TIME = 100  # segments, whose arrays fit into a cache
LOUDNESS = 0.1  # root mean square of a segment


def generate(count: int, length: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Segments (count, length), float32 within [-1, 1] at RATE samples a second, and their speakers (count,), int64.

    A larger count appends segments and leaves the first ones unchanged.
    """
    u = uniform((count, 8), np.dtype(np.float64), Noise(seed, 0))
    hiss = normal((count, length), np.dtype(np.float32), Noise(seed, 1))
    parts = [slice(k, k + AT_A_TIME) for k in range(0, max(count, 1), AT_A_TIME)]
    return np.concatenate([_spoken(u[p], hiss[p]) for p in parts]), (u[:, 0] * len(SPEAKERS)).astype(np.int64)


def _spoken(u: np.ndarray, hiss: np.ndarray) -> np.ndarray:
    """Uniform numbers (N, 8), which choose what is spoken, and normal ones (N, T) -> segments (N, T)."""
    length = hiss.shape[1]
    speaker = (u[:, 0] * len(SPEAKERS)).astype(np.int64)
    consonants = (u[:, 1:3] * len(CONSONANTS)).astype(np.int64)  # (N, 2)
    vowels = (u[:, 3:5] * len(VOWELS)).astype(np.int64)
    part = np.searchsorted(PARTS, np.arange(length) / length, side="right") - 1  # (T,), which of the four
    order = np.stack([consonants[:, 0], vowels[:, 0], consonants[:, 1], vowels[:, 1]], axis=1)  # (N, 4)

    def track(of_consonants: np.ndarray, of_vowels: np.ndarray) -> np.ndarray:
        """Values of consonants and vowels -> their course in time (T, N)."""
        steps = np.where(np.arange(4) % 2, of_vowels[order], of_consonants[order])
        return _smooth(steps.T[part])

    ones = np.ones(len(VOWELS))
    t = np.arange(length)[:, None] / length
    pitch = PITCH[speaker] * (0.9 + 0.2 * u[:, 5]) * (1.1 - 0.25 * t)  # (T, N): it falls
    source = track(VOICE, ones) * _glottis(pitch, u[:, 6])
    source += 0.02 * track(HISS, 0 * ones) * hiss.T
    formants = [track(CONSONANTS[:, k], VOWELS[:, k]) * TRACT[speaker] for k in range(3)]
    x = _resonate(source, np.minimum(formants, HIGHEST[:, None, None]))
    x *= np.minimum(1, 20 * np.minimum(t, 1 - t))  # silence at both ends
    x *= LOUDNESS * (0.7 + 0.6 * u[:, 7]) / np.sqrt((x * x).mean(axis=0) + 1e-12)
    return np.clip(x, -1, 1).T.astype(np.float32, order="C")


def _smooth(steps: np.ndarray) -> np.ndarray:
    """The mean of steps (T, N) over the last GLIDE seconds."""
    width = round(GLIDE * RATE)
    total = np.cumsum(np.concatenate([np.repeat(steps[:1], width, axis=0), steps]), axis=0)
    return (total[width:] - total[:-width]) / width


def _glottis(pitch: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The derivative of Rosenberg's pulses, at most about 1: pitch (T, N) in Hz, start (N,) in periods."""
    opening, closing = 0.4, 0.16
    p = (start + np.cumsum(pitch, axis=0) / RATE) % 1
    pulse = np.where(p < opening, (1 - np.cos(pi * p / opening)) / 2, np.cos(pi * (p - opening) / (2 * closing)))
    pulse[p >= opening + closing] = 0
    return np.diff(pulse, axis=0, prepend=pulse[:1]) * RATE / pitch / 10


def _resonate(x: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """x (T, N) through the resonators of formants (3, T, N) in Hz, one after the other."""
    for f, width in zip(formants, BANDWIDTHS, strict=True):
        c = -np.exp(-2 * pi * width / RATE)
        b = 2 * np.exp(-pi * width / RATE) * np.cos(2 * pi * f / RATE)  # (T, N)
        driven = (1 - b - c) * x
        y = np.zeros((len(x) + 2, x.shape[1]))
        for t in range(len(x)):
            y[t + 2] = driven[t] + b[t] * y[t + 1] + c * y[t]
        x = y[2:]
    return x
