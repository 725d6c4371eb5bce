"""The gated PixelCNN (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders").

It is a distribution over maps of integers, such as the codes of a VQ-VAE. The probability of a map k is a product of
conditional probabilities, one for each position in raster order: row by row, each from left to right (equation 1).

    log P(k) = sum over (i, j) of log P(k_ij | the rows above i, and row i left of j)

This is the chain rule of probability. It leaves nothing out, so log P is exact and no bound. One network computes the
logits of all these conditional distributions in one pass. For that it must be causal: its logits at (i, j) depend on
earlier positions alone. If they depended on k_ij itself, the network would learn to copy it, the nll would fall to 0,
the "probabilities" of all maps would add up to more than 1, and nothing could be sampled from it.

**Masks** make a stack of convolutions causal: they set the weights at later positions to 0 (van den Oord, Kalchbrenner
& Kavukcuoglu 2016, "Pixel Recurrent Neural Networks", section 3.4). Mask A hides the position itself too. It belongs in
the first layer, which reads the values. The other layers have mask B: their input at (i, j) is a feature that was made
of earlier values, so they may read it.

    mask A    # # #    mask B    # # #
              # . .              # # .
              . . .              . . .

**The blind spot** (section 2.2, figure 1). Masked square kernels see too little. The pictures show, for five layers of
3 x 3 kernels, which values (#) the features at X depend on: those by which their gradient is not 0.

    one masked stack    `above`             `left`, which makes the logits
    # # # # # # #       # # # # # # #       # # # # # # #
    # # # # # # .       # # # # # # #       # # # # # # #
    # # # # # . .       # # # # # # #       # # # # # # #
    # # # # . . .       # # # # # # #       # # # # # # #
    # # # . . . .       # # # # # # #       # # # # # # #
    # X . . . . .       . X . . . . .       # X . . . . .
    . . . . . . .       . . . . . . .       . . . . . . .

With one stack, a step to the right costs a row: only in the row above does a kernel reach one column further to the
right. Hence a triangle of earlier values is never seen, however many layers there are. The gated PixelCNN has two
stacks:

* `above` (the paper's vertical stack) reads the rows above X, in all columns that its kernels reach. As no later value
  is in these rows, its kernels are full rectangles.
* `left` (the horizontal stack) reads row i left of X and, in each layer, `above` at X.

No kernel here has a mask. Mask A is a shift of the input, by a row down for `above` and by a column to the right for
`left`. After it the cell at X holds the value of an earlier position, which kernels may read. Mask B is the shape of
the kernels, which end at X: (r + 1) x (2 r + 1) pixels for `above` and 1 x (r + 1) for `left`, where r is their reach,
on maps with zeros around them.

**Gates.** A layer multiplies features by gates in (0, 1) and adds a bias for the class y of the map to both (equation
2, with y equation 4; `*` is a convolution, `.` the product of elements):

    tanh(W_f * x + V_f y) . sigmoid(W_g * x + V_g y)

In place of the class there may be a context, maps of integers that the PixelCNN is given besides and may see all of,
such as the top codes of a VQ-VAE-2: then V y is another vector at each position (equation 5). See pixelcnn_context.py.

**Stages.** A position may also hold several integers, the codes of a residual quantiser: see pixelcnn_stages.py.

**Sampling** takes a pass for each position, because the logits at (i, j) need the values drawn before: see
pixelcnn_sampling.py.

Features are (N, H, W, C) in this file: each pixel is a row of C numbers, and a 1 x 1 convolution is a Linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import Conv2d, Embedding, Linear, Module, ModuleList, Sequential, init
from minivae.nn.layers import ReLU

from .autoregressive import Autoregressive, Draw, OnPosition, check_codebook_digest
from .pixelcnn_context import ContextNetwork, check_context, check_context_settings, lookup
from .pixelcnn_motion import Moved
from .pixelcnn_sampling import Sampler
from .pixelcnn_stages import by_stage, check_map_shape, later_stages

MOST_LAYERS = 1000
Bias = tuple[Tensor, Tensor] | tuple[None, None]  # V y for both stacks, (N, 1, 1, 2 C) of a class or (N, H, W, 2 C)


class GatedLayer(Module):
    """One layer of both stacks (figure 2 of the paper), each with C = `channels`; `reach` is r above.

    rows() and pixels() compute a stack from windows: a window holds the pixels to compute and all that these read. It
    has r rows more on top and r columns more at both sides for `above`, and r columns more on the left for `left`.
    Training gives them whole maps with a border of zeros, sampling gives them one row and one pixel at a time.
    """

    def __init__(self, channels: int, reach: int, classes: int | None, dropout: float, context: bool = False) -> None:
        self.reach, self.dropout = reach, dropout
        self.above = Conv2d(channels, 2 * channels, (reach + 1, 2 * reach + 1))
        self.left = Conv2d(channels, 2 * channels, (1, reach + 1))
        self.above_to_left = Linear(2 * channels, 2 * channels)
        self.project = Linear(channels, channels)
        if classes is not None:  # V y is row y of V; zero at first, so that all classes begin alike
            self.above_class = init.constant((classes, 2 * channels), 0.0, np.float32)
            self.left_class = init.constant((classes, 2 * channels), 0.0, np.float32)
        if context:
            self.above_context = Linear(channels, 2 * channels, bias=False)
            self.left_context = Linear(channels, 2 * channels, bias=False)

    def forward(self, above: Tensor, left: Tensor, bias: Bias) -> tuple[Tensor, Tensor]:
        """Whole maps: above, left (N, H, W, C) -> the same of the next layer."""
        r = self.reach
        above, link = self.rows(F.pad(above, [(r, 0), (r, r), (0, 0)]), bias[0])
        return above, self.pixels(F.pad(left, [(r, 0), (0, 0)]), link, bias[1])

    def rows(self, window: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, r + H, r + W + r, C) -> `above` (N, H, W, C), and what it gives to `left` (N, H, W, 2 C)."""
        x = _convolve(self.above, window)  # (N, H, W, 2 C)
        if bias is not None:
            x = x + bias
        return self._gated(x), self.above_to_left(x)

    def pixels(self, window: Tensor, link: Tensor, bias: Tensor | None) -> Tensor:
        """(N, H, r + W, C) and what `above` gives (N, H, W, 2 C) -> `left` (N, H, W, C), a residual connection."""
        x = _convolve(self.left, window) + link  # (N, H, W, 2 C)
        if bias is not None:
            x = x + bias
        return window[:, :, self.reach :] + self.project(self._gated(x))

    def _gated(self, x: Tensor) -> Tensor:
        """Equation 2, in training with dropout: (N, H, W, 2 C) -> (N, H, W, C)."""
        C = x.shape[-1] // 2
        return F.dropout(F.tanh(x[..., :C]) * F.sigmoid(x[..., C:]), self.dropout, self.training)

    def class_bias(self, y: Tensor) -> Bias:
        """V y of labels y (N,)."""
        return _row(self.above_class, y), _row(self.left_class, y)

    def context_bias(self, context: Tensor) -> Bias:
        """V h of a context's features h (N, H, W, C)."""
        return self.above_context(context), self.left_context(context)


