"""Maps whose positions hold several integers in a row: the codes of the stages of a residual quantiser.

A position (i, j) of such a map holds k_1, ..., k_S, from the coarsest stage to the finest. The order of the chain rule
is positions first and stages inside of them, so that nothing is left out and log P is exact:

    log P(k) = sum over (i, j), then s, of log P(k_sij | all stages of the earlier positions, k_1ij, ..., k_s-1,ij)

For a map of 1 x 2 positions with two stages the order is k_1 and k_2 of the left position, then k_1 and k_2 of the
right one; with K codes a stage these are four distributions over K values, and the P of all K^4 maps sum to 1.

The gated layers see of a position the sum of S vectors, one from a table for each stage, so they cost no more than for
one stage. Their last feature, `left` at (i, j), depends on earlier positions alone. A stage after the first adds to it
vectors for the codes that the stages before have at this very position, and makes its logits with a network of its own:

    logits_s = output_s(left + E_s1[k_1] + ... + E_s,s-1[k_s-1])

(Lee et al. 2022, "Autoregressive Image Generation using Residual Quantization", has the same order, with transformers.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import Embedding, Linear, Module, ModuleList, Sequential
from minivae.nn.layers import ReLU
from minivae.ops.linear import Embedding as Lookup

MOST_STAGES = 64


class LaterStage(Module):
    """What a PixelCNN has for a stage with `before` > 0 stages before it: its table of features, and its logits."""

    def __init__(self, before: int, values: int, channels: int, hidden: int) -> None:
        self.embedding = Embedding(values, channels)
        self.given = ModuleList(Embedding(values, channels) for _ in range(before))
        self.output = Sequential(ReLU(), Linear(channels, hidden), ReLU(), Linear(hidden, values))

    def features(self, codes: Tensor) -> Tensor:
        """The codes of this stage as vectors that the gated layers read: integers (...) -> (..., C)."""
        return Lookup.apply(self.embedding.weight, codes)

    def forward(self, left: Tensor, *before: Tensor) -> Tensor:
        """left (..., C) and the codes of each stage before, integers (...) -> logits (..., values)."""
        for s, codes in enumerate(before):
            left = left + Lookup.apply(self.given[s].weight, codes)
        return self.output(left)


def check_map_shape(map_shape: Any) -> None:
    """TypeError, ValueError unless map_shape is (H, W) or (stages, H, W)."""
    shape = checks.integers("map_shape (H, W) or (stages, H, W)", map_shape, 1)
    if len(shape) not in (2, 3):
        raise ValueError(f"map_shape must be 2 ints (H, W) or 3 ints (stages, H, W), got {checks.shown(map_shape)}")
    if len(shape) == 3:
        checks.integer("the stages of map_shape", shape[0], 1, MOST_STAGES)


def later_stages(map_shape: Sequence[int], values: int, channels: int, hidden: int) -> ModuleList:
    """A LaterStage for each stage but the first; none for maps (H, W)."""
    stages = map_shape[0] if len(map_shape) == 3 else 1
    return ModuleList(LaterStage(before, values, channels, hidden) for before in range(1, stages))


def by_stage(maps: Tensor) -> list[Tensor]:
    """Maps (N, stages, H, W) -> (N, H, W) of each stage; of maps (N, H, W) these themselves."""
    return [maps] if maps.ndim == 3 else [maps[:, s] for s in range(maps.shape[1])]
