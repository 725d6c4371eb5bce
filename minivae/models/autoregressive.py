"""What PixelCNN and WaveNet have in common: a distribution over maps of integers as a product of conditionals.

A subclass has an `embedding`, its logits() and a _sampler(); this file makes of them the loss in nats, the scores and
samples of plain arrays, and the checks of what comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.lazy import lazily
from minivae.kernels import backend, checks
from minivae.nn import Embedding
from minivae.ops.likelihood import CrossEntropy

from .base import Estimator

SAMPLES_AT_A_TIME = 256
Draw = Callable[[int, np.ndarray | None], np.ndarray]  # a number of maps and their labels or contexts -> the maps

# What is told i, j and the values (n, stages) at (i, j) of the maps that are drawn.
OnPosition = Callable[[int, int, np.ndarray], object]


class AutoregressiveLoss(NamedTuple):
    """Scalars in nats per map, averaged over the batch: loss = nll = -log P."""

    loss: Tensor
    nll: Tensor


class Autoregressive(Estimator):
    """A distribution over maps (N, *map_shape) of integers in [0, values), given labels y where there are classes."""

    map_shape: Sequence[int]
    values: int
    codebook_digest: str | None
    embedding: Embedding

    def logits(self, maps: Any, y: Any = None) -> Tensor:
        """Return the logits of each value given the earlier ones: (N, *map_shape) -> (N, *map_shape, values)."""
        raise NotImplementedError(f"{type(self).__name__} does not define logits()")

    def _sampler(self, temperature: float, on_position: OnPosition | None) -> Draw:
        """Return what draws maps, at most SAMPLES_AT_A_TIME in one call."""
        raise NotImplementedError(f"{type(self).__name__} does not define _sampler()")

    def nll(self, maps: Any, y: Any = None) -> Tensor:
        """Return -log P of each map in nats: (N, *map_shape) -> (N,). Raises what score_samples() raises."""
        maps = self._maps(maps)
        logits = F.reshape(self.logits(maps, y), (maps.size, self.values))
        nll = CrossEntropy.apply(logits, F.reshape(maps, (maps.size,)))  # of each value: -log P(value | the past)
        return F.reshape(nll, (len(maps), prod(self.map_shape))).sum(axis=1)  # (N,), by the chain rule

    def loss(self, maps: Any, y: Any = None) -> AutoregressiveLoss:
        """Return the mean of -log P over maps (N, *map_shape), given labels or contexts y if the model is conditional.

        Raises what score_samples() raises.
        """
        nll = self.nll(maps, y).mean()
        return AutoregressiveLoss(nll, nll)

    # ---- plain arrays ----

    def score_samples(self, maps: np.ndarray, y: Any = None) -> np.ndarray:
        """Return log P of each map (N, *map_shape) in nats, (N,).

        y: labels (N,) or contexts (N, M, h, w), for a conditional model and only there. Raises TypeError unless maps, y
        are integers, ValueError for other shapes, values out of range, a y that is missing or not one of the model's.
        """
        maps = self.check_images(maps)
        given = () if self._unconditional(y) else (self.check_labels(y, len(maps)),)
        return -self.batched(self.nll, maps, *given).astype(np.float64)

    def sample(
        self, n: int = 1, temperature: float = 1.0, y: Any = None, on_position: OnPosition | None = None
    ) -> np.ndarray:
        """Draw n maps (n, *map_shape), int64, with minivae's generator.

        temperature: the logits are divided by it; at 0 each position takes its likeliest value. y: one label for all
        maps or an array (n,) of them, one context (M, h, w) for all maps or an array (n, M, h, w) of them, for a
        conditional model and only there. on_position: a function that is called, for at most 256 maps at a time, as
        on_position(i, j, values) when the values (n, stages) at (i, j) are drawn. Raises ValueError for n < 1, for a
        temperature that is negative or not finite, and for y as score_samples() does.
        """
        checks.elements("an array of samples", (checks.integer("n", n, 1), *self.map_shape))
        temperature = checks.number("temperature", temperature, "[0, inf)")
        if on_position is not None:
            checks.function("on_position", on_position)
        given = None if self._unconditional(y) else self._for_each(y, n)
        training = self.training
        self.eval()
        try:
            parts = [slice(k, min(k + SAMPLES_AT_A_TIME, n)) for k in range(0, n, SAMPLES_AT_A_TIME)]
            draw = self._sampler(temperature, on_position)
            with self.own_noise(), self.embedding.weight.backend.session():
                return np.concatenate([draw(p.stop - p.start, None if given is None else given[p]) for p in parts])
        finally:
            self.train(training)

    def bits_per_dim(self, nats: float) -> float:
        """Return bits per integer of a map, nats / (prod(map_shape) log 2), for nats per map."""
        return checks.number("nats", nats) / (prod(self.map_shape) * log(2))

    # ---- what comes in ----

    def check_images(self, x: Any) -> np.ndarray:
        """Return maps (N, *map_shape) as int64.

        Raises TypeError unless they are integers (or booleans), ValueError for another shape or values out of range.
        An np.memmap becomes a LazyArray, whose values are checked when they are read.
        """
        lazy, name = lazily(x), f"maps of integers in [0, {self.values})"
        x = checks.array(name, x if lazy is None else np.empty((0, *lazy.shape[1:]), lazy.dtype), "biu")
        if x.ndim < 3 or x.shape[1:] != tuple(self.map_shape):
            raise ValueError(f"maps must have shape (N, {', '.join(map(str, self.map_shape))}), got {x.shape}")
        if lazy is not None:
            return lazy.checked(self.check_images, x.shape[1:], np.int64)
        if x.size and (x.min() < 0 or x.max() >= self.values):
            raise ValueError(f"the values of maps must be in [0, {self.values}), got {x.min()} to {x.max()}")
        return x.astype(np.int64, copy=False)

    def tensor(self, x: Any) -> Tensor:
        """Return integers as a constant int64 Tensor on the model's device."""
        if isinstance(x, Tensor):
            return x
        integers = np.array(checks.array("x", x, "biu"), np.int64)
        return Tensor.wrap(backend(self.embedding.weight.device).asarray(integers))

    def _maps(self, maps: Any) -> Tensor:
        """Return maps as a Tensor. A Tensor is not checked: its values would have to be fetched from the device."""
        return maps if isinstance(maps, Tensor) else self.tensor(self.check_images(maps))

    def _for_each(self, y: Any, n: int) -> np.ndarray | None:
        """Return check_labels() of y, or of one label repeated n times."""
        if y is not None and np.ndim(y) == 0:
            y = np.repeat(np.asarray(y)[None], n, axis=0)
        return self.check_labels(y, n)

    def _condition(self, y: Any, count: int) -> Tensor | None:
        """Return y as a Tensor, None for a model that is not conditional. A Tensor is not checked."""
        if isinstance(y, Tensor) and self.conditional:
            return y
        return None if self._unconditional(y) else self.tensor(self.check_labels(y, count))

    def _unconditional(self, y: Any) -> bool:
        """Return whether the model takes no y; ValueError if it takes none and there is one."""
        if not self.conditional and y is not None:
            raise ValueError(
                f"labels y belong to a conditional model, and this one has classes=None, got {checks.shown(y)}"
            )
        return not self.conditional


def check_codebook_digest(digest: Any) -> None:
    """Raise TypeError unless it is a str or None."""
    if not isinstance(digest, (str, type(None))):
        raise TypeError(f"codebook_digest must be a str or None, got {checks.shown(digest)}")
