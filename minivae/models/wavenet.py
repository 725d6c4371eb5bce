"""WaveNet (van den Oord et al. 2016, "WaveNet: A Generative Model for Raw Audio"), here over sequences of codes.

It is a distribution over sequences of integers k_1, ..., k_T, such as the codes of a VQ-VAE of waveforms. By the chain
rule it is a product of conditional probabilities (equation 1), so log P is exact and in nats:

    log P(k) = sum over t of log P(k_t | k_1, ..., k_(t-1))

A PixelCNN is the same for maps, which have two axes. What sequences need is a long memory: with 250 codes a second a
syllable lasts sixty of them, and its vowel has to keep its pitch that long.

**Dilated causal convolutions** (section 2.1) give it. Layer i reads two times of the layer below, t - d_i and t. As the
d_i double from layer to layer, so does what is seen, with two taps a layer:

    output        .  .  .  .  .  .  .  #
    d = 4         .  .  .  #  .  .  .  #
    d = 2         .  #  .  #  .  #  .  #
    d = 1         #  #  #  #  #  #  #  #

The input is shifted by one: the bottom row holds at time t the code k_(t-1), so that no logit sees the code that it is
for. The logits at t thus depend on the `1 + d_1 + ... + d_n` codes before it and on nothing else, 128 with the default.
Before the sequence there are zeros in all layers, by which the first codes know that they are the first.

**Gates** (section 2.3, equation 2) with a bias for the class y of the sequence, its speaker for example (section 2.5,
global conditioning), where `*` is the convolution and `.` the product of elements:

    z = tanh(W_f * x + V_f y) . sigmoid(W_g * x + V_g y)

**Residual and skip connections** (section 2.4): a layer passes x + R z on to the next one and S z to the output, which
sums it over layers: softmax(linear(relu(linear(relu(sum of S z))))).

**Sampling** takes a step for each code, as its logits need the codes drawn before. Each step computes each layer once
and at time t alone, because a layer keeps what it will be asked for again: its last d inputs, in a queue (Paine et al.
2016, "Fast Wavenet Generation Algorithm"). Training and sampling call the same WaveNetLayer.forward(), which is given
x at the times t - d and t: sequences shifted against each other, or the two ends of the queue.

Features are (N, T, C) in this file, so that a convolution with one tap is a Linear layer, and one with two taps a
Linear layer of both side by side. A sequence has the shape (1, T), that of a map of one row (see vqvae1d.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, no_grad
from minivae.kernels import checks
from minivae.nn import Embedding, Linear, Module, ModuleList, ReLU, Sequential, init
from minivae.nn.categorical import draw

from .autoregressive import Autoregressive, Draw, OnPosition, check_codebook_digest
from .pixelcnn_context import lookup

MOST_LAYERS = 1000
DILATIONS = (1, 2, 4, 8, 16, 32, 64)


class WaveNetLayer(Module):
    """One gated layer with C = `channels` and a connection of `skip` channels to the output.

    It has a residual connection to the next layer, unless it is the last.
    """

    def __init__(
        self, channels: int, skip: int, dilation: int, classes: int | None, dropout: float, last: bool
    ) -> None:
        self.dilation, self.dropout, self.last = dilation, dropout, last
        self.taps = Linear(2 * channels, 2 * channels)  # W_f and W_g for both taps, and their biases
        self.skip = Linear(channels, skip)
        if not last:
            self.residual = Linear(channels, channels)
        if classes is not None:  # V y is row y of V; zero at first, so that all classes begin alike
            self.of_class = init.constant((classes, 2 * channels), 0.0, np.float32)

    def forward(self, before: Tensor, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return x + R z (N, T, C) and S z (N, T, skip) for x at times t - d and t, (N, T, C), and V y (N, 1, 2 C)."""
        C = x.shape[-1]
        h = self.taps(F.cat([before, x], axis=2))  # (N, T, 2 C)
        if bias is not None:
            h = h + bias
        z = F.tanh(h[..., :C]) * F.sigmoid(h[..., C:])  # (N, T, C), equation 2
        z = F.dropout(z, self.dropout, self.training)
        return x if self.last else x + self.residual(z), self.skip(z)

    def earlier(self, x: Tensor) -> Tensor:
        """Return x (N, T, C) at the times t - d, zeros before the sequence."""
        d = min(self.dilation, x.shape[1])
        return F.pad(x[:, : x.shape[1] - d], [(d, 0), (0, 0)])


