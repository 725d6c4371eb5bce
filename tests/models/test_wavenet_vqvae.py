"""The VQ-VAE of waveforms with a WaveNet as its decoder: gradients, what a sample may see, its density, its draws."""

from math import log

import numpy as np
import pytest
import scipy.stats
from strategies import host, numbers

import minivae as mv
from minivae.kernels.contract import Noise
from minivae.models import VQVAE1d, WaveNet, WaveNetVQVAE, load
from minivae.models.wavenet_vqvae import SCALE, SEED, TAPS, TEMPERATURE
from minivae.random import fork

T, S = 24, 6
SMALL = {
    "image_shape": (1, 1, T),
    "codes": 5,
    "code_dim": 2,
    "channels": 2,
    "residual_channels": 2,
    "strides": (2, 3),
    "dilations": (2,),
    "wave_channels": 3,
    "wave_dilations": (1, 3, 30),  # one that reaches back beyond the beginning
    "wave_hidden": 4,
    "commitment": 0.7,
}
CONFIGURATIONS = [SMALL, {**SMALL, "classes": 3}]
configured = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=["plain", "classes"])


def waves(n, seed=0, dtype=np.float64):
    return numbers(n, 1, 1, T, seed=seed, low=-0.5, high=0.5, dtype=dtype)


def labels(n, settings):
    return np.arange(n) % settings["classes"] if "classes" in settings else None


def model_of(settings, dtype=np.float64):
    """A model with a codebook of data and weights that let all influences be seen, away from the kinks of the ReLUs."""
    mv.manual_seed(0)
    model = WaveNetVQVAE(**settings).to(dtype=dtype)
    for i, (name, tensor) in enumerate(model.named_parameters()):
        if name != "quantizer.codebook":
            added = numbers(*tensor.shape, seed=i, low=0.02, high=0.2, dtype=dtype)
            tensor.inplace()[...] += tensor.backend.asarray(added)
    last = model.decoder.output[3]  # small coefficients, so that what is drawn does not leave [-1, 1]
    last.weight.inplace()[...] *= 0.05
    last.bias.inplace()[...] = -0.005
    model.prepare(waves(20, seed=8, dtype=dtype))
    return model.eval()


def predicted(model, x, y, codes=None):
    """Means and log variances (N, T) of samples by the decoder that is given all of them at once."""
    codes = model.encode(x) if codes is None else codes
    with mv.no_grad():
        z = model.quantizer.decode(model.tensor(codes).astype(np.int64))
        out = model.decoder(z, model._labels(y, len(x)), model.tensor(x))
    return host(out.data[:, 0]), host(out.data[:, 1])


