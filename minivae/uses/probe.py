"""Transfer: drop the decoder and classify the codes by logistic regression, with few labels and with many.

The encoder is trained on all images, without labels. If its codes separate what the images show, a linear classifier on
the codes needs fewer labels than one on the pixels. PCA of equal dimension is the baseline: its codes are as small, but
they are only a linear projection of the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.kernels.reference import random_bits

from .pca import PCA

STRENGTHS = tuple(10.0**-k for k in range(7))  # strengths of the penalty; the validation data chooses one
VALIDATION = 5  # every fifth labelled image is validation data while the strength is chosen
STEPS = 300  # the most steps of L-BFGS; a fit needs more only where the penalty is too weak to matter


class Transforms(Protocol):
    def transform(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> codes (N, ...)."""


class ProbeRow(NamedTuple):
    """The accuracy of a classifier on the test images.

    features: "codes", "PCA" or "pixels", or the name of a model, of `dim` numbers. labels: labelled images per class,
    None for all of them.
    accuracy, deviation: mean and standard deviation over several choices of the labelled images.
    """

    features: str
    dim: int
    labels: int | None
    accuracy: float
    deviation: float


class LogisticRegression:
    """p(y | x) = softmax(W x + b), fitted by minimising mean(-log p(y | x)) + strength / 2 * ||W||^2 with L-BFGS.

    x: (N, D), y: labels (N,). The loss is convex, so the starting point does not matter. weight: (K, D), bias: (K, 1),
    for the K classes in `classes`. Raises ValueError for other shapes, NaN, infinity and a negative strength; TypeError
    for other dtypes; ImportError without SciPy.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, strength: float) -> None:
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise ImportError("logistic regression needs SciPy: pip install 'minivae[uses]'") from error
        x, y = _checked(x, y, "train")
        x = self._rows(x)
        self.classes, target = np.unique(y, return_inverse=True)
        self.strength = checks.number("strength", strength, "[0, inf)")
        shape = (len(self.classes), x.shape[1] + 1)
        options = {"maxiter": STEPS}
        found = minimize(self._loss, np.zeros(shape).ravel(), (x, target), "L-BFGS-B", jac=True, options=options)
        self.weight, self.bias = np.split(found.x.reshape(shape), [-1], axis=1)  # (K, D), (K, 1)

    @staticmethod
    def _rows(x: np.ndarray, width: int | None = None) -> np.ndarray:
        """x (N, D) in float64; ValueError for other shapes, if `width` is given also for another D."""
        x = checks.array("x", x, "f").astype(np.float64)
        if x.ndim != 2 or width not in (None, x.shape[1]):
            raise ValueError(f"x must have shape (N, {'D' if width is None else width}), got {x.shape}")
        checks.check_finite(x, "x")
        return x

    def _loss(self, theta: np.ndarray, x: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient by theta, which holds the rows (W, b) of all classes: (K * (D + 1),).

        The gradient by the logits is (softmax(logits) - one_hot(target)) / N.
        """
        weight, bias = np.split(theta.reshape(len(self.classes), -1), [-1], axis=1)
        log_p = log_softmax(x @ weight.T + bias.T)  # (N, K)
        row = np.arange(len(x))
        loss = -log_p[row, target].mean() + self.strength / 2 * (weight**2).sum()
        dlogits = np.exp(log_p)
        dlogits[row, target] -= 1
        dlogits /= len(x)
        dweight, dbias = dlogits.T @ x + self.strength * weight, dlogits.sum(axis=0)
        return float(loss), np.column_stack([dweight, dbias]).ravel()

    def log_probability(self, x: np.ndarray) -> np.ndarray:
        """x (N, D) -> log p(y | x) for every class, (N, K)."""
        return log_softmax(self._rows(x, self.weight.shape[1]) @ self.weight.T + self.bias.T)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """x (N, D) -> the most probable labels (N,)."""
        return self.classes[self.log_probability(x).argmax(axis=1)]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (N, K) -> log-probabilities (N, K)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def probe(
    model: Transforms | Mapping[str, Transforms],
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    labels: Sequence[int | None] = (10, 50, None),
    repeats: int = 5,
    seed: int = 0,
) -> list[ProbeRow]:
    """The accuracy of logistic regression on the model's codes, on PCA and on the pixels, for each of `labels`.

    x_train, x_test: images (N, C, H, W); y_train, y_test: labels (N,). labels: how many images of each class are
    labelled, None for all. The labelled images are drawn `repeats` times by `seed`, and are the same for all three
    features. PCA has as many components as a code has numbers or, if there are fewer, all of them. Only the labelled
    images are used: every fifth of them chooses the strength of the penalty, then the classifier is fitted to all.

    model: one model, or several by name, which are compared on the same labelled images. Their rows come first, under
    their names, then one PCA for each length of their codes, by the names "PCA of 32", "PCA of 256", and the pixels.

    Raises ValueError for no models, for fewer than 2 labels per class or more than there are, for y of another shape
    and for repeats below 1; TypeError for codes that are not floating-point numbers; ImportError without SciPy.
    """
    models = model if isinstance(model, Mapping) else {"codes": model}
    if not models:
        raise ValueError(f"a probe needs at least one model, got {model!r}")
    for each in models.values():
        checks.offers("model", each, "transform")
    repeats, seed = checks.integer("repeats", repeats, 1), checks.seed("seed", seed)
    if not isinstance(labels, (tuple, list)) or not labels:
        raise TypeError(f"labels must be a sequence of ints and None, at least one, got {checks.shown(labels)}")
    x_train, y_train = _checked(x_train, y_train, "train")
    x_test, y_test = _checked(x_test, y_test, "test")
    features = _features(models, x_train, x_test, "PCA of {}" if isinstance(model, Mapping) else "PCA")
    rows = []
    for count in labels:
        draws = range(1 if count is None else repeats)
        chosen = [labelled(y_train, count, seed, draw) for draw in draws]
        for name, (x, t) in features.items():
            accuracy = [float((fit_validated(x[i], y_train[i]).predict(t) == y_test).mean()) for i in chosen]
            rows.append(ProbeRow(name, x.shape[1], count, float(np.mean(accuracy)), float(np.std(accuracy))))
    return rows


