"""The vector-quantised autoencoder, VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017).

The latents of an image are a small map of integers, its codes. The encoder makes a map of vectors z_e(x), a codebook of
K vectors replaces each of them by the nearest one (equations 1 and 2 of the paper), and the decoder sees only that:

    x (C, H, W)  ->  z_e(x) (D, H/4, W/4)  ->  codes k(x) (H/4, W/4)  ->  z_q(x) (D, H/4, W/4)  ->  p(x | z_q(x))

The vectors may be quantised in two other ways (`quantizer`): by a sum of vectors from several codebooks, each of which
adds what is still missing ('rvq'), or number by number without a codebook ('fsq'); see nn/quantizers/. What follows
holds for all of them.

Each code stands for 4 x 4 pixels, but its vector depends on more: with the default two residual blocks on the 26 x 26
pixels around them (10 x 10 for the two strided convolutions, and 8 more for each block).

**The loss** is the mean over the images of equation 3, whose first term the paper prints without its minus:

    -log p(x | z_q(x))  +  ||sg[z_e(x)] - e||^2  +  commitment ||z_e(x) - sg[e]||^2.

The first term is the nll in nats per image. The other two are `vq`, the quantiser's terms. They make codebook and
encoder agree; nn/quantizers/vector.py explains them, sg[] and how gradients pass the quantiser. They are squared
distances, not nats, and no part of the bound.

**The bound** (section 3.2). With any prior P over maps of codes the model is p(x) = sum_k p(x | k) P(k), over all maps
k. No term of the sum is negative, so the one of k(x) alone is a lower bound:

    log p(x) >= log p(x | k(x)) + log P(k(x)).

It is the ELBO of an encoder without noise, which gives the map k(x) the probability 1 (equation 1). So -log p(x) is at
most the nll plus the cost of the codes, -log P(k(x)). Under a uniform prior each code costs log K nats whichever it is:
49 log 256 = 271.7 nats with the default sizes. As this is constant, the loss leaves it out. An autoregressive prior
(pixelcnn.py) is trained afterwards on the codes of the training images. Maps like theirs cost less under it, and new
images are decoded from maps that are drawn from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil, log, prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import BatchNorm2d, Conv2d, ConvTranspose2d, Module, ReLU, Sequential
from minivae.nn.module import not_finite
from minivae.nn.networks import check_image_shape
from minivae.random import current_generator

from .arrays import shaped
from .codes import CodeModel, Prior, check_multiples, check_networks
from .given import Beside
from .quantizer_choice import PARAMETERS, check_parameters, latent_length, make_quantizer

STRIDE = 4  # of the encoder: two convolutions of stride 2
OF_BUILT_NETWORKS = ("channels", "residual_channels", "residual_blocks")


class VQVAELoss(NamedTuple):
    """Scalars, averaged over the batch: loss = nll + vq (equation 3).

    nll is in nats per image, without the cost of the codes. vq, for vector quantisation, is the sum of the codebook and
    commitment terms, squared distances per latent.
    """

    loss: Tensor
    nll: Tensor
    vq: Tensor


class VQVAEBound(NamedTuple):
    """Averages over images in nats: nats = nll + codes is at least -log p(x), codes is -log P of the map of codes.

    bits_per_dim is `nats` in bits per channel and pixel.
    """

    nats: float
    nll: float
    codes: float
    bits_per_dim: float


class ResidualBlock(Module):
    """(N, C, h, w) -> the same: x + conv1x1(relu(conv3x3(relu(x))))."""

    def __init__(self, channels: int, inner: int, bias: bool = True) -> None:
        self.conv = Conv2d(channels, inner, 3, padding=1, bias=bias)
        self.project = Conv2d(inner, channels, 1, bias=bias)

    def forward(self, x: Any) -> Tensor:
        return x + self.project(F.relu(self.conv(F.relu(x))))


class VQVAE(CodeModel):
    """Vector-quantised autoencoder over images.

    image_shape: (C, H, W), H and W multiples of 4. quantizer: 'vq' (one codebook), 'rvq' (residual, `stages` codebooks;
    2 unless given) or 'fsq' (finite scalar, `levels`; (8, 6, 5) unless given). The parameters of codebooks are those of
    'vq' and of each stage of 'rvq': codes, K, their size; code_dim, D, the length of their vectors; update, commitment,
    decay, restart, see nn.VectorQuantizer. A parameter of another quantiser that is not at its default is a ValueError;
    model.quantizer.codes and .dim are K and D of each of them. channels: of all convolutions but those inside of the
    residual blocks, which have residual_channels. residual_blocks: how many the encoder has, and the decoder.
    likelihood: as for VAE. encoder, decoder: Modules of your own, (N, C, H, W) -> (N, D, h, w) and (N, D, h, w) ->
    (N, *output_shape), the parameters of the likelihood, such as logits (N, C, H, W), in place of those
    that channels, residual_channels and residual_blocks describe; if both are given, H, W, h and w are free. See
    Estimator, as for the others. Raises TypeError and ValueError for arguments of other types and ranges.

    The first fit() starts the codebook from the encoder's outputs for a sample of the training images, by k-means. The
    paper's decay is 0.99, for trainings of 250,000 steps. Here 0.95 is the default, for some hundred steps: averages
    over the last hundred of them follow the encoder too slowly, and it runs away from the codes.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        codes: int = 256,
        code_dim: int = 16,
        channels: int = 64,
        residual_channels: int = 32,
        residual_blocks: int = 2,
        likelihood: str = "bernoulli",
        update: str = "ema",
        commitment: float = 0.25,
        decay: float = 0.95,
        restart: float = 0.05,
        encoder: Module | None = None,
        decoder: Module | None = None,
        quantizer: str = "vq",
        levels: Sequence[int] | None = None,
        stages: int | None = None,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        self._check_shape(image_shape)
        if encoder is None or decoder is None:
            self._check_sizes(image_shape)
        sizes = {"codes": codes, "code_dim": code_dim, "channels": channels, "residual_channels": residual_channels}
        check_networks(sizes, residual_blocks, likelihood, self.likelihoods)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.codes, self.code_dim, self.likelihood = codes, code_dim, likelihood
        self.channels, self.residual_channels, self.residual_blocks = channels, residual_channels, residual_blocks
        self.update, self.commitment, self.decay, self.restart = update, commitment, decay, restart
        self.levels, self.stages = levels, stages
        self.keep_modules({"encoder": encoder, "decoder": decoder}, OF_BUILT_NETWORKS)
        self.given = Beside({**self.given, "quantizer": checks.choice("quantizer", quantizer, PARAMETERS)})
        check_parameters(quantizer, vars(self), {name: p.default for name, p in VQVAE._parameters().items()})
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def _check_shape(self, image_shape: Sequence[int]) -> None:
        """Raise TypeError or ValueError for what is no shape of an image."""
        check_image_shape(image_shape)

    def _check_sizes(self, image_shape: Sequence[int]) -> None:
        """Raise ValueError for images that the networks of build() do not take."""
        check_multiples(image_shape, STRIDE)

    def build(self) -> None:
        """Encoder, quantiser, decoder and likelihood."""
        self.encoder = self.module("encoder", self._make_encoder)
        self.quantizer = make_quantizer(self.given["quantizer"], vars(self))
        self.decoder = self.module("decoder", self._make_decoder)
        self.build_observation()
        self._map_size: tuple[int, int] | None = None

    def _make_encoder(self) -> Module:
        """(N, C, H, W) -> (N, D, H / 4, W / 4)."""
        C, channels = int(self.image_shape[0]), self.channels
        return Sequential(
            Conv2d(C, channels, 4, stride=2, padding=1),  # (N, channels, H / 2, W / 2)
            ReLU(),
            Conv2d(channels, channels, 4, stride=2, padding=1),  # (N, channels, H / 4, W / 4)
            *(ResidualBlock(channels, self.residual_channels) for _ in range(self.residual_blocks)),
            ReLU(),
            Conv2d(channels, self._latent_length, 1),  # (N, D, H / 4, W / 4)
            *([BatchNorm2d(self._latent_length)] if self.given["quantizer"] == "fsq" else []),  # see finite_scalar.py
        )

    def _make_decoder(self) -> Module:
        """(N, D, H / 4, W / 4) -> (N, *output_shape): the encoder's mirror image."""
        C, channels = self.output_shape[0], self.channels
        return Sequential(
            Conv2d(self._latent_length, channels, 1),  # (N, channels, H / 4, W / 4)
            *(ResidualBlock(channels, self.residual_channels) for _ in range(self.residual_blocks)),
            ReLU(),
            ConvTranspose2d(channels, channels, 4, stride=2, padding=1),  # (N, channels, H / 2, W / 2)
            ReLU(),
            ConvTranspose2d(channels, C, 4, stride=2, padding=1),  # (N, C, H, W)
        )

    @property
    def _latent_length(self) -> int:
        """D. The encoder, which needs it, is made before the quantiser."""
        return latent_length(self.given["quantizer"], vars(self))

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of the codes of an image: (h, w), or (stages, h, w) of 'rvq'; see map_size."""
        return self.quantizer.code_shape(*self.map_size)

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w), the size of the map of latents: (H / 4, W / 4), or what an encoder of your own makes."""
        if self._map_size is None:
            self._map_size = self._measure_map_size()
        return self._map_size

    def _measure_map_size(self) -> tuple[int, int]:
        """(h, w) of the latents of an image of zeros; ValueError if there are none."""
        zeros = np.zeros((1, *self.image_shape), np.float32)
        _, _, h, w = self.batched(lambda x: Tensor(np.zeros(self._latents(x).shape)), zeros).shape
        if not h * w:
            raise ValueError(f"the encoder must make at least one latent of an image, got a map of {h} x {w}")
        return h, w

    @property
    def codebook_digest(self) -> str:
        """SHA-256, in hexadecimal, of what the codes mean: of the codebooks or, where there are none, of the encoder.

        A prior keeps it, so that it is not used with other codes.
        """
        digest = sha256()
        for array in self.quantizer.codebooks() or self.encoder.state_dict().values():
            digest.update(f"{array.shape} {array.dtype.str}".encode() + array.tobytes())
        return digest.hexdigest()

    # ---- the model ----

    def loss(self, x: Any) -> VQVAELoss:
        """Equation 3, averaged over images x (N, C, H, W); in training mode the codebook learns from them too."""
        return self._loss_and_output(x)[0]

    def _loss_and_output(self, x: Any) -> tuple[VQVAELoss, Tensor]:
        """Return the loss and the decoder's output (N, *output_shape)."""
        x = self.tensor(x)  # (N, C, H, W)
        z_e = self._latents(x)  # (N, D, h, w)
        vq = self.quantizer(z_e)  # vq.quantized (N, D, h, w) is z_q(x), vq.loss () the second and third term
        output = self._decoded(vq.quantized)  # (N, C, H, W)
        nll = self.observation.nll(output, x).mean()  # (), the mean of -log p(x | z_q(x)) (N,)
        return VQVAELoss(nll + vq.loss, nll, vq.loss), output

    def _latents(self, x: Tensor) -> Tensor:
        """z_e(x): (N, C, H, W) -> (N, D, h, w)."""
        return shaped("encoder", self.encoder(x), len(x), self.quantizer.dim, "h", "w")

    def prepare(self, x: np.ndarray) -> None:
        """Start the codebooks from the encoder's outputs for images (N, C, H, W), unless they have been trained.

        Raises ValueError if all images together have fewer latents than there are codes.
        """
        vectors = self.quantizer.vectors_wanted()
        if not vectors:
            return
        wanted = ceil(vectors / prod(self.map_size))
        chosen = np.argsort(current_generator().uniform((len(x),), np.float64), kind="stable")[:wanted]
        z = self.batched(self._latents, x[chosen])  # (n, D, h, w)
        self.quantizer.initialize(z.transpose(0, 2, 3, 1).reshape(-1, self.quantizer.dim))

    def begin_pass(self) -> None:
        """Called by the training before each pass over data."""
        self.quantizer.begin_pass()

    def end_pass(self) -> dict[str, float]:
        """Of the pass that ends: the perplexity of the codes, and usage, the share of them that were chosen at all; of
        'rvq' by stage as well."""
        return self.quantizer.end_pass()

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, H, W) -> their codes k(x) (N, *code_shape), int64 in [0, quantizer.codes).

        Raises TypeError and ValueError for images as check_images() does, FloatingPointError for an encoder that gives
        NaN or infinity.
        """
        return self.batched(self._codes, self.check_images(x))

    def _codes(self, x: Tensor) -> Tensor:
        """k(x) of equation 1. A latent of NaN would get some code as well, so it is a FloatingPointError."""
        z = self._latents(x)
        if not_finite({"z": z.data}):
            raise FloatingPointError("VQVAE has no codes for these images: its encoder gives NaN or infinity")
        return self.quantizer.encode(z)

    def decode(self, codes: np.ndarray, pixels: bool = False) -> np.ndarray:
        """Codes (N, *code_shape) -> the expected images (N, C, H, W); of 'rvq' also those of the first stages alone.

        pixels: draw images from p(x | z_q) in place of the expected ones.

        Raises TypeError unless they are integers, ValueError for other shapes and for codes out of range.
        """
        codes = self._check_codes(codes, prefix=True)
        with self.own_noise():
            return self.batched(lambda k: self._image(self._output(k), pixels), codes)

    def _output(self, codes: Tensor) -> Tensor:
        """Codes (N, *code_shape) -> the decoder's output. batched() gives them as floats, which are exact."""
        return self._decoded(self.quantizer.decode(codes.astype(np.int64)))

    def check_codes(self, codes: Any) -> np.ndarray:
        """codes as an array (N, *code_shape) of int64 in [0, quantizer.codes), or an error as decode() says."""
        return self._check_codes(codes, prefix=False)

    def _check_codes(self, codes: Any, prefix: bool) -> np.ndarray:
        """check_codes(); prefix: whether those of the first stages alone are enough."""
        codes = checks.array("codes", codes, "iu")
        whole, found = self.code_shape, codes.shape[1:]
        if prefix and len(found) == len(whole) == 3 and 1 <= found[0] <= whole[0]:
            whole = (found[0], *whole[1:])
        if found != whole:
            raise ValueError(f"codes must have shape (N, {', '.join(map(str, whole))}), got {codes.shape}")
        if codes.size and (codes.min() < 0 or codes.max() >= self.quantizer.codes):
            raise ValueError(f"codes must be in [0, {self.quantizer.codes}), got {codes.min()} to {codes.max()}")
        return codes.astype(np.int64, copy=False)

    def _uniform_cost(self, codes: np.ndarray) -> np.ndarray:
        """log K for each code of maps (N, *code_shape), (N,)."""
        return np.full(len(codes), prod(self.code_shape) * log(self.quantizer.codes))

    def bound(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> VQVAEBound:
        """The upper bound of -log p(x) and its parts, averaged over images (N, C, H, W).

        Raises ValueError for no images, and what encode() and code_cost() raise.
        """
        x = self.check_images(x)
        if not len(x):
            raise ValueError(f"bound needs at least one image, got shape {x.shape}")
        nll, codes = float(self._nll(x).mean()), float(self.code_cost(self.encode(x), prior, y).mean())
        return VQVAEBound(nll + codes, nll, codes, self.bits_per_dim(nll + codes))

    def _coded_nll(self, x: Tensor) -> Tensor:
        """-log p(x | k(x)) of images (N, C, H, W), in nats (N,)."""
        return self.observation.nll(self._output(self._codes(x)), x)
