"""The patch discriminator (Isola et al. 2017, "PatchGAN"): which patches of an image are real, which are made?

A stack of strided convolutions gives each patch of an image a score: above 0 it takes the patch for real, below 0 for
made. With channels (16, 32) and images of 28 x 28 pixels,

    (N, 1, 28, 28) -> (N, 16, 14, 14) -> (N, 32, 7, 7) -> scores (N, 1, 7, 7)
                      4x4, stride 2      4x4, stride 2    3x3

so that each of the 49 scores sees the 18 x 18 pixels around it: 4 pixels after the first convolution, 4 + 3 x 2 = 10
after the second, 10 + 2 x 4 = 18 after the last. The loss is averaged over patches, not only over images. So the
discriminator judges texture and edges, of which a patch is enough to tell, and leaves the whole to the reconstruction;
and as a network of few weights that sees 49 examples an image, it does not know 4,000 training images by heart at once.

**No batch statistics.** Isola et al. normalise by batch. But then the score of an image depends on its neighbours: real
and made images come in batches of their own, whose means alone tell them apart, and a score of one image means nothing.
Here each example is normalised by itself (group norm) or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import gcd
from typing import Any, NamedTuple

from minivae.autograd import Tensor
from minivae.nn import Conv2d, GroupNorm, LeakyReLU, Module, Sequential
from minivae.nn.networks import ImageShape, conv_sizes

SLOPE = 0.2  # of the leaky ReLUs, as in the paper
MOST_GROUPS = 8
NORMS = ("group", "none")


class Judgement(NamedTuple):
    """scores (N, 1, h, w): above 0 where a patch looks real. features (N, F, h, w): the last hidden layer."""

    scores: Tensor
    features: Tensor


class PatchDiscriminator(Module):
    """It maps images (N, C, H, W) to a Judgement.

    channels: of the strided convolutions, each of which halves height and width. norm: 'group' normalises after each
    convolution but the first, as the paper does with batches; 'none' does not. Raises ValueError for images that are
    too small for as many convolutions.
    """

    def __init__(self, image_shape: ImageShape, channels: Sequence[int], norm: str) -> None:
        conv_sizes(image_shape, channels)
        layers: list[Module] = []
        for i, (before, after) in enumerate(pairwise((image_shape[0], *channels))):
            layers.append(Conv2d(before, after, 4, stride=2, padding=1))  # (N, after, height / 2, width / 2)
            if norm == "group" and i:
                layers.append(GroupNorm(gcd(MOST_GROUPS, after), after))
            layers.append(LeakyReLU(SLOPE))
        self.hidden = Sequential(*layers)
        self.score = Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, x: Any) -> Judgement:
        features = self.hidden(x)  # (N, F, h, w)
        return Judgement(self.score(features), features)
