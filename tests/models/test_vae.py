"""The VAE: its gradients, its bound, its nats, and what its user sees."""

import json

import numpy as np
import pytest
import scipy.stats
from linear_gaussian import linear_gaussian
from strategies import numbers, on_device

import minivae as mv
from minivae import nn
from minivae.kernels.contract import Noise
from minivae.models import VAE, load
from minivae.models.vae import VAELoss

SMALL = {"image_shape": (1, 6, 5), "latent_dim": 3, "channels": (2, 3), "hidden": (7,)}
DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}
CONFIGURATIONS = [
    {**settings, "likelihood": likelihood, "beta": beta}
    for settings in (SMALL, DENSE)
    for likelihood, beta in (("bernoulli", 1.0), ("gaussian", 2.5), ("logistic", 1.0), ("continuous-bernoulli", 1.0))
]


def images(n, shape=(1, 6, 5), seed=0, dtype=np.float32):
    """Of 8-bit pixels, which every likelihood takes."""
    return (np.rint(numbers(n, *shape, seed=seed, low=0, high=255)) / 255).astype(dtype)


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s.get('arch', 'conv')}-{s['likelihood']}")
def test_the_whole_loss_is_differentiated_right(settings):
    mv.manual_seed(0)
    model = VAE(**settings).to(dtype=np.float64)
    x = images(3, dtype=np.float64)
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    noise = Noise(1, 0)
    assert mv.gradcheck(lambda *_: model.loss(x, noise).loss, model.parameters(), rtol=1e-4)


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s.get('arch', 'conv')}-{s['likelihood']}")
def test_the_loss_is_the_mean_over_examples_in_nats(settings):
    """Doubling the batch changes nothing; the terms add up; each example's terms are summed over pixels and latents."""
    model = VAE(**settings).to(dtype=np.float64)
    x = images(4, dtype=np.float64)
    mu, log_var = model.posterior(x)
    noise = Noise(1, 0)
    loss = model.loss(x, noise)
    assert isinstance(loss, VAELoss)
    assert loss.loss.item() == pytest.approx(loss.nll.item() + settings["beta"] * loss.kl.item(), rel=1e-12)
    kl = [
        sum(0.5 * (m**2 + np.exp(v) - 1 - v) for m, v in zip(*row, strict=True))
        for row in zip(mu.numpy(), log_var.numpy(), strict=True)
    ]
    assert loss.kl.item() == pytest.approx(np.mean(kl), rel=1e-12)
    z = mv.functional.reparameterize(mu, log_var, noise)
    nll = model.observation.nll(model.decoder(z), mv.Tensor(x)).numpy()
    assert nll.shape == (4,)
    assert loss.nll.item() == pytest.approx(nll.mean(), rel=1e-12)
    np.testing.assert_allclose(model.elbo(x, noise).numpy(), -nll - kl, rtol=1e-12)
    doubled = model.loss(np.concatenate([x, x]), noise)
    assert doubled.kl.item() == pytest.approx(loss.kl.item(), rel=1e-12)


def test_at_the_exact_posterior_the_elbo_is_the_log_likelihood():
    """E_q[log p(x|z)] - KL(q||p) = log p(x) exactly; its one-sample estimate is averaged over many draws."""
    model, exact = linear_gaussian()
    x = exact.rvs(5, random_state=0).reshape(5, 1, 1, 6)
    elbo = model.score_samples(x, samples=4000)
    np.testing.assert_allclose(elbo, exact.logpdf(x.reshape(5, 6)), atol=0.15)


def test_at_the_exact_posterior_the_weight_is_constant():
    """log p(x, z) - log q(z | x) = log p(x) for *every* z: no Monte Carlo, so exact to rounding."""
    model, exact = linear_gaussian()
    x = exact.rvs(5, random_state=0).reshape(5, 1, 1, 6)
    for draw in range(3):
        mu, log_var = (t.numpy() for t in model.posterior(x))
        z = mv.functional.reparameterize(mu, log_var, Noise(3, draw)).numpy()
        nll = model.observation.nll(model.decoder(mv.Tensor(z)), mv.Tensor(x)).numpy()
        log_q = scipy.stats.norm.logpdf(z, mu, np.exp(log_var / 2)).sum(1)
        log_prior = scipy.stats.norm.logpdf(z).sum(1)
        np.testing.assert_allclose(-nll + log_prior - log_q, exact.logpdf(x.reshape(5, 6)), rtol=1e-10)