def gated_layers(
    channels: int, skip: int, dilations: Sequence[int], classes: int | None, dropout: float = 0.0
) -> ModuleList:
    """Make a layer for each dilation."""
    *earlier, last = map(int, dilations)
    stack = ModuleList(WaveNetLayer(channels, skip, d, classes, dropout, last=False) for d in earlier)
    stack.append(WaveNetLayer(channels, skip, last, classes, dropout, last=True))
    return stack


class Queues:
    """The last inputs of each layer, for n sequences of length T; see the head of this file."""

    def __init__(self, layers: Sequence[Any], n: int, T: int) -> None:
        self.layers, weight = layers, layers[0].skip.weight
        sizes = [(n, min(layer.dilation, T), 1, weight.shape[1]) for layer in layers]
        # Slot t % d of a queue holds a layer's input at time t - d until that of time t takes its place.
        self.queues = [weight.backend.xp.zeros(size, weight.dtype) for size in sizes]

    def step(self, t: int, x: Tensor, biases: Sequence[Tensor | None]) -> list[Tensor]:
        """Return S z (n, 1, skip) of all layers at time t, after the times before it, for the inputs x (n, 1, C)."""
        skips = []
        for layer, queue, bias in zip(self.layers, self.queues, biases, strict=True):
            slot = t % queue.shape[1]
            before = Tensor.wrap(queue[:, slot].copy())
            queue[:, slot] = x.data
            x, skip = layer(before, x, bias)
            skips.append(skip)
        return skips


