"""The vector-quantised autoencoder (van den Oord, Vinyals & Kavukcuoglu 2017).

The latents are a small map of codes: the encoder makes a vector of each 4 x 4 pixels, a codebook of K vectors replaces
it by the nearest, and the decoder sees only that. With k(x) the map of chosen codes, and any prior P over such maps,

    log p(x) >= log p(x | k(x)) + log P(k(x)),

for p(x) is the sum of p(x | k) P(k) over all maps k, of which one term is left. So the bound has two parts: the
decoder's nll and the cost of the codes. Under the uniform prior of training a code costs log K nats whatever it is; an
autoregressive prior that is trained afterwards on the codes of the training images makes them cheaper, and samples.

Training minimises the mean over the images of nll + vq. nll is in nats per image. vq are the quantiser's terms (see
nn.quantizer), squared distances averaged over the latents of an image; it is zero where encoder and codebook agree, and
no part of the bound. The cost of the codes is constant there and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import ceil, log, prod
from typing import Any, NamedTuple, Protocol

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import Conv2d, ConvTranspose2d, Module, ReLU, Sequential
from minivae.nn.likelihoods import LIKELIHOODS
from minivae.nn.module import not_finite
from minivae.nn.networks import check_image_shape
from minivae.nn.quantizer import VectorQuantizer
from minivae.random import current_generator

from .base import Codec

STRIDE = 4  # of the encoder: two convolutions of stride 2
MOST_BLOCKS = 1000
VECTORS_PER_CODE = 64  # that k-means sees


class Prior(Protocol):
    """A distribution over maps of codes, trained by somebody else.

    Where it has an attribute codebook_digest that is not None, that must be the model's.
    """

    def sample(self, n: int, temperature: float = 1.0, y: Any = None) -> np.ndarray:
        """n maps (n, h, w) of integers; y: labels, for a conditional prior."""

    def score_samples(self, maps: np.ndarray, y: Any = None) -> np.ndarray:
        """log P of each map (N, h, w) in nats, (N,)."""


class VQVAELoss(NamedTuple):
    """Scalars, averaged over the batch: loss = nll + vq. nll in nats per image, without the cost of the codes."""

    loss: Tensor
    nll: Tensor
    vq: Tensor


class VQVAEBound(NamedTuple):
    """Averages over images: nats = nll + codes bounds -log p(x) from above; bits_per_dim is the same in other units."""

    nats: float
    nll: float
    codes: float
    bits_per_dim: float


class ResidualBlock(Module):
    """(N, C, h, w) -> the same: x + conv1x1(relu(conv3x3(relu(x))))."""

    def __init__(self, channels: int, inner: int) -> None:
        self.conv = Conv2d(channels, inner, 3, padding=1)
        self.project = Conv2d(inner, channels, 1)

    def forward(self, x: Any) -> Tensor:
        return x + self.project(F.relu(self.conv(F.relu(x))))


def vq_encoder(image_channels: int, channels: int, inner: int, blocks: int, code_dim: int) -> Sequential:
    """(N, C, H, W) -> (N, code_dim, H / 4, W / 4)."""
    return Sequential(
        Conv2d(image_channels, channels, 4, stride=2, padding=1),  # (N, channels, H / 2, W / 2)
        ReLU(),
        Conv2d(channels, channels, 4, stride=2, padding=1),  # (N, channels, H / 4, W / 4)
        *(ResidualBlock(channels, inner) for _ in range(blocks)),
        ReLU(),
        Conv2d(channels, code_dim, 1),
    )


def vq_decoder(image_channels: int, channels: int, inner: int, blocks: int, code_dim: int) -> Sequential:
    """(N, code_dim, H / 4, W / 4) -> (N, C, H, W): the encoder's mirror image."""
    return Sequential(
        Conv2d(code_dim, channels, 1),  # (N, channels, H / 4, W / 4)
        *(ResidualBlock(channels, inner) for _ in range(blocks)),
        ReLU(),
        ConvTranspose2d(channels, channels, 4, stride=2, padding=1),  # (N, channels, H / 2, W / 2)
        ReLU(),
        ConvTranspose2d(channels, image_channels, 4, stride=2, padding=1),
    )


