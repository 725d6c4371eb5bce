"""A PixelCNN that gives the same bits on every machine, so that what one has encoded another can decode.

An arithmetic decoder has to know the very probabilities that the encoder used. The logits of PixelCNN.logits() differ
in their last bits between processors, libraries, numbers of threads and batch sizes, because floating-point sums depend
on their order: (2^24 + 1) - 2^24 is 0 in float32, (2^24 - 2^24) + 1 is 1. One frequency that differs by one makes
everything behind it noise. So the network is evaluated here in integers, where order does not matter:

* Weights are rounded to multiples of 2^-16 and biases to multiples of 2^-32, once.
* The features between layers are rounded to multiples of 2^-16. So each product is a multiple of 2^-32.
* The integers are held in float64 arrays, which are exact below 2^53: in units of 2^-32, each product and each sum of a
  layer is right to the last bit, in whatever order and with or without fused multiply-adds, and NumPy may leave the
  sums to the BLAS of the machine.
* tanh, sigmoid and exp are tables of integers (functions.py), and no other function of the C library is called: only
  +, *, round to nearest, minimum and maximum, which IEEE 754 defines exactly.

For example, with units of 1/4 for weights and features: 0.3 and 0.8 become 1 and 3 quarters, their product is 3
sixteenths, and as a feature that is 1 quarter (3/4, rounded).

**The bound.** A sum sum_j w_j x_j + b stays below sum_j |w_j| B_j + |b|, where B_j bounds |x_j|, and so does every part
of it. Gates are at most 1, hence their product is; everything else follows layer by layer from the weights. The
constructor computes these bounds and refuses a network that may exceed LIMIT = 2^52. Those of a prior trained with the
defaults stay below 2^43.

**Frequencies.** The coder takes integers f_k that are in proportion to the probabilities, and no division by their sum
is needed. With logits l_k in units of 2^-12 and the largest logit m,

    f_k = 1 + round(2^24 exp(l_k - m)).

The 1 makes every symbol possible, whatever it is. It costs at most log2(1 + K / 2^24) bits a symbol, and all roundings
together change the nats of a map by some millionths.

Positions are computed one after the other, each feature once, as in models/pixelcnn_sampling.py, and for many maps at a
time. Encoder and decoder run the same walk, and differ in where the values come from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minivae.kernels import checks
from minivae.models import PixelCNN

from .functions import GRID, LONGEST, exp_table, look_up, sigmoid_table, tanh_table

BITS = 16  # weights and features are multiples of 2^-BITS, products of them of 2^-(2 BITS)
LIMIT = 2.0**52  # bound of the integers in float64, half of what is exact
SHARPNESS = 24  # the frequency of the likeliest value is 1 + 2^SHARPNESS
MOST_VALUES = 1 << 20
Choose = Callable[[int, int, np.ndarray], np.ndarray]


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Multiply x (..., I) by weight (I, O), integers held as float64: exact, in any order of summation."""
    return x @ weight


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Return x in units of 2^-bits, rounded to integers (float64)."""
    return np.rint(np.asarray(x, np.float64) * 2.0**bits)


class Affine:
    """It computes x W + b in integers: from features, in units of 2^-16, to sums, in units of 2^-32.

    weight: (O, I) or (O, I, KH, KW), whose windows are KH KW I numbers, pixel by pixel. bias: (O,).
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        taps = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)  # (KH KW, I, O)
        self.weight = rounded(taps, BITS).reshape(-1, weight.shape[0])  # (KH KW I, O)
        self.bias = rounded(bias, 2 * BITS)  # (O,)
        self.taps = len(taps)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return product(x, self.weight) + self.bias

    def bound(self, x: np.ndarray) -> np.ndarray:
        """Return the bounds of the sums (O,), given the bounds x (I,) of the features."""
        return np.tile(x, self.taps) @ np.abs(self.weight) + np.abs(self.bias)