def _convolve(conv: Conv2d, x: Tensor) -> Tensor:
    """conv of x (N, H, W, C)."""
    return F.transpose(conv(F.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))


def _row(table: Tensor, y: Tensor) -> Tensor:
    """Rows y (N,) of the table V^T (classes, 2 C) -> (N, 1, 1, 2 C)."""
    return F.reshape(lookup(table, y), (len(y), 1, 1, table.shape[1]))


class PixelCNN(Autoregressive):
    """Gated PixelCNN over maps of integers: the codes of a VQ-VAE, or binary images (values=2).

    map_shape: (H, W), or (stages, H, W) of maps with several integers at a position, which are drawn one after the
    other; these maps are (N, stages, H, W) wherever (N, H, W) stands below. values: the integers are
    0, ..., values - 1. channels: C of each stack. layers: how many gated layers. first_kernel, kernel: the odd width
    2 r + 1 of the first layer's kernels and of the others'. hidden: units between the two 1 x 1 convolutions that make
    the logits from the last layer. classes: the number of labels of a conditional model, or None. codebook_digest:
    VQVAE.codebook_digest of the model whose codes these are, or None; it is kept in the file, and a VQVAE with another
    codebook refuses this prior. dropout: the probability in [0, 1) that a gated feature is zero in a step of training,
    against learning maps by heart. For the other parameters see Estimator.

    context_shape, context_values: of a model of maps given other maps, its context: their size (h, w), and for each of
    M maps the number K_m of its values, integers in [0, K_m). Or None. context_blocks: residual blocks that read it.
    context_motion: by how many places, at most, the first map is moved (pixelcnn_motion.py); 0 without such a part.
    The methods take such contexts (N, M, h, w) as y.

    Raises TypeError and ValueError for arguments of other types and ranges, and for even kernels.
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
        dropout: float = 0.0,
        context_shape: Sequence[int] | None = None,
        context_values: Sequence[int] | None = None,
        context_blocks: int = 2,
        context_motion: int = 0,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        check_map_shape(map_shape)
        checks.integer("values", values, 2)
        checks.integer("channels", channels, 1)
        checks.integer("layers", layers, 1, MOST_LAYERS)
        checks.integer("hidden", hidden, 1)
        _check_odd(first_kernel=first_kernel, kernel=kernel)
        if classes is not None:
            checks.integer("classes", classes, 1)
        check_codebook_digest(codebook_digest)
        check_context_settings(context_shape, context_values, context_blocks, context_motion, classes)
        self.context_shape, self.context_values, self.context_blocks = context_shape, context_values, context_blocks
        self.context_motion = context_motion
        checks.number("dropout", dropout, "[0, 1)")
        self.map_shape, self.values, self.channels, self.layers = map_shape, values, channels, layers
        self.first_kernel, self.kernel, self.hidden = first_kernel, kernel, hidden
        self.classes, self.codebook_digest, self.dropout = classes, codebook_digest, dropout
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Embedding, gated layers and the logits."""
        C = self.channels
        self.embedding = Embedding(self.values, C)
        reaches = ((self.kernel if layer else self.first_kernel) // 2 for layer in range(self.layers))
        given = self.context_values is not None
        self.stack = ModuleList(GatedLayer(C, reach, self.classes, self.dropout, given) for reach in reaches)
        self.output = Sequential(ReLU(), Linear(C, self.hidden), ReLU(), Linear(self.hidden, self.values))
        self.later = later_stages(self.map_shape, self.values, C, self.hidden)
        if self.context_values is not None:
            sizes = C, self.context_blocks, self.context_motion, self.values
            self.context = ContextNetwork(self.map_shape[-2:], self.context_values, *sizes)

    @property
    def conditional(self) -> bool:
        """Whether the methods need y: labels or contexts."""
        return self.classes is not None or self.context_values is not None

    # ---- the model ----

    def logits(self, maps: Any, y: Any = None) -> Tensor:
        """Maps (N, H, W) -> the logits of each position's value given the earlier ones, (N, H, W, values).

        y: labels (N,) or contexts (N, M, h, w), for a conditional model and only there. Raises what score_samples()
        raises.
        """
        maps = self._maps(maps)
        stages = by_stage(maps)
        _, left, moved = self._stacks(self.features(*stages), self._condition(y, len(maps)))
        logits = [self.logits_of_stage(left, *stages[:s]) for s in range(len(stages))]
        if moved is not None:
            logits[0] = logits[0] + moved.logits(stages[0].data)
        return logits[0] if maps.ndim == 3 else F.stack(logits, axis=1)

    def logits_of_stage(self, left: Tensor, *before: Tensor) -> Tensor:
        """`left` of the last layer (..., C) and the integers (...) of the stages before -> logits (..., values)."""
        return self.later[len(before) - 1](left, *before) if before else self.output(left)

    def features(self, maps: Tensor, *later: Tensor) -> Tensor:
        """The values of maps, of each stage, as vectors that the layers read: integers (...) -> (..., C)."""
        x = lookup(self.embedding.weight, maps)
        for s, codes in enumerate(later):
            x = x + self.later[s].features(codes)
        return x

    def _stacks(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor, Moved | None]:
        """features() of maps, x (N, H, W, C) -> `above` and `left` of the last layer, (N, H, W, C) both, and what is
        moved."""
        biases, moved = self.conditioning(y)
        above = F.pad(x[:, :-1], [(1, 0), (0, 0), (0, 0)])  # (N, H, W, C): row i has the values of row i - 1
        left = F.pad(x[:, :, :-1], [(1, 0), (0, 0)])  # (N, H, W, C): column j has those of column j - 1
        for layer, bias in zip(self.stack, biases, strict=True):
            above, left = layer(above, left, bias)
        return above, left, moved

    def conditioning(self, y: Tensor | None) -> tuple[list[Bias], Moved | None]:
        """V y for each layer, of labels y (N,) or contexts y (N, M, h, w), and the moved map of a context with motion.

        There is None in their place where there is no y.
        """
        if y is None:
            return [(None, None)] * self.layers, None
        layers: list[Any] = list(self.stack)
        if self.context_values is None:
            return [layer.class_bias(y) for layer in layers], None
        context, moved = self.context(y)  # (N, H, W, C)
        return [layer.context_bias(context) for layer in layers], moved

    def _sampler(self, temperature: float, on_position: OnPosition | None) -> Draw:
        return Sampler(self, temperature, on_position)

    # ---- what comes in ----

    def check_labels(self, y: Any, count: int) -> np.ndarray | None:
        """Labels (count,) or contexts (count, M, h, w) as int64; None for a model without either, whatever y is.

        Raises TypeError unless they are integers, ValueError if they are missing, of another shape or out of range.
        """
        if self.context_values is None or self.context_shape is None:
            return super().check_labels(y, count)
        if y is None:
            raise ValueError(f"PixelCNN with context_values={self.context_values} needs contexts y, got None")
        return check_context(y, count, self.context_shape, self.context_values)

    def _for_each(self, y: Any, n: int) -> np.ndarray | None:
        """check_labels() of y, or of one label or one context repeated n times."""
        if self.context_values is not None and y is not None and np.ndim(y) == 3:
            y = np.repeat(np.asarray(y)[None], n, axis=0)
        return super()._for_each(y, n) if self.context_values is None else self.check_labels(y, n)


def _check_odd(**widths: int) -> None:
    for name, width in widths.items():
        if checks.integer(name, width, 1) % 2 == 0:
            raise ValueError(f"{name} must be odd, got {width}")