class VQVAE(Codec):
    """Vector-quantised autoencoder over images.

    image_shape: (C, H, W), H and W multiples of 4. codes: K, the size of the codebook. code_dim: D, the length of a
    code. channels, residual_channels: of the convolutions and inside of the residual blocks; residual_blocks: in
    encoder and decoder each. likelihood: 'bernoulli' (pixels in [0, 1]) or 'gaussian' (one learned variance).
    update, commitment, decay, restart: see nn.VectorQuantizer. The others: see Estimator.

    The first fit() starts the codebook from the encoder's outputs for a sample of the training images, by k-means. The
    paper's decay is 0.99, for 250,000 steps; in the first hundred of a few hundred the encoder runs away from averages
    over so many steps.
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
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 128,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        sizes = {"codes": codes, "code_dim": code_dim, "channels": channels, "residual_channels": residual_channels}
        _check(image_shape, sizes, residual_blocks, likelihood)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.codes, self.code_dim, self.likelihood = codes, code_dim, likelihood
        self.channels, self.residual_channels, self.residual_blocks = channels, residual_channels, residual_blocks
        self.update, self.commitment, self.decay, self.restart = update, commitment, decay, restart
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    def build(self) -> None:
        """Encoder, quantiser, decoder and likelihood."""
        sizes = self.channels, self.residual_channels, self.residual_blocks, self.code_dim
        quantizing = self.update, self.commitment, self.decay, self.restart
        self.encoder = vq_encoder(int(self.image_shape[0]), *sizes)
        self.quantizer = VectorQuantizer(self.codes, self.code_dim, *quantizing)
        self.decoder = vq_decoder(int(self.image_shape[0]), *sizes)
        self.observation = LIKELIHOODS[self.likelihood]()
        self.unit_interval = self.observation.unit_interval

    @property
    def code_shape(self) -> tuple[int, int]:
        """(h, w): how many codes an image has."""
        return self.image_shape[1] // STRIDE, self.image_shape[2] // STRIDE

    @property
    def codebook_digest(self) -> str:
        """SHA-256 of the codebook: what a prior over its codes remembers, so as not to be used with another one."""
        codebook = self.quantizer.codebook.numpy()
        return sha256(f"{codebook.shape} {codebook.dtype.str}".encode() + codebook.tobytes()).hexdigest()

    # ---- the model ----

    def loss(self, x: Any) -> VQVAELoss:
        """The mean of nll + vq over images x (N, C, H, W)."""
        x = self.tensor(x)
        quantized = self.quantizer(self.encoder(x))
        nll = self.observation.nll(self.decoder(quantized.quantized), x).mean()
        return VQVAELoss(nll + quantized.loss, nll, quantized.loss)

    def prepare(self, x: np.ndarray) -> None:
        """Start the codebook from images (N, C, H, W), unless it has been trained.

        Raises ValueError if all images together have fewer latents than there are codes.
        """
        if self.quantizer.initialized.item():
            return
        wanted = ceil(VECTORS_PER_CODE * self.codes / prod(self.code_shape))
        chosen = np.argsort(current_generator().uniform((len(x),), np.float64), kind="stable")[:wanted]
        z = self.batched(self.encoder, x[chosen])  # (n, D, h, w)
        self.quantizer.initialize(z.transpose(0, 2, 3, 1).reshape(-1, self.code_dim))

    def begin_pass(self) -> None:
        self.quantizer.begin_pass()

    def end_pass(self) -> dict[str, float]:
        """perplexity of the codes, and usage, the share of them that were chosen at all, over the pass."""
        return self.quantizer.end_pass()

    # ---- plain arrays ----

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Images -> their codes (N, h, w), int64 in [0, codes)."""
        return self.batched(self._codes, self.check_images(x))

    def _codes(self, x: Tensor) -> Tensor:
        """FloatingPointError for NaN, to which some code is the nearest too."""
        z = self.encoder(x)
        if not_finite({"z": z.data}):
            raise FloatingPointError("VQVAE has no codes for these images: its encoder gives NaN or infinity")
        return self.quantizer.encode(z)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (N, h, w) -> the expected images (N, C, H, W).

        Raises TypeError unless they are integers, ValueError for another shape or for those out of range.
        """
        return self.batched(lambda k: self.observation.mean(self._output(k)), self.check_codes(codes))

    def _output(self, codes: Tensor) -> Tensor:
        """What the decoder makes of codes (N, h, w); batched() brings them as floats, which hold them exactly."""
        return self.decoder(self.quantizer.decode(codes.astype(np.int64)))

    def check_codes(self, codes: Any) -> np.ndarray:
        """codes as an array (N, h, w) of integers in [0, K), or an error as decode() says."""
        codes = checks.array("codes", codes, "iu")
        if codes.ndim != 3 or codes.shape[1:] != self.code_shape:
            h, w = self.code_shape
            raise ValueError(f"codes must have shape (N, {h}, {w}), got {codes.shape}")
        if codes.size and (codes.min() < 0 or codes.max() >= self.codes):
            raise ValueError(f"codes must be in [0, {self.codes}), got {codes.min()} to {codes.max()}")
        return codes.astype(np.int64, copy=False)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """decode(encode(x))."""
        return self.decode(self.encode(x))

    def sample(self, n: int, prior: Prior, temperature: float = 1.0, y: Any = None) -> np.ndarray:
        """n images (n, C, H, W): the decoder's means for maps of codes drawn from the prior.

        temperature: of the prior, below 1 for more likely maps. y: labels, for a conditional prior.
        Raises ValueError for n < 1, for a prior over the codes of another codebook, and for maps of another size.
        """
        checks.elements("an array of samples", (checks.integer("n", n, 1), *self.image_shape))
        self._check_prior(prior, "sample")
        return self.decode(prior.sample(n, temperature=temperature, **_labels(y)))

    def code_cost(self, codes: np.ndarray, prior: Prior | None = None, y: Any = None) -> np.ndarray:
        """-log P of maps of codes (N, h, w) in nats (N,): h w log K under the uniform prior, if none is given."""
        codes = self.check_codes(codes)
        if prior is None:
            if y is not None:
                raise ValueError(
                    f"labels y belong to a conditional prior, and there is no prior, got {checks.shown(y)}"
                )
            return np.full(len(codes), prod(self.code_shape) * log(self.codes))
        self._check_prior(prior, "score_samples")
        return -np.asarray(prior.score_samples(codes, **_labels(y)), np.float64)

    def score_samples(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> np.ndarray:
        """A lower bound of log p(x) of each image in nats (N,): -nll - cost of its codes."""
        return -self._nll(x) - self.code_cost(self.encode(x), prior, y)

    def bound(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> VQVAEBound:
        """The bound on -log p(x) and its parts, averaged over images."""
        x = self.check_images(x)
        if not len(x):
            raise ValueError(f"bound needs at least one image, got shape {x.shape}")
        nll, codes = float(self._nll(x).mean()), float(self.code_cost(self.encode(x), prior, y).mean())
        return VQVAEBound(nll + codes, nll, codes, self.bits_per_dim(nll + codes))

    def _nll(self, x: np.ndarray) -> np.ndarray:
        def nll(x: Tensor) -> Tensor:
            return self.observation.nll(self._output(self._codes(x)), x)

        return self.batched(nll, self.check_images(x)).astype(np.float64)

    def bits_per_dim(self, nats: float) -> float:
        """nats per image in bits per channel and pixel, see nn.likelihoods."""
        return self.observation.bits_per_dim(checks.number("nats", nats), tuple(self.image_shape))

    def _check_prior(self, prior: Prior, method: str) -> None:
        checks.offers("prior", prior, method)
        digest = getattr(prior, "codebook_digest", None)
        if digest is not None and digest != self.codebook_digest:
            raise ValueError(
                f"the prior was trained on the codes of another codebook ({digest[:12]}), not of this one "
                f"({self.codebook_digest[:12]})"
            )


def _labels(y: Any) -> dict[str, Any]:
    return {} if y is None else {"y": y}


def _check(image_shape: Sequence[int], sizes: dict[str, int], residual_blocks: int, likelihood: str) -> None:
    for name, size in zip(("height", "width"), check_image_shape(image_shape)[1:], strict=True):
        if size % STRIDE:
            below, above = size // STRIDE * STRIDE, (size // STRIDE + 1) * STRIDE
            nearest = f"{below} and {above}" if below else f"{above}"
            raise ValueError(f"image_shape: the {name} must be a multiple of {STRIDE}, got {size}; nearest: {nearest}")
    for name, size in sizes.items():
        checks.integer(name, size, 1)
    checks.integer("residual_blocks", residual_blocks, 0, most=MOST_BLOCKS)
    checks.choice("likelihood", likelihood, sorted(LIKELIHOODS))
