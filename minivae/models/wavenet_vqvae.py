"""The VQ-VAE of waveforms with the decoder of the paper (van den Oord, Vinyals & Kavukcuoglu 2017, section 4.3).

Encoder, codes and bound are those of vqvae1d.py. The decoder there makes all samples at once, so the codes have to tell
it when each pulse of the voice comes, and with that they hold the pitch, whatever the label says. This decoder is a
WaveNet (wavenet.py), which is given all samples before the one that it predicts:

    log p(x | z_q(x), y) = sum over t of log p(x_t | x_1, ..., x_(t-1), z_q(x), y)

The pulses before tell when the next one comes. The codes need to say only what is spoken, and few of them are enough,
one for 128 samples by default. What they leave open the decoder draws, in the voice of the label, and decode(k(x), y =
other) is another voice.

**Conditions** (WaveNet, section 2.5). Each layer adds to its gates a vector of the label, V y, as in wavenet.py, and
one of the codes, W h_k. Here k = floor(t / S) is the code that sample t belongs to, and h comes from convolutions over
z_q, which are told the label too: where the formants are follows from what is spoken and by whom.

**The distribution** of a sample is a Gaussian with a mean and a variance of its own, as in ClariNet (Ping, Peng & Chen
2018), in place of the paper's categorical one over 256 levels: its nats are of the same density as vqvae1d.py's. Its
mean is a linear prediction from the P = 16 samples before, as in LPCNet (Valin & Skoglund 2019), with coefficients a_i
that the network chooses anew for each sample:

    mean_t = b_t + sum over i = 1, ..., P of a_(t, i) x_(t-i)

A resonance of the vocal tract is a linear prediction from two samples, so a few a_i make the formants.

**Reconstructions** are drawn sample by sample. There is no expected waveform to show in their place: as nothing says
when the first pulse comes, the mean over all of them is nearly silent. They resemble the original in sound and not in
its samples, so a signal-to-noise ratio says nothing about them. Noise of the full variance adds up, as the network has
never seen its own mistakes in training; decode() scales it by TEMPERATURE, and pixels=True asks for the full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

from minivae import ops as F
from minivae.autograd import Tensor, no_grad
from minivae.kernels import checks
from minivae.kernels.contract import Noise as Draw
from minivae.nn import Conv1d, Linear, Module, ModuleList, ReLU, Sequential
from minivae.nn.likelihoods import Likelihood
from minivae.nn.mu_law import in_parts
from minivae.random import noise_or_next

from .pixelcnn_context import lookup
from .vqvae1d import DilatedBlock, Noise, VQVAE1d
from .wavenet import MOST_LAYERS, Queues, gated_layers

TAPS = 16  # P
SCALE = 4.0  # of the samples that the network sees, which are far from 1
FIRST_LOG_VAR, LEAST_LOG_VAR = 2 * log(0.05), 2 * log(5e-4)  # of a sample
SPEED = 8.0  # of log sigma^2 in training, which goes from the first of these to the other
TEMPERATURE = 0.6  # of what decode() draws
SEED = 0xDEC0DE  # of its noise


class WaveNetDecoder(Module):
    """The means and variances of samples, given those before them, z_q (N, D, 1, T/S) and labels y (N,)."""

    def __init__(
        self,
        samples_per_code: int,
        dim: int,
        channels: int,
        wave_channels: int,
        dilations: Sequence[int],
        hidden: int,
        classes: int | None,
    ) -> None:
        self.samples_per_code = samples_per_code  # S
        self.first = Conv1d(dim, channels, 3, padding=1)
        self.block = DilatedBlock(channels, channels, 2, classes)
        self.past = Linear(TAPS, wave_channels)
        self.stack = gated_layers(wave_channels, hidden, dilations, classes)
        self.of_codes = ModuleList(Linear(channels, 2 * wave_channels, bias=False) for _ in dilations)  # W
        self.output = Sequential(ReLU(), Linear(hidden, hidden), ReLU(), Linear(hidden, 2 + TAPS))

    def conditions(self, z: Any, y: Tensor | None) -> list[Tensor]:
        """Return W h + V y of each layer, (N, T/S, 2 C), for z_q (N, D, 1, T/S) and labels y (N,)."""
        h = self.block(self.first(F.reshape(z, (*z.shape[:2], z.shape[3]))), y)
        h = F.transpose(F.relu(h), (0, 2, 1))  # (N, T/S, channels)
        added = [of_codes(h) for of_codes in self.of_codes]
        if y is None:
            return added
        layers: list[Any] = list(self.stack)
        tables = [F.reshape(lookup(layer.of_class, y), (len(y), 1, added[0].shape[2])) for layer in layers]
        return [a + b for a, b in zip(added, tables, strict=True)]

    def forward(self, z: Any, y: Tensor | None, x: Any) -> Tensor:
        """Return the means and the log variances of waveforms x (N, 1, 1, T), each given what was before: (N, 2, T)."""
        N, T, L = x.shape[0], x.shape[3], z.shape[3]
        if L * self.samples_per_code != T:
            raise ValueError(f"waveforms of {L} codes must have {L * self.samples_per_code} samples, got {x.shape}")
        padded = F.pad(F.reshape(x, (N, T, 1)), [(TAPS, 0), (0, 0)])  # zeros before the first sample
        before = F.cat([padded[:, i : i + T] for i in range(TAPS)], axis=2)  # (N, T, P): x_(t-P), ..., x_(t-1)
        h, skips = self.past(before * SCALE), []
        stack: list[Any] = list(self.stack)
        for layer, condition in zip(stack, self.conditions(z, y), strict=True):
            h, skip = layer(layer.earlier(h), h, self._for_each_sample(condition))
            skips.append(skip)
        return F.transpose(self._predicted(before, skips), (0, 2, 1))

    def _for_each_sample(self, condition: Tensor) -> Tensor:
        """Repeat what is said of a code S times: (N, T/S, 2 C) -> (N, T, 2 C)."""
        N, L, width = condition.shape
        S = self.samples_per_code
        repeated = F.broadcast_to(F.reshape(condition, (N, L, 1, width)), (N, L, S, width))
        return F.reshape(repeated, (N, L * S, width))

    def _predicted(self, before: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Return means and log variances (N, T, 2) for the samples before (N, T, P) and S z (N, T, hidden) by layer."""
        total = skips[0]
        for skip in skips[1:]:
            total = total + skip
        out = self.output(total)  # (N, T, 2 + P)
        mean = out[..., :1] / 10 + (out[..., 2:] * before * SCALE).sum(axis=2, keepdims=True)
        log_var = F.softplus(out[..., 1:2] * SPEED + (FIRST_LOG_VAR - LEAST_LOG_VAR)) + LEAST_LOG_VAR
        return F.cat([mean, log_var], axis=2)

    @no_grad()
    def draw(self, z: Any, y: Tensor | None, noise: Any) -> Tensor:
        """Draw waveforms (N, 1, 1, T) sample by sample, as wavenet.py draws sequences: mean + sigma noise, in [-1, 1].

        noise: an array (T,), or (N, T).
        """
        S, N, T = self.samples_per_code, len(z), z.shape[3] * self.samples_per_code
        conditions, queues = self.conditions(z, y), Queues(list(self.stack), N, T)
        xp = z.backend.xp
        x = xp.zeros((N, TAPS + T), z.dtype)  # as in forward(), zeros come first
        for t in range(T):
            if t % S == 0:
                biases = [condition[:, t // S : t // S + 1] for condition in conditions]
            before = Tensor.wrap(x[:, None, t : t + TAPS].copy())  # (N, 1, P)
            skips = queues.step(t, self.past(before * SCALE), biases)
            mean, log_var = self._predicted(before, skips).data[:, 0].T
            x[:, TAPS + t] = xp.clip(mean + xp.exp(log_var / 2) * noise[..., t], -1, 1)
        return Tensor.wrap(x[:, None, None, TAPS:].copy())


class Samples(Likelihood):
    """Samples have a mean and a variance each, which the decoder gives: (N, 2, T)."""

    unit_interval = False
    bits_per_dim = Noise.bits_per_dim

    def nll(self, output: Tensor, x: Tensor) -> Tensor:
        """Return -log p(x) in nats per waveform: (N, 2, T) and x (N, 1, 1, T) -> (N,)."""
        return F.gaussian_nll(output[:, 0], output[:, 1], F.reshape(x, (len(x), x.shape[3])))


class WaveNetVQVAE(VQVAE1d):
    """Vector-quantised autoencoder over waveforms in [-1, 1] whose decoder draws one sample after the other.

    wave_channels, wave_dilations, wave_hidden: of the WaveNet, its `channels`, `dilations` and `hidden`. channels: also
    of the convolutions over the codes. decode(), reconstruct() and sample() draw waveforms at TEMPERATURE with a noise
    that is always the same, so that equal codes and labels give equal waveforms; with pixels=True from p(x | z_q, y),
    with the generator's noise. All are clipped to [-1, 1]. The others: see VQVAE1d.

    Raises TypeError and ValueError for arguments of other types and ranges.
    """

    likelihoods = ("gaussian",)

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 1, 4096),
        sample_rate: int = 8000,
        classes: int | None = None,
        codes: int = 64,
        code_dim: int = 16,
        channels: int = 64,
        residual_channels: int = 32,
        strides: Sequence[int] = (4, 8, 4),
        dilations: Sequence[int] = (1, 3, 9),
        wave_channels: int = 32,
        wave_dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
        wave_hidden: int = 64,
        update: str = "ema",
        commitment: float = 3.0,
        decay: float = 0.95,
        restart: float = 0.05,
        *,
        epochs: int = 20,
        lr: float = 2e-3,
        batch_size: int = 4,
        random_state: int | None = None,
        warm_start: bool = False,
    ) -> None:
        checks.integer("wave_channels", wave_channels, 1)
        checks.integer("wave_hidden", wave_hidden, 1)
        if not 1 <= len(checks.integers("wave_dilations", wave_dilations, 1)) <= MOST_LAYERS:
            raise ValueError(f"wave_dilations must be 1 to {MOST_LAYERS} ints, got {len(wave_dilations)}")
        self.wave_channels, self.wave_dilations, self.wave_hidden = wave_channels, wave_dilations, wave_hidden
        super().__init__(
            image_shape,
            sample_rate,
            classes,
            codes,
            code_dim,
            channels,
            residual_channels,
            strides,
            dilations,
            update,
            commitment,
            decay,
            restart,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            random_state=random_state,
            warm_start=warm_start,
        )

    def _make_decoder(self) -> WaveNetDecoder:  # type: ignore[override]
        sizes = self.wave_channels, self.wave_dilations, self.wave_hidden
        return WaveNetDecoder(self.samples_per_code, self.code_dim, self.channels, *sizes, self.classes)

    def build_observation(self) -> None:
        """The likelihood, see the head of this file."""
        self.observation = Samples()

    def _nll_given(self, z: Tensor, y: Tensor | None, x: Tensor) -> Tensor:
        def nll(x: Tensor, z: Tensor, *y: Tensor) -> Tensor:
            return self.observation.nll(self.decoder(z, y[0] if y else None, x), x)

        return in_parts(nll, x, z, *([] if y is None else [y]))

    def _wave(self, z: Tensor, y: Tensor | None, pixels: bool) -> Tensor:
        N, T = len(z), int(self.image_shape[2])
        if checks.flag("pixels", pixels):
            noise = z.backend.normal((N, T), z.dtype, noise_or_next(None))
        else:
            noise = TEMPERATURE * z.backend.normal((T,), z.dtype, Draw(SEED, 0))
        decoder: Any = self.decoder
        wave: Tensor = decoder.draw(z, y, noise)
        return wave
