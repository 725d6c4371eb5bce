"""motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import backend_of
from minivae.nn import Embedding, Linear, Module, init
from minivae.ops.linear import Embedding as Lookup

import os
CARRY_ON = 6.0  # D at first: the motion between the last two maps goes on
COPY = float(os.environ.get("COPY", 4.0))
EVIDENCE = float(os.environ.get("EVID", 2.0))


class Motion(Module):
    def __init__(
        self, map_shape: Sequence[int], values: Sequence[int], channels: int, reach: int, outputs: int
    ) -> None:
        H, W = map_shape
        self.reach, displacements = reach, (2 * reach + 1) ** 2
        self.embedding = Embedding(values[0] + 1, channels)
        self.copy = Embedding(values[0] + 1, outputs)
        weight = self.copy.weight
        weight.inplace()[...] = weight.backend.asarray((COPY * np.eye(*weight.shape)).astype(np.float32))
        self.evidence = init.constant((1,), EVIDENCE, np.float32)
        self.of_place = Linear(channels, displacements)
        self.of_all = Linear(H * W * channels, displacements, bias=False)
        if len(values) > 1:
            self.of_past = Linear((len(values) - 1) * displacements, displacements, bias=False)
            weight = self.of_past.weight
            begun = CARRY_ON * np.eye(displacements, dtype=weight.dtype)
            weight.inplace()[:, :displacements] += weight.backend.asarray(begun)

    def forward(self, features: Tensor, maps: Any) -> Moved:
        N, H, W, C = features.shape
        logits = self.of_all(F.reshape(features, (N, H * W * C)))
        windows, outside = shifted(maps, self.reach), len(self.embedding.weight) - 1
        if maps.shape[1] > 1:
            past = past_motion(maps, windows).astype(features.dtype)
            logits = logits + self.of_past(Tensor.wrap(past.reshape(N, -1)))
        first = windows[:, 0]
        if os.environ.get("NOE"): self.E = None
        return Moved(self, self.of_place(features) + F.reshape(logits, (N, 1, 1, -1)), first)


class Moved:
    def __init__(self, motion: Motion, scores: Tensor, windows: Any) -> None:
        self.motion, self.scores, self.windows = motion, scores, windows
        self.inside = windows >= 0
        self.index = backend_of(windows).xp.where(self.inside, windows, len(motion.embedding.weight) - 1)

    def features(self) -> Tensor:
        return _mixed(F.softmax(self.scores, axis=-1), self.motion.embedding, self.index)

    def logits(self, maps: Any) -> Tensor:
        xp, (N, H, W, D) = backend_of(maps).xp, self.windows.shape
        wrong = self._wrong(maps).reshape(N, H * W, D)
        before = (xp.cumsum(wrong, axis=1) - wrong).reshape(N, H, W, D)
        return self._copied(self.scores, before, self.index)

    def logits_at(self, maps: Any, i: int, j: int) -> Tensor:
        N, H, W, D = self.windows.shape
        before = self._wrong(maps).reshape(N, H * W, D)[:, : i * W + j].sum(axis=1)
        return self._copied(self.scores[:, i, j], before, self.index[:, i, j])

    def _wrong(self, maps: Any) -> Any:
        return ((self.windows != maps[..., None]) & self.inside).astype(np.int64)

    def _copied(self, scores: Tensor, wrong: Any, index: Any) -> Tensor:
        evidence = self.motion.evidence
        weights = F.softmax(scores - evidence * Tensor.wrap(wrong.astype(evidence.dtype)), axis=-1)
        return _mixed(weights, self.motion.copy, index)


def _mixed(weights: Tensor, table: Embedding, index: Any) -> Tensor:
    rows = Lookup.apply(table.weight, Tensor.wrap(index))  # (..., D, C)
    return (F.reshape(weights, (*weights.shape, 1)) * rows).sum(axis=-2)


def shifted(maps: Any, reach: int) -> Any:
    """Maps (N, M, H, W) -> (N, M, H, W, D): at p and d the value map_(p - d), or -1 if that is outside."""
    xp, (N, M, H, W), R = backend_of(maps).xp, maps.shape, reach
    padded = xp.full((N, M, H + 2 * R, W + 2 * R), -1, maps.dtype)
    padded[:, :, R : R + H, R : R + W] = maps
    places = range(2 * R + 1)
    return xp.stack([padded[:, :, i : i + H, j : j + W] for i in places for j in places], axis=-1)


def past_motion(maps: Any, windows: Any) -> Any:
    xp, (H, W) = backend_of(maps).xp, maps.shape[2:]
    before = windows[:, 1:]
    equal = (maps[:, :-1, :, :, None] == before).sum(axis=(2, 3))  # (N, M - 1, D)
    both = xp.maximum(1, (before >= 0).sum(axis=(2, 3)))
    s = equal * (H * W / both)
    q = xp.exp(s - s.max(axis=-1, keepdims=True))
    return q / q.sum(axis=-1, keepdims=True)
