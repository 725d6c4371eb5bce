"""Looking at a trained latent space: which latents are used, and what lies between and around the codes of images."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks

from .base import Codec

ACTIVE = 0.01  # a latent is active where its posterior mean varies more than this over the data (Burda et al. 2015)


class LatentUsage(NamedTuple):
    """It says how each latent is used: KL_j in nats (D,), variance of the posterior mean (D,), how many are active."""

    kl: np.ndarray
    variance: np.ndarray
    active: int


class LatentSpace(Codec):
    """A LatentSpace is a Codec with a Gaussian posterior(x) and the prior N(0, I) over its codes (N, D)."""

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return mu and log_var of q(z | x), (N, D) each."""
        raise NotImplementedError(f"{type(self).__name__} does not define posterior()")

    def binarized(self, x: np.ndarray) -> np.ndarray:
        """Return images as evaluations see them, (N, C, H, W)."""
        return self.check_images(x)

    def latent_usage(self, x: np.ndarray) -> LatentUsage:
        """Return the KL of each latent over images x, and how many are active (Burda et al. 2015).

        Latent j is active if Var_x(E[z_j | x]) > 0.01. A collapsed latent has a KL near 0 and is not active. Raises
        ValueError for no images.
        """
        x = self.binarized(x)
        if not len(x):
            raise ValueError(f"latent_usage needs at least one image, got shape {x.shape}")
        return self._usage(self.batched(lambda x: F.cat(self.posterior(x), axis=1), x))

    def _usage(self, posterior: np.ndarray) -> LatentUsage:
        """Return the usage of each latent from mu and log_var of images, (N, 2 D)."""
        mu, log_var = np.split(posterior.astype(np.float64), 2, axis=1)
        kl = self.check_output((mu**2 + np.exp(log_var) - 1 - log_var).mean(axis=0) / 2)  # (D,)
        variance = mu.var(axis=0)
        return LatentUsage(kl, variance, int((variance > ACTIVE).sum()))

    def interpolate(self, a: np.ndarray, b: np.ndarray, steps: int = 10) -> np.ndarray:
        """Return images on the way from each of a to its partner in b: (N, C, H, W) both -> (N, steps, C, H, W).

        They are decoded from `steps` >= 2 points of the straight line between the two codes, the ends included.
        """
        return self._decode_grid(self._line(self.encode(a), self.encode(b), steps))

    def _line(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        """Return `steps` points of the line between each pair of codes: (N, D) both -> (N, steps, D)."""
        steps = checks.integer("steps", steps, 2)  # the two ends
        if start.shape != end.shape:
            raise ValueError(f"interpolate needs equally many images at both ends, got {len(start)} and {len(end)}")
        checks.elements("an array of images", (len(start), steps, *self.image_shape))
        t = np.linspace(0, 1, steps, dtype=start.dtype)[:, None]
        path: np.ndarray = (1 - t) * start[:, None] + t * end[:, None]
        return path

    def traverse(
        self, x: np.ndarray | None = None, dims: Sequence[int] | None = None, values: Sequence[float] | None = None
    ) -> np.ndarray:
        """Move one latent after the other through `values` and decode -> (len(dims), len(values), C, H, W).

        The others stay at the code of the image x (1, C, H, W), or at 0, the prior's mean, without one. dims: the
        latents to move, all unless given. values: -3, -2, ..., 3 unless given, in the prior's standard deviations.
        """
        return self._decode_grid(self._moved(None if x is None else self.encode(x), dims, values))

    def _moved(self, code: np.ndarray | None, dims: Sequence[int] | None, values: Sequence[float] | None) -> np.ndarray:
        """Return a code (1, D), 0 for None, with one latent after the other moved: (len(dims), len(values), D)."""
        chosen = range(self.latent_dim) if dims is None else checks.integers("dims", dims)
        if not len(chosen) or not all(0 <= d < self.latent_dim for d in chosen):
            raise ValueError(f"dims must be latents in [0, {self.latent_dim}), got {list(chosen)}")
        places = np.arange(-3.0, 4.0) if values is None else checks.array("values", values, "iuf").astype(np.float64)
        if places.ndim != 1 or not len(places):
            raise ValueError(f"values must be a list of numbers, got shape {places.shape}")
        checks.check_finite(places, "values")
        code = np.zeros((1, self.latent_dim)) if code is None else code
        if len(code) != 1:
            raise ValueError(f"traverse starts from one image, got {len(code)}")
        grid = np.tile(code, (len(chosen), len(places), 1))  # (dims, values, D)
        for row, d in enumerate(chosen):
            grid[row, :, d] = places
        return grid

    def manifold(self, n: int = 20) -> np.ndarray:
        """Decode a plane of two latents to n x n images (n * n, C, H, W), row by row. ValueError unless latent_dim = 2.

        The grid's points are quantiles (i + 1/2) / n of the prior, so that each image stands for an equal share of its
        probability (Kingma & Welling 2013, figure 4): latent 0 grows to the right, latent 1 upwards.
        """
        return self.decode(self._plane(n))

    def _plane(self, n: int) -> np.ndarray:
        """Return the codes of a manifold, (n * n, 2)."""
        if self.latent_dim != 2:
            raise ValueError(f"the manifold is drawn for latent_dim = 2, this model has {self.latent_dim}")
        checks.elements("an array of images", (checks.integer("n", n, 1), n, *self.image_shape))
        points = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
        return np.array([(right, up) for up in reversed(points) for right in points])

    def _decode_grid(self, z: np.ndarray) -> np.ndarray:
        """Decode a grid of latents: (A, B, D) -> (A, B, C, H, W)."""
        images = self.decode(z.reshape(-1, self.latent_dim))
        return images.reshape(*z.shape[:2], *images.shape[1:])