@configured
def test_the_whole_loss_is_differentiated_right(settings):
    model, x, y = model_of(settings), waves(2, seed=1), labels(2, settings)
    z0 = model.encoder(mv.Tensor(x)).detach()
    index = model.quantizer.encode(z0)
    e0 = model.quantizer.decode(index).detach()

    def surrogate(*_):
        z = model.encoder(mv.Tensor(x))
        nll = model._nll_given(z + (e0 - z0), model._labels(y, 2), mv.Tensor(x)).mean()
        return nll + 0.7 * ((z - e0) ** 2).sum() / index.size

    assert mv.gradcheck(surrogate, model.parameters(), rtol=1e-4)
    model.zero_grad()
    surrogate().backward()
    expected = {name: host(p.grad) for name, p in model.named_parameters()}
    model.zero_grad()
    loss = model.loss(x, y).loss
    loss.backward()
    assert loss.item() == pytest.approx(surrogate().item(), rel=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(host(p.grad), expected[name], rtol=1e-8, atol=1e-11, err_msg=name)


@configured
def test_nll_is_that_of_gaussians_given_what_was_before(settings):
    model, x, y = model_of(settings), waves(20), labels(20, settings)  # more than are computed at a time
    mean, log_var = predicted(model, x, y)
    expected = -scipy.stats.norm.logpdf(x[:, 0, 0], mean, np.exp(log_var / 2)).sum(axis=1)
    np.testing.assert_allclose(model.score_samples(x, y=y), -expected - T // S * log(5), rtol=1e-10)
    assert model.loss(x, y).nll.item() == pytest.approx(expected.mean(), rel=1e-10)
    bound = model.bound(x, y=y)
    assert bound.bits_per_dim == pytest.approx(bound.nats / (T * log(2)) + 15, rel=1e-12)


def test_a_sample_is_predicted_from_those_before_it_alone():
    """Bug: one shift too few, and the decoder copies the sample that it is to predict."""
    model, x = model_of(SMALL), waves(1)
    codes = model.encode(x)
    mean, log_var = predicted(model, x, None, codes)
    for t in (0, 1, 7, T - 1):
        other = x.copy()
        other[..., t] += 0.1
        moved = [(a != b)[0] for a, b in zip((mean, log_var), predicted(model, other, None, codes), strict=True)]
        for seen in moved:
            assert not seen[: t + 1].any()
            assert seen[t + 1 : t + 2].all()
    assert moved[0].shape == (T,)


def test_a_code_conditions_its_own_samples():
    """Bug: codes repeated as a, b, a, b in place of a, a, b, b. Two convolutions see 1 + 2 codes to each side."""
    model = model_of({**SMALL, "image_shape": (1, 1, 16 * S), "wave_dilations": (1,)})
    x, codes = np.zeros((1, 1, 1, 16 * S)), np.zeros((1, 1, 16), np.int64)
    other = codes.copy()
    other[0, 0, 8] = 3
    changed = predicted(model, x, None, codes)[0] != predicted(model, x, None, other)[0]
    assert changed[0, 5 * S : 12 * S].all()
    assert not changed[0, : 5 * S].any()
    assert not changed[0, 12 * S + 1 :].any()


def test_the_mean_is_a_linear_prediction():
    """With the network's output fixed, the mean is b + sum of a_i x_(t-i), zeros before the first sample."""
    model, x = model_of(SMALL), waves(1)
    last = model.decoder.output[3]
    last.weight.inplace()[...] = 0
    out = numbers(2 + TAPS, seed=3, low=-0.3, high=0.3, dtype=np.float64)
    last.bias.inplace()[...] = last.bias.backend.asarray(out)
    mean = predicted(model, x, None)[0]
    padded = np.concatenate([np.zeros(TAPS), x[0, 0, 0]])
    expected = [out[0] / 10 + SCALE * (out[2:] * padded[t : t + TAPS]).sum() for t in range(T)]
    np.testing.assert_allclose(mean[0], expected, rtol=1e-10)


class TestDraws:
    @configured
    def test_drawing_with_queues_is_the_network_with_all_samples(self, settings):
        """Each sample that was drawn is mean + sigma noise of the network that is given all of them at once."""
        model, y = model_of(settings), labels(3, settings)
        codes = model.encode(waves(3))
        noise = host(model.parameters()[0].backend.normal((T,), np.dtype(np.float64), Noise(SEED, 0)))
        x = model.decode(codes, y)
        mean, log_var = predicted(model, x, y, codes)
        assert np.abs(x).max() < 1
        np.testing.assert_allclose(x[:, 0, 0], mean + np.exp(log_var / 2) * TEMPERATURE * noise, atol=1e-12)

    def test_pixels_are_drawn_from_the_density(self):
        model = model_of(SMALL)
        codes = np.repeat(model.encode(waves(1)), 400, axis=0)
        with fork(3):
            x = model.decode(codes, pixels=True)
        mean, log_var = predicted(model, x, None, codes)
        standard = ((x[:, 0, 0] - mean) / np.exp(log_var / 2)).ravel()
        assert scipy.stats.kstest(standard, "norm").pvalue > 1e-3

    def test_equal_codes_and_labels_give_equal_waveforms(self):
        """decode() is a function of each code map and label alone, whichever others are beside it."""
        model = model_of(CONFIGURATIONS[1])
        codes = model.encode(waves(3))
        together = model.decode(codes, [0, 1, 1])
        np.testing.assert_allclose(model.decode(codes[1:], [1, 1]), together[1:], atol=1e-14)
        np.testing.assert_array_equal(model.reconstruct(waves(3), [0, 1, 1]), together)
        assert np.abs(model.decode(codes, 2) - together).max() > 1e-4

    def test_what_leaves_the_range_is_clipped(self):
        model = model_of(SMALL)
        model.decoder.output[3].bias.inplace()[...] = 1.0
        x = model.decode(model.encode(waves(2)))
        assert np.abs(x).max() == 1
        assert np.isfinite(x).all()


def test_a_wavenet_is_its_prior_and_both_come_back_from_a_file(tmp_path):
    model, y = model_of(CONFIGURATIONS[1], np.float32), np.array([0, 1, 2])
    prior = WaveNet(model.code_shape, 5, 4, (1, 2), 4, classes=3, codebook_digest=model.codebook_digest)
    assert model.sample(3, prior, y=y).shape == (3, 1, 1, T)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert isinstance(again, WaveNetVQVAE)
    assert isinstance(again, VQVAE1d)
    x = waves(3, dtype=np.float32)
    np.testing.assert_array_equal(again.reconstruct(x, y), model.reconstruct(x, y))


@pytest.mark.cpu_only("trains for 160 steps")
def test_with_a_single_code_the_label_alone_says_what_is_drawn():
    """Noise whose neighbours are alike, or opposite, by label. Bug: a label that reaches no layer leaves a mixture."""
    y = np.arange(64) % 2
    x = np.random.default_rng(0).normal(0, 0.05, (64, 96)).astype(np.float32)
    for t in range(1, 96):
        x[:, t] += np.where(y, -0.8, 0.8) * x[:, t - 1]
    sizes = {"wave_channels": 8, "wave_dilations": (1,), "wave_hidden": 16}
    settings = {**SMALL, "image_shape": (1, 1, 96), "codes": 1, "classes": 2, **sizes}
    model = WaveNetVQVAE(**settings, random_state=0, epochs=20, batch_size=8, lr=0.01).fit(x[:, None, None], y)
    for label, sign in ((0, 1), (1, -1)):
        drawn = model.decode(np.zeros((1, 1, 16), np.int64), label, pixels=True)[0, 0, 0]
        assert sign * np.corrcoef(drawn[1:], drawn[:-1])[0, 1] > 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 1, 13)}, "multiple of 6, got 13; nearest: 18"),
        ({"wave_channels": 0}, "wave_channels must be at least 1"),
        ({"wave_hidden": 0}, "wave_hidden must be at least 1"),
        ({"wave_dilations": (0,)}, "wave_dilations"),
        ({"wave_dilations": ()}, "wave_dilations must be 1 to 1000 ints, got 0"),
        ({"classes": 0}, "classes must be at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        WaveNetVQVAE(**{**SMALL, **settings})
