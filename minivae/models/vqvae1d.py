"""The VQ-VAE of waveforms (van den Oord, Vinyals & Kavukcuoglu 2017, section 4.3).

It is the VQ-VAE of vqvae.py, whose head says what its loss and its bound are, with one-dimensional convolutions. A
waveform x of T samples becomes a sequence of codes, each of which stands for S samples, the product of the strides:

    x (1, T)  ->  z_e(x) (D, T/S)  ->  codes k(x) (T/S)  ->  z_q(x) (D, T/S)  ->  p(x | z_q(x), y)

With K codes at a sampling rate of R samples a second that is R / S log2 K bits a second. For example R = 8000, S = 32
and K = 256 make 250 codes of 8 bits each second, 2,000 bits a second; 8-bit mu-law takes 64,000.

**The speaker.** The decoder is told the label y of the waveform, its speaker or class, and the encoder is not. What y
says need not be said by the codes again, so they keep what the speakers share, and decode(k(x), y=other) has the
content of x in another voice. The label adds a bias for each channel in each residual block of the decoder, as in
WaveNet (van den Oord et al. 2016, section 2.5, global conditioning). How much of the voice the codes leave out is a
question of their number. This decoder has to be told when each pulse of the voice comes, so they hold the pitch.

**The decoder** of the paper is a WaveNet, which draws one sample after the other given all before. That takes a pass
for each sample and is too slow for a CPU. This decoder is a stack of transposed convolutions, all samples at once. What
it cannot know from the codes, such as the noise of an s, it can but average: its mean is silence there, and its
reconstructions sound muffled. A WaveNet would draw some noise in its place.

**The likelihood** is by default Gaussian with one trained variance, in nats for the density of samples in [-1, 1]. A
waveform has thousands of samples, and the gradient of their nll grows as the variance falls. The commitment term of
equation 3 has to hold the encoder against it, hence its weight of 100: with the 0.25 of images the encoder runs away
from the codes. The other likelihood is a categorical distribution over the 256 levels of 8-bit mu-law, the one of
WaveNet, in nats that are code lengths (nn/mu_law.py).

A waveform has the shape (1, 1, T), that of an image of one row, and its codes (1, T/S), so that what is written for
images and their maps works here. The prior of the codes is a WaveNet (wavenet.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log2, prod
from typing import Any

import numpy as np

from minivae import ops as F
from minivae.autograd import Tensor
from minivae.data.lazy import LazyArray
from minivae.kernels import checks
from minivae.nn import Conv1d, ConvTranspose1d, Module, ModuleList, ReLU, Sequential, init
from minivae.nn.likelihoods import Gaussian
from minivae.nn.mu_law import MuLaw
from minivae.ops.linear import Embedding as Lookup

from .arrays import shaped
from .vqvae import VQVAE, Prior, VQVAEBound, VQVAELoss

STEPS_16_BIT = 2**15  # of a 16-bit sample, for each unit of a waveform in [-1, 1]
FIRST_SIGMA, LEAST_SIGMA = 0.1, 1e-3  # of the likelihood
COMMITMENT = 100.0  # unless given
SPEED = 10.0  # of log sigma^2 in training: Adam moves a number by about lr a step, and this one has a long way to go


class DilatedBlock(Module):
    """(N, C, L) -> the same: x + conv1(relu(conv3(relu(x)) + V y)), whose conv3 reads times `dilation` apart."""

    def __init__(self, channels: int, inner: int, dilation: int, classes: int | None = None) -> None:
        self.conv = Conv1d(channels, inner, 3, padding=dilation, dilation=dilation)
        self.project = Conv1d(inner, channels, 1)
        if classes is not None:  # V y is row y of V; zero at first, so that all classes begin alike
            self.of_class = init.constant((classes, inner), 0.0, np.float32)

    def forward(self, x: Any, y: Tensor | None = None) -> Tensor:
        h = self.conv(F.relu(x))  # (N, inner, L)
        if y is not None:
            h = h + F.reshape(Lookup.apply(self.of_class, y), (len(y), h.shape[1], 1))
        return x + self.project(F.relu(h))


class Encoder(Module):
    """(N, 1, 1, T) -> z_e (N, D, 1, T/S): for each stride a convolution and residual blocks."""

    def __init__(self, strides: Sequence[int], channels: int, inner: int, dilations: Sequence[int], dim: int) -> None:
        layers: list[Module] = []
        for i, s in enumerate(strides):
            layers.append(Conv1d(channels if i else 1, channels, 2 * s, stride=s, padding=(s + 1) // 2))
            layers += [DilatedBlock(channels, inner, d) for d in dilations]
        self.layers = Sequential(*layers, ReLU(), Conv1d(channels, dim, 1))

    def forward(self, x: Any) -> Tensor:
        if x.ndim != 4 or x.shape[1:3] != (1, 1):
            raise ValueError(f"waveforms must have shape (N, 1, 1, T), got {x.shape}")
        z = self.layers(F.reshape(x, (len(x), 1, x.shape[3])))  # (N, D, T/S)
        return F.reshape(z, (*z.shape[:2], 1, z.shape[2]))


class Decoder(Module):
    """z_q (N, D, 1, T/S) and labels y (N,) -> the parameters of p(x | z_q, y), (N, outputs, 1, T)."""

    def __init__(
        self,
        strides: Sequence[int],
        channels: int,
        inner: int,
        dilations: Sequence[int],
        dim: int,
        classes: int | None,
        outputs: int,
    ) -> None:
        self.outputs = outputs
        self.first = Conv1d(dim, channels, 3, padding=1)
        self.stages, self.up = ModuleList(), ModuleList()
        for i, s in enumerate(reversed(strides)):
            self.stages.append(ModuleList(DilatedBlock(channels, inner, d, classes) for d in dilations))
            last = i == len(strides) - 1
            padding = (s + 1) // 2
            self.up.append(ConvTranspose1d(channels, outputs if last else channels, 2 * s, s, padding, s % 2))

    def forward(self, z: Any, y: Tensor | None = None) -> Tensor:
        h = self.first(F.reshape(z, (*z.shape[:2], z.shape[3])))  # (N, channels, T/S)
        stages: list[Any] = list(self.stages)  # of ModuleLists
        for blocks, up in zip(stages, self.up, strict=True):
            for block in blocks:
                h = block(h, y)
            h = up(F.relu(h))  # (N, channels, s times as long)
        return F.reshape(h, (*h.shape[:2], 1, h.shape[2]))


class Noise(Gaussian):
    """A Gaussian whose variance begins nearer to that of sounds and is trained faster than weights are."""

    @property
    def log_var(self) -> Tensor:
        """The logarithm of sigma^2, (): at least that of LEAST_SIGMA^2, as in Gaussian."""
        first, floor = 2 * log(FIRST_SIGMA), 2 * log(LEAST_SIGMA)
        return F.softplus(self.raw_log_var * SPEED + (first - floor)) + floor

    def bits_per_dim(self, nats: float, image_shape: tuple[int, ...]) -> float:
        """Nats per waveform in bits per sample of 16 bits: nats / (T log 2) + log2 2^15."""
        return nats / (prod(image_shape) * log(2)) + log2(STEPS_16_BIT)


class VQVAE1d(VQVAE):
    """Vector-quantised autoencoder over waveforms in [-1, 1].

    image_shape: (1, 1, T), T a multiple of the strides' product. sample_rate: samples a second, for bits_a_second and
    for files. classes: the number of labels (speakers) that the decoder is conditional on, or None. codes, code_dim: K
    and D. channels, residual_channels: of the convolutions and inside of the residual blocks. strides: of the encoder's
    convolutions, each at least 2. dilations: of the residual blocks that follow each of them, and of the decoder's.
    likelihood: 'gaussian' or 'mu-law'. The others: see VQVAE, nn.VectorQuantizer and Estimator.

    Raises TypeError and ValueError for arguments of other types and ranges.
    """

    likelihoods: tuple[str, ...] = ("gaussian", "mu-law")

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 1, 4096),
        sample_rate: int = 8000,
        classes: int | None = None,
        codes: int = 256,
        code_dim: int = 16,
        channels: int = 64,
        residual_channels: int = 32,
        strides: Sequence[int] = (4, 8),
        dilations: Sequence[int] = (1, 3, 9),
        update: str = "ema",
        commitment: float = COMMITMENT,
        decay: float = 0.95,
        restart: float = 0.05,
        likelihood: str = "gaussian",
        *,
        epochs: int = 20,
        lr: float = 1e-3,
        batch_size: int = 32,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        if not checks.integers("strides", strides, 2):
            raise ValueError(f"strides must be at least one int, got {strides}")
        checks.integers("dilations", dilations, 1)
        self.sample_rate, self.strides, self.dilations = (
            checks.integer("sample_rate", sample_rate, 1),
            strides,
            dilations,
        )
        self.classes = None if classes is None else checks.integer("classes", classes, 1)
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

    def _check_sizes(self, image_shape: Sequence[int]) -> None:
        """ValueError unless image_shape is (1, 1, T), with T a multiple of the strides' product."""
        S, T = self.samples_per_code, image_shape[2]
        if tuple(image_shape[:2]) != (1, 1):
            raise ValueError(f"image_shape of a waveform must be (1, 1, T), got {tuple(image_shape)}")
        if T % S:
            raise ValueError(f"the length of a waveform must be a multiple of {S}, got {T}; nearest: {-(-T // S) * S}")

    @property
    def samples_per_code(self) -> int:
        """S, the product of the strides."""
        return prod(map(int, self.strides))

    @property
    def bits_a_second(self) -> float:
        """Bits of the codes for each second, under a uniform prior: sample_rate / S log2 K."""
        return self.sample_rate / self.samples_per_code * log2(self.codes)

    def _make_encoder(self) -> Encoder:
        return Encoder(self.strides, self.channels, self.residual_channels, self.dilations, self.code_dim)

    def _make_decoder(self) -> Decoder:
        sizes = self.channels, self.residual_channels
        return Decoder(self.strides, *sizes, self.dilations, self.code_dim, self.classes, self.output_shape[0])

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """The shape of the decoder's output: (1, 1, T), means, or (H, 1, T), the features of mu-law's logits."""
        return (1 if self.likelihood == "gaussian" else self.residual_channels), 1, int(self.image_shape[2])

    def build_observation(self) -> None:
        """The likelihood, see the head of this file."""
        self.observation = Noise() if self.likelihood == "gaussian" else MuLaw(self.residual_channels)

    # ---- the model ----

    def loss(self, x: Any, y: Any = None) -> VQVAELoss:
        """Equation 3 of vqvae.py, averaged over waveforms x (N, 1, 1, T) of labels y (N,), if there are classes."""
        x = self.tensor(x)  # (N, 1, 1, T)
        vq = self.quantizer(self._latents(x))  # vq.quantized (N, D, 1, T/S) is z_q(x)
        nll = self._nll_given(vq.quantized, self._labels(y, len(x)), x).mean()
        return VQVAELoss(nll + vq.loss, nll, vq.loss)

    def _decoded(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return shaped("decoder", self.decoder(z, y), len(z), *self.output_shape)

    def _labels(self, y: Any, count: int) -> Tensor | None:
        """Labels (count,) as a Tensor on the model's device, None for a model without classes."""
        if isinstance(y, Tensor) and self.classes is not None:
            return y.astype(np.int64)  # batched() gives labels as floats, which are exact
        labels = self._checked_labels(y, count)
        return None if labels is None else Tensor.wrap(self.parameters()[0].backend.asarray(labels))

    def _checked_labels(self, y: Any, count: int) -> np.ndarray | None:
        """One label for all or an array (count,) of them -> (count,), None for a model without classes."""
        if self.classes is None and y is not None:
            raise ValueError(f"labels y belong to a model with classes, this one has none, got {checks.shown(y)}")
        if self.classes is not None and y is not None and np.ndim(y) == 0:
            y = np.repeat(checks.array("y", y, "iu")[None], count)
        return self.check_labels(y, count)

    # ---- plain arrays ----

    def check_images(self, x: Any) -> np.ndarray:
        """Waveforms (N, 1, 1, T) in the model's dtype, as for other models; with 'mu-law' they lie in [-1, 1].

        Raises TypeError and ValueError as Estimator.check_images() does, and ValueError for samples out of that range.
        """
        x = super().check_images(x)
        here = not isinstance(x, LazyArray)  # else each of its batches will be
        if self.likelihood == "mu-law" and here and x.size and abs(x).max() > 1:
            raise ValueError(f"samples must lie in [-1, 1] for likelihood='mu-law', got {x.min():g} to {x.max():g}")
        return x

    def decode(self, codes: np.ndarray, y: Any = None, pixels: bool = False) -> np.ndarray:  # type: ignore[override]
        """Codes (N, 1, T/S) -> the expected waveforms (N, 1, 1, T) in the voices y, of a model with classes.

        y: one label for all or (N,) of them. pixels: draw the samples from p(x | z_q, y). Raises TypeError unless codes
        and labels are integers, ValueError for other shapes, for numbers out of range and for labels that are missing
        or that the model does not know of.
        """
        codes = self.check_codes(codes)
        with self.own_noise():
            return self.batched(lambda *of: self._wave(*self._vectors(*of), pixels), codes, *self._given(y, len(codes)))

    def inverse_transform(self, z: np.ndarray, y: Any = None) -> np.ndarray:
        """decode(z, y)."""
        return self.decode(z, y)

    def reconstruct(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """decode(encode(x), y). Raises what these raise."""
        return self.decode(self.encode(x), y)

    def sample(self, n: int, prior: Prior, temperature: float = 1.0, y: Any = None, pixels: bool = False) -> np.ndarray:
        """n waveforms (n, 1, 1, T): the decoder's means for codes drawn from the prior.

        temperature: of the prior. y: labels as for decode(); a conditional prior gets them too. pixels: as there.
        Raises ValueError as decode() does, for n < 1 and for a prior over the codes of another codebook.
        """
        checks.elements("an array of samples", (checks.integer("n", n, 1), *self.image_shape))
        self._check_prior(prior, "sample")
        y = self._checked_labels(y, n)
        return self.decode(prior.sample(n, temperature=temperature, **self._for_prior(prior, y)), y, pixels)

    def score_samples(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> np.ndarray:
        """The lower bound of log p(x | y) of waveforms (N, 1, 1, T), in nats (N,): -nll - code_cost of their codes.

        Raises what encode(), decode() and code_cost() raise.
        """
        x = self.check_images(x)
        y = self._checked_labels(y, len(x))
        return -self._nll(x, y) - self.code_cost(self.encode(x), prior, **self._for_prior(prior, y))

    def bound(self, x: np.ndarray, prior: Prior | None = None, y: Any = None) -> VQVAEBound:
        """The upper bound of -log p(x | y) and its parts, averaged over waveforms. Raises what score_samples() raises,
        and ValueError for no waveforms."""
        x = self.check_images(x)
        if not len(x):
            raise ValueError(f"bound needs at least one waveform, got shape {x.shape}")
        y = self._checked_labels(y, len(x))
        nll = float(self._nll(x, y).mean())
        codes = float(self.code_cost(self.encode(x), prior, **self._for_prior(prior, y)).mean())
        return VQVAEBound(nll + codes, nll, codes, self.bits_per_dim(nll + codes))

    def _nll_given(self, z: Tensor, y: Tensor | None, x: Tensor) -> Tensor:
        """-log p(x | z_q, y) of waveforms x (N, 1, 1, T), in nats (N,)."""
        return self.observation.nll(self._decoded(z, y), x)

    def _wave(self, z: Tensor, y: Tensor | None, pixels: bool) -> Tensor:
        """z_q (N, D, 1, T/S) and labels y (N,) -> expected waveforms (N, 1, 1, T) or, for pixels, ones drawn."""
        return self._image(self._decoded(z, y), pixels)

    def _vectors(self, codes: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Codes (N, 1, T/S) and labels (N,) -> z_q (N, D, 1, T/S) and y; batched() gives both as floats."""
        return self.quantizer.decode(codes.astype(np.int64)), self._labels(y, len(codes))

    def _nll(self, x: np.ndarray, y: Any = None) -> np.ndarray:
        """-log p(x | k(x), y) of waveforms (N, 1, 1, T), in nats (N,)."""

        def nll(x: Tensor, *y: Tensor) -> Tensor:
            return self._nll_given(*self._vectors(self._codes(x), *y), x)

        x = self.check_images(x)
        return self.batched(nll, x, *self._given(y, len(x))).astype(np.float64)

    def _given(self, y: Any, count: int) -> tuple[np.ndarray, ...]:
        """The labels as arguments for batched(): none for a model without classes."""
        labels = self._checked_labels(y, count)
        return () if labels is None else (labels,)

    def _for_prior(self, prior: Prior | None, y: np.ndarray | None) -> dict[str, Any]:
        """The labels as a keyword argument, for a prior that is conditional."""
        return {} if getattr(prior, "classes", None) is None else {"y": y}