class Layer:
    """It is a GatedLayer in integers, and takes its weights out of `state`; see models/pixelcnn.py."""

    def __init__(self, state: dict[str, np.ndarray], name: str) -> None:
        self.reach = state[f"{name}.above.weight"].shape[2] - 1  # kernels of `above` have r + 1 rows
        parts = ("above", "left", "above_to_left", "project")
        self.above, self.left, self.link, self.project = (_affine(state, f"{name}.{part}") for part in parts)
        biases = [state.pop(f"{name}.{part}_class", None) for part in parts[:2]]
        self.classes = [None if bias is None else rounded(bias, 2 * BITS) for bias in biases]

    def rows(self, window: np.ndarray, y: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return a row of `above` (N, W, C) and, as sums, what it gives to `left` (N, W, 2 C).

        window: (N, r + 1, r + W + r, C), the features of `above` around the row.
        """
        r, W = self.reach, window.shape[2] - 2 * self.reach
        taps = [window[:, a, b : b + W] for a in range(r + 1) for b in range(2 * r + 1)]
        x = self._with_class(self.above(np.concatenate(taps, -1)), 0, y)  # (N, W, 2 C)
        x = rounded(x, -BITS)
        return _gate(x), self.link(x)

    def pixel(self, window: np.ndarray, link: np.ndarray, y: np.ndarray | None) -> np.ndarray:
        """Return `left` at the last pixel of the window, (N, C).

        window: (N, r + 1, C), features of `left`. link: (N, 2 C), what `above` gives to this pixel.
        """
        x = self.left(window.reshape(len(window), -1)) + link
        x = rounded(self._with_class(x[:, None], 1, y)[:, 0], -BITS)  # (N, 2 C)
        return window[:, -1] + rounded(self.project(_gate(x)), -BITS)

    def _with_class(self, x: np.ndarray, part: int, y: np.ndarray | None) -> np.ndarray:
        """Add the bias of their classes to sums x (N, W, 2 C)."""
        table = self.classes[part]
        return x if table is None else x + table[y][:, None]

    def bounds(self, above: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Return the bounds of both outputs (C,), and of all sums, given those of the inputs (C,)."""
        classes = [0.0 if table is None else np.abs(table).max(0) for table in self.classes]
        rows = self.above.bound(above) + classes[0]
        link = self.link.bound(_feature(rows))
        pixels = self.left.bound(left) + link + classes[1]
        gate = np.full(len(left), 2.0**BITS)
        added = self.project.bound(gate)
        return gate, left + _feature(added), [rows, link, pixels, added]


class ExactPixelCNN:
    """It is the distribution of a PixelCNN, in integers.

    Raises TypeError for a model that is no PixelCNN, ValueError for one whose weights are not finite or so large that
    integers may pass 2^52, and for one with parts that this evaluation does not know.
    """

    def __init__(self, model: PixelCNN) -> None:
        if not isinstance(model, PixelCNN):
            raise TypeError(f"the prior must be a PixelCNN, got {checks.shown(model)}")
        checks.integer("values of the prior", model.values, 2, MOST_VALUES)
        if len(model.map_shape) != 2:
            raise ValueError(f"the prior must be one of maps (H, W), got map_shape={model.map_shape}")
        H, W = (int(size) for size in model.map_shape)
        self.map_shape, self.values, self.classes = (H, W), int(model.values), model.classes
        state = model.state_dict()
        for name, array in state.items():
            checks.check_finite(np.atleast_1d(array), name)
            self._check_size(f"{name} in units of 2^-32", float(np.abs(array).max()) * 2.0 ** (2 * BITS))
        self._embedding = rounded(state.pop("embedding.weight"), BITS)  # (K, C)
        self._layers = [Layer(state, f"stack.{k}") for k in range(len(model.stack))]
        self._hidden, self._logits = _affine(state, "output.1"), _affine(state, "output.3")
        if state:
            raise ValueError(f"exact evaluation does not know the part {next(iter(state))!r} of this PixelCNN")
        self._check_bounds()

    def _check_bounds(self) -> None:
        """Raise ValueError unless all integers stay within LIMIT, for any values and labels."""
        above = left = np.abs(self._embedding).max(0)  # (C,)
        sums = [left]
        for layer in self._layers:
            above, left, found = layer.bounds(above, left)
            sums += [*found, left]
        sums.append(self._hidden.bound(left))
        sums.append(self._logits.bound(_feature(sums[-1])))
        self._check_size("sums in units of 2^-32", max(bound.max() for bound in sums))

    def _check_size(self, name: str, largest: float) -> None:
        if largest > LIMIT:
            raise ValueError(
                f"the prior's weights are too large to be evaluated exactly: {name} may reach {largest:.1e}, and the "
                f"limit is {LIMIT:.1e}"
            )

    def walk(self, count: int, y: np.ndarray | None, choose: Choose) -> np.ndarray:
        """Visit all positions in raster order, for `count` maps at once; return the chosen values (count, H, W), int64.

        choose(i, j, frequencies (count, K)) returns the values (count,) at (i, j). y: labels (count,) or None.
        """
        H, W = self.map_shape
        C = self._embedding.shape[1]
        values = np.zeros((count, H, W), np.int64)
        above = [np.zeros((count, H + layer.reach, W + 2 * layer.reach, C)) for layer in self._layers]
        for i in range(H):
            row = self._embedding[values[:, i - 1]] if i else np.zeros((count, W, C))
            links = []  # what `above` gives to `left` in this row, (count, W, 2 C) for each layer
            for layer, kept in zip(self._layers, above, strict=True):
                r = layer.reach
                kept[:, i + r, r : r + W] = row
                row, link = layer.rows(kept[:, i : i + r + 1], y)
                links.append(link)
            left = [np.zeros((count, W + layer.reach, C)) for layer in self._layers]
            for j in range(W):
                pixel = self._embedding[values[:, i, j - 1]] if j else np.zeros((count, C))
                for layer, line, link in zip(self._layers, left, links, strict=True):
                    line[:, j + layer.reach] = pixel
                    pixel = layer.pixel(line[:, j : j + layer.reach + 1], link[:, j], y)
                values[:, i, j] = choose(i, j, self._frequencies(pixel))
        return values

    def _frequencies(self, pixel: np.ndarray) -> np.ndarray:
        """Return the frequencies (N, K), int64, that follow from `left` of the last layer (N, C)."""
        hidden = np.maximum(rounded(self._hidden(np.maximum(pixel, 0)), -BITS), 0)
        logits = rounded(self._logits(hidden), GRID - 2 * BITS)  # in units of 2^-GRID
        below = logits.max(axis=1, keepdims=True) - logits
        return 1 + exp_table(SHARPNESS)[np.minimum(below, LONGEST).astype(np.int64)]


def _affine(state: dict[str, np.ndarray], name: str) -> Affine:
    """Return the layer of this name, and take its weights out of the state."""
    return Affine(state.pop(f"{name}.weight"), state.pop(f"{name}.bias"))


def _gate(x: np.ndarray) -> np.ndarray:
    """Multiply tanh by sigmoid: features (..., 2 C) -> (..., C)."""
    C = x.shape[-1] // 2
    x = rounded(x, GRID - BITS)  # from units of 2^-16 to the tables' 2^-12
    return rounded(look_up(tanh_table(BITS), x[..., :C]) * look_up(sigmoid_table(BITS), x[..., C:]), -BITS)


def _feature(bound: np.ndarray) -> np.ndarray:
    """Turn the bound of a sum, in units of 2^-32, into that of the feature it is rounded to, in units of 2^-16."""
    return np.ceil(bound * 2.0**-BITS) + 1
