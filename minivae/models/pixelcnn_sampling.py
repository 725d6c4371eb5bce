"""Samples of a PixelCNN, drawn position by position, with each feature computed once.

log P(k) is a sum of conditionals, and the one at (i, j) needs the values before it. In training all values are known,
and one pass of the network gives all conditionals at once. In sampling k_ij has to be drawn before the next logits can
be computed. So a map takes H W passes, one for each position, and taken literally each runs the whole network:

    for i, j in raster order:    k_ij ~ softmax(logits(k)_ij / temperature)

What makes it cheaper is that a feature depends on earlier values alone, and does not change any more when later ones
are drawn. So each feature is computed once and kept (Ramachandran et al. 2017, "Fast Generation for Convolutional
Autoregressive Models"), by the layers of training, which are given windows instead of whole maps:

* at the beginning of row i, `above` at row i in all layers, and what it gives to `left`;
* what a label or a context adds to both stacks, once for the whole map;
* at each position (i, j), `left` at that pixel in all layers, then the logits and the value.

All passes together do the work of one pass over the whole map.

Where a position holds the integers of several stages, they are drawn one after the other from the same `left`.
nn/categorical.py says how an integer is drawn by its logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from minivae.autograd import Tensor, no_grad
from minivae.kernels.contract import Array
from minivae.nn import Embedding, ModuleList, Sequential
from minivae.nn.categorical import draw

from .autoregressive import OnPosition
from .pixelcnn_motion import Moved


class Network(Protocol):
    """What sampling needs of a PixelCNN: embedding -> stack of GatedLayers -> output."""

    map_shape: Sequence[int]
    channels: int
    embedding: Embedding
    stack: ModuleList
    output: Sequential

    def tensor(self, x: Any) -> Tensor:
        """Integers on the model's device."""

    def features(self, maps: Tensor, *later: Tensor) -> Tensor:
        """Integers (...) of each stage -> (..., C)."""

    def logits_of_stage(self, left: Tensor, *before: Tensor) -> Tensor:
        """`left` (..., C) and the integers (...) of the stages before -> logits (..., values)."""

    def conditioning(self, y: Tensor | None) -> tuple[list[Any], Moved | None]:
        """What a label or a context adds to both stacks in each layer, and the moved map."""


class Sampler:
    """Draws maps, with one draw of minivae's generator for each position.

    It keeps the input of each layer, with the border of zeros: for `above` of the whole map, for `left` of one row.
    on_position: called with i, j and the integers (n, stages) that were just drawn at (i, j), on the host.
    """

    def __init__(self, model: Network, temperature: float, on_position: OnPosition | None = None) -> None:
        self.model, self.temperature, self.on_position = model, temperature, on_position
        self.layers: list[Any] = list(model.stack)
        self.dtype = model.embedding.weight.dtype
        self.kernels = model.embedding.weight.backend

    @no_grad()
    def __call__(self, n: int, y: np.ndarray | None) -> np.ndarray:
        """n maps (n, *map_shape), int64, on the host; y: labels (n,), contexts (n, M, h, w) or None.

        Raises FloatingPointError if logits are not finite.
        """
        *stages, H, W = self.model.map_shape
        C = self.model.channels
        self.biases, self.moved = self.model.conditioning(None if y is None else self.model.tensor(y))
        self.maps = self.kernels.xp.zeros((n, *(stages or (1,)), H, W), np.int64)
        self.above = [self._zeros(n, H + layer.reach, W + 2 * layer.reach, C) for layer in self.layers]
        self.finite = self.kernels.xp.ones((n,), bool)  # all logits so far
        for i in range(H):
            self._draw_row(i)
        if not self.kernels.to_host(self.finite).all():
            raise FloatingPointError("PixelCNN has no samples: its logits are NaN or infinite")
        return self.kernels.to_host(self.maps).reshape(n, *stages, H, W)

    def _zeros(self, *shape: int) -> Array:
        return self.kernels.xp.zeros(shape, self.dtype)

    def _draw_row(self, i: int) -> None:
        n, _, _, W = self.maps.shape
        if i > 0:
            self._keep_above(0, i, self._features(self.maps[:, :, i - 1]))
        links = []  # what `above` gives to `left` at row i, (n, 1, W, 2 C) for each layer
        for k, layer in enumerate(self.layers):
            above, link = layer.rows(Tensor.wrap(self.above[k][:, i : i + layer.reach + 1]), _at(self.biases[k][0], i))
            self._keep_above(k + 1, i, above.data[:, 0])
            links.append(link)
        left = [self._zeros(n, 1, W + layer.reach, self.model.channels) for layer in self.layers]
        for j in range(W):
            if j > 0:
                left[0][:, 0, j + self.layers[0].reach] = self._features(self.maps[:, :, i, j - 1])
            self._draw_position(i, j, self._left_at(i, j, left, links))

    def _draw_position(self, i: int, j: int, left: Tensor) -> None:
        """Draw the value of each stage at (i, j); left: (n, C)."""
        stages = self._by_stage(self.maps[:, :, i, j])  # views, which see what is drawn below
        for s in range(len(stages)):
            logits = self.model.logits_of_stage(left, *stages[:s]).data  # (n, values)
            if self.moved is not None and not s:
                logits = logits + self.moved.logits_at(self.maps[:, 0], i, j).data
            self.finite &= self.kernels.xp.isfinite(logits).all(axis=1)
            self.maps[:, s, i, j] = draw(logits, self.temperature)
        if self.on_position is not None:
            self.on_position(i, j, self.kernels.to_host(self.maps[:, :, i, j]).copy())

    def _keep_above(self, k: int, i: int, row: Array) -> None:
        """Keep row i (n, W, C) of the input of layer k in the stack `above`."""
        if k < len(self.layers):
            reach = self.layers[k].reach
            self.above[k][:, i + reach, reach : reach + row.shape[1]] = row

    def _left_at(self, i: int, j: int, left: list[Array], links: list[Tensor]) -> Tensor:
        """`left` at pixel (i, j) in all layers -> that of the last layer there, (n, C)."""
        for k, layer in enumerate(self.layers):
            window, link = Tensor.wrap(left[k][:, :, j : j + layer.reach + 1]), links[k][:, :, j : j + 1]
            pixel = layer.pixels(window, link, _at(self.biases[k][1], i, j))
            if k + 1 < len(self.layers):
                left[k + 1][:, 0, j + self.layers[k + 1].reach] = pixel.data[:, 0, 0]
        return pixel[:, 0, 0]

    def _features(self, values: Array) -> Array:
        """(n, stages, ...) -> (n, ..., C)."""
        return self.model.features(*self._by_stage(values)).data

    def _by_stage(self, values: Array) -> list[Tensor]:
        """(n, stages, ...) -> (n, ...) of each stage."""
        return [Tensor.wrap(values[:, s]) for s in range(values.shape[1])]


def _at(bias: Tensor | None, i: int, j: int | None = None) -> Tensor | None:
    """Row i or pixel (i, j) of what a context adds (n, H, W, 2 C); a label adds the same (n, 1, 1, 2 C) everywhere."""
    if bias is None or bias.shape[1:3] == (1, 1):
        return bias
    return bias[:, i : i + 1] if j is None else bias[:, i : i + 1, j : j + 1]