def test_away_from_the_posterior_the_elbo_is_smaller():
    model, exact = linear_gaussian()
    x = exact.rvs(200, random_state=0).reshape(200, 1, 1, 6)
    model.encoder[1].bias.inplace()[...] += 0.5
    assert model.score_samples(x, samples=20).mean() < exact.logpdf(x.reshape(200, 6)).mean() - 0.1


@pytest.mark.cpu_only("many draws")
@pytest.mark.parametrize(("latents", "score_variance"), [(1, 30), (16, 1260)])
def test_the_gradient_through_a_sample_varies_less_than_the_score_functions(latents, score_variance):
    """Both estimate d/dmu of E[sum of z_j^2], 2 mu, at mu = sigma = 1; the numbers are those of vae.py's head.

    With e ~ N(0, 1) the score function's estimate for one latent is (1 + e)^2 e, of variance E[(1 + e)^4 e^2] - 4 = 30;
    D - 1 others add E[S^2] + 2 E[S] E[(1 + e)^2 e^2] for their sum S of mean 2 (D - 1) and variance 6 (D - 1).
    """
    others = latents - 1
    assert score_variance == 30 + 6 * others + (2 * others) ** 2 + 2 * (2 * others) * 4
    mu = mv.nn.Parameter(np.ones((200_000, latents)))
    z = mv.functional.reparameterize(mu, np.zeros(mu.shape), Noise(1, 0))
    (z * z).sum().backward()
    f, eps = (z.numpy() ** 2).sum(axis=1), z.numpy()[:, 0] - 1
    for estimates, variance in ((mu.grad[:, 0], 4), (f * eps, score_variance)):
        assert estimates.mean() == pytest.approx(2, abs=4 * (variance / len(eps)) ** 0.5)
        assert estimates.var() == pytest.approx(variance, rel=0.05)


def test_the_numbers_of_the_derivations():
    """At the head of vae.py."""
    kl = mv.functional.gaussian_kl(np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 2 * np.log(0.5)])).numpy()
    np.testing.assert_allclose(kl, [0, 0.5, 0.318], atol=5e-4)
    assert 255.65 / (784 * np.log(2)) == pytest.approx(0.470, abs=5e-4)
    logit = np.float32(20)
    assert 1 / (1 + np.exp(-logit)) == np.float32(1)
    assert mv.functional.bernoulli_nll(np.full((1, 1), logit), np.zeros((1, 1), np.float32)).item() == 20


def test_the_scale_of_the_gaussian_is_bounded_below():
    likelihood = nn.likelihoods.Gaussian()
    for raw in (-1e3, -20.0, 0.0, 3.0):
        likelihood.raw_log_var.data = on_device(np.array(raw, np.float32))
        sigma = np.exp(likelihood.log_var.item() / 2)
        assert sigma >= nn.likelihoods.SIGMA_FLOOR * 0.999
        if raw > -1:
            assert sigma == pytest.approx(np.exp(raw / 2), rel=1e-3)


