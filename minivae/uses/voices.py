"""Two questions about sounds that a model has drawn: who speaks, and do they sound like the data at all?

**Who speaks** is judged by Fisher's linear discriminant (1936) on the mean of a segment's log spectra. In this mean the
harmonics show the pitch and the envelope shows the vocal tract, while vowels and consonants average out. The speaker
is the one whose mean is nearest in the metric of the covariance within speakers; it is trained on the data's segments,
in closed form. It must choose among the speakers it knows and has no answer for what is no voice.

**Like the data** is judged by the log-spectral distance to the nearest training segment. Segments of the test data have
such a distance too, as no segment was recorded twice. Samples as near as these are no further from the data than the
data are from themselves. Noise is far away. The distance alone does not tell whether samples are varied, or copies of
training segments, whose distance is 0.
"""

from __future__ import annotations

import numpy as np

from minivae.kernels import checks

FRAME, VOICE_FRAME = 256, 512  # samples; the longer one resolves the harmonics of a low voice
DEPTH = 1e-4  # of the largest power of the training segments, 40 dB below: what is weaker counts as this
RIDGE = 1e-2  # of the mean variance, added to the covariance so that it can be inverted
AT_A_TIME = 100  # waveforms whose spectra are made at once


class SpeakerJudge:
    """Who speaks in a waveform: trained on waveforms x (N, T), T at least 512, with labels y (N,) of any kind.

    Raises ValueError for other shapes, NaN, infinity, silence and fewer than two speakers; TypeError for other dtypes.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        x = _checked("x", x, VOICE_FRAME)
        if np.shape(y) != (len(x),):
            raise ValueError(f"y must have shape ({len(x)},), a label for each waveform, got {checks.shown(y)}")
        self.labels, y = np.unique(checks.array("y", y, "biuU"), return_inverse=True)
        if len(self.labels) < 2:
            raise ValueError(f"a judge needs waveforms of at least two speakers, got {len(self.labels)}")
        self.floor = DEPTH * _loudest(x, VOICE_FRAME)
        features = self._features(x)  # (N, D)
        self.means = np.stack([features[y == k].mean(axis=0) for k in range(len(self.labels))])  # (K, D)
        covariance = np.cov((features - self.means[y]).T)
        covariance[np.diag_indices_from(covariance)] += RIDGE * covariance.trace() / len(covariance)
        self.directions = np.linalg.solve(covariance, self.means.T)  # (D, K)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the speakers of waveforms (N, T), which need not be as long as those of training: (N,).

        Raises ValueError for other shapes, T below 512, NaN and infinity; TypeError for other dtypes.
        """
        x = _checked("x", x, VOICE_FRAME, silent=True)
        score = self._features(x) @ self.directions - (self.means.T * self.directions).sum(axis=0) / 2
        return self.labels[score.argmax(axis=1)]

    def _features(self, x: np.ndarray) -> np.ndarray:
        """Return the means over time of the log spectra of waveforms: (N, T) -> (N, D)."""
        return _log_spectra(x, VOICE_FRAME, self.floor).mean(axis=1)


def nearest_distance(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the log-spectral distance in dB of each waveform of x (N, T) to the nearest of `among` (M, T): (N,).

    It is the root mean square over times and frequencies of the difference in level, where levels are at least 40 dB
    below the highest of `among`. Raises ValueError for other shapes, T below 256, NaN, infinity and silence in
    `among`; TypeError for other dtypes.
    """
    among = _checked("among", among, FRAME)
    x = _checked("x", x, FRAME, silent=True)
    if x.shape[1] != among.shape[1]:
        raise ValueError(f"waveforms to compare must be equally long, got {x.shape} and {among.shape}")
    floor = DEPTH * _loudest(among, FRAME)
    a, b = (_log_spectra(w, FRAME, floor) for w in (x, among))  # (N, frames, bins), (M, frames, bins)
    a, b = (s.reshape(len(s), s.shape[1] * s.shape[2]) for s in (a, b))
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T  # (N, M)
    return np.sqrt(np.maximum(squares, 0).min(axis=1, initial=np.inf) / a.shape[1])


def _checked(name: str, x: np.ndarray, least: int, silent: bool = False) -> np.ndarray:
    x = checks.array(name, x, "f")
    if x.ndim != 2 or x.shape[1] < least or not (len(x) or silent):
        raise ValueError(f"{name} must be waveforms (N, T), T at least {least}, got {x.shape}")
    checks.check_finite(x, name)
    if not silent and not x.any():
        raise ValueError(f"{name} must not be silent, got zeros of shape {x.shape}")
    return x


def _power(x: np.ndarray, frame: int) -> np.ndarray:
    """Return the power of frames that overlap by half: waveforms (N, T) -> (N, frames, frame / 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(x, frame, axis=1)[:, :: frame // 2]
    return np.abs(np.fft.rfft(frames * np.hanning(frame), axis=2)) ** 2


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[k : k + AT_A_TIME] for k in range(0, max(len(x), 1), AT_A_TIME)]


def _loudest(x: np.ndarray, frame: int) -> float:
    return float(max(_power(part, frame).max() for part in _parts(x)))


def _log_spectra(x: np.ndarray, frame: int, floor: float) -> np.ndarray:
    """Return levels in dB of at least `floor`: waveforms (N, T) -> (N, frames, frame / 2 + 1)."""
    return np.concatenate([10 * np.log10(np.maximum(_power(part, frame), floor)) for part in _parts(x)])
