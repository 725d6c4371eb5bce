"""The VQ-VAE of waveforms: its gradients, its labels, its numbers in closed form, and its prior."""

from math import log

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
import minivae.functional as F
from minivae.models import PixelCNN, VQVAE1d

T, S = 12, 6
SMALL = {
    "image_shape": (1, 1, T),
    "codes": 5,
    "code_dim": 2,
    "channels": 2,
    "residual_channels": 2,
    "strides": (2, 3),
    "dilations": (2,),
    "commitment": 0.7,
}
CONFIGURATIONS = [{**SMALL, "update": "ema"}, {**SMALL, "update": "gradient", "classes": 3}]
MU_LAW = {**SMALL, "likelihood": "mu-law", "classes": 2}
configured = pytest.mark.parametrize(
    "settings", [*CONFIGURATIONS, MU_LAW], ids=["ema", "gradient-classes", "mu-law-classes"]
)
gaussian = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=["ema", "gradient-classes"])


def waves(n, seed=0, dtype=np.float64):
    return numbers(n, 1, 1, T, seed=seed, low=-0.5, high=0.5, dtype=dtype)


def labels(n, settings):
    return np.arange(n) % settings["classes"] if "classes" in settings else None


def model_of(settings, dtype=np.float64):
    """A model with a codebook of data, whose classes differ, away from the kinks of the ReLUs at 0."""
    mv.manual_seed(0)
    model = VQVAE1d(**settings).to(dtype=dtype)
    for i, (name, tensor) in enumerate(model.named_parameters()):
        if name != "quantizer.codebook":
            tensor.inplace()[...] += tensor.backend.asarray(
                numbers(*tensor.shape, seed=i, low=0.02, high=0.2, dtype=dtype)
            )
    model.prepare(waves(20, seed=8, dtype=dtype))
    return model.eval()


@configured
def test_the_whole_loss_is_differentiated_right(settings):
    """As for the VQ-VAE of images: the surrogate with frozen indices by finite differences, and the loss equals it."""
    model, x, y = model_of(settings), waves(2, seed=1), labels(2, settings)
    z0, codebook = model.encoder(mv.Tensor(x)).detach(), model.quantizer.codebook
    index = model.quantizer.encode(z0)
    e0 = model.quantizer.decode(index).detach()
    given = () if y is None else (model._labels(y, 2),)

    def surrogate(*_):
        z = model.encoder(mv.Tensor(x))
        nll = model.observation.nll(model.decoder(z + (e0 - z0), *given), mv.Tensor(x)).mean()
        loss = nll + 0.7 * ((z - e0) ** 2).sum() / index.size
        if settings.get("update") == "gradient":
            e = F.transpose(F.embedding(index, codebook), (0, 3, 1, 2))
            loss = loss + ((e - z0) ** 2).sum() / index.size
        return loss

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
def test_the_loss_is_the_mean_over_waveforms_in_nats(settings):
    model, x, y = model_of(settings), waves(4), labels(4, settings)
    loss, nll = model.loss(x, y), -model.score_samples(x, y=y) - T // S * log(5)
    assert loss.nll.item() == pytest.approx(nll.mean(), rel=1e-12)
    twice = model.loss(np.concatenate([x, x]), None if y is None else np.concatenate([y, y]))
    assert twice.loss.item() == pytest.approx(loss.loss.item(), rel=1e-12)


@gaussian
def test_nll_is_that_of_a_gaussian_around_the_reconstruction(settings):
    model, x, y = model_of(settings), waves(3), labels(3, settings)
    variance = np.exp(model.observation.log_var.item())
    error = ((x - model.reconstruct(x, y)) ** 2).sum(axis=(1, 2, 3))
    expected = 0.5 * (T * log(2 * np.pi * variance) + error / variance)
    assert model.bound(x, y=y).nll == pytest.approx(expected.mean(), rel=1e-10)


def test_the_least_sigma_bounds_the_density():
    """Bug: without a floor a decoder that is exactly right has a density without bound."""
    model = model_of(SMALL)
    model.observation.raw_log_var.inplace()[...] = -1e6
    assert np.exp(model.observation.log_var.item() / 2) == pytest.approx(1e-3, rel=1e-6)