class TestTraining:
    def fitted(self, seed=0, **fit):
        mv.manual_seed(seed)
        return VAE(**DENSE).fit(images(50), **{"epochs": 4, "batch_size": 16, "lr": 1e-2, **fit})

    def test_it_learns_what_there_is_to_learn(self):
        """Four binary patterns: a code of log 4 nats an image, and nothing else, is needed."""
        mv.manual_seed(0)
        patterns = (numbers(4, 1, 6, 5, seed=3) > 0).astype(np.float32)
        x = patterns[np.arange(200) % 4]
        history = VAE(**DENSE).fit(x, epochs=60, batch_size=20, lr=1e-2).history
        assert history[0]["loss"] > 20
        assert np.log(4) - 0.05 < history[-1]["loss"] < 3 * np.log(4)

    def test_one_seed_is_one_run_bit_by_bit(self):
        a, b, other = self.fitted(), self.fitted(), self.fitted(seed=1)
        for name, array in a.state_dict().items():
            np.testing.assert_array_equal(array, b.state_dict()[name])
        assert not np.array_equal(a.state_dict()["decoder.0.weight"], other.state_dict()["decoder.0.weight"])

    def test_validation_does_not_change_training(self):
        a, b = self.fitted(), self.fitted(validation=images(10, seed=5))
        np.testing.assert_array_equal(a.state_dict()["decoder.0.weight"], b.state_dict()["decoder.0.weight"])
        assert "validation_loss" in b.history[0]

    def test_an_interrupted_run_resumes_bit_by_bit(self, tmp_path):
        path = tmp_path / "checkpoint.npz"

        def stop(record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        whole = self.fitted()
        with pytest.raises(KeyboardInterrupt):
            self.fitted(checkpoint=path, on_epoch=stop)
        mv.manual_seed(99)  # whatever happens in between
        resumed = VAE(**DENSE).fit(images(50), epochs=4, batch_size=16, lr=1e-2, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(array, resumed.state_dict()[name])
        assert [r["loss"] for r in whole.history] == [r["loss"] for r in resumed.history]

    def test_a_diverging_loss_stops_with_its_epoch(self):
        with pytest.raises(FloatingPointError, match="epoch 1"), np.errstate(all="ignore"):
            self.fitted(lr=1e30)

    def test_the_checkpoint_of_another_model_is_refused(self, tmp_path):
        path = tmp_path / "checkpoint.npz"
        self.fitted(epochs=1, checkpoint=path)
        with pytest.raises(ValueError, match="not to this model"):
            VAE(**SMALL).fit(images(50), checkpoint=path, resume=True)


class TestArrays:
    def test_shapes_and_ranges(self):
        model = VAE(**SMALL)
        x = images(7)
        z = model.encode(x)
        assert z.shape == (7, 3)
        for made, n in ((model.decode(z), 7), (model.reconstruct(x), 7), (model.sample(4), 4)):
            assert made.shape == (n, 1, 6, 5)
            assert made.dtype == np.float32
            assert 0 <= made.min() <= made.max() <= 1
        assert model.score_samples(x).shape == (7,)

    def test_encoding_has_no_noise_and_does_not_depend_on_the_batch(self):
        model = VAE(**DENSE)
        x = images(600)
        np.testing.assert_array_equal(model.encode(x), model.encode(x))
        np.testing.assert_allclose(model.encode(x)[500:], model.encode(x[500:]), rtol=1e-4, atol=1e-6)

    def test_flat_rows_and_missing_channel_axis(self):
        model = VAE(**DENSE)
        x = images(4)
        np.testing.assert_array_equal(model.transform(x.reshape(4, 30)), model.encode(x))
        np.testing.assert_array_equal(model.transform(x[:, 0]), model.encode(x))
        np.testing.assert_array_equal(model.inverse_transform(model.encode(x)), model.reconstruct(x))

    def test_no_images(self):
        model = VAE(**SMALL)
        assert model.encode(images(0)).shape == (0, 3)
        assert model.score_samples(images(0)).shape == (0,)

    @pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 9), (2, 5, 4)])
    def test_odd_sizes_come_back(self, shape):
        model = VAE(shape, channels=(3, 4), hidden=(8,))
        assert model.reconstruct(images(2, shape)).shape == (2, *shape)

    def test_more_samples_make_the_score_steadier(self):
        model, exact = linear_gaussian()
        x = np.tile(exact.rvs(1, random_state=0).reshape(1, 1, 1, 6), (200, 1, 1, 1))
        one, many = model.score_samples(x, 1), model.score_samples(x, 50)
        assert many.std() < one.std() / 4
        assert many.mean() == pytest.approx(one.mean(), abs=4 * one.std() / 200**0.5)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s.get('arch', 'conv')}-{s['likelihood']}")
    def test_round_trip(self, tmp_path, suffix, settings):
        if suffix == ".safetensors":
            pytest.importorskip("safetensors")
        model = VAE(**settings)
        path = tmp_path / f"model{suffix}"
        model.save(path)
        for loaded in (VAE.load(path), load(path)):
            np.testing.assert_array_equal(loaded.reconstruct(images(3)), model.reconstruct(images(3)))
            assert json.dumps(loaded.get_params()) == json.dumps(model.get_params())

    def test_double_precision_survives(self, tmp_path):
        model = VAE(**SMALL).to(dtype=np.float64)
        model.save(tmp_path / "model.npz")
        assert VAE.load(tmp_path / "model.npz").encode(images(1)).dtype == np.float64

    def test_another_class_is_refused(self, tmp_path):
        class Other(VAE):
            pass

        Other(**SMALL).save(tmp_path / "model.npz")
        with pytest.raises(ValueError, match="holds a Other, not a VAE"):
            VAE.load(tmp_path / "model.npz")
        with pytest.raises(ValueError, match="'Other'"):
            load(tmp_path / "model.npz")