def _features(
    models: Mapping[str, Transforms], x_train: np.ndarray, x_test: np.ndarray, linear: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the classifiers see of the training and of the test images, by name: scaled rows (N, D).

    linear: the name of a PCA, with {} for its number of components. Raises ValueError for a model of such a name.
    """
    features = {}
    for name, model in models.items():
        codes, test_codes = _flat(model.transform(x_train)), _flat(model.transform(x_test))
        if codes.dtype.kind != "f":
            raise TypeError(f"a probe needs codes of floating-point numbers, got {codes.dtype}")
        features[name] = _scaled(codes, test_codes)
    dims = {codes.shape[1] for codes, _ in features.values()}
    pca = PCA.at_most(x_train, max(dims))
    baselines = {}
    for dim in sorted({min(dim, len(pca.components)) for dim in dims}):
        few = pca.truncated(dim)
        baselines[linear.format(dim)] = _scaled(few.transform(x_train), few.transform(x_test))
    baselines["pixels"] = _scaled(_flat(x_train), _flat(x_test))
    if taken := features.keys() & baselines.keys():
        raise ValueError(f"a model must not have the name of what it is compared with, got {sorted(taken)}")
    return {**features, **baselines}


def labelled(y: np.ndarray, count: int | None, seed: int, draw: int = 0) -> np.ndarray:
    """The indices of `count` images of each class of y (N,), or of all images, in random order within each class.

    draw: the number of the choice; each gives other images. Raises ValueError for fewer than 2 images in a class.
    """
    order = np.argsort(random_bits(len(y), Noise(seed, draw)), kind="stable")
    by_class = [order[y[order] == label] for label in np.unique(y)]
    least = min(map(len, by_class))
    if least < 2:
        raise ValueError(f"a probe needs at least 2 labels a class, the smallest has {least}")
    if count is not None and not 2 <= checks.integer("labels", count) <= least:
        raise ValueError(f"labels a class must be in [2, {least}], as the smallest class has {least}, got {count}")
    return np.concatenate([members[:count] for members in by_class])


def fit_validated(x: np.ndarray, y: np.ndarray) -> LogisticRegression:
    """Logistic regression with the strength of the penalty that gives the held-out labels the highest likelihood.

    x: (N, D), y: (N,). Every fifth image of each class is held out, at least one. The penalty is made ten times weaker
    as long as that raises the likelihood of the held-out labels; weaker penalties, which overfit and take long to fit,
    are not tried. With the strength found, the regression is fitted to all images.
    """
    held_out = np.zeros(len(y), bool)
    for label in np.unique(y):
        held_out[np.flatnonzero(y == label)[::VALIDATION]] = True
    target = np.searchsorted(np.unique(y), y[held_out])
    chosen, least = STRENGTHS[0], np.inf
    for strength in STRENGTHS:
        log_p = LogisticRegression(x[~held_out], y[~held_out], strength).log_probability(x[held_out])
        nll = -float(log_p[np.arange(len(target)), target].mean())
        if nll >= least:
            break
        chosen, least = strength, nll
    return LogisticRegression(x, y, chosen)


def _checked(x: np.ndarray, y: np.ndarray, part: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y as arrays; ValueError or TypeError unless they are finite images (N, ...) and a label for each."""
    x = checks.array(f"x_{part}", x, "f")
    if x.ndim < 2 or not len(x):
        raise ValueError(f"x_{part} must be images (N, ...), got shape {x.shape}")
    checks.check_finite(x, f"x_{part}")
    if np.shape(y) != (len(x),):
        raise ValueError(f"y_{part} must have shape ({len(x)},), a label for each image, got {checks.shown(y)}")
    return x, checks.array(f"y_{part}", y, "biuU")


def _flat(x: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N, D)."""
    return x.reshape(len(x), -1)


def _scaled(x: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and t minus the mean of x, divided by one scale, so that a penalty is equally strong for all features."""
    mean = x.mean(axis=0)
    scale = float((x - mean).std()) or 1.0
    return (x - mean) / scale, (t - mean) / scale
