"""The VQ-VAE with two levels of codes, VQ-VAE-2 (Razavi, van den Oord & Vinyals 2019).

A VQ-VAE (vqvae.py) has one map of codes. Here are two of them: the bottom map, as large as that of the VQ-VAE, and the
top map, half as high and half as wide. For 28 x 28 pixels and stride 4 these are 7 x 7 and 3 x 3 codes. A top code sees
more of the image, and what large parts of it have in common need not be said by every bottom code again.

    x (C, H, W)  ->  h (channels, H/4, W/4)
    h            ->  top codes (H/8, W/8)      ->  e_top (D, H/8, W/8)        e_top = Q(E_top(h))
    h, e_top     ->  bottom codes (H/4, W/4)   ->  e_bottom (D, H/4, W/4)     e_bottom = Q(E_bottom(h, e_top))
    e_top, e_bottom  ->  p(x | e_top, e_bottom)

This is algorithm 1 of the paper. The top is quantised first, then decoded to the size of h and joined with it before
the bottom is quantised. So the bottom encoder knows what the top codes say already, and can say the rest. The decoder
sees both, the top enlarged to the size of the bottom.

**The loss** is that of the VQ-VAE with the terms of both quantisers (equation 2, which the paper writes for one level):

    -log p(x | e_top, e_bottom)  +  vq_top  +  vq_bottom,     vq = ||sg[z] - e||^2 + commitment ||z - sg[e]||^2.

**The bound.** With a prior over the top maps and one over the bottom maps given the top (vqvae2_prior.py),

    -log p(x)  <=  -log p(x | codes)  -  log P(top)  -  log P(bottom | top):

nll + nats of the top + nats of the bottom, by the same argument as in vqvae.py. Under uniform priors a map costs log K
for each code. With 49 bottom codes out of 8 and 9 top codes out of 16 that is 49 log 8 + 9 log 16 = 101.9 + 25.0 nats.

**What each level holds.** Nothing in the loss makes the decoder use the top. If the bottom codes suffice, the top may
well hold nothing: its codes cost nats, and the images do not change with them. To see it, nll_without() replaces the
codes of one level by their mean vector and gives the nll of the same images. Where this is the nll of both levels, the
level that was replaced is idle. Measured on the embedded images: with 2 bottom and 16 top codes the nll of 234 nats
becomes 357 without the top and 303 without the bottom. On 64 x 64 photographs with 128 codes in each, after ten epochs,
5698 becomes 5839 without the top and 7424 without the bottom, which holds nearly all. Fewer bottom codes move more into
the top: without the top, the embedded images' nll rises by 60 nats with 4 bottom codes and by 161 with 2 (64 top
codes). With one top code, `top_codes=1`, the top holds nothing and costs nothing, and the model is a VQ-VAE.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from math import ceil, log, prod
from typing import Any, NamedTuple

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.kernels import checks
from minivae.nn import Conv2d, ConvTranspose2d, Module, ReLU, Sequential, VectorQuantizer
from minivae.nn.module import not_finite
from minivae.nn.networks import check_image_shape
from minivae.random import current_generator

from .codes import CodeModel, check_multiples, check_networks
from .vqvae import ResidualBlock
from .vqvae2_prior import Codes, LevelPrior, check_pair

STRIDES = (2, 4, 8, 16)
LEVELS = ("top", "bottom")


class VQVAE2Loss(NamedTuple):
    """Scalars, averaged over the batch: loss = nll + vq_top + vq_bottom.

    nll is in nats per image, without the cost of the codes. vq_top and vq_bottom are the terms of the two quantisers,
    squared distances per latent.
    """

    loss: Tensor
    nll: Tensor
    vq_top: Tensor
    vq_bottom: Tensor


class VQVAE2Bound(NamedTuple):
    """Averages over images in nats: nats = nll + top + bottom is at least -log p(x).

    top is -log P of the top map, bottom -log P of the bottom map given the top. bits_per_dim is `nats` in bits per
    channel and pixel.
    """

    nats: float
    nll: float
    top: float
    bottom: float
    bits_per_dim: float


class VQVAE2(CodeModel):
    """Vector-quantised autoencoder over images with a top and a bottom map of codes.

    image_shape: (C, H, W), H and W multiples of the stride. codes, top_codes: the sizes of the two codebooks. code_dim:
    D, the length of their vectors. stride: 2, 4, 8 or 16; the bottom map is (H / stride, W / stride), and the top map
    half of that, rounded down. channels: of all convolutions but those inside of the residual blocks, which have
    residual_channels. residual_blocks: how many each encoder and decoder has. likelihood, update, commitment, decay,
    restart: as for VQVAE. See Estimator for the rest. Raises TypeError and ValueError for arguments of other types and
    ranges.

    Codes are a pair: Codes(top (N, h', w'), bottom (N, h, w)).
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        codes: int = 256,
        top_codes: int = 256,
        code_dim: int = 16,
        stride: int = 4,
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
        check_image_shape(image_shape)
        check_stride(image_shape, checks.integer("stride", stride))
        sizes = {"codes": codes, "top_codes": top_codes, "code_dim": code_dim, "channels": channels}
        check_networks({**sizes, "residual_channels": residual_channels}, residual_blocks, likelihood, self.likelihoods)
        self.image_shape = image_shape  # type: ignore[assignment] # as given, for scikit-learn's clone
        self.codes, self.top_codes, self.code_dim, self.stride = codes, top_codes, code_dim, stride
        self.channels, self.residual_channels, self.residual_blocks = channels, residual_channels, residual_blocks
        self.likelihood, self.update, self.commitment = likelihood, update, commitment
        self.decay, self.restart = decay, restart
        super().__init__(epochs, lr, batch_size, random_state, warm_start)

    @property
    def code_shape(self) -> tuple[int, int]:
        """(h, w), the size of the bottom map."""
        _, H, W = self.image_shape
        return int(H) // self.stride, int(W) // self.stride

    @property
    def top_shape(self) -> tuple[int, int]:
        """(h // 2, w // 2), the size of the top map."""
        h, w = self.code_shape
        return h // 2, w // 2

    def build(self) -> None:
        """Encoders, quantisers, decoders and likelihood, in the order in which an image meets them."""
        C, channels, D = int(self.image_shape[0]), self.channels, self.code_dim
        strides = int(self.stride).bit_length() - 1  # how many convolutions of stride 2
        self.encoder = Sequential(*_halving([C, *[channels] * strides]), *self._blocks(), ReLU())
        self.encoder_top = Sequential(*_halving([channels] * 2), *self._blocks(), ReLU(), Conv2d(channels, D, 1))
        self.quantizer_top = self._quantizer(self.top_codes)
        self.decoder_top = Sequential(Conv2d(D, channels, 1), *self._blocks(), ReLU(), self._enlarging(channels))
        self.to_bottom = Conv2d(2 * channels, D, 1)
        self.quantizer_bottom = self._quantizer(self.codes)
        self.enlarge_top = self._enlarging(D)
        widths = [*[channels] * strides, self.output_shape[0]]
        self.decoder = Sequential(Conv2d(2 * D, channels, 1), *self._blocks(), ReLU(), *_doubling(widths))
        self.build_observation()

    def _blocks(self) -> list[Module]:
        return [ResidualBlock(self.channels, self.residual_channels) for _ in range(self.residual_blocks)]

    def _quantizer(self, codes: int) -> VectorQuantizer:
        return VectorQuantizer(codes, self.code_dim, self.update, self.commitment, self.decay, self.restart)

    def _enlarging(self, channels: int) -> ConvTranspose2d:
        """(N, channels, h // 2, w // 2) -> (N, channels, h, w), also for odd h and w."""
        h, w = self.code_shape
        return ConvTranspose2d(channels, channels, 4, stride=2, padding=1, output_padding=(h % 2, w % 2))

    # ---- the model ----

    def loss(self, x: Any) -> VQVAE2Loss:
        """The loss above, averaged over images x (N, C, H, W); in training mode the codebooks learn from them too."""
        x = self.tensor(x)  # (N, C, H, W)
        h = self.encoder(x)  # (N, channels, h, w)
        top = self.quantizer_top(self.encoder_top(h))  # top.quantized (N, D, h // 2, w // 2) is e_top
        bottom = self.quantizer_bottom(self._bottom_latents(h, top.quantized))  # bottom.quantized (N, D, h, w)
        nll = self.observation.nll(self._output(top.quantized, bottom.quantized), x).mean()  # ()
        return VQVAE2Loss(nll + top.loss + bottom.loss, nll, top.loss, bottom.loss)

    def _bottom_latents(self, h: Tensor, e_top: Tensor) -> Tensor:
        """E_bottom(h, e_top): (N, channels, h, w) and (N, D, h // 2, w // 2) -> (N, D, h, w)."""
        return self.to_bottom(F.cat([h, self.decoder_top(e_top)], axis=1))

    def _output(self, e_top: Tensor, e_bottom: Tensor) -> Tensor:
        """The decoder's output (N, *output_shape) for e_top (N, D, h // 2, w // 2) and e_bottom (N, D, h, w)."""
        return self._decoded(F.cat([e_bottom, self.enlarge_top(e_top)], axis=1))

    def prepare(self, x: np.ndarray) -> None:
        """Start both codebooks from the latents of images (N, C, H, W), unless they have been trained.

        Raises ValueError if all images together have fewer latents than there are codes.
        """
        for quantizer, latents, shape in (
            (self.quantizer_top, lambda x: self.encoder_top(self.encoder(x)), self.top_shape),
            (self.quantizer_bottom, lambda x: self._all_latents(x)[1], self.code_shape),
        ):
            wanted = ceil(quantizer.vectors_wanted() / prod(shape))
            if not wanted:
                continue
            chosen = np.argsort(current_generator().uniform((len(x),), np.float64), kind="stable")[:wanted]
            z = self.batched(latents, x[chosen])  # (n, D, h, w)
            quantizer.initialize(z.transpose(0, 2, 3, 1).reshape(-1, self.code_dim))

    def _all_latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What both quantisers get: images (N, C, H, W) -> (N, D, h // 2, w // 2) and (N, D, h, w)."""
        h = self.encoder(x)
        top = self.encoder_top(h)
        return top, self._bottom_latents(h, self.quantizer_top.decode(self.quantizer_top.encode(top)))

    def begin_pass(self) -> None:
        """Called by the training before each pass over data."""
        self.quantizer_top.begin_pass()
        self.quantizer_bottom.begin_pass()

    def end_pass(self) -> dict[str, float]:
        """Of the pass that ends: perplexity and usage of both codebooks, as perplexity_top, usage_top, ..._bottom."""
        top, bottom = self.quantizer_top.end_pass(), self.quantizer_bottom.end_pass()
        return {**{f"{k}_top": v for k, v in top.items()}, **{f"{k}_bottom": v for k, v in bottom.items()}}

    # ---- plain arrays ----

    @property
    def codebook_digest(self) -> str:
        """SHA-256 of both codebooks in hexadecimal. A prior keeps it, so that it is not used with other codes."""
        found = sha256()
        for quantizer in (self.quantizer_top, self.quantizer_bottom):
            codebook = quantizer.codebook.numpy()
            found.update(f"{codebook.shape} {codebook.dtype.str}".encode() + codebook.tobytes())
        return found.hexdigest()

    def encode(self, x: np.ndarray) -> Codes:  # type: ignore[override] # a pair of arrays
        """Images (N, C, H, W) -> Codes(top (N, h // 2, w // 2), bottom (N, h, w)), int64.

        Raises TypeError and ValueError for images as check_images() does, FloatingPointError for an encoder that gives
        NaN or infinity.
        """
        return self._parted(self.batched(self._flat_codes, self.check_images(x)))

    def _flat_codes(self, x: Tensor) -> Tensor:
        """Both maps of codes in one row for each image: (N, C, H, W) -> (N, h' w' + h w)."""
        top, bottom = self._all_latents(x)
        if not_finite({"top": top.data, "bottom": bottom.data}):
            raise FloatingPointError("VQVAE2 has no codes for these images: its encoder gives NaN or infinity")
        maps = self.quantizer_top.encode(top), self.quantizer_bottom.encode(bottom)
        return F.cat([F.reshape(k, (len(x), prod(k.shape[1:]))) for k in maps], axis=1)

    def _parted(self, flat: Any) -> Any:
        """The two maps in rows as _flat_codes() makes them, arrays or Tensors."""
        count = prod(self.top_shape)
        return Codes(
            flat[:, :count].reshape((len(flat), *self.top_shape)),
            flat[:, count:].reshape((len(flat), *self.code_shape)),
        )

    def decode(self, z: Any, without: str | None = None, pixels: bool = False) -> np.ndarray:
        """Codes (top, bottom) -> the expected images (N, C, H, W).

        without: 'top' or 'bottom' puts the mean vector of that codebook, weighted by use, in the place of its codes;
        this shows what the other level holds. pixels: draw images from p(x | z) in place of the expected ones. Raises
        TypeError unless codes are a pair of arrays of integers, ValueError for other shapes, for codes out of range and
        for another `without`.
        """
        top, bottom = self.check_codes(z)
        _check_level(without)
        flat = np.concatenate([k.reshape(len(k), prod(k.shape[1:])) for k in (top, bottom)], axis=1)
        with self.own_noise():
            return self.batched(lambda k: self._image(self._output(*self._vectors(k, without)), pixels), flat)

    def _vectors(self, flat: Tensor, without: str | None = None) -> list[Tensor]:
        """Rows of codes as _flat_codes() makes them -> e_top (N, D, h // 2, w // 2) and e_bottom (N, D, h, w)."""
        found = []
        quantizers = self.quantizer_top, self.quantizer_bottom
        for level, quantizer, codes in zip(LEVELS, quantizers, self._parted(flat.astype(np.int64)), strict=True):
            e = quantizer.decode(codes)
            if level == without:
                counts = quantizer.counts.data[:, None]  # (K, 1)
                mean = (counts * quantizer.codebook.data).sum(axis=0) / counts.sum()  # (D,)
                e = F.broadcast_to(Tensor.wrap(mean.reshape(1, self.code_dim, 1, 1)), e.shape)
            found.append(e)
        return found

    def check_codes(self, codes: Any) -> Codes:
        """codes as Codes of int64 arrays, or an error as decode() says."""
        top, bottom = check_pair(codes)
        top = _check_map("top", top, self.top_shape, self.top_codes)
        bottom = _check_map("bottom", bottom, self.code_shape, self.codes)
        if len(top) != len(bottom):
            raise ValueError(f"codes must be of as many images in both levels, got {len(top)} and {len(bottom)}")
        return Codes(top, bottom)

    # ---- the bound ----

    def _uniform_cost(self, codes: Codes) -> np.ndarray:
        return sum(self._uniform_costs(codes))  # type: ignore[return-value] # of arrays

    def _uniform_costs(self, codes: Codes) -> tuple[np.ndarray, np.ndarray]:
        """-log P of both maps under uniform priors, (N,) each."""
        N = len(codes.top)
        top, bottom = prod(self.top_shape) * log(self.top_codes), prod(self.code_shape) * log(self.codes)
        return np.full(N, top), np.full(N, bottom)

    def level_costs(self, codes: Any, prior: LevelPrior | None = None, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """-log P of the top maps and -log P of the bottom maps given the top, in nats, (N,) each.

        prior: None is uniform. Their sum is code_cost(), which says what is raised.
        """
        codes = self.check_codes(codes)
        if self._uniform(prior, y) or prior is None:
            return self._uniform_costs(codes)
        self._check_prior(prior, "score_levels")
        top, bottom = prior.score_levels(codes, y)
        return -top, -bottom

    def bound(self, x: np.ndarray, prior: LevelPrior | None = None, y: Any = None) -> VQVAE2Bound:
        """The upper bound of -log p(x) and its parts, averaged over images (N, C, H, W).

        Raises ValueError for no images, and what encode() and code_cost() raise.
        """
        x = self.check_images(x)
        if not len(x):
            raise ValueError(f"bound needs at least one image, got shape {x.shape}")
        nll = float(self._nll(x).mean())
        top, bottom = (float(cost.mean()) for cost in self.level_costs(self.encode(x), prior, y))
        nats = nll + top + bottom
        return VQVAE2Bound(nats, nll, top, bottom, self.bits_per_dim(nats))

    def _coded_nll(self, x: Tensor) -> Tensor:
        return self._nll_of(x, None)

    def nll_without(self, x: np.ndarray, level: str) -> float:
        """The mean nll of images (N, C, H, W) in nats, the codes of 'top' or 'bottom' replaced as decode() does.

        Raises ValueError for another level and for no images, and what encode() raises.
        """
        x = self.check_images(x)
        _check_level(checks.choice("level", level, LEVELS))
        if not len(x):
            raise ValueError(f"nll_without needs at least one image, got shape {x.shape}")
        return float(self.batched(lambda x: self._nll_of(x, level), x).mean(dtype=np.float64))

    def _nll_of(self, x: Tensor, without: str | None) -> Tensor:
        """-log p(x | codes) of images (N, C, H, W), in nats (N,)."""
        return self.observation.nll(self._output(*self._vectors(self._flat_codes(x), without)), x)


def _halving(channels: Sequence[int]) -> list[Module]:
    """4 x 4 convolutions of stride 2 with ReLUs between them, but none after the last."""
    layers: list[Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [Conv2d(inputs, outputs, 4, stride=2, padding=1), ReLU()]
    return layers[:-1]


def _doubling(channels: Sequence[int]) -> list[Module]:
    """Transposed 4 x 4 convolutions of stride 2 with ReLUs between them, but none after the last."""
    layers: list[Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), ReLU()]
    return layers[:-1]


def _check_level(without: Any) -> None:
    if without is not None:
        checks.choice("without", without, LEVELS)


def _check_map(name: str, codes: Any, shape: tuple[int, int], count: int) -> np.ndarray:
    """A map of codes (N, *shape) in [0, count) as int64."""
    codes = checks.array(f"the {name} codes", codes, "iu")
    if codes.ndim != 3 or codes.shape[1:] != shape:
        raise ValueError(f"the {name} codes must have shape (N, {shape[0]}, {shape[1]}), got {codes.shape}")
    if codes.size and (codes.min() < 0 or codes.max() >= count):
        raise ValueError(f"the {name} codes must be in [0, {count}), got {codes.min()} to {codes.max()}")
    return codes.astype(np.int64, copy=False)


def check_stride(image_shape: Sequence[int], stride: int) -> None:
    """ValueError unless the stride is one of STRIDES, H and W are multiples of it and leave a top map."""
    if stride not in STRIDES:
        raise ValueError(f"stride must be one of {', '.join(map(str, STRIDES))}, got {stride}")
    check_multiples(image_shape, stride)
    if min(image_shape[1:]) < 2 * stride:
        raise ValueError(
            f"image_shape: a top map needs images of at least {2 * stride} x {2 * stride}, got {image_shape}"
        )
