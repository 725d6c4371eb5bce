"""The sparse autoencoder: many latents, of which each image uses few.

    z = phi(f(x)),   x_hat = W z + b,   L = ||x - x_hat||^2 + penalty * sparsity + decay * ||W||_F^2                 (1)

The decoder is linear: an image is a sum of a few columns of W, its *atoms*, with weights z >= 0. With as many latents
as pixels or more, nothing but sparsity keeps f from copying the image. So each atom becomes what many images have in
common, a sleeve or an edge (Olshausen & Field 1996), and the codes of an image say which of these parts it has.

**L1** (sparsity='l1'; Olshausen & Field 1997). phi is the ReLU, and

    sparsity = sum_j z_j ||w_j||, averaged over the images; w_j is column j of W.                                    (2)

The gradient of (2) by a positive z_j does not depend on its size, and so drives small ones to 0 exactly, where the ReLU
holds them. Without the norms the penalty could be escaped: z / 10 and 10 W give the same image for a tenth of
sum_j z_j. With them it costs the same: (2) is sum_j z_j of the model whose atoms are scaled to norm 1, which is how
Olshausen & Field stop it. (A deeper decoder could shrink the codes and grow its second layer instead; so it has none.)

**KL** (sparsity='kl'; Ng's lecture notes "Sparse autoencoder"). phi is the sigmoid, r_j is the mean of z_j over the
batch, and

    sparsity = sum_j KL(rho || r_j) = sum_j rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j)).               (3)

Each latent is to be on in a share rho of the images: with rho = 0.05 and r_j = 0.5 it costs 0.49 nats, with r_j = 0.05
nothing. That too can be escaped: z_j = rho + e g_j(x) with a tiny e has the mean rho and is not sparse at all, if W
grows by 1 / e. The decay makes that dear, as ||W||^2 grows by 1 / e^2; therefore 'kl' needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.lazy import in_memory
from minivae.kernels.checks import choice, number
from minivae.nn import Linear, Module, Sequential, Unflatten
from minivae.nn.networks import check_architecture, check_image_shape, encoder_for

from .arrays import shaped
from .squared_error import SquaredErrorCodec, squared_error

SPARSITIES = ("l1", "kl")
PENALTY = {"l1": 0.5, "kl": 0.3}  # unless given
DECAY = {"l1": 0.0, "kl": 1e-2}  # unless given
RHO = 0.05  # unless given
TINY = 1e-12  # added to the squares of norms, so that the norm of an atom of zeros has a gradient


class SparseLoss(NamedTuple):
    """loss: equation 1, averaged over the batch. squared_error, sparsity, norm: its terms without their weights."""

    loss: Tensor
    squared_error: Tensor
    sparsity: Tensor
    norm: Tensor


class Activity(NamedTuple):
    """It says how sparse codes are.

    share: of the latents that are active in an image, averaged over the images. dead: how many are active in none.
    frequency: (D,), the share of the images in which each latent is active.
    """

    share: float
    dead: int
    frequency: np.ndarray


class SparseAutoencoder(SquaredErrorCodec):
    """A SparseAutoencoder maps images to codes that are nearly all 0, and adds up its atoms by them.

    image_shape: (C, H, W). latent_dim: D, the number of atoms. arch: 'dense', or 'conv', an encoder of strided
    convolutions. sparsity: 'l1' or 'kl', see above. penalty: the weight of the sparsity, 0.5 for 'l1' and 0.3 for 'kl'
    unless given. rho: for 'kl', the share of the images in which a latent is to be on, 0.05 unless given. decay: the
    weight of ||W||^2, 0 for 'l1' and 0.01 for 'kl' unless given. channels: of the convolutions, (32, 64) unless given.
    hidden: of the encoder's dense layers between image and code, none unless given. encoder: a Module of your own,
    (N, C, H, W) -> (N, D), in place of the one that arch, channels and hidden describe. Estimator says more about it
    and about the other parameters.

    Raises ValueError for an unknown sparsity, for a negative penalty or decay, for rho without 'kl' or outside (0, 1),
    and for 'kl' with a decay of 0; TypeError for other types.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 256,
        arch: str = "dense",
        sparsity: str = "l1",
        penalty: float | None = None,
        rho: float | None = None,
        decay: float | None = None,
        channels: Sequence[int] | None = None,
        hidden: Sequence[int] | None = None,
        encoder: Module | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        check_architecture(image_shape, latent_dim, arch, channels, hidden)
        _check(sparsity, penalty, rho, decay)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.latent_dim, self.arch, self.channels, self.hidden = latent_dim, arch, channels, hidden
        self.sparsity, self.penalty, self.rho, self.decay = sparsity, penalty, rho, decay
        self.keep_modules({"encoder": encoder}, ("arch", "channels", "hidden"))
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Make the encoder and the linear decoder."""
        shape = check_image_shape(self.image_shape)
        layers = self.arch, shape, self.channels, self.hidden or (), self.latent_dim
        encoder: Any = self.module("encoder", lambda: encoder_for(*layers))
        dictionary: Any = Linear(self.latent_dim, prod(shape))
        dictionary.bias.inplace()[...] = 0
        self.encoder, self.decoder = encoder, Sequential(dictionary, Unflatten(shape))
        self.one_layer = self.given["encoder"] is None and self.arch == "dense" and not self.hidden
        if self.one_layer:
            self._tie(encoder[1])

    @property
    def dictionary(self) -> Any:
        """The Linear layer with W (P, D), for P numbers in an image, and a bias (P,)."""
        decoder: Any = self.decoder
        return decoder[0]

    def _tie(self, layer: Any) -> None:
        """Let an encoder of one layer start as the transpose of W, with atoms of norm 1.

        So each latent looks for what it adds. With weights that know nothing of each other, many latents of 'l1' are of
        no use to the decoder at first and are driven to 0 in all images, where they get no gradient any more: in
        40 epochs on fashion-mini 116 of 256, against 1.
        """
        weight = self.dictionary.weight.numpy()  # (P, D)
        weight /= np.linalg.norm(weight, axis=0)
        _put(self.dictionary.weight, weight)
        _put(layer.weight, weight.T)
        rho = RHO if self.rho is None else float(self.rho)
        layer.bias.inplace()[...] = log(rho / (1 - rho)) if self.sparsity == "kl" else 0

    def prepare(self, x: np.ndarray) -> None:
        """Start with the mean of the training images x (N, C, H, W) as what is there without any atom.

        An encoder of one layer then starts with the codes of x minus their mean. Of a LazyArray it is the mean of its
        sample(). A model that has been trained stays as it is.
        """
        if self.dictionary.bias.numpy().any():
            return
        mean = in_memory(x).mean(axis=0, dtype=np.float64).reshape(-1)  # (P,)
        _put(self.dictionary.bias, mean)
        if self.one_layer:
            encoder: Any = self.encoder
            layer = encoder[1]
            _put(layer.bias, layer.bias.numpy() - layer.weight.numpy() @ mean)

    # ---- the model ----

    def loss(self, x: Any) -> SparseLoss:
        """Return equation 1 for images x (N, C, H, W).

        The KL term is the one term of this package's losses that is a statistic of the batch and no mean over its
        images: KL(rho || r_j) of a batch is not the mean of those of its parts. A batch that stands twice has the same
        r_j, and the same loss.
        """
        x = self.tensor(x)  # (N, C, H, W)
        a = self._logits(x)  # (N, D)
        z = self._activated(a)  # (N, D)
        error = squared_error(x, self._decoded(z)).mean()
        weight = self.dictionary.weight  # (P, D)
        squares = (weight * weight).sum(axis=0)  # (D,), ||w_j||^2
        if self.sparsity == "l1":
            sparsity = (z * F.sqrt(squares + TINY)).sum(axis=1).mean()  # equation 2
        else:
            sparsity = _kl(RHO if self.rho is None else float(self.rho), a)  # equation 3
        norm = squares.sum()
        penalty = PENALTY[self.sparsity] if self.penalty is None else float(self.penalty)
        decay = DECAY[self.sparsity] if self.decay is None else float(self.decay)
        return SparseLoss(error + penalty * sparsity + decay * norm, error, sparsity, norm)

    def _logits(self, x: Tensor) -> Tensor:
        return shaped("encoder", self.encoder(x), len(x), self.latent_dim)

    def _activated(self, a: Tensor) -> Tensor:
        return F.relu(a) if self.sparsity == "l1" else F.sigmoid(a)

    def _encoded(self, x: Tensor) -> Tensor:
        return self._activated(self._logits(x))

    # ---- plain arrays ----

    def atoms(self) -> np.ndarray:
        """Return the columns of W as images (D, C, H, W): what a latent adds to an image where it is 1."""
        return np.ascontiguousarray(self.dictionary.weight.numpy().T).reshape(-1, *self.image_shape)

    def activity(self, x: np.ndarray) -> Activity:
        """Return how many latents are active in images x, above 0 for 'l1' and above 1/2 for 'kl'.

        Raises ValueError for no images.
        """
        z = self.encode(x)  # (N, D)
        if not len(z):
            raise ValueError(f"activity needs at least one image, got shape {np.shape(x)}")
        frequency = (z > (0 if self.sparsity == "l1" else 0.5)).mean(axis=0)  # (D,)
        return Activity(float(frequency.mean()), int((frequency == 0).sum()), frequency)


def _put(parameter: Tensor, value: np.ndarray) -> None:
    """Set a parameter to an array on the host."""
    parameter.inplace()[...] = parameter.backend.asarray(np.ascontiguousarray(value, parameter.dtype))


def _kl(rho: float, a: Tensor) -> Tensor:
    """Return equation 3 for logits a (N, D) of the latents.

    1 - sigmoid(a) is computed as sigmoid(-a), which is not 0 where the sigmoid rounds to 1.
    """
    on, off = F.batch_mean(F.sigmoid(a)), F.batch_mean(F.sigmoid(-a))  # (D,) both, r_j and 1 - r_j
    constant = rho * log(rho) + (1 - rho) * log(1 - rho)
    return (constant - rho * F.log(on) - (1 - rho) * F.log(off)).sum()


def _check(sparsity: str, penalty: float | None, rho: float | None, decay: float | None) -> None:
    choice("sparsity", sparsity, SPARSITIES)
    if penalty is not None:
        number("penalty", penalty, "[0, inf)")
    if rho is not None:
        number("rho, a share of the images,", rho, "(0, 1)")
        if sparsity != "kl":
            raise ValueError(f"rho belongs to sparsity='kl', got rho={rho!r} for sparsity={sparsity!r}")
    if decay is not None:
        number("decay", decay, "[0, inf)")
        if sparsity == "kl" and not decay:
            raise ValueError(
                f"sparsity='kl' needs a decay above 0, without which nothing becomes sparse, got {decay!r}"
            )
