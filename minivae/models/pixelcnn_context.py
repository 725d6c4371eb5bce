"""What a PixelCNN is given besides the map itself: a label, or other maps of integers, its context.

A label y of a class is one number for the whole map: each gated layer adds row y of a table to all positions (equation
4 of the paper). A context is a stack of M maps (M, h, w) whose values are all known before the first position is drawn,
such as the top codes of a VQ-VAE-2, for which the PixelCNN draws the bottom codes, or the last frames of a video, for
which it draws the next one. So a position may see all of it: the convolutions over the context have whole kernels and
no masks (equation 5 of the paper, whose h is what ContextNetwork makes).

    log P(k | c) = sum over (i, j) of log P(k_ij | the positions before (i, j), all of c)

A context is enlarged to the size of the map by repeating its values: row i of a map with H rows is given row
floor(i h / H) of a context with h. For example, two context rows for five rows are repeated as 0 0 0 1 1.

A label is also a context: a map of size 1 x 1, or another map in the stack with the same value everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import Conv2d, Embedding, Module, ModuleList
from minivae.ops.linear import Embedding as Lookup

from .pixelcnn_motion import Motion, Moved

MOST_BLOCKS = 1000
MOST_REACH = 100  # places


class ContextBlock(Module):
    """(N, C, H, W) -> the same: x + conv3x3(relu(conv3x3(relu(x))))."""

    def __init__(self, channels: int) -> None:
        self.first = Conv2d(channels, channels, 3, padding=1)
        self.second = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(x))))


class ContextNetwork(Module):
    """A stack of maps of integers (N, M, h, w) -> features (N, H, W, C), the h of equation 5, and the first map moved.

    values: of each of the M maps, integers in [0, values[m]). Each has a table of its own, and what the tables give to
    a position is added up. motion, outputs: the reach of Motion and its number of logits; with motion = 0 nothing is
    moved, and there is None in its place.
    """

    def __init__(
        self, map_shape: Sequence[int], values: Sequence[int], channels: int, blocks: int, motion: int, outputs: int
    ) -> None:
        self.map_shape, self.motion = tuple(map_shape), motion
        self.embeddings = ModuleList(Embedding(K, channels) for K in values)
        self.blocks = ModuleList(ContextBlock(channels) for _ in range(blocks))
        if motion:
            self.moved = Motion(self.map_shape, values, channels, motion, outputs)

    def forward(self, context: Tensor) -> tuple[Tensor, Moved | None]:
        (H, W), (_, _, h, w), xp = self.map_shape, context.shape, context.backend.xp
        rows, columns = xp.arange(H) * h // H, xp.arange(W) * w // W
        enlarged = context.data[:, :, rows][:, :, :, columns]  # (N, M, H, W)
        tables: list[Any] = list(self.embeddings)
        x = lookup(tables[0].weight, Tensor.wrap(enlarged[:, 0]))  # (N, H, W, C)
        for m, table in enumerate(tables[1:], 1):
            x = x + lookup(table.weight, Tensor.wrap(enlarged[:, m]))
        x = F.transpose(x, (0, 3, 1, 2))  # (N, C, H, W)
        for block in self.blocks:
            x = block(x)
        x = F.transpose(x, (0, 2, 3, 1))
        if not self.motion:
            return x, None
        moved = self.moved(x, enlarged)
        return x + moved.features(), moved


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """F.embedding for an index whose range was checked on the host, so that the device is not asked."""
    return Lookup.apply(table, index)


def check_context(context: Any, count: int, shape: Sequence[int], values: Sequence[int]) -> np.ndarray:
    """context as int64 (count, M, h, w), or as said for PixelCNN.score_samples() an error."""
    context = checks.array("a context of maps of integers", context, "biu")
    wanted = (count, len(values), *map(int, shape))
    if context.shape != wanted:
        raise ValueError(f"the context must have shape {wanted}, (N, M, h, w), got {context.shape}")
    for m, most in enumerate(values):
        found = context[:, m]
        if found.size and (found.min() < 0 or found.max() >= most):
            raise ValueError(f"map {m} of the context must be in [0, {most}), got {found.min()} to {found.max()}")
    return context.astype(np.int64, copy=False)


def check_context_settings(shape: Any, values: Any, blocks: Any, motion: Any, classes: Any) -> None:
    """TypeError or ValueError for settings of a context, by the names of PixelCNN(), that it does not take."""
    checks.integer("context_blocks", blocks, 0, most=MOST_BLOCKS)
    checks.integer("context_motion", motion, 0, most=MOST_REACH)
    if (shape is None) != (values is None):
        raise ValueError(
            "a context has both context_shape and context_values, got "
            f"context_shape={checks.shown(shape)} and context_values={checks.shown(values)}"
        )
    if shape is None:
        if motion:
            raise ValueError(f"without a context there is nothing to move: context_motion=0 is expected, got {motion}")
        return
    checks.integers("context_shape (h, w)", shape, 1, count=2)
    if not len(checks.integers("context_values", values, 1)):
        raise ValueError(f"context_values must have a number for each map of the context, got {values}")
    if classes is not None:
        raise ValueError(f"a model with a context has classes=None; make the label one of its maps, got {classes}")
