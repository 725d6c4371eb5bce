"""Anomaly detection: a model that was trained only on normal images reconstructs other images badly."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple, Protocol

import numpy as np

from minivae.data import Dataset
from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import random_bits

from .metrics import roc_auc


class Scores(Protocol):
    def score_samples(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> scores (N,); a higher score means a more normal image."""


class AnomalySplit(NamedTuple):
    """The images (N, C, H, W) for anomaly detection.

    x_train and x_validation show normal classes only; x_test shows all classes. anomalous: (N,) booleans, True where
    the test image shows a class that is not normal.
    """

    x_train: np.ndarray
    x_validation: np.ndarray
    x_test: np.ndarray
    anomalous: np.ndarray


class Detection(NamedTuple):
    """The result of detect_anomalies() on N test images.

    auroc: the area under the ROC curve of the scores. threshold: images with a higher score raise an alarm.
    false_alarms, detected: the fractions of the normal and of the anomalous images that raise an alarm.
    scores: (N,), higher for more anomalous images. strangest: (N,), the indices of the images by descending score.
    """

    auroc: float
    threshold: float
    false_alarms: float
    detected: float
    scores: np.ndarray
    strangest: np.ndarray


def anomaly_split(data: Dataset, normal: Sequence[int], validation: float = 0.2, seed: int = 0) -> AnomalySplit:
    """Split a data set for a model that is trained on the normal classes only.

    normal: the labels of these classes. validation: the fraction of their training images, drawn by `seed`, that is
    held out to set the threshold. Raises ValueError for a data set without labels, for unknown labels, if no class or
    every class is normal, if nothing is left for training or for validation, and if the test images are all normal or
    all anomalous; TypeError for another type of `data`.
    """
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset, got {checks.shown(data)}")
    normal, seed = checks.integers("normal", normal), checks.seed("seed", seed)
    validation = checks.number("validation", validation, "(0, 1)")
    if data.y_train is None or data.y_test is None:
        raise ValueError(f"anomaly detection needs labels, and {data.name!r} has none")
    known = np.unique(data.y_train)
    if unknown := sorted(set(normal) - set(known.tolist())):
        raise ValueError(f"{data.name!r} has no classes {unknown}; its labels are {known.tolist()}")
    if not 0 < len(set(normal)) < len(known):
        raise ValueError(f"some classes must be normal and some not, got {sorted(set(normal))} of {known.tolist()}")
    x = data.x_train[np.isin(data.y_train, normal)]
    held_out = round(validation * len(x))
    if not 0 < held_out < len(x):
        raise ValueError(f"validation = {validation} of {len(x)} images leaves nothing to validate or to train with")
    anomalous = ~np.isin(data.y_test, normal)
    if anomalous.all() or not anomalous.any():
        kind = "anomalous" if anomalous.all() else "normal"
        raise ValueError(f"the test images of {data.name!r} are all {kind}; anomaly detection is tested on both kinds")
    order = np.argsort(random_bits(len(x), Noise(seed, 0)), kind="stable")
    return AnomalySplit(x[order[held_out:]], x[order[:held_out]], data.x_test, anomalous)


def detect_anomalies(
    model: Scores, x_validation: np.ndarray, x_test: np.ndarray, anomalous: np.ndarray, false_alarms: float = 0.05
) -> Detection:
    """Score test images by -model.score_samples() and set a threshold above which an image raises an alarm.

    x_validation: normal images that the model was not trained on, which set the threshold. anomalous: (N,) booleans for
    x_test. false_alarms: the fraction of normal images that may raise an alarm, see alarm_threshold().
    Raises ValueError and TypeError as alarm_threshold() and roc_auc() do.
    """
    checks.offers("model", model, "score_samples")
    anomalous = checks.array("anomalous", anomalous, "b")
    threshold = alarm_threshold(-model.score_samples(x_validation), false_alarms)
    scores = -model.score_samples(x_test)
    auroc, alarm = roc_auc(scores, anomalous), scores > threshold
    rates = float(alarm[~anomalous].mean()), float(alarm[anomalous].mean())
    return Detection(auroc, threshold, *rates, scores, np.argsort(-scores, kind="stable"))


def alarm_threshold(scores: np.ndarray, rate: float) -> float:
    """The lowest of n scores of normal images that the score of a new one exceeds with probability at most `rate`.

    If all n + 1 scores are exchangeable, the new one has each of the n + 1 ranks with equal probability. It exceeds the
    k-th smallest of the others only if its rank is above k, which has probability (n + 1 - k) / (n + 1) or, if scores
    are equal, less. So the threshold is the k-th smallest score for k = ceil((1 - rate) (n + 1)): split conformal
    prediction (Papadopoulos et al. 2002).

    scores: (n,). Raises ValueError for a rate outside (0, 1), for NaN, and for n < 1 / rate - 1, where k exceeds n.
    """
    scores = checks.array("scores", scores, "iuf")
    if np.isnan(scores).any():
        raise ValueError(f"scores must not be NaN, got nan at index {np.isnan(scores).argmax()}")
    return float(np.sort(scores)[threshold_rank(len(scores), rate) - 1])


def threshold_rank(count: int, rate: float) -> int:
    """The k of alarm_threshold() for `count` scores, in [1, count]; it raises the same ValueErrors."""
    rate = checks.number("the rate of false alarms", rate, "(0, 1)")
    k = ceil((1 - rate) * (count + 1) - 1e-9)  # 1e-9: a rounding error must not lift 0.9 * 10 above 9
    if k > count:
        least = ceil(1 / rate - 1 - 1e-9)
        raise ValueError(f"{count} validation images are too few for a false-alarm rate of {rate}, which needs {least}")
    return k
