"""The contractive autoencoder (Rifai, Vincent, Muller, Glorot & Bengio 2011).

    h = sigmoid(f(x)),   L = ||x - g(h)||^2 + penalty * ||J(x)||_F^2 + decay * ||decoder||^2,   J = dh / dx          (1)

||J||_F^2 is the sum of the squares of all dh_j / dx_i: how far the code moves when the image does, in any direction.
Reconstruction asks that images which differ have codes that differ, the penalty that a code moves as little as it can.
Both are content with a code that moves along the directions in which images differ from each other, and stands still
in all others: noise is such another direction. (A denoising autoencoder with little noise asks for nearly the same of
g(f(x)), by samples; here it is asked of the code, by derivatives.)

**One layer, exactly.** With f(x) = V x + b, where dh_j / dx_i = h_j (1 - h_j) V_ji, equation 1 needs no derivative:

    ||J||_F^2 = sum_j (h_j (1 - h_j))^2 ||V_j||^2, with row j of V.                                                  (2)

At h_j = 1/2 and ||V_j|| = 2 latent j adds (1/4)^2 2^2 = 1/4; at h_j = 0.9 it adds 0.03: a latent that is clearly on or
off is nearly free. As in the paper the decoder is g(h) = V^T h + c, with the encoder's weights. With weights of its
own, V / 10 and ten times the decoder would be cheaper by a factor of 100 and lose little.

**Any encoder, along a random direction.** For v ~ N(0, I) the mean of v v^T is I, so

    E ||J v||^2 = E trace(J v v^T J^T) = ||J||_F^2,    J v ~ (h(x + e v) - h(x)) / e.                                (3)

This is Hutchinson's estimate. One v for each image costs one more encoding, forward and backward; a derivative of
derivatives, which this engine does not have, is not needed. It is unbiased but for terms of the size e^2 (those of the
size e are odd in v, and v and -v are equally likely). Its variance is 2 ||J J^T||_F^2, which is
at most 2 ||J||_F^4, so the mean over 128 images has a standard deviation of at most about an eighth of itself. The
decoder has weights of its own here, and the decay keeps it from growing: ten times the weights cost 100 times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels.checks import number
from minivae.kernels.contract import Noise
from minivae.nn import Linear, Module, Parameter
from minivae.nn.networks import check_architecture, check_image_shape, decoder_for, encoder_for
from minivae.random import noise_or_next

from .arrays import shaped
from .squared_error import SquaredErrorCodec, squared_error

PENALTY, DECAY = 0.5, 1e-3  # DECAY: of a decoder with weights of its own
STEP = 1e-3  # e of equation 3: in float32 rounding makes an error of about 1e-4 of J v, curvature one of about 1e-3


class ContractiveLoss(NamedTuple):
    """loss: equation 1, averaged over the batch. squared_error, jacobian, norm: its terms without their weights."""

    loss: Tensor
    squared_error: Tensor
    jacobian: Tensor
    norm: Tensor


class ContractiveAutoencoder(SquaredErrorCodec):
    """A ContractiveAutoencoder maps images to codes in (0, 1) that move little when the image does.

    image_shape: (C, H, W). latent_dim: D. arch: 'dense', or 'conv' (strided convolutions down, transposed ones up).
    penalty: the weight of ||J||^2. decay: the weight of the sum of the squares of the decoder's weights, 0 for one
    layer and 0.001 otherwise unless given. channels: of the strided convolutions, (32, 64) unless given. hidden: of the
    dense layers, none unless given. 'dense' without hidden layers is the model of the paper: one layer, whose weights
    the decoder shares, and the exact penalty; all else has the estimate. encoder, decoder: Modules of your own,
    (N, C, H, W) -> (N, D), the logits of the code, and (N, D) -> (N, C, H, W), in place of those that arch, channels
    and hidden describe. Estimator says more about them and about the other parameters.

    Raises ValueError for a negative penalty or decay, and for a decay of 0 of a decoder with weights of its own;
    TypeError for other types.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 256,
        arch: str = "dense",
        penalty: float = PENALTY,
        decay: float | None = None,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] | None = None,
        encoder: Module | None = None,
        decoder: Module | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        check_architecture(image_shape, latent_dim, arch, channels, hidden)
        number("penalty", penalty, "[0, inf)")
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.channels, self.hidden = latent_dim, arch, channels, hidden
        self.penalty, self.decay = penalty, decay
        self.one_layer = arch == "dense" and not hidden and encoder is None and decoder is None
        if decay is not None and not number("decay", decay, "[0, inf)") and not self.one_layer:
            raise ValueError(f"a decoder with weights of its own needs a decay above 0, got {decay!r}")
        self.keep_modules({"encoder": encoder, "decoder": decoder}, ("arch", "channels", "hidden"))
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Make encoder and decoder; that of one layer has only a bias of its own."""
        shape = check_image_shape(self.image_shape)
        layers = self.arch, shape, self.channels, self.hidden or (), self.latent_dim
        if self.one_layer:
            self.layer = Linear(prod(shape), self.latent_dim)  # V (D, P) and b (D,)
            self.bias = Parameter(np.zeros(prod(shape), np.float32))  # c (P,)
        else:
            self.encoder = self.module("encoder", lambda: encoder_for(*layers))
            self.decoder = self.module("decoder", lambda: decoder_for(*layers))

    # ---- the model ----

    def loss(self, x: Any, noise: Noise | None = None) -> ContractiveLoss:
        """Return equation 1, the mean over images x (N, C, H, W).

        noise: fixes the directions of equation 3, and is the next draw of minivae's generator unless given. One layer
        has the exact penalty and draws nothing.
        """
        x = self.tensor(x)  # (N, C, H, W)
        h = self._encoded(x)  # (N, D)
        error = squared_error(x, self._decoded(h)).mean()
        jacobian = (self._exact(h) if self.one_layer else self._estimate(x, h, noise_or_next(noise))).mean()
        weights = [self.layer.weight] if self.one_layer else [p for p in self.decoder.parameters() if p.ndim > 1]
        norm = sum(((w * w).sum() for w in weights[1:]), (weights[0] * weights[0]).sum())
        decay = (0.0 if self.one_layer else DECAY) if self.decay is None else float(self.decay)
        return ContractiveLoss(error + float(self.penalty) * jacobian + decay * norm, error, jacobian, norm)

    def _exact(self, h: Tensor) -> Tensor:
        """Return equation 2 for each image, from its code: (N, D) -> (N,)."""
        slope, weight = h * (1 - h), self.layer.weight  # (N, D), (D, P)
        return (slope * slope * (weight * weight).sum(axis=1)).sum(axis=1)

    def _estimate(self, x: Tensor, h: Tensor, noise: Noise) -> Tensor:
        """Return equation 3 for each image, with one direction: x (N, C, H, W) and its code h (N, D) -> (N,)."""
        v = Tensor.wrap(x.backend.normal(x.shape, x.dtype, noise))  # (N, C, H, W)
        moved = (self._encoded(x + STEP * v) - h) * (1 / STEP)  # (N, D), J v
        return (moved * moved).sum(axis=1)

    def _encoded(self, x: Tensor) -> Tensor:
        if self.one_layer:
            return F.sigmoid(self.layer(F.flatten(x, 1)))
        return F.sigmoid(shaped("encoder", self.encoder(x), len(x), self.latent_dim))

    def _decoded(self, z: Tensor) -> Tensor:
        if not self.one_layer:
            return super()._decoded(z)
        return (z @ self.layer.weight + self.bias).reshape(len(z), *self.image_shape)

    # ---- plain arrays ----

    def jacobian_norm(self, x: np.ndarray) -> np.ndarray:
        """Return ||J||_F^2 of each image (N,), of one layer exactly, otherwise by equation 3 with one direction."""

        def norms(x: Tensor) -> Tensor:
            h = self._encoded(x)
            return self._exact(h) if self.one_layer else self._estimate(x, h, noise_or_next(None))

        with self.own_noise():
            return self.batched(norms, self.check_images(x))

    def atoms(self) -> np.ndarray:
        """Return the rows of V as images (D, C, H, W): what a latent looks for, and what it adds to an image.

        Raises ValueError for a model that is not of one layer.
        """
        if not self.one_layer:
            raise ValueError("atoms are those of a decoder of one layer, arch='dense' without hidden layers")
        return self.layer.weight.numpy().reshape(-1, *self.image_shape)
