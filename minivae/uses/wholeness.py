"""Wholeness: the share of images that show one whole thing, as a classifier sees it that also knows torn ones.

A sample can have a likely code at every place and be torn all the same: a trouser leg on a shoe. Of a likelihood the
eye sees little, so samples get a number of their own. Three ways to count whole images, the second of which is used:

1. The share to which a classifier of the K classes gives some class with at least 90 %. It does not tell whole from
   torn: on fashion-mini such a classifier is as sure of noise (codes drawn uniformly, 33 %) as of samples (32 %). As it
   has seen nothing but clothes, what is no shirt and no shoe must be a bag.
2. The classifier has K + 1 classes. The last one, "torn", is trained on patchworks: two training images of different
   classes, joined along a random smooth border. An image counts as whole if "torn" has less than half of the
   probability: then it looks more like one of the data than like a patchwork. Noise is torn to 99.9 %, test images are
   whole to 95 %, their reconstructions by a VQ-VAE too. It is a bit stricter than a person is.
3. As before, but one of the K classes has at least 90 %: that image is whole and easy to tell. Of the test images it
   holds for one half, as many shirts could be pullovers. It stands beside the second as `certain`.

Half of all training images, whole and torn, are blurred a little, so that sharpness decides nothing: means of decoders
are blurred. The share is a number about single images. It says nothing of how varied they are: a model that draws one
perfect shirt for ever has 100 %.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.batches import images_as_floats
from minivae.kernels import checks
from minivae.kernels.reference import random_bits
from minivae.models.base import Estimator
from minivae.nn import Conv2d, Flatten, Linear, Sequential
from minivae.nn.layers import ReLU
from minivae.random import Generator

from .metrics import check_unit_interval

SMALLEST = 8  # the least height and width of an image that can be torn
MOST = 5000  # training images that the classifier learns from
EPOCHS = 12
CHANNELS, HIDDEN, DROPOUT = (16, 32), 128, 0.25
STEEPNESS = 8.0  # of a border between two images: about two of 28 pixels wide
CERTAIN = 0.9
PATCHES = 0x7042 << 48  # xor-ed into the seed, so that the patchworks share no draws with the weights


class Wholeness(NamedTuple):
    """Shares of some images, in [0, 1].

    whole: those that look more like the data than like patchworks. certain: those that are given a single class with a
    probability of at least 0.9.
    """

    whole: float
    certain: float


class ClassifierLoss(NamedTuple):
    """The mean of -log p(y | x) over the batch, in nats."""

    loss: Tensor


class _Classifier(Estimator):
    """p(y | x) of images (N, C, H, W): two strided convolutions and two dense layers."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int, **training: Any) -> None:
        self.image_shape, self.classes = image_shape, classes
        super().__init__(**training)

    def build(self) -> None:
        C, H, W = self.image_shape
        a, b = CHANNELS
        self.features = Sequential(
            *(Conv2d(C, a, 3, stride=2, padding=1), ReLU()),  # (N, a, H / 2, W / 2), rounded up
            *(Conv2d(a, b, 3, stride=2, padding=1), ReLU()),  # (N, b, H / 4, W / 4)
            Flatten(),
        )
        self.dense = Linear(b * -(-H // 4) * -(-W // 4), HIDDEN)
        self.output = Linear(HIDDEN, int(self.classes or 0))

    def hidden(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, HIDDEN), the last hidden layer."""
        return F.relu(self.dense(F.dropout(self.features(x), DROPOUT, self.training)))

    def logits(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes), with dropout in training."""
        return self.output(F.dropout(self.hidden(x), DROPOUT, self.training))

    def loss(self, x: Any, y: Any) -> ClassifierLoss:
        return ClassifierLoss(F.cross_entropy(self.logits(self.tensor(x)), y))


class WholenessJudge:
    """The classifier of this module, trained on images x (N, C, H, W) in [0, 1] with labels y (N,), of any kind.

    seed: of its weights, its noise and the patchworks; the same seed gives the same judge. It takes some seconds and
    learns from the first 5,000 images of a random order.

    Raises ValueError for images below 8 x 8, pixels outside [0, 1], fewer than two classes, labels of another number
    and for a seed outside [0, 2^64); TypeError for other dtypes.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, seed: int = 0) -> None:
        x, seed = images_as_floats(x), checks.seed("seed", seed)
        if x.ndim != 4 or min(x.shape[2:]) < SMALLEST or not x.shape[1]:
            raise ValueError(f"x must be images (N, C, H, W) of at least {SMALLEST} x {SMALLEST}, got {x.shape}")
        checks.check_finite(x, "x")
        check_unit_interval(x)
        if np.shape(y) != (len(x),):
            raise ValueError(f"y must have shape ({len(x)},), a label for each image, got {checks.shown(y)}")
        self.labels, y = np.unique(checks.array("y", y, "biuU"), return_inverse=True)
        if len(self.labels) < 2:
            raise ValueError(f"patchworks need images of at least two classes, got {len(self.labels)}")
        self.image_shape = x.shape[1:]
        noise = Generator(seed ^ PATCHES)
        chosen = np.argsort(random_bits(len(x), noise.next()), kind="stable")[:MOST]
        x, y = x[chosen].astype(np.float32), y[chosen]
        torn = patchworks(x, y, noise)
        x, y = np.concatenate([x, torn]), np.concatenate([y, np.full(len(torn), len(self.labels))])
        soft = noise.bernoulli(0.5, (len(x),))
        x[soft] = blurred(x[soft])
        settings = {"epochs": EPOCHS, "lr": 2e-3, "batch_size": 64, "random_state": seed}
        self.classifier = _Classifier(self.image_shape, len(self.labels) + 1, **settings).fit(x, y)

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> the probability of each class, of `labels` and then of "torn": (N, K + 1), float32.

        Raises TypeError and ValueError for images of another shape or dtype, NaN and infinity.
        """
        classifier = self.classifier
        return classifier.batched(lambda x: F.softmax(classifier.logits(x), axis=1), classifier.check_images(x))

    def features(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> the classifier's last hidden layer (N, 128), float32, for Frechet distances.

        Raises TypeError and ValueError for images of another shape or dtype, NaN and infinity.
        """
        return self.classifier.batched(self.classifier.hidden, self.classifier.check_images(x))

    def judge(self, x: np.ndarray) -> Wholeness:
        """The shares of images x (N, C, H, W). Raises what probabilities() raises, and ValueError for no images."""
        p = self.probabilities(x)
        if not len(p):
            raise ValueError(f"a share needs at least one image, got shape {np.shape(x)}")
        return Wholeness(float((p[:, -1] < 0.5).mean()), float((p[:, :-1].max(axis=1) >= CERTAIN).mean()))


def patchworks(x: np.ndarray, y: np.ndarray, noise: Generator) -> np.ndarray:
    """One torn image for each of x (N, C, H, W): m x + (1 - m) x', where x' is an image of another class.

    y: labels 0, ..., K - 1 (N,), at least two of them. The mask m (H, W) is a random field, which is drawn on a grid of
    g x g points, g = 2 to 7, interpolated, and made nearly black and white; each half has the same area.
    """
    N, _, H, W = x.shape
    other = np.empty(N, np.int64)
    for label in np.unique(y):
        order = np.argsort(random_bits(N, noise.next()), kind="stable")
        other[y == label] = np.resize(order[y[order] != label], int((y == label).sum()))
    masks = np.empty((N, 1, H, W), np.float32)
    sizes = range(2, min(7, H, W) + 1)
    for k, g in enumerate(sizes):
        field = noise.normal((len(masks[k :: len(sizes)]), g, g), np.float64)
        field = _interpolation(g, H) @ field @ _interpolation(g, W).T  # (n, H, W)
        field -= np.median(field, axis=(1, 2), keepdims=True)
        field /= field.std(axis=(1, 2), keepdims=True)
        masks[k :: len(sizes), 0] = 1 / (1 + np.exp(-STEEPNESS * field))
    return masks * x + (1 - masks) * x[other]


def _interpolation(points: int, size: int) -> np.ndarray:
    """(size, points): the weights of linear interpolation between points that are spread over `size` pixels."""
    at = np.linspace(0, points - 1, size)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(points)))


def blurred(x: np.ndarray) -> np.ndarray:
    """x (N, C, H, W) convolved with (1, 2, 1) / 4 along both axes, with zeros around it."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = (x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]) / 4
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 4