@gaussian
def test_the_bound_is_nll_plus_the_codes(settings):
    model, x, y = model_of(settings), waves(3), labels(3, settings)
    bound = model.bound(x, y=y)
    assert bound.codes == pytest.approx(T // S * log(5), rel=1e-12)
    assert bound.nats == bound.nll + bound.codes
    assert bound.bits_per_dim == pytest.approx(bound.nats / (T * log(2)) + 15, rel=1e-12)


def test_mu_law_counts_bits_of_8_bit_samples():
    model, x, y = model_of(MU_LAW), waves(3), np.array([0, 1, 0])
    bound = model.bound(x, y=y)
    assert bound.nll >= 0
    assert bound.bits_per_dim == pytest.approx((bound.nll + T // S * log(5)) / (T * log(2)), rel=1e-12)
    with pytest.raises(ValueError, match=r"\[-1, 1\] for likelihood='mu-law', got .* to 1.5"):
        model.encode(np.where(x == x.max(), 1.5, x))


@pytest.mark.parametrize("likelihood", ["gaussian", "mu-law"])
def test_waveforms_that_are_drawn_have_the_decoders_mean(likelihood):
    """From one map of codes: bug: the noise of a density, or that of a mean, in the place of the other."""
    model = model_of({**SMALL, "likelihood": likelihood})
    codes = model.encode(waves(1))

    class Fixed:
        def sample(self, n, temperature=1.0, y=None):
            return np.repeat(codes, n, axis=0)

        def score_samples(self, codes, y=None):
            return np.zeros(len(codes))

    mv.manual_seed(0)
    drawn = model.sample(4000, Fixed(), pixels=True)
    mean = model.decode(codes)[0]
    np.testing.assert_array_equal(model.sample(2, Fixed())[1], mean)
    deviation = drawn.std(axis=0)
    assert deviation.min() > 0.05
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=5 * deviation.max() / 4000**0.5)


def test_bits_a_second():
    assert VQVAE1d().bits_a_second == 8000 / 32 * 8 == 64000 / 32
    paper = VQVAE1d((1, 1, 640), 16000, codes=512, strides=(2, 2, 2, 2, 2, 2), channels=4)
    assert paper.bits_a_second == 16000 / 64 * 9
    assert paper.code_shape == (1, 10)


@pytest.mark.parametrize("strides", [(2,), (3,), (5, 2), (4, 3)])
def test_lengths_come_back_for_odd_and_even_strides(strides):
    product = int(np.prod(strides))
    model = VQVAE1d((1, 1, 3 * product), strides=strides, channels=3, codes=2)
    x = numbers(2, 1, 1, 3 * product, low=-1, high=1, dtype=np.float32)
    assert model.encode(x).shape == (2, 1, 3)
    assert model.reconstruct(x).shape == x.shape


class TestLabels:
    settings = CONFIGURATIONS[1]

    def test_codes_do_not_depend_on_the_label_and_the_sound_does(self):
        """Bugs: an encoder that sees the label, a decoder that does not (CVAE-GAN-zoos#12, the other way round)."""
        model, x = model_of(self.settings), waves(2)
        codes = model.encode(x)
        voices = [model.decode(codes, y) for y in range(3)]
        np.testing.assert_array_equal(voices[1], model.reconstruct(x, 1))
        np.testing.assert_array_equal(model.decode(codes, [0, 2])[1], model.decode(codes[1:], [2])[0])
        for a, b in ((0, 1), (1, 2), (0, 2)):
            assert np.abs(voices[a] - voices[b]).max() > 1e-3

    def test_one_class_that_adds_nothing_is_the_model_without(self):
        plain, x = model_of(SMALL), waves(2)
        one = VQVAE1d(**SMALL, classes=1).to(dtype=np.float64)
        state = one.state_dict()
        assert {name for name in state if "of_class" in name} == state.keys() - plain.state_dict().keys()
        one.load_state_dict({**{n: a * 0 for n, a in state.items() if "of_class" in n}, **plain.state_dict()})
        np.testing.assert_allclose(one.reconstruct(x, 0), plain.reconstruct(x), rtol=1e-12)

    @pytest.mark.cpu_only("trains for 150 steps")
    def test_with_a_single_code_the_label_alone_says_what_is_decoded(self):
        """Waves of opposite sign by label. Bug: a label that reaches no layer leaves their mean, 0, for both."""
        y = np.arange(16) % 2
        x = (0.5 * np.sin(np.arange(T) / 2) * (1 - 2 * y)[:, None]).astype(np.float32).reshape(-1, 1, 1, T)
        settings = {**SMALL, "codes": 1, "classes": 2, "channels": 8, "residual_channels": 8}
        model = VQVAE1d(**settings, random_state=0, epochs=150, batch_size=16, lr=0.01).fit(x, y)
        right, wrong = (((x - model.reconstruct(x, k)) ** 2).sum() for k in (y, 1 - y))
        assert right < 0.3 * (x**2).sum() < wrong

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda m, c: m.decode(c), "needs labels y, got None"),
            (lambda m, c: m.decode(c, 3), r"in \[0, 3\), got 3"),
            (lambda m, c: m.decode(c, [0]), r"shape \(2,\)"),
            (lambda m, c: model_of(SMALL).decode(c, 0), "has none, got 0"),
        ],
    )
    def test_labels_that_do_not_fit(self, call, message):
        model = model_of(self.settings)
        with pytest.raises(ValueError, match=message):
            call(model, model.encode(waves(2)))


@pytest.mark.parametrize("classes", [None, 3])
def test_a_pixelcnn_is_its_prior(classes):
    model = model_of(CONFIGURATIONS[1])
    prior = PixelCNN(model.code_shape, 5, 4, 2, classes=classes, codebook_digest=model.codebook_digest)
    x, y = waves(3), np.array([0, 1, 2])
    codes = model.encode(x)
    expected = prior.score_samples(codes, **({} if classes is None else {"y": y}))
    np.testing.assert_allclose(-model.bound(x, prior, y).codes, expected.mean(), rtol=1e-10)
    assert model.sample(3, prior, y=y).shape == (3, 1, 1, T)
    assert model.sample(2, prior, 0.5, 1).shape == (2, 1, 1, T)


@configured
def test_it_comes_back_from_a_file(settings, tmp_path):
    model, x, y = model_of(settings, np.float32), waves(2, dtype=np.float32), labels(2, settings)
    model.save(tmp_path / "model.npz")
    again = mv.models.load(tmp_path / "model.npz")
    assert isinstance(again, VQVAE1d)
    np.testing.assert_array_equal(again.reconstruct(x, y), model.reconstruct(x, y))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 1, 13)}, "multiple of 6, got 13; nearest: 18"),
        ({"image_shape": (1, 2, 24)}, r"must be \(1, 1, T\), got \(1, 2, 24\)"),
        ({"strides": (1, 6)}, "strides"),
        ({"strides": ()}, "strides"),
        ({"dilations": (0,)}, "dilations"),
        ({"sample_rate": 0}, "sample_rate must be at least 1"),
        ({"likelihood": "bernoulli"}, "likelihood must be 'gaussian' or 'mu-law', got 'bernoulli'"),
        ({"classes": 0}, "classes must be at least 1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        VQVAE1d(**{**SMALL, **settings})
