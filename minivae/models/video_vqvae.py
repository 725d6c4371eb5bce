"""A VQ-VAE of video, whose time runs forward only.

It is the VQ-VAE of vqvae.py, whose head says what its loss and its bound are, for clips of T frames. Each frame goes
through the convolutions of the encoder of images, and what lies at one position in all frames through convolutions over
time, which are causal (nn/conv1d.py). No convolution is three-dimensional. A frame becomes a map of codes:

    x (T, C, H, W)  ->  z_e(x) (D, T, H/4, W/4)  ->  codes k(x) (T, H/4, W/4)  ->  z_q(x)  ->  p(x | z_q(x))

For example 8 frames of 32 x 32 pixels have 8 x 8 x 8 = 512 codes, and with K = 32 codes they cost 512 log 32 = 1774
nats under a uniform prior.

**Causal.** The codes of frame t depend on the frames up to t, and the decoded frame t on the codes up to t:

    k_t = k(x_1, ..., x_t),        x_hat_t = x_hat(k_1, ..., k_t).

So what is decoded does not change when more frames follow, a clip can be continued from its first frames, and the
networks take clips of any length: before the first frame there are zeros. Each of the blocks has a residual block of
3 x 3 convolutions in the frame and one of a causal convolution over time, whose taps are `dilation` frames apart:

    x_t + W_2 relu(W_1 * relu(x))_t        W_1 reads the frames t, t - dilation, ..., t - (K - 1) dilation.

The dilation is 1 in the first block and doubles with each: with kernels of K = 3, two blocks see 6 frames back, in
the encoder and in the decoder. A code need not say again what the codes of earlier frames have said: where a thing
moves, the decoder has it from there.

**Motion.** With K = 1 each frame is coded and decoded by itself. Then a thing that moves by whole places moves its
codes, and a prior has little to learn: see pixelcnn_motion.py. Two things help that these codes are the same ones. The
encoder has no biases: black is 0 in all of its layers, as what it finds beyond the edges is, so that the same black has
the same code everywhere. And `encoder_blocks` may be less than `blocks`: with none, a code sees 10 x 10 pixels, and
what a code sees of a thing is less often cut by an edge.

**The prior** of the codes goes frame by frame, P(k) = prod_t P(k_t | k_t-1, k_t-2): see video_prior.py.

To the quantiser the T maps of a clip are one map, the frames below each other: (N, D, T h, w).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.batches import images_as_floats, range_text
from minivae.data.lazy import lazy_images
from minivae.kernels import checks
from minivae.nn import CausalConv1d, Conv1d, Conv2d, ConvTranspose2d, Module, ReLU, Sequential
from minivae.nn.networks import check_image_shape

from .arrays import shaped
from .codes import MOST_BLOCKS, Prior, check_multiples
from .vqvae import STRIDE, VQVAE, ResidualBlock

# The likelihoods that have one output for each pixel, wherever the channels are; a logistic mixture has several.
PIXEL_BY_PIXEL = ("bernoulli", "continuous-bernoulli", "gaussian")


class PerFrame(Module):
    """(N, T, C, H, W) -> (N, T, C', H', W'): layers of images, applied to each frame alone."""

    def __init__(self, *layers: Module) -> None:
        self.layers = Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        N, T = x.shape[:2]
        y = self.layers(F.reshape(x, (N * T, *x.shape[2:])))
        return F.reshape(y, (N, T, *y.shape[1:]))


class TimeBlock(Module):
    """(N, T, C, h, w) -> the same: x + conv1(relu(causal(relu(x)))), along time, for each position (i, j) alone."""

    def __init__(self, channels: int, inner: int, kernel: int, dilation: int, bias: bool) -> None:
        self.conv = CausalConv1d(channels, inner, kernel, dilation, bias=bias)
        self.project = Conv1d(inner, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        N, T, C, h, w = x.shape
        signals = F.reshape(F.transpose(x, (0, 3, 4, 2, 1)), (N * h * w, C, T))
        y = self.project(F.relu(self.conv(F.relu(signals))))
        return x + F.transpose(F.reshape(y, (N, h, w, C, T)), (0, 4, 3, 1, 2))


def _blocks(channels: int, inner: int, blocks: int, kernel: int, bias: bool) -> list[Module]:
    """Make residual blocks in the frame and over time in turns."""
    layers: list[Module] = []
    for i in range(blocks):
        layers += [PerFrame(ResidualBlock(channels, inner, bias)), TimeBlock(channels, inner, kernel, 2**i, bias)]
    return layers


class Encoder(Module):
    """Clips (N, T, C, H, W) -> z_e (N, D, T h, w), h = H / 4 and w = W / 4."""

    def __init__(self, colours: int, channels: int, inner: int, blocks: int, kernel: int, dim: int) -> None:
        first = Conv2d(colours, channels, 4, stride=2, padding=1, bias=False)  # (N T, channels, H / 2, W / 2)
        second = Conv2d(channels, channels, 4, stride=2, padding=1, bias=False)  # (N T, channels, H / 4, W / 4)
        last = PerFrame(ReLU(), Conv2d(channels, dim, 1, bias=False))  # (N, T, D, h, w)
        between = _blocks(channels, inner, blocks, kernel, bias=False)
        self.layers = Sequential(PerFrame(first, ReLU(), second), *between, last)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5:
            raise ValueError(f"clips must have shape (N, T, C, H, W), got {x.shape}")
        z = self.layers(x)
        N, T, D, h, w = z.shape
        return F.reshape(F.transpose(z, (0, 2, 1, 3, 4)), (N, D, T * h, w))


class Decoder(Module):
    """z_q (N, D, T h, w) -> logits or means (N, T, C, H, W): the encoder's mirror image."""

    def __init__(self, colours: int, channels: int, inner: int, blocks: int, kernel: int, dim: int, rows: int) -> None:
        self.rows = rows  # h
        first = PerFrame(Conv2d(dim, channels, 1))  # (N, T, channels, h, w)
        up = ConvTranspose2d(channels, channels, 4, stride=2, padding=1)  # (N T, channels, H / 2, W / 2)
        last = ConvTranspose2d(channels, colours, 4, stride=2, padding=1)  # (N T, C, H, W)
        self.layers = Sequential(
            first, *_blocks(channels, inner, blocks, kernel, bias=True), PerFrame(ReLU(), up, ReLU(), last)
        )

    def forward(self, z: Tensor) -> Tensor:
        N, D, rows, w = z.shape
        maps = F.reshape(z, (N, D, rows // self.rows, self.rows, w))
        return self.layers(F.transpose(maps, (0, 2, 1, 3, 4)))


class VideoVQVAE(VQVAE):
    """Vector-quantised autoencoder over clips (N, T, C, H, W).

    image_shape: (T, C, H, W), at least two frames, H and W multiples of 4. codes, code_dim: K and D. channels,
    residual_channels: of the convolutions and inside of the blocks. blocks: how many pairs of a residual block in the
    frame and one over time the decoder has, encoder_blocks: the encoder. time_kernel: K of the convolutions over time.
    likelihood: 'bernoulli', 'continuous-bernoulli' or 'gaussian'. The others: see VQVAE, nn.VectorQuantizer and
    Estimator.

    fit(), loss(), score_samples() and bound() take clips of T frames; encode(), decode() and reconstruct() also of
    more or fewer. Raises TypeError and ValueError for arguments of other types and ranges.
    """

    evaluation_batch = 32

    def __init__(
        self,
        image_shape: Sequence[int] = (8, 1, 32, 32),
        codes: int = 32,
        code_dim: int = 16,
        channels: int = 64,
        residual_channels: int = 32,
        blocks: int = 2,
        encoder_blocks: int = 2,
        time_kernel: int = 3,
        likelihood: str = "bernoulli",
        update: str = "ema",
        commitment: float = 0.25,
        decay: float = 0.95,
        restart: float = 0.05,
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 16,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        self.blocks = checks.integer("blocks", blocks, 0, most=MOST_BLOCKS)
        self.encoder_blocks = checks.integer("encoder_blocks", encoder_blocks, 0, most=MOST_BLOCKS)
        self.time_kernel = checks.integer("time_kernel", time_kernel, 1)
        checks.choice("likelihood", likelihood, PIXEL_BY_PIXEL)
        super().__init__(
            image_shape,
            codes=codes,
            code_dim=code_dim,
            channels=channels,
            residual_channels=residual_channels,
            likelihood=likelihood,
            update=update,
            commitment=commitment,
            decay=decay,
            restart=restart,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            random_state=random_state,
            warm_start=warm_start,
        )

    def _check_shape(self, image_shape: Sequence[int]) -> None:
        """Raise ValueError unless image_shape is (T, C, H, W) with at least two frames."""
        T, *frame = checks.integers("image_shape (T, C, H, W)", image_shape, 1, count=4)
        if T < 2:
            raise ValueError(f"a clip must have at least 2 frames, got image_shape {tuple(image_shape)}")
        check_image_shape(frame)

    def _check_sizes(self, image_shape: Sequence[int]) -> None:
        """Raise ValueError unless H and W are multiples of the strides."""
        check_multiples(image_shape[1:], STRIDE)

    def _make_encoder(self) -> Encoder:
        return Encoder(*self._sizes(), self.encoder_blocks, self.time_kernel, self.code_dim)

    def _make_decoder(self) -> Decoder:
        return Decoder(*self._sizes(), self.blocks, self.time_kernel, self.code_dim, self.frame_map[0])

    def _sizes(self) -> tuple[int, int, int]:
        """Return the colours of a frame, and the channels outside and inside of the residual blocks."""
        return int(self.image_shape[1]), self.channels, self.residual_channels

    @property
    def frames(self) -> int:
        """T."""
        return int(self.image_shape[0])

    @property
    def frame_map(self) -> tuple[int, int]:
        """(h, w), the size of the map of codes of a frame."""
        H, W = map(int, self.image_shape[2:])
        return H // STRIDE, W // STRIDE

    @property
    def map_size(self) -> tuple[int, int]:
        """(T h, w), the size of the latents of a clip as the quantiser gets them."""
        h, w = self.frame_map
        return self.frames * h, w

    @property
    def output_shape(self) -> tuple[int, ...]:  # type: ignore[override] # of clips
        """(T, C, H, W), the shape of the decoder's output for a clip."""
        return tuple(map(int, self.image_shape))

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(T, h, w), the shape of the codes of a clip."""
        return (self.frames, *self.frame_map)

    # ---- the model; loss() is that of VQVAE ----

    def _codes(self, x: Tensor) -> Tensor:
        codes = super()._codes(x)  # (N, T h, w)
        return F.reshape(codes, (len(codes), x.shape[1], *self.frame_map))

    def _output(self, codes: Tensor) -> Tensor:
        N, T, h, w = codes.shape
        return super()._output(F.reshape(codes, (N, T * h, w)))

    def _decoded(self, z: Tensor) -> Tensor:
        return shaped("decoder", self.decoder(z), len(z), "T", *self.image_shape[1:])

    # ---- plain arrays ----

    def check_images(self, x: Any) -> np.ndarray:
        """Return clips x as (N, T, C, H, W) in the model's dtype.

        Raises TypeError unless they are floating numbers, ValueError for other shapes, for NaN or infinity, and for
        pixels outside [0, 1] where the likelihood needs them inside.
        """
        x = self.check_clips(x)
        if x.shape[1] != self.frames:
            raise ValueError(f"clips must have {self.frames} frames, got {x.shape[1]}, shape {x.shape}")
        return x

    def check_clips(self, x: Any) -> np.ndarray:
        """Return check_images(x) for clips with any number of frames."""
        lazy = lazy_images(x)
        x = images_as_floats(x) if lazy is None else lazy
        if x.ndim != 5 or x.shape[2:] != tuple(self.image_shape[1:]) or not x.shape[1]:
            wanted = ", ".join(map(str, map(int, self.image_shape[1:])))
            raise ValueError(f"clips must have shape (N, T, {wanted}), got {x.shape}")
        if lazy is not None:
            return lazy.checked(self.check_clips, x.shape[1:], self.parameters()[0].dtype)
        with np.errstate(over="ignore"):  # numbers beyond the model's dtype become infinite, which is reported
            x = x.astype(self.parameters()[0].dtype, copy=False)
        checks.check_finite(x, "clips")
        if self.unit_interval and x.size and (x.min() < 0 or x.max() > 1):
            given = range_text(x.min(), x.max())
            raise ValueError(f"pixels must lie in [0, 1], got {given}; likelihood='gaussian' takes any")
        return x

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return the codes (N, T, h, w), int64 in [0, K), of clips (N, T, C, H, W) of any T.

        Raises TypeError and ValueError as check_clips() does, FloatingPointError for an encoder that gives NaN.
        """
        return self.batched(self._codes, self.check_clips(x))

    def _check_codes(self, codes: Any, prefix: bool) -> np.ndarray:
        """Return codes (N, T, h, w) as int64, of any T: prefix or not."""
        codes = checks.array("codes", codes, "iu")
        h, w = self.frame_map
        if codes.ndim != 4 or codes.shape[2:] != (h, w) or not codes.shape[1]:
            raise ValueError(f"codes must have shape (N, T, {h}, {w}), got {codes.shape}")
        if codes.size and (codes.min() < 0 or codes.max() >= self.codes):
            raise ValueError(f"codes must be in [0, {self.codes}), got {codes.min()} to {codes.max()}")
        return codes.astype(np.int64, copy=False)

    def _uniform_cost(self, codes: np.ndarray) -> np.ndarray:
        """Return log K for each code of clips (N, T, h, w), (N,)."""
        return np.full(len(codes), prod(codes.shape[1:]) * log(self.codes))

    def continued(self, x: np.ndarray, prior: Prior, count: int = 1, temperature: float = 1.0) -> np.ndarray:
        """Draw the `count` frames that may follow clips x (N, T, C, H, W) of any T: (N, count, C, H, W).

        Their codes are drawn from the prior given those of x, and all are decoded together. Raises what encode()
        raises, TypeError for a prior that continues nothing, and ValueError as sample() does.
        """
        x, count = self.check_clips(x), checks.integer("count", count, 1)
        if not len(x):
            raise ValueError(f"there are no clips to continue, got shape {x.shape}")
        self._check_prior(prior, "continue_codes")
        codes = prior.continue_codes(self.encode(x), count, temperature)  # type: ignore[attr-defined] # checked above
        return self.decode(codes)[:, -count:]
