"""How near a waveform is to another, and mu-law coding, which a codec is compared with.

Both measures compare frames, because a whole recording is dominated by its loudest vowels.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from minivae.kernels import checks
from minivae.nn.mu_law import levels_of, values_of

FRAME = 256  # samples, 32 ms at 8,000 samples a second
LOWEST, HIGHEST = -10.0, 35.0  # dB: frames outside count as these (Hansen & Pellom 1998)
QUIET = 1e-3  # of the loudest frame's power, 30 dB below: quieter frames are pauses and do not count
FLOOR = 1e-4  # of the largest power of all spectra, 40 dB below: what is weaker counts as this
DEEPEST = 16  # bits a sample that mu_law_at() takes at most


def segmental_snr(x: np.ndarray, y: np.ndarray) -> float:
    """The signal-to-noise ratio in dB of y compared with x, waveforms (N, T), averaged over frames of FRAME samples.

    A frame has 10 log10(||x||^2 / ||x - y||^2), clipped to [LOWEST, HIGHEST]; pauses do not count. Raises ValueError
    for other shapes, less than a frame, silence, NaN or infinity; TypeError for anything but floating numbers.
    """
    signal, noise = _frames(x, y)
    power, error = (signal**2).sum(axis=1), ((signal - noise) ** 2).sum(axis=1)
    loud = power > QUIET * power.max()
    with np.errstate(divide="ignore"):
        snr = 10 * np.log10(power[loud] / error[loud])
    return float(np.clip(snr, LOWEST, HIGHEST).mean())


def log_spectral_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The distance in dB between the spectra of waveforms x and y (N, T): the lower the better, 0 for equal ones.

    Of a frame it is the root mean square over frequencies of the difference of 10 log10(power), where power is at least
    FLOOR of the largest of x; the mean is over frames, without pauses. Errors as for segmental_snr().
    """
    signal, other = _frames(x, y)
    power = (signal**2).sum(axis=1)
    loud = power > QUIET * power.max()
    window = np.hanning(FRAME)
    spectra = [np.abs(np.fft.rfft(frames[loud] * window, axis=1)) ** 2 for frames in (signal, other)]
    levels = [10 * np.log10(np.maximum(s, FLOOR * spectra[0].max())) for s in spectra]
    return float(np.sqrt(((levels[0] - levels[1]) ** 2).mean(axis=1)).mean())


def _frames(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms (N, T), twice -> frames (M, FRAME) in float64, or the errors that segmental_snr() states."""
    x, y = checks.array("x", x, "f"), checks.array("y", y, "f")
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < FRAME or not len(x):
        raise ValueError(f"waveforms to compare must be (N, T) both, T at least {FRAME}, got {x.shape} and {y.shape}")
    for name, wave in (("x", x), ("y", y)):
        checks.check_finite(wave, name)
    if not x.any():
        raise ValueError(f"x must not be silent, got zeros of shape {x.shape}")
    cut = x.shape[1] // FRAME * FRAME
    a, b = (wave[:, :cut].astype(np.float64).reshape(-1, FRAME) for wave in (x, y))
    return a, b


def mu_law(x: np.ndarray, bits: int = 8) -> np.ndarray:
    """Waveforms in [-1, 1] after mu-law coding with `bits` bits a sample and decoding.

    See nn/mu_law.py. Raises ValueError for other samples and bits outside 1 to DEEPEST; TypeError for arrays of
    anything but floating numbers.
    """
    x, bits = checks.array("x", x, "f"), checks.integer("bits", bits, 1, DEEPEST)
    checks.check_finite(x, "x")
    if x.size and np.abs(x).max() > 1:
        raise ValueError(f"samples must lie in [-1, 1], got {x.min():.6g} to {x.max():.6g}")
    wide = x if x.dtype != np.float16 else x.astype(np.float32)
    return values_of(levels_of(wide, 2**bits), 2**bits).astype(x.dtype)


def mu_law_at(x: np.ndarray, bits_a_sample: float) -> tuple[np.ndarray, int]:
    """The best that mu-law makes of waveforms (N, T) with so many bits a sample, and the bits of each that it keeps.

    With b bits each it keeps only bits_a_sample / b as many samples: an ideal low-pass filter takes away the upper part
    of the spectrum before. The b of the highest segmental SNR is taken. Errors as for segmental_snr() and mu_law().
    """
    rate = checks.number("bits_a_sample", bits_a_sample, "(0, inf)")
    _frames(x, x)  # for its errors
    x, T = checks.array("x", x, "f"), np.shape(x)[1]
    tries = []
    for bits in range(max(1, ceil(rate)), DEEPEST + 1):
        kept = max(1, int(T * rate / bits))
        low = np.clip(_resampled(x, kept), -1, 1)
        y = _resampled(mu_law(low, bits), T).astype(x.dtype)
        tries.append((segmental_snr(x, y), bits, y))
    _, bits, best = max(tries, key=lambda t: t[0])
    return best, bits


def _resampled(x: np.ndarray, count: int) -> np.ndarray:
    """Waveforms (N, T) -> (N, count), by cutting or extending their spectrum."""
    return np.fft.irfft(np.fft.rfft(x, axis=1)[:, : count // 2 + 1], count, axis=1) * (count / x.shape[1])
