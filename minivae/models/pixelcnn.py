"""The gated PixelCNN (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders").

A distribution over maps of integers, an autoregressive one: with the positions of a map k in raster order,

    log P(k) = sum over positions (i, j) of log P(k_ij | all rows above i, what is left of j in row i),

and one network gives the logits of all these conditional distributions at once. So it must not see, at (i, j), that
position itself or a later one, and should see every earlier one. Two stacks of features do that, for one stack of
masked square kernels has a blind spot: rows above, right of the kernels' reach (section 2.1 there, figure 1).

* `above` at (i, j) reads the rows above i, all of their columns as far as the kernels reach, nothing of row i;
* `left` at (i, j) reads row i left of j and, in each layer, `above` at (i, j).

No kernel is masked. The input is shifted once, down by a row for `above` and to the right by a column for `left`; that
is mask A. From then on both stacks may read their own position, mask B: kernels that end there, (r + 1) x (2 r + 1)
pixels and 1 x (r + 1) pixels, on maps with a border of zeros on the sides of the past alone.

A layer gates its features and knows the class y of the map (equation 4 there, with the biases for V y):

    tanh(W_f * x + V_f y) . sigmoid(W_g * x + V_g y)

Sampling goes through the positions in order. A feature depends on the past only, so it never changes when later values
are drawn: each is computed once, in the very layers of training, which are given windows instead of whole maps.

Features are (N, H, W, C) in this file: a pixel is a row of numbers and a 1 x 1 convolution a Linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor, no_grad
from minivae.kernels import backend, checks
from minivae.kernels.contract import Array
from minivae.nn import Conv2d, Embedding, Linear, Module, Sequential, init
from minivae.nn.layers import ReLU
from minivae.ops.likelihood import CrossEntropy
from minivae.ops.linear import Embedding as Lookup
from minivae.random import current_generator

from .base import Estimator

SAMPLES_AT_A_TIME = 256
MOST_LAYERS = 1000
LEAST_UNIFORM = 2.0**-54  # in place of 0, half of the least uniform number above it, so that its logarithm is finite


class PixelCNNLoss(NamedTuple):
    """Scalars in nats per map, averaged over the batch: loss = nll = -log P."""

    loss: Tensor
    nll: Tensor


class GatedLayer(Module):
    """One layer of both stacks, each with C channels; `reach` is r above. It computes pixels from windows.

    A window is what the pixels read: r rows more above them and, for `above`, r columns more on both sides or, for
    `left`, on the left.
    """

    def __init__(self, channels: int, reach: int, classes: int | None) -> None:
        self.reach = reach
        self.above = Conv2d(channels, 2 * channels, (reach + 1, 2 * reach + 1))
        self.left = Conv2d(channels, 2 * channels, (1, reach + 1))
        self.above_to_left = Linear(2 * channels, 2 * channels)
        self.project = Linear(channels, channels)
        if classes is not None:  # zero at first: the classes begin alike
            self.above_class = init.constant((classes, 2 * channels), 0.0, np.float32)
            self.left_class = init.constant((classes, 2 * channels), 0.0, np.float32)

    def forward(self, above: Tensor, left: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Whole maps: above, left (N, H, W, C) -> the same of the next layer; y (N,) or None."""
        r = self.reach
        above, link = self.rows(F.pad(above, [(r, 0), (r, r), (0, 0)]), y)
        return above, self.pixels(F.pad(left, [(r, 0), (0, 0)]), link, y)

    def rows(self, window: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, r + rows, r + columns + r, C) -> above (N, rows, columns, C) and what `left` gets (.., 2 C)."""
        x = _convolve(self.above, window)
        if y is not None:
            x = x + _of_class(self.above_class, y)
        return _gate(x), self.above_to_left(x)

    def pixels(self, window: Tensor, link: Tensor, y: Tensor | None) -> Tensor:
        """(N, rows, r + columns, C) and link (N, rows, columns, 2 C) -> left (N, rows, columns, C), residual."""
        x = _convolve(self.left, window) + link
        if y is not None:
            x = x + _of_class(self.left_class, y)
        return window[:, :, self.reach :] + self.project(_gate(x))


class PixelCNN(Estimator):
    """Gated PixelCNN over maps of integers: the codes of a VQ-VAE, or binary images (values=2).

    map_shape: (H, W). values: they are 0, ..., values - 1. channels: C of each stack. layers: how many.
    first_kernel, kernel: the odd width of the first layer's kernels and of the others'. hidden: units of the two
    1 x 1 convolutions that make logits of the last layer. classes: number of labels of a conditional model, or None.
    codebook_digest: kept with the model; of the VQ-VAE whose codes it is trained on, which it refuses to decode with
    another codebook (VQVAE.codebook_digest), or None. The others: see Estimator.
    """

    def __init__(
        self,
        map_shape: Sequence[int] = (7, 7),
        values: int = 256,
        channels: int = 32,
        layers: int = 5,
        first_kernel: int = 5,
        kernel: int = 3,
        hidden: int = 128,
        classes: int | None = None,
        codebook_digest: str | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        sizes = {"values": values, "channels": channels, "layers": layers, "hidden": hidden}
        _check(map_shape, sizes, {"first_kernel": first_kernel, "kernel": kernel}, classes, codebook_digest)
        self.map_shape, self.values, self.channels, self.layers = map_shape, values, channels, layers
        self.first_kernel, self.kernel, self.hidden = first_kernel, kernel, hidden
        self.classes, self.codebook_digest = classes, codebook_digest
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Embedding, gated layers and the logits."""
        C = self.channels
        self.embedding = Embedding(self.values, C)
        reaches = ((self.kernel if layer else self.first_kernel) // 2 for layer in range(self.layers))
        self.stack = Sequential(*(GatedLayer(C, reach, self.classes) for reach in reaches))
        self.output = Sequential(ReLU(), Linear(C, self.hidden), ReLU(), Linear(self.hidden, self.values))

    # ---- the model ----

    def logits(self, maps: Any, y: Any = None) -> Tensor:
        """Maps (N, H, W) -> the logits of each position's value given the earlier ones, (N, H, W, values)."""
        maps = self._maps(maps)
        return self._logits(self.features(maps), self._labels(y, len(maps)))

    def features(self, maps: Tensor) -> Tensor:
        """The values as vectors that the layers read: integers (...) -> (..., C)."""
        return _lookup(self.embedding.weight, maps)

    def _logits(self, x: Tensor, y: Tensor | None) -> Tensor:
        above = F.pad(x[:, :-1], [(1, 0), (0, 0), (0, 0)])  # (N, H, W, C), row i holds the values of row i - 1
        left = F.pad(x[:, :, :-1], [(1, 0), (0, 0)])  # column j holds those of column j - 1
        for layer in self.stack:
            above, left = layer(above, left, y)
        return self.output(left)

    def nll(self, maps: Any, y: Any = None) -> Tensor:
        """-log P of each map in nats: (N, H, W) -> (N,)."""
        maps = self._maps(maps)
        rows = F.reshape(self.logits(maps, y), (maps.size, self.values))
        nll = CrossEntropy.apply(rows, F.reshape(maps, (maps.size,)))
        return F.reshape(nll, (len(maps), prod(self.map_shape))).sum(axis=1)

    def loss(self, maps: Any, y: Any = None) -> PixelCNNLoss:
        """The mean of -log P over maps (N, H, W), given their labels y (N,) if the model is conditional."""
        nll = self.nll(maps, y).mean()
        return PixelCNNLoss(nll, nll)

    # ---- plain arrays ----

    def score_samples(self, maps: np.ndarray, y: Any = None) -> np.ndarray:
        """log P of each map in nats, (N,); y: labels (N,), for a conditional model and only there."""
        maps = self.check_images(maps)
        labels = () if self._unlabelled(y) else (self.check_labels(y, len(maps)),)
        return -self.batched(self.nll, maps, *labels).astype(np.float64)

    def sample(self, n: int = 1, temperature: float = 1.0, y: Any = None) -> np.ndarray:
        """n maps (n, H, W), int64, drawn with minivae's generator.

        temperature: logits are divided by it; 0 takes the likeliest value everywhere. y: a label for all maps or (n,)
        of them, for a conditional model and only there. Raises ValueError for n < 1 and a temperature that is
        negative or not finite.
        """
        checks.elements("an array of samples", (checks.integer("n", n, 1), *self.map_shape))
        temperature = checks.number("temperature", temperature, "[0, inf)")
        one_for_all = y is not None and np.ndim(y) == 0
        labels = None if self._unlabelled(y) else self.check_labels(np.full(n, y) if one_for_all else y, n)
        training = self.training
        self.eval()
        try:
            parts = [slice(k, min(k + SAMPLES_AT_A_TIME, n)) for k in range(0, n, SAMPLES_AT_A_TIME)]
            draw = _Sampler(self, temperature)
            with self.own_noise(), draw.kernels.session():
                return np.concatenate([draw(p.stop - p.start, None if labels is None else labels[p]) for p in parts])
        finally:
            self.train(training)

    def bits_per_dim(self, nats: float) -> float:
        """nats per map in bits per position: nats / (H W log 2)."""
        return checks.number("nats", nats) / (prod(self.map_shape) * log(2))

    # ---- what comes in ----

    def check_images(self, x: Any) -> np.ndarray:
        """Maps (N, H, W) as int64.

        Raises TypeError unless they are integers (or booleans), ValueError for another shape or values out of range.
        """
        x = checks.array(f"maps of integers in [0, {self.values})", x, "biu")
        H, W = self.map_shape
        if x.ndim != 3 or x.shape[1:] != (H, W):
            raise ValueError(f"maps must have shape (N, {H}, {W}), got {x.shape}")
        if x.size and (x.min() < 0 or x.max() >= self.values):
            raise ValueError(f"the values of maps must be in [0, {self.values}), got {x.min()} to {x.max()}")
        return x.astype(np.int64, copy=False)

    def tensor(self, x: Any) -> Tensor:
        """Integers as a constant on the model's device."""
        if isinstance(x, Tensor):
            return x
        integers = np.array(checks.array("x", x, "biu"), np.int64)
        return Tensor.wrap(backend(self.embedding.weight.device).asarray(integers))

    def _maps(self, maps: Any) -> Tensor:
        """Tensors, which come from the arrays below, are not checked again: the device would have to be asked."""
        return maps if isinstance(maps, Tensor) else self.tensor(self.check_images(maps))

    def _labels(self, y: Any, count: int) -> Tensor | None:
        if isinstance(y, Tensor) and self.classes is not None:
            return y
        return None if self._unlabelled(y) else self.tensor(self.check_labels(y, count))

    def _unlabelled(self, y: Any) -> bool:
        if self.classes is None and y is not None:
            raise ValueError(
                f"labels y belong to a conditional model, and this one has classes=None, got {checks.shown(y)}"
            )
        return self.classes is None


class _Sampler:
    """Draws maps position by position. It keeps the input of each layer: of `above` for the whole map, of `left` for
    the present row, both with their borders; and what `above` gives to `left` in that row.

    A value is drawn as argmax(logits + temperature * g) with independent g from the Gumbel distribution, which is
    distributed as softmax(logits / temperature) (Maddison et al. 2014), for any temperature and no special case at 0.
    Each position takes one draw of the generator.
    """

    def __init__(self, model: PixelCNN, temperature: float) -> None:
        self.model, self.temperature = model, temperature
        self.layers: list[Any] = list(model.stack)
        self.dtype = model.embedding.weight.dtype
        self.kernels = model.embedding.weight.backend

    @no_grad()
    def __call__(self, n: int, y: np.ndarray | None) -> np.ndarray:
        H, W = self.model.map_shape
        C = self.model.channels
        self.y = None if y is None else self.model.tensor(y)
        self.maps = self.kernels.xp.zeros((n, H, W), np.int64)
        self.above = [self._zeros(n, H + layer.reach, W + 2 * layer.reach, C) for layer in self.layers]
        self.finite = self.kernels.xp.ones((n,), bool)  # all logits so far
        for i in range(H):
            self._row(i)
        if not self.kernels.to_host(self.finite).all():
            raise FloatingPointError("PixelCNN has no samples: its logits are NaN or infinite")
        return self.kernels.to_host(self.maps)

    def _zeros(self, *shape: int) -> Array:
        return self.kernels.xp.zeros(shape, self.dtype)

    def _row(self, i: int) -> None:
        n, _, W = self.maps.shape
        if i > 0:
            self._enter_row(0, i, self._features(self.maps[:, i - 1]))
        links = []
        for k, layer in enumerate(self.layers):
            above, link = layer.rows(Tensor.wrap(self.above[k][:, i : i + layer.reach + 1]), self.y)
            self._enter_row(k + 1, i, above.data[:, 0])
            links.append(link)
        left = [self._zeros(n, 1, W + layer.reach, self.model.channels) for layer in self.layers]
        for j in range(W):
            if j > 0:
                left[0][:, 0, j + self.layers[0].reach] = self._features(self.maps[:, i, j - 1])
            logits = self._position(j, left, links)
            self.finite &= self.kernels.xp.isfinite(logits).all(axis=1)
            noise = gumbel(self.kernels, logits.shape)
            self.maps[:, i, j] = (logits + self.temperature * noise).argmax(axis=1)

    def _enter_row(self, k: int, i: int, row: Array) -> None:
        """Row i (n, W, C) of what layer k reads in the stack `above`."""
        if k < len(self.layers):
            reach = self.layers[k].reach
            self.above[k][:, i + reach, reach : reach + row.shape[1]] = row

    def _position(self, j: int, left: list[Array], links: list[Tensor]) -> Array:
        """The logits (n, values) of column j."""
        for k, layer in enumerate(self.layers):
            pixel = layer.pixels(Tensor.wrap(left[k][:, :, j : j + layer.reach + 1]), links[k][:, :, j : j + 1], self.y)
            if k + 1 < len(self.layers):
                left[k + 1][:, 0, j + self.layers[k + 1].reach] = pixel.data[:, 0, 0]
        return self.model.output(pixel).data[:, 0, 0]

    def _features(self, values: Array) -> Array:
        return self.model.features(Tensor.wrap(values)).data


def gumbel(kernels: Any, shape: tuple[int, ...]) -> Array:
    """Gumbel noise, -log(-log u) for uniform u: float64, by the next draw of minivae's generator."""
    u = kernels.uniform(shape, np.dtype(np.float64), current_generator().next())
    return -kernels.xp.log(-kernels.xp.log(kernels.xp.maximum(u, LEAST_UNIFORM)))


def _gate(x: Tensor) -> Tensor:
    """(..., 2 C) -> (..., C)."""
    C = x.shape[-1] // 2
    return F.tanh(x[..., :C]) * F.sigmoid(x[..., C:])


def _convolve(conv: Conv2d, x: Tensor) -> Tensor:
    """A convolution of (N, H, W, C)."""
    return F.transpose(conv(F.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))


def _lookup(table: Tensor, index: Tensor) -> Tensor:
    """F.embedding without the look at the indices' range: they were checked on the host."""
    return Lookup.apply(table, index)


def _of_class(table: Tensor, y: Tensor) -> Tensor:
    """Rows (N, 1, 1, 2 C) for labels y (N,)."""
    return F.reshape(_lookup(table, y), (len(y), 1, 1, table.shape[1]))


def _check(
    map_shape: Sequence[int],
    sizes: dict[str, int],
    kernels: dict[str, int],
    classes: int | None,
    codebook_digest: str | None,
) -> None:
    checks.integers("map_shape (H, W)", map_shape, 1, count=2)
    for name, size in {**sizes, **kernels, **({} if classes is None else {"classes": classes})}.items():
        most = MOST_LAYERS if name == "layers" else checks.LARGEST
        checks.integer(name, size, 2 if name == "values" else 1, most)
    for name, size in kernels.items():
        if size % 2 == 0:
            raise ValueError(f"{name} must be odd, got {size}")
    if not isinstance(codebook_digest, (str, type(None))):
        raise TypeError(f"codebook_digest must be a str or None, got {checks.shown(codebook_digest)}")