class WaveNet(Autoregressive):
    """WaveNet over sequences of integers, such as the codes of a VQVAE1d.

    map_shape: (1, T), the shape of a sequence. values: the integers are 0, ..., values - 1. channels: C of each layer.
    dilations: d of each layer. hidden: channels of the skip connections and of the layer between their sum and the
    logits. classes: the number of labels of a conditional model, or None. codebook_digest: VQVAE.codebook_digest of the
    model whose codes these are, or None; it is kept in the file, and a VQVAE with another codebook refuses this prior.
    dropout: the probability in [0, 1) that a gated feature is zero in a step of training, against learning sequences by
    heart. For the other parameters see Estimator.

    Raises TypeError and ValueError for arguments of other types and ranges.
    """

    def __init__(
        self,
        map_shape: Sequence[int] = (1, 128),
        values: int = 256,
        channels: int = 64,
        dilations: Sequence[int] = DILATIONS,
        hidden: int = 128,
        classes: int | None = None,
        codebook_digest: str | None = None,
        dropout: float = 0.0,
        *,
        epochs: int = 20,
        lr: float = 2e-3,
        batch_size: int = 32,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        checks.integers("map_shape (1, T)", map_shape, 1, count=2)
        if map_shape[0] != 1:
            raise ValueError(f"map_shape must be (1, T), the shape of a sequence, got {tuple(map_shape)}")
        checks.integer("values", values, 2)
        checks.integer("channels", channels, 1)
        checks.integer("hidden", hidden, 1)
        if not 1 <= len(checks.integers("dilations", dilations, 1)) <= MOST_LAYERS:
            raise ValueError(f"dilations must be 1 to {MOST_LAYERS} ints, one for each layer, got {len(dilations)}")
        if classes is not None:
            checks.integer("classes", classes, 1)
        check_codebook_digest(codebook_digest)
        checks.number("dropout", dropout, "[0, 1)")
        self.map_shape, self.values, self.channels, self.dilations = map_shape, values, channels, dilations
        self.hidden, self.classes, self.codebook_digest, self.dropout = hidden, classes, codebook_digest, dropout
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Make the embedding, the gated layers and the layers of the logits."""
        C, hidden = self.channels, self.hidden
        self.embedding = Embedding(self.values, C)
        self.stack = gated_layers(C, hidden, self.dilations, self.classes, self.dropout)
        self.output = Sequential(ReLU(), Linear(hidden, hidden), ReLU(), Linear(hidden, self.values))

    @property
    def receptive_field(self) -> int:
        """How many codes before a code its logits depend on, where there are so many."""
        return 1 + sum(map(int, self.dilations))

    def logits(self, maps: Any, y: Any = None) -> Tensor:
        """Return the logits of each code given the earlier ones: sequences (N, 1, T) -> (N, 1, T, values).

        y: labels (N,), for a conditional model and only there. Raises what score_samples() raises.
        """
        maps = self._maps(maps)
        k = F.reshape(maps, (len(maps), maps.shape[2]))  # (N, T)
        logits = self._from_embedded(lookup(self.embedding.weight, k), self.biases(self._condition(y, len(maps))))
        return F.reshape(logits, (*maps.shape, self.values))

    def _from_embedded(self, x: Tensor, biases: Sequence[Tensor | None]) -> Tensor:
        """Return logits (N, T, values) for the codes as vectors x (N, T, C)."""
        x = F.pad(x[:, :-1], [(1, 0), (0, 0)])  # (N, T, C): time t has the code of t - 1
        skips = []
        for layer, bias in zip(self.layers(), biases, strict=True):
            x, skip = layer(layer.earlier(x), x, bias)
            skips.append(skip)
        return self.from_skips(skips)

    def from_skips(self, skips: Sequence[Tensor]) -> Tensor:
        """Return logits (N, T, values) for S z of all layers, (N, T, hidden) each."""
        total = skips[0]
        for skip in skips[1:]:
            total = total + skip
        return self.output(total)

    def layers(self) -> list[Any]:
        """Return the gated layers, from the first to the last."""
        return list(self.stack)

    def biases(self, y: Tensor | None) -> list[Tensor | None]:
        """Return V y (N, 1, 2 C) of labels y (N,) for each layer, None in its place where there is no y."""
        if y is None:
            return [None] * len(self.stack)
        return [F.reshape(lookup(layer.of_class, y), (len(y), 1, 2 * self.channels)) for layer in self.layers()]

    def _sampler(self, temperature: float, on_position: OnPosition | None) -> Draw:
        return Sampler(self, temperature, on_position)


class Sampler:
    """Draws sequences, with one draw of minivae's generator for each code; see the head of this file."""

    def __init__(self, model: WaveNet, temperature: float, on_position: OnPosition | None = None) -> None:
        self.model, self.temperature, self.on_position = model, temperature, on_position
        self.kernels, self.dtype = model.embedding.weight.backend, model.embedding.weight.dtype

    @no_grad()
    def __call__(self, n: int, y: np.ndarray | None) -> np.ndarray:
        """Draw n sequences (n, 1, T), int64, on the host. y: labels (n,) or None.

        Raises FloatingPointError if logits are not finite.
        """
        model, xp = self.model, self.kernels.xp
        T, C = int(model.map_shape[1]), model.channels
        biases = model.biases(None if y is None else model.tensor(y))
        queues = Queues(model.layers(), n, T)
        drawn, finite = xp.zeros((n, T), np.int64), xp.ones((n,), bool)
        x = Tensor.wrap(xp.zeros((n, 1, C), self.dtype))
        for t in range(T):
            logits = model.from_skips(queues.step(t, x, biases)).data[:, 0]  # (n, values)
            finite &= xp.isfinite(logits).all(axis=1)
            drawn[:, t] = draw(logits, self.temperature)
            if self.on_position is not None:
                self.on_position(0, t, self.kernels.to_host(drawn[:, t : t + 1]).copy())
            x = lookup(model.embedding.weight, Tensor.wrap(drawn[:, t : t + 1]))  # (n, 1, C)
        if not self.kernels.to_host(finite).all():
            raise FloatingPointError("WaveNet has no samples: its logits are NaN or infinite")
        return self.kernels.to_host(drawn)[:, None]
