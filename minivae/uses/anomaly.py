"""Anomaly detection: what a model of normal images reconstructs badly is not normal."""

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
        """Images (N, C, H, W) -> (N,), the higher the more normal."""


class AnomalySplit(NamedTuple):
    """x_train and x_validation: of the normal classes. x_test: of all classes; anomalous (N,): which are of others."""

    x_train: np.ndarray
    x_validation: np.ndarray
    x_test: np.ndarray
    anomalous: np.ndarray


class Detection(NamedTuple):
    """auroc: of the scores on the test images. threshold: images that score higher raise an alarm. false_alarms and
    detected: the shares of normal and of anomalous test images that do. scores (N,): the higher the stranger.
    strangest (N,): indices of the test images, the strangest first."""

    auroc: float
    threshold: float
    false_alarms: float
    detected: float
    scores: np.ndarray
    strangest: np.ndarray


def anomaly_split(data: Dataset, normal: Sequence[int], validation: float = 0.2, seed: int = 0) -> AnomalySplit:
    """The data set for a model that shall know some classes only.

    normal: their labels. validation: the share of their training images that is held out for the threshold, drawn by
    seed. Raises ValueError for a data set without labels, unknown labels, normal classes that are none or all, a share
    that leaves nothing for training or for validation, and test images that are all normal or all anomalous.
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
        raise ValueError(f"validation = {validation} of {len(x)} images leaves nothing for one of the two parts")
    anomalous = ~np.isin(data.y_test, normal)
    if anomalous.all() or not anomalous.any():
        kind = "anomalous" if anomalous.all() else "normal"
        raise ValueError(f"the test images of {data.name!r} are all {kind}; anomaly detection is tested on both kinds")
    order = np.argsort(random_bits(len(x), Noise(seed, 0)), kind="stable")
    return AnomalySplit(x[order[held_out:]], x[order[:held_out]], data.x_test, anomalous)


def detect_anomalies(
    model: Scores, x_validation: np.ndarray, x_test: np.ndarray, anomalous: np.ndarray, false_alarms: float = 0.05
) -> Detection:
    """Score test images by -model.score_samples, with a threshold from normal images that the model was not trained on.

    anomalous: (N,) booleans for x_test. false_alarms: the share of normal images that may raise an alarm, see
    alarm_threshold(). Raises ValueError and TypeError as alarm_threshold() and roc_auc() do.
    """
    checks.offers("model", model, "score_samples")
    anomalous = checks.array("anomalous", anomalous, "b")
    threshold = alarm_threshold(-model.score_samples(x_validation), false_alarms)
    scores = -model.score_samples(x_test)
    auroc, alarm = roc_auc(scores, anomalous), scores > threshold
    rates = float(alarm[~anomalous].mean()), float(alarm[anomalous].mean())
    return Detection(auroc, threshold, *rates, scores, np.argsort(-scores, kind="stable"))


def alarm_threshold(scores: np.ndarray, rate: float) -> float:
    """The lowest of n scores (n,) of normal images that a further one exceeds with a probability of at most `rate`.

    If all n + 1 are exchangeable, the new one is as likely to take any place among them, and exceeds the k-th smallest
    of the others in at most n + 1 - k of n + 1 places: k = ceil((1 - rate) (n + 1)) (split conformal prediction).

    Raises ValueError for a rate outside (0, 1), for NaN, and where n < 1 / rate - 1, too few to tell.
    """
    scores = checks.array("scores", scores, "iuf")
    if np.isnan(scores).any():
        raise ValueError(f"scores that are NaN have no threshold, got nan at index {np.isnan(scores).argmax()}")
    return float(np.sort(scores)[threshold_rank(len(scores), rate) - 1])


def threshold_rank(count: int, rate: float) -> int:
    """The k of alarm_threshold() for so many scores, in [1, count]; ValueError as there."""
    rate = checks.number("the rate of false alarms", rate, "(0, 1)")
    k = ceil((1 - rate) * (count + 1) - 1e-9)  # of 0.9 * 10 nothing must be left over by rounding
    if k > count:
        least = ceil(1 / rate - 1 - 1e-9)
        raise ValueError(f"{count} validation images are too few for a false-alarm rate of {rate}, which needs {least}")
    return k