class TestScikitLearn:
    def test_parameters(self):
        model = VAE(**SMALL)
        assert model.get_params()["hidden"] is SMALL["hidden"]
        model.set_params(latent_dim=5)
        assert model.encode(images(1)).shape == (1, 5)
        with pytest.raises(ValueError, match="latents"):
            model.set_params(latents=5)

    def test_clone_and_pipeline(self):
        base = pytest.importorskip("sklearn.base")
        pipeline = pytest.importorskip("sklearn.pipeline")
        preprocessing = pytest.importorskip("sklearn.preprocessing")
        model = VAE(**DENSE)
        assert base.clone(model).get_params() == model.get_params()
        steps = pipeline.make_pipeline(preprocessing.MinMaxScaler(clip=True), model)
        x = numbers(40, 30)
        z = steps.fit(x, vae__epochs=1).transform(x)
        assert z.shape == (40, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"arch": "transformer"}, "'conv' or 'dense'"),
        ({"likelihood": "poisson"}, "'continuous-bernoulli' or 'gaussian' or 'logistic', got 'poisson'"),
        ({"beta": -1.0}, "beta"),
        ({"beta": float("nan")}, "beta"),
        ({"image_shape": (28, 28)}, "image_shape"),
        ({"image_shape": (1, 1, 1)}, "too small"),
        ({"arch": "dense", "channels": (3,)}, "channels"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        VAE(**settings)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.encode(images(2, (1, 5, 5))), ValueError, r"\(N, 1, 6, 5\).*\(2, 1, 5, 5\)"),
        (lambda m: m.encode(np.zeros((2, 1, 6, 5), np.uint8)), TypeError, "uint8"),
        (lambda m: m.encode(images(2) + 1), ValueError, r"\[0, 1\], got"),
        (lambda m: m.fit(np.full((2, 1, 6, 5), np.nan)), ValueError, "images.*0"),
        (lambda m: m.fit(images(0)), ValueError, "at least one example"),
        (lambda m: m.fit(images(2), epochs=0), ValueError, "epochs"),
        (lambda m: m.fit(images(2), batch_size=0), ValueError, "batch_size"),
        (lambda m: m.fit(images(2), resume=True), ValueError, "checkpoint"),
        (lambda m: m.fit(images(2), device="tpu"), ValueError, "tpu"),
        (lambda m: m.decode(np.zeros((2, 4))), ValueError, r"\(N, 3\), got \(2, 4\)"),
        (lambda m: m.sample(0), ValueError, "at least 1"),
        (lambda m: m.score_samples(images(2), samples=0), ValueError, "at least 1"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(VAE(**SMALL))


@pytest.mark.parametrize(
    ("low", "high", "hint"), [(0, 255, r" \(if that is 0 to 255, divide by 255\)"), (-1, 1, ""), (0, 256, "")]
)
def test_pixels_that_a_bernoulli_does_not_allow_say_what_to_do(low, high, hint):
    x = np.linspace(low, high, 60, dtype=np.float32).reshape(2, 1, 6, 5)
    with pytest.raises(ValueError, match=f"got {low} to {high}{hint}; likelihood='gaussian' takes any$"):
        VAE(**DENSE).encode(x)
    assert VAE(**DENSE, likelihood="gaussian").encode(x).shape == (2, 3)


class TestPixels:
    """The likelihoods of pixels: what a decoder must give, what is drawn from it, and what pixels are refused."""

    def test_without_a_trained_scale_the_weights_do_not_depend_on_the_likelihood(self):
        """Bug: the likelihood is made before the networks or draws random numbers, and so changes all first weights."""
        models = [VAE(**SMALL, likelihood=name, random_state=3) for name in ("bernoulli", "continuous-bernoulli")]
        states = [m.state_dict() for m in models]
        assert list(states[0]) == list(states[1])
        for name, array in states[0].items():
            np.testing.assert_array_equal(array, states[1][name])
        assert list(VAE(**SMALL, likelihood="gaussian").state_dict()) == [*states[0], "observation.raw_log_var"]

    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s.get('arch', 'conv')}-{s['likelihood']}")
    def test_means_are_shown_and_pixels_are_drawn_where_they_are_asked_for(self, settings):
        model = VAE(**settings, random_state=1)
        z = numbers(1, 3).repeat(400, axis=0)
        means, pixels = model.decode(z), model.decode(z, pixels=True)
        assert means.shape == pixels.shape == (400, 1, 6, 5)
        assert np.ptp(means, axis=0).max() < 1e-6
        assert np.abs(pixels.mean(axis=0) - means[0]).max() < 5 * (pixels.std(axis=0) / 20).max()
        assert not np.array_equal(pixels, model.decode(z, pixels=True))
        again = VAE(**settings, random_state=1)
        again.decode(z, pixels=True)
        with mv.random.fork(5):
            first = model.sample(3, pixels=True)
        with mv.random.fork(5):
            np.testing.assert_array_equal(again.sample(3, pixels=True), first)
        if settings["likelihood"] == "logistic":
            np.testing.assert_array_equal(first, np.rint(first * 255) / np.float32(255))

    def test_a_decoder_of_ones_own_gives_what_the_likelihood_needs(self):
        """Bug: a decoder of C channels, right for the others, is read as a mixture."""

        def decoder(channels):
            return nn.Sequential(nn.Linear(3, channels * 30), nn.Unflatten((channels, 6, 5)))

        model = VAE((1, 6, 5), 3, likelihood="logistic", decoder=decoder(15))
        assert model.output_shape == (15, 6, 5)
        assert model.fit(images(8), epochs=1).reconstruct(images(2)).shape == (2, 1, 6, 5)
        with pytest.raises(ValueError, match=r"decoder's output must have shape \(2, 15, 6, 5\), got \(2, 1, 6, 5\)"):
            VAE((1, 6, 5), 3, likelihood="logistic", decoder=decoder(1)).loss(images(2))

    def test_pixels_that_are_not_of_8_bits_are_refused(self):
        model, x = VAE(**DENSE, likelihood="logistic"), images(2)
        x[1, 0, 2, 3] = 0.3
        hint = "pixels must be those of 8-bit images, integers / 255, for likelihood='logistic', got 0.3 = 76.5 / 255"
        for call in (model.fit, model.encode, model.score_samples, lambda x: model.log_likelihood(x, 2)):
            with pytest.raises(ValueError, match=hint):
                call(x)
        assert VAE(**DENSE, likelihood="continuous-bernoulli").encode(x).shape == (2, 3)
        assert model.encode(images(2).astype(np.float64)).shape == (2, 3)

    @pytest.mark.parametrize("likelihood", ["gaussian", "logistic", "continuous-bernoulli"])
    def test_binarize_is_for_the_bernoulli_alone(self, likelihood):
        with pytest.raises(ValueError, match=f"'bernoulli' and not '{likelihood}'"):
            VAE(**DENSE, likelihood=likelihood, binarize="dynamic")

    def test_bits_per_dim_of_an_untrained_mixture_are_near_8(self):
        """K equal components that cover the whole range: little more than the 8 bits of a uniform distribution."""
        model = VAE(**DENSE, likelihood="logistic", random_state=0)
        x = images(50)
        nats = -float(model.score_samples(x).mean())
        assert 8 < model.bits_per_dim(nats) < 10
