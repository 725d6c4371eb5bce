"""The motion of a PixelCNN's context: the last map, moved, says what the next one is likely to be.

Where a thing moves by whole places, each map k of a video is the map before it, `last`, but for a displacement d of at
most R = `reach` places along each axis. That is a mixture of (2 R + 1)^2 experts, each of which copies:

    P(k) = sum over d of P(d) prod over p of P(k_p | last_(p - d)),        P(. | c) = softmax(T[c]).

By the chain rule, with the positions before p in raster order known, the experts are weighed by Bayes' rule:

    P(k_p | before) = sum over d of w_pd P(k_p | last_(p - d)),
    w_pd = P(d) prod over q before p of P(k_q | last_(q - d)), scaled such that the sum over d is 1.

So as soon as the first row of a thing is drawn, the motion is known, and the rest is copied. Two simplifications make
this a part of the network. An expert that copied wrong m times loses m nats times a learned number `evidence`. And what
is mixed are logits, to which those of the gated layers are added, so that these need to learn corrections only:

    logits_p = output(left_p) + sum over d of w_pd T[last_(p - d)],    w_p = softmax(g - evidence m_p),

    m_pd = the number of positions q before p with k_q != last_(q - d), both in the map.

T begins as COPY times the identity; a table, because at edges things change their codes. Beyond the map `last` has a
value of its own. g = log P(d), up to a constant, is predicted from the context:

    g = B (features of all places) + D q.

q has, for each pair of maps that follow each other, the displacements that may have made one of the other:
q = past_motion(maps), which is the block matching of video codecs, with the whole map as the block. D begins such that
the motion between the last two maps goes on, and B learns what happens at the edges of the frame.

The gated layers are given the moved map too, by a table E. They see whole rows, of which none may depend on k, so
there the weights are those before anything is drawn: sum over d of softmax(g)_d E[last_(p - d)]. (Finn, Goodfellow &
Levine 2016, "Unsupervised learning for physical interaction through video prediction", section 3, move pixels so.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import backend_of
from minivae.nn import Embedding, Linear, Module, init
from minivae.ops.linear import Embedding as Lookup

CARRY_ON = 6.0  # D at first: the motion between the last two maps goes on
COPY = 6.0  # T at first: the moved code is exp(6) = 403 times as likely as any other
EVIDENCE = 3.0  # at first, in nats


class Motion(Module):
    """Features of a context (N, H, W, C) and its maps (N, M, H, W), the last map first -> Moved.

    values: of each of the M maps, integers in [0, values[m]). outputs: the number of logits of a position.
    """

    def __init__(
        self, map_shape: Sequence[int], values: Sequence[int], channels: int, reach: int, outputs: int
    ) -> None:
        H, W = map_shape
        self.reach, displacements = reach, (2 * reach + 1) ** 2
        self.embedding = Embedding(values[0] + 1, channels)  # E, whose last row is for what is beyond the map
        self.copied = Embedding(values[0] + 1, outputs)  # T
        _set(self.copied.weight, COPY * np.eye(values[0] + 1, outputs))
        self.evidence = init.constant((1,), EVIDENCE, np.float32)
        self.of_all = Linear(H * W * channels, displacements)  # B
        if len(values) > 1:
            self.of_past = Linear((len(values) - 1) * displacements, displacements, bias=False)  # D
            weight = self.of_past.weight
            _set(weight, weight.numpy() + CARRY_ON * np.eye(displacements, weight.shape[1]))

    def forward(self, features: Tensor, maps: Any) -> Moved:
        N, H, W, C = features.shape
        g = self.of_all(F.reshape(features, (N, H * W * C)))  # (N, D)
        windows = moved_maps(maps, self.reach)
        if maps.shape[1] > 1:
            past = past_motion(maps, windows).astype(features.dtype)
            g = g + self.of_past(Tensor.wrap(past.reshape(N, -1)))
        return Moved(self, g, windows[:, 0])


class Moved:
    """A map that was moved by each displacement, windows (N, H, W, D), and g of each displacement (N, D)."""

    def __init__(self, motion: Motion, g: Tensor, windows: Any) -> None:
        self.motion, self.g, self.windows = motion, g, windows
        beyond = len(motion.embedding.weight) - 1
        self.index = backend_of(windows).xp.where(windows < 0, beyond, windows)

    def features(self) -> Tensor:
        """What the gated layers are given, (N, H, W, C)."""
        N, D = self.g.shape
        return _mixed(F.reshape(F.softmax(self.g, axis=-1), (N, 1, 1, D)), self.motion.embedding, self.index)

    def logits(self, maps: Any) -> Tensor:
        """Maps k (N, H, W) -> what is added to the logits of each position, (N, H, W, outputs)."""
        xp, (N, H, W, D) = backend_of(maps).xp, self.windows.shape
        wrong = self._wrong(maps)
        before = (xp.cumsum(wrong, axis=1) - wrong).reshape(N, H, W, D)
        return self._logits(F.reshape(self.g, (N, 1, 1, D)), before, self.index)

    def logits_at(self, maps: Any, i: int, j: int) -> Tensor:
        """The same at (i, j) alone, (N, outputs), by the positions of maps (N, H, W) before it."""
        before = self._wrong(maps)[:, : i * maps.shape[2] + j].sum(axis=1)
        return self._logits(self.g, before, self.index[:, i, j])

    def _wrong(self, maps: Any) -> Any:
        """Where a displacement copied wrong, 1: (N, H, W) -> (N, H W, D)."""
        N, H, W, D = self.windows.shape
        wrong = (self.windows != maps[..., None]) & (self.windows >= 0)
        return wrong.astype(np.int64).reshape(N, H * W, D)

    def _logits(self, g: Tensor, before: Any, index: Any) -> Tensor:
        evidence = self.motion.evidence
        weights = F.softmax(g - evidence * Tensor.wrap(before.astype(evidence.dtype)), axis=-1)
        return _mixed(weights, self.motion.copied, index)


def _mixed(weights: Tensor, table: Embedding, index: Any) -> Tensor:
    """sum over d of weights (..., D) times the rows of the table at index (..., D) -> (..., columns)."""
    rows = Lookup.apply(table.weight, Tensor.wrap(index))
    return (F.reshape(weights, (*weights.shape, 1)) * rows).sum(axis=-2)


def _set(weight: Tensor, values: np.ndarray) -> None:
    weight.inplace()[...] = weight.backend.asarray(values.astype(weight.dtype))


def moved_maps(maps: Any, reach: int) -> Any:
    """Maps (N, M, H, W) -> (N, M, H, W, (2 R + 1)^2): at p and d the value map_(p - d), or -1 beyond the map.

    The displacements d are in the order (R, R), (R, R - 1), ..., (-R, -R).
    """
    xp, (N, M, H, W), R = backend_of(maps).xp, maps.shape, reach
    padded = xp.full((N, M, H + 2 * R, W + 2 * R), -1, maps.dtype)
    padded[:, :, R : R + H, R : R + W] = maps
    places = range(2 * R + 1)
    return xp.stack([padded[:, :, i : i + H, j : j + W] for i in places for j in places], axis=-1)


def past_motion(maps: Any, windows: Any) -> Any:
    """Maps (N, M, H, W), the last first, and their moved_maps() -> q (N, M - 1, (2 R + 1)^2), float64.

    q_d of the maps a and b, a the later, is exp(s_d) / sum over e of exp(s_e), where s_d is H W times the share of the
    places p with a_p = b_(p - d), among those where both are in the map.
    """
    xp, (H, W), before = backend_of(maps).xp, maps.shape[2:], windows[:, 1:]
    equal = (maps[:, :-1, ..., None] == before).sum(axis=(2, 3))  # (N, M - 1, D)
    both = xp.maximum((before >= 0).sum(axis=(2, 3)), 1)
    s = equal * (H * W / both)
    q = xp.exp(s - s.max(axis=-1, keepdims=True))
    return q / q.sum(axis=-1, keepdims=True)
