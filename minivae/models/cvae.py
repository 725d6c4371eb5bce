"""The conditional variational autoencoder (Kingma et al. 2014, model M2; Sohn, Lee & Yan 2015): a VAE of images x that
are told their label y.

It models p(x | y) for a label y in 0, ..., K - 1. The decoder p(x | z, y) is told the class, so z need not say it: z
has what is left, the slant of a digit or the width of a sleeve. The prior p(z) = N(0, I) is the same for all classes.
(Sohn et al. let it depend on y; here the decoder can move it.) Everything in vae.py holds with y on the right of each
bar:

    log p(x | y)  >=  ELBO(x, y) = E_q(z|x,y)[ log p(x | z, y) ] - KL(q(z | x, y) || p(z)).

**Both networks see y.** The posterior of z is p(z | x, y), proportional to p(x | z, y) p(z): it depends on y even for
the same x, as an image that is read as a 4 has another slant than one that is read as a 9. With an encoder that is not
told y the bound still holds, but is lower, and z gets the class again, which the decoder then reads from z instead of
from y: asked for a 9 with the z of a 4, it draws a 4.

* The encoder gets the label as an image: one more channel, a learned map (H, W) for each class. So convolutional and
  dense encoders are those of the VAE, for images of C + 1 channels.
* The decoder gets it as K more inputs beside z, sqrt(D) for the class and 0 for the others. The first layer is linear:
  its weights for these inputs are a learned vector for each class. With sqrt(D), the length of a z from the prior, the
  class weighs as much as z from the first step on. With 1 in its place, z tells the class before the decoder has
  learned to look at y: on fashion-mini 62 % of the samples are of their class, with sqrt(D) 95 %.

With K = 1 a label says nothing. Nothing is added then, and the model is the VAE, number by number.

**It classifies.** With the frequencies of the training labels as p(y), Bayes' rule gives the class of a new image:

    p(y | x) = p(x | y) p(y) / p(x),        so the best guess is  argmax_y  log p(x | y) + log p(y),

with log p(x | y) estimated by importance samples. If an image has log p(x | 0) = -100 and log p(x | 1) = -102, class 0
has the odds e^2 = 7.4 to 1; if class 1 is ten times as frequent, 1 to 1.4. All classes are compared under the same
noise. Nobody trained it to classify: it must model all of an image, while a classifier need only find what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.kernels.contract import Noise
from minivae.nn import Embedding
from minivae.nn.module import Buffer
from minivae.nn.networks import ImageShape, check_image_shape
from minivae.ops.linear import Embedding as Lookup
from minivae.random import current_generator, fork
from minivae.training.loop import EVALUATION_SEED

from .importance import importance_log_likelihood
from .latent_space import LatentUsage
from .vae import VAE, VAELoss

FIRST_MAPS = 0.3  # standard deviation of the classes' maps before training, as of a faint image


class ConditionalVAE(VAE):
    """A ConditionalVAE is a variational autoencoder of images that have labels.

    classes: K, the number of classes; labels are integers in [0, K). The other parameters are the VAE's. encoder,
    decoder: Modules of your own. The encoder gets the image and the map of its class, (N, C + 1, H, W) -> (N, 2 D); the
    decoder gets z and sqrt(D) for the class, 0 for the others, (N, D + K) -> (N, C, H, W). For K = 1 they are a VAE's.

    fit(x, y) trains it. All methods that take images, latents or a number of samples take labels y too: an array (N,),
    or one label for all. They raise TypeError for labels that are not integers, and ValueError for labels that are
    missing, of another number, not in [0, K), or of a class of which fit() has seen no image.
    """

    classes: int

    def __init__(self, image_shape: Sequence[int] = (1, 28, 28), classes: int = 10, **parameters_of_vae: Any) -> None:
        self.classes = checks.integer("classes", classes, 1)
        super().__init__(image_shape, **parameters_of_vae)

    def build(self) -> None:
        """Make encoder, decoder, likelihood, the classes' maps and the counts of their training images."""
        super().build()
        _, H, W = check_image_shape(self.image_shape)
        if self.classes > 1:
            self.maps = Embedding(self.classes, H * W)
            self.maps.weight.inplace()[...] *= FIRST_MAPS
            self.numbers = Buffer(np.arange(self.classes), persistent=False)
        self.class_counts = Buffer(np.zeros(self.classes, np.int64))

    def _inputs(self, shape: ImageShape) -> tuple[ImageShape, int]:
        """Return (C + 1, H, W) and D + K; with one class what a VAE has."""
        (C, H, W), told = shape, self.classes > 1
        return (C + told, H, W), self.latent_dim + self.classes * told

    # ---- the model ----

    def loss(self, x: Any, y: Any = None, noise: Noise | None = None) -> VAELoss:  # type: ignore[override]
        """Return minus the ELBO, the mean of nll + beta * kl over images x (N, C, H, W) of labels y (N,); in training
        mode with warm-up and free bits. noise: fixes the sample of z and, by the draw after it, the binarisation.
        """
        x, y = self._pair(x, y)  # (N, C, H, W) and (N,)
        return self._loss_and_output(x, noise, y)[0]

    def posterior(self, x: Any, y: Any = None) -> tuple[Tensor, Tensor]:
        """Return mu and log_var of q(z | x, y), (N, D) each."""
        x, y = self._pair(x, y)  # (N, C, H, W) and (N,)
        if self.classes > 1:
            maps = F.reshape(Lookup.apply(self.maps.weight, y), (len(x), 1, *self.image_shape[1:]))
            x = F.cat([x, maps], axis=1)  # (N, C + 1, H, W)
        return super().posterior(x)

    def _decoded(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the decoder's output (N, C, H, W) for latents (N, D) of labels (N,)."""
        if self.classes > 1 and y is not None:
            of_class = (F.reshape(y, (len(y), 1)) == self.numbers).astype(z.dtype)  # (N, K)
            z = F.cat([z, of_class * sqrt(self.latent_dim)], axis=1)  # (N, D + K)
        return super()._decoded(z)

    def elbo(self, x: Any, y: Any = None, noise: Noise | None = None) -> Tensor:  # type: ignore[override]
        """Return ELBO(x, y) for each image (N,), in nats, with one sample of z; `noise` fixes the sample."""
        x, y = self._pair(x, y)  # (N, C, H, W) and (N,)
        return self._elbo(x, noise, y)

    def log_weights(self, x: Any, y: Any = None, samples: int = 1, noise: Noise | None = None) -> Tensor:  # type: ignore[override]
        """Return log p(x, z | y) - log q(z | x, y) in nats for `samples` draws of z: (N, C, H, W) -> (samples, N)."""
        x, y = self._pair(x, y)  # (N, C, H, W) and (N,)
        log_ratio, nll = self._draws(x, *self.posterior(x, y), samples, noise, y)  # (samples, N) both
        return log_ratio - nll

    def _pair(self, x: Any, y: Any) -> tuple[Tensor, Tensor]:
        """Return images (N, C, H, W) and labels (N,) as Tensors. Raise ValueError for images of another shape."""
        x = self.tensor(x)
        if x.ndim != 4 or x.shape[1:] != tuple(self.image_shape):
            raise ValueError(f"images must have shape (N, {', '.join(map(str, self.image_shape))}), got {x.shape}")
        return x, self._labels(y, len(x))

    def _labels(self, y: Any, count: int) -> Tensor:
        """Return labels (count,) as an int64 Tensor on the model's device. A Tensor is not checked: its values would
        have to be fetched from there."""
        if isinstance(y, Tensor):
            return y.astype(np.int64)  # batched() gives labels as floats, which are exact
        return Tensor.wrap(self.parameters()[0].backend.asarray(self.check_labels(y, count)))

    def check_labels(self, y: Any, count: int) -> np.ndarray:
        """Return labels (count,) as int64, of one label for all or of as many.

        Raises TypeError unless they are integers, ValueError if they are missing, of another number or not in [0, K).
        """
        if y is not None and np.ndim(y) == 0:
            y = np.repeat(checks.array(f"labels in [0, {self.classes})", y, "iu")[None], count)
        labels = super().check_labels(y, count)
        assert labels is not None  # a model with classes has labels
        return labels

    def _see_labels(self, y: np.ndarray | None) -> None:
        """Count the training images of each class."""
        counts = np.bincount(y, minlength=self.classes)  # type: ignore[arg-type] # which fit() has checked
        self.class_counts.data = self.class_counts.backend.asarray(counts)

    # ---- plain arrays ----

    def encode(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """Return the means (N, D) of q(z | x, y) for images of labels y."""
        x = self.check_images(x)
        return self.batched(lambda x, y: self.posterior(x, y)[0], x, self._given(y, len(x)))

    def decode(self, z: np.ndarray, y: Any = None, pixels: bool = False) -> np.ndarray:  # type: ignore[override]
        """Return the expected images (N, C, H, W) for latents (N, D) and labels y or, with pixels, drawn ones."""
        z = self.check_latents(z)

        def images(z: Tensor, y: Tensor) -> Tensor:
            return self._image(self._decoded(z, self._labels(y, len(z))), pixels)

        with self.own_noise():
            return self.batched(images, z, self._given(y, len(z)))

    def transform(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """Return encode(x, y)."""
        return self.encode(x, y)

    def inverse_transform(self, z: np.ndarray, y: Any = None) -> np.ndarray:
        """Return decode(z, y)."""
        return self.decode(z, y)

    def fit_transform(self, x: np.ndarray, y: Any = None, **options: Any) -> np.ndarray:
        """Call fit(x, y, **options) and return encode(x, y)."""
        return self.fit(x, y, **options).encode(x, y)

    def reconstruct(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """Return decode(encode(x, y), y)."""
        return self.decode(self.encode(x, y), y)

    def sample(self, n: int = 1, y: Any = None, pixels: bool = False) -> np.ndarray:  # type: ignore[override]
        """Return n images (n, C, H, W) of labels y for z drawn from the prior: the means of p(x | z, y) or, with
        pixels, images drawn from it."""
        n = checks.integer("n", n, 1)
        checks.elements("an array of samples", (n, *self.image_shape))
        y = self._given(y, n)
        with self.own_noise():
            return self.decode(current_generator().normal((n, self.latent_dim)), y, pixels)

    def score_samples(self, x: np.ndarray, y: Any = None, samples: int = 1) -> np.ndarray:  # type: ignore[override]
        """Return ELBO(x, y) of each image in nats (N,), its expectation estimated with `samples` draws of z."""
        x = self.binarized(x)
        return self._mean_elbo(x, samples, self._given(y, len(x)))

    def log_likelihood(  # type: ignore[override]
        self, x: np.ndarray, y: Any = None, samples: int = 5000, rows: int = 2048, progress: bool = False
    ) -> np.ndarray:
        """Estimate log p(x | y) of each image in nats (N,) from below by `samples` draws of z, see models.importance.

        rows: how many draws are in memory at a time. progress: a bar on a terminal. Raises ValueError for samples < 1.
        """
        x = self.binarized(x)
        y = self._given(y, len(x))

        def log_weights(chosen: np.ndarray, n: int) -> Tensor:
            return self.log_weights(x[chosen], y[chosen], n)

        with self.own_noise(), self.evaluating():
            every = np.arange(len(x))
            return self.check_output(importance_log_likelihood(log_weights, every, samples, rows, progress))

    def log_joint(self, x: np.ndarray, samples: int = 10) -> np.ndarray:
        """Estimate log p(x, y) = log p(x | y) + log p(y) of images for each class, in nats, (N, K).

        samples: of z, for each image and class; the noise is always the same, and the same for all classes. p(y) is the
        frequency of y among the images that fit() has seen: the log is -inf for classes without any. Before fit() all
        classes are as frequent. Raises ValueError for samples < 1.
        """
        x, samples = self.check_images(x), checks.integer("samples", samples, 1)
        joint = np.full((len(x), self.classes), -np.inf)
        counts = self.class_counts.numpy()
        counts = counts if counts.any() else np.ones_like(counts)
        for y in np.flatnonzero(counts):
            with fork(EVALUATION_SEED):
                joint[:, y] = self.log_likelihood(x, y, samples) + np.log(counts[y] / counts.sum())
        return joint

    def classify(self, x: np.ndarray, samples: int = 10) -> np.ndarray:
        """Return the class of each image, argmax over y of log p(x, y) by log_joint(), (N,) int64."""
        return self.log_joint(x, samples).argmax(axis=1)

    # ---- the latent space of a class ----

    def latent_usage(self, x: np.ndarray, y: Any = None) -> LatentUsage:
        """Return the KL of each latent over images x of labels y, and how many are active, see VAE.latent_usage."""
        x = self.binarized(x)
        if not len(x):
            raise ValueError(f"latent_usage needs at least one image, got shape {x.shape}")
        posterior = self.batched(lambda x, y: F.cat(self.posterior(x, y), axis=1), x, self._given(y, len(x)))
        return self._usage(posterior)

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int = 10, y: Any = None) -> np.ndarray:
        """Return images on the way from each of a to its partner in b, which have the same label: (N, C, H, W) both ->
        (N, steps, C, H, W), see VAE.interpolate. y: the label of each pair."""
        start, end = self.encode(a, y), self.encode(b, y)
        return self._decode_grid(self._line(start, end, steps), y)

    def traverse(
        self,
        x: np.ndarray | None = None,
        dims: Sequence[int] | None = None,
        values: Sequence[float] | None = None,
        y: Any = None,
    ) -> np.ndarray:
        """Move one latent after the other and decode -> (len(dims), len(values), C, H, W), see VAE.traverse.

        y: one label, that of the image x (1, C, H, W) and of all images that are decoded.
        """
        return self._decode_grid(self._moved(None if x is None else self.encode(x, y), dims, values), y)

    def manifold(self, n: int = 20, y: Any = None) -> np.ndarray:
        """Decode a plane of two latents to n x n images (n * n, C, H, W) of one label y, see VAE.manifold."""
        return self.decode(self._plane(n), y)

    def _decode_grid(self, z: np.ndarray, y: Any = None) -> np.ndarray:
        """Decode a grid of latents: (A, B, D) of labels y, one for all or (A,) -> (A, B, C, H, W)."""
        y = np.repeat(self._given(y, len(z)), z.shape[1])
        images = self.decode(z.reshape(-1, self.latent_dim), y)
        return images.reshape(*z.shape[:2], *images.shape[1:])

    def _given(self, y: Any, count: int) -> np.ndarray:
        """Return check_labels(y, count). Raise ValueError too for a class of which fit() has seen no image."""
        y, counts = self.check_labels(y, count), self.class_counts.numpy()
        if counts.any() and (unseen := sorted({int(k) for k in y if not counts[k]})):
            raise ValueError(f"labels must be of classes that were trained on, got {unseen}, of which no image was")
        return y
