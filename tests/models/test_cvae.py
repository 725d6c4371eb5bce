"""The conditional VAE: both networks see the label, one class is the VAE, and Bayes' rule classifies."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from linear_gaussian import linear_gaussian
from strategies import host, numbers

import minivae as mv
from minivae import nn
from minivae.kernels.contract import Noise
from minivae.models import VAE, ConditionalVAE, load

SMALL = {"image_shape": (1, 6, 5), "classes": 3, "latent_dim": 2, "channels": (2, 3), "hidden": (7,)}
DENSE = {"image_shape": (1, 6, 5), "classes": 3, "latent_dim": 2, "arch": "dense", "hidden": (8, 7)}
BOTH = pytest.mark.parametrize("settings", [SMALL, DENSE], ids=["conv", "dense"])
NOISE = Noise(1, 0)


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def doubled(settings):
    """A model in float64, away from the kinks of the ReLUs at 0."""
    model = ConditionalVAE(**settings).to(dtype=np.float64)
    for tensor in model.parameters():
        tensor.inplace()[...] += 0.05
    return model


def of_two_classes(n=120):
    """Images of two classes, each a pattern and its mirror image, with noise; class 1 is three times as frequent."""
    patterns = (numbers(2, 2, 1, 6, 5, seed=3) > 0).astype(np.float32)
    y = (np.arange(n) % 4 > 0).astype(np.int64)
    return patterns[y, np.arange(n) % 2], y


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (SMALL, {"binarize": "dynamic", "kl_warmup": 4, "free_bits": 0.01}),
        (DENSE, {"likelihood": "gaussian", "beta": 2.5}),
    ],
    ids=["conv", "dense"],
)
def test_the_whole_loss_is_differentiated_right(settings, options):
    model, x, y = doubled({**settings, **options}), images(3, dtype=np.float64), np.array([2, 0, 2])
    model.before_step(3, 10)
    assert mv.gradcheck(lambda *_: model.loss(x, y, NOISE).loss, model.parameters(), rtol=1e-4)


@BOTH
class TestBothNetworksSeeTheLabel:
    """ceh-2000/fed_cvae#71 and CVAE-GAN-zoos#12: their encoder never sees y."""

    def test_the_encoder(self, settings):
        _sees_labels(ConditionalVAE(**settings))

    def test_the_decoder(self, settings):
        model, z = doubled(settings), numbers(2, 2)
        for a, b in itertools.combinations(range(3), 2):
            assert (model.decode(z, a) != model.decode(z, b)).any(axis=(1, 2, 3)).all()

    def test_the_check_fails_for_an_encoder_without_labels(self, settings):
        class Blind(ConditionalVAE):
            def posterior(self, x, y=None):
                return super().posterior(x, 0)

        with pytest.raises(AssertionError):
            _sees_labels(Blind(**settings))

    def test_each_class_trains_its_own_map_alone(self, settings):
        model = ConditionalVAE(**settings)
        model.loss(images(4), np.array([1, 1, 2, 1])).loss.backward()
        gradient = host(model.maps.weight.grad)
        assert not gradient[0].any()
        assert gradient[1].any()
        assert gradient[2].any()


def _sees_labels(model):
    """Every image has another posterior with each label."""
    for a, b in itertools.combinations(range(3), 2):
        for of_a, of_b in zip(model.posterior(images(2), a), model.posterior(images(2), b), strict=True):
            assert (of_a.numpy() != of_b.numpy()).any(axis=1).all()


@BOTH
def test_the_terms_are_those_of_each_image_and_its_label(settings):
    """nll + beta kl is the mean over images, by a loop over them; the ELBO and the weights have the same terms."""
    model, x, y = doubled({**settings, "beta": 2.0}), images(4, dtype=np.float64), np.array([0, 2, 1, 2])
    loss = model.loss(x, y, NOISE)
    mu, log_var = (t.numpy() for t in model.posterior(x, y))
    for i in range(4):
        for whole, alone in zip((mu, log_var), model.posterior(x[i : i + 1], y[i : i + 1]), strict=True):
            np.testing.assert_allclose(whole[i : i + 1], alone.numpy(), rtol=1e-10)
    z = mv.functional.reparameterize(mu, log_var, NOISE).numpy()
    nll = [
        model.observation.nll(mv.Tensor(logits[None]), mv.Tensor(image[None])).item()
        for logits, image in zip(_logits(model.decode(z, y)), x, strict=True)
    ]
    kl = mv.functional.gaussian_kl(mu, log_var).numpy().sum(axis=1)
    assert loss.nll.item() == pytest.approx(np.mean(nll), rel=1e-9)
    assert loss.kl.item() == pytest.approx(kl.mean(), rel=1e-12)
    assert loss.loss.item() == pytest.approx(loss.nll.item() + 2 * loss.kl.item(), rel=1e-12)
    np.testing.assert_allclose(model.elbo(x, y, NOISE).numpy(), -np.array(nll) - kl, rtol=1e-9)
    log_q = -0.5 * (np.log(2 * np.pi) + log_var + (z - mu) ** 2 / np.exp(log_var)).sum(axis=1)
    log_prior = -0.5 * (np.log(2 * np.pi) + z**2).sum(axis=1)
    found = model.log_weights(x, y, 1, NOISE).numpy()
    np.testing.assert_allclose(found, [log_prior - log_q - nll], rtol=1e-9)


def _logits(p):
    return np.log(p) - np.log1p(-p)


@BOTH
def test_one_class_is_the_vae_number_by_number(settings):
    x, y = images(20), np.zeros(20, np.int64)
    fit = {"epochs": 2, "batch_size": 7}
    settings = {**settings, "random_state": 3}
    vae = VAE(**{k: v for k, v in settings.items() if k != "classes"}).fit(x, **fit)
    model = ConditionalVAE(**{**settings, "classes": 1}).fit(x, y, **fit)
    state = model.state_dict()
    np.testing.assert_array_equal(state.pop("class_counts"), [20])
    assert state.keys() == vae.state_dict().keys()
    for name, array in vae.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert model.history[-1]["loss"] == vae.history[-1]["loss"]
    np.testing.assert_array_equal(model.reconstruct(x, y), vae.reconstruct(x))
    np.testing.assert_array_equal(model.sample(3, 0), vae.sample(3))
    np.testing.assert_array_equal(model.log_likelihood(x, y, 5), vae.log_likelihood(x, 5))
    assert not model.classify(x, 2).any()


def test_a_class_is_a_linear_gaussian_model_whose_log_likelihood_is_exact():
    """One class, exact posterior: every weight is p(x | y), so log p(x, y) is exact to rounding."""
    exact_model, exact = linear_gaussian()
    settings = {"latent_dim": 3, "arch": "dense", "likelihood": "gaussian", "hidden": ()}
    model = ConditionalVAE((1, 1, 6), 1, **settings).to(dtype=np.float64)
    model.load_state_dict({**exact_model.state_dict(), "class_counts": np.array([4])})
    x = exact.rvs(5, random_state=0).reshape(5, 1, 1, 6)
    np.testing.assert_allclose(model.log_joint(x, 3)[:, 0], exact.logpdf(x.reshape(5, 6)), rtol=1e-10)


class TestClassification:
    def test_the_joint_is_bayes_rule(self):
        """log p(x | y) by the samples of each class under the same noise, and the frequencies of the labels."""
        x, y = of_two_classes(40)
        model = ConditionalVAE(**{**DENSE, "classes": 2}).fit(x, y, epochs=1)
        joint = model.log_joint(x[:6], 3)
        for k, share in enumerate((0.25, 0.75)):
            with mv.random.fork(mv.training.loop.EVALUATION_SEED):
                expected = model.log_likelihood(x[:6], k, 3) + np.log(share)
            np.testing.assert_allclose(joint[:, k], expected, rtol=1e-12)
        np.testing.assert_array_equal(model.classify(x[:6], 3), joint.argmax(axis=1))

    def test_it_finds_the_class_and_draws_it(self):
        x, y = of_two_classes()
        model = ConditionalVAE(**{**DENSE, "classes": 2}).fit(x, y, epochs=60, batch_size=20, lr=1e-2)
        assert (model.classify(x) == y).all()
        asked = np.arange(40) % 2
        drawn = (model.sample(40, asked) > 0.5).reshape(40, 1, -1)  # each is one of its class's two patterns
        mine, other = ((drawn != x[y == k][:2].reshape(1, 2, -1)).mean(axis=2).min(axis=1) for k in (0, 1))
        assert ((mine < other) == (asked == 0)).mean() > 0.9

    def test_the_same_noise_whatever_came_before(self):
        model, x = ConditionalVAE(**DENSE), images(5)
        first = model.log_joint(x, 2)
        mv.manual_seed(7)
        np.testing.assert_array_equal(model.log_joint(x, 2), first)

    def test_before_a_training_all_classes_are_as_frequent(self):
        model, x = ConditionalVAE(**DENSE), images(2)
        with mv.random.fork(mv.training.loop.EVALUATION_SEED):
            expected = model.log_likelihood(x, 1, 2) - np.log(3)
        np.testing.assert_allclose(model.log_joint(x, 2)[:, 1], expected)

    def test_a_class_without_training_images_is_never_the_answer(self):
        x, y = of_two_classes(40)
        model = ConditionalVAE(**DENSE).fit(x, 2 * y, epochs=1)
        joint = model.log_joint(x, 1)
        assert np.isneginf(joint[:, 1]).all()
        assert np.isfinite(joint[:, [0, 2]]).all()
        for call in (lambda: model.sample(2, 1), lambda: model.encode(x, 1), lambda: model.score_samples(x, y)):
            with pytest.raises(ValueError, match=r"trained on, got \[1\], of which no image was"):
                call()


class TestLabels:
    def test_one_label_is_that_label_for_all(self):
        model, x = ConditionalVAE(**DENSE), images(4)
        many = np.full(4, 2)
        np.testing.assert_array_equal(model.encode(x, 2), model.encode(x, many))
        np.testing.assert_array_equal(model.reconstruct(x, np.uint8(2)), model.reconstruct(x, many))

    @pytest.mark.parametrize(
        ("y", "error", "message"),
        [
            (None, ValueError, r"ConditionalVAE with classes=3 needs labels y, got None"),
            (3, ValueError, r"labels must be in \[0, 3\), got 3 to 3"),
            ([0, -1, 1, 1], ValueError, r"labels must be in \[0, 3\), got -1 to 1"),
            ([0, 1], ValueError, r"labels must have shape \(4,\), one for each example, got \(2,\)"),
            ([0.0, 1.0, 1.0, 1.0], TypeError, r"labels in \[0, 3\) must"),
            (1.5, TypeError, r"labels in \[0, 3\) must"),
            (["a", "b", "c", "d"], TypeError, r"labels in \[0, 3\) must"),
        ],
    )
    @pytest.mark.parametrize(
        "call",
        [
            lambda m, x, y: m.fit(x, y, epochs=1),
            lambda m, x, y: m.fit(x, [0, 1, 2, 0], validation=(x, y), epochs=1),
            lambda m, x, y: m.encode(x, y),
            lambda m, x, y: m.decode(np.zeros((4, 2)), y),
            lambda m, x, y: m.reconstruct(x, y),
            lambda m, x, y: m.score_samples(x, y),
            lambda m, x, y: m.log_likelihood(x, y, 2),
            lambda m, x, y: m.sample(4, y),
            lambda m, x, y: m.latent_usage(x, y),
            lambda m, x, y: m.interpolate(x, x, y=y),
            lambda m, x, y: m.loss(x, y),
        ],
    )
    def test_bad_labels(self, call, y, error, message):
        with pytest.raises(error, match=message):
            call(ConditionalVAE(**DENSE), images(4), y)


class TestArrays:
    @BOTH
    def test_the_latent_space_of_a_class(self, settings):
        model, x = ConditionalVAE(**settings), images(4)
        ways = model.interpolate(x[:2], x[2:], 3, y=[0, 2])
        assert ways.shape == (2, 3, 1, 6, 5)
        np.testing.assert_allclose(ways[1, 2], model.reconstruct(x[3:], 2)[0], rtol=1e-5)
        moved = model.traverse(x[:1], values=[-1, 0, 2], y=1)
        assert moved.shape == (2, 3, 1, 6, 5)
        z = model.encode(x[:1], 1)
        z[0, 1] = 2
        np.testing.assert_allclose(moved[1, 2], model.decode(z, 1)[0], rtol=1e-5)
        np.testing.assert_array_equal(model.traverse(values=[0.0], y=2)[0, 0], model.decode(np.zeros((1, 2)), 2)[0])
        assert model.manifold(3, y=0).shape == (9, 1, 6, 5)
        assert model.latent_usage(x, [0, 1, 2, 0]).kl.shape == (2,)

    def test_pixels_are_drawn_from_the_distribution_of_the_class(self):
        model = ConditionalVAE(**DENSE)
        z = np.repeat(numbers(1, 2, dtype=np.float32), 2000, axis=0)
        drawn = model.decode(z, 1, pixels=True)
        assert set(np.unique(drawn)) == {0, 1}
        np.testing.assert_allclose(drawn.mean(axis=0), model.decode(z[:1], 1)[0], atol=0.06)
        assert set(np.unique(model.sample(3, 2, pixels=True))) == {0, 1}

    def test_the_score_is_the_mean_elbo(self):
        model, x, y = ConditionalVAE(**DENSE), images(6), np.arange(6) % 3
        with mv.random.fork(mv.training.loop.EVALUATION_SEED):
            expected = model.score_samples(x, y).mean()
        assert model.score(x, y) == pytest.approx(expected)
        np.testing.assert_array_equal(model.fit_transform(x, y, epochs=1), model.transform(x, y))

    def test_more_images_than_a_batch_keep_their_labels(self):
        model, x, y = ConditionalVAE(**DENSE), images(600), np.arange(600) % 3
        np.testing.assert_allclose(model.encode(x, y)[500:], model.encode(x[500:], y[500:]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            model.log_likelihood(x, y, 1, rows=7).mean(), model.score_samples(x, y).mean(), rtol=0.02
        )

    def test_no_images(self):
        model, none = ConditionalVAE(**DENSE), np.zeros(0, np.int64)
        assert model.encode(images(0), none).shape == (0, 2)
        assert model.log_likelihood(images(0), none, 2).shape == (0,)
        assert model.log_joint(images(0), 2).shape == (0, 3)


class TestFiles:
    @BOTH
    def test_a_file_keeps_the_frequencies_of_the_labels(self, tmp_path, settings):
        x, y = of_two_classes(40)
        model = ConditionalVAE(**settings).fit(x, y, epochs=1)
        model.save(tmp_path / "model.npz")
        loaded = load(tmp_path / "model.npz")
        assert isinstance(loaded, ConditionalVAE)
        assert loaded.get_params() == model.get_params()
        np.testing.assert_array_equal(loaded.log_joint(x, 2), model.log_joint(x, 2))
        np.testing.assert_array_equal(loaded.class_counts.numpy(), [10, 30, 0])

    def test_an_interrupted_run_resumes_bit_by_bit(self, tmp_path):
        x, y = of_two_classes(40)
        path = tmp_path / "checkpoint.npz"

        def stop(record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        whole = ConditionalVAE(**DENSE, random_state=1).fit(x, y, epochs=4, batch_size=16)
        with pytest.raises(KeyboardInterrupt):
            ConditionalVAE(**DENSE, random_state=1).fit(x, y, epochs=4, batch_size=16, checkpoint=path, on_epoch=stop)
        resumed = ConditionalVAE(**DENSE, random_state=1)
        resumed.fit(x, y, epochs=4, batch_size=16, checkpoint=path, resume=True)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(array, resumed.state_dict()[name])


def test_own_networks_get_the_map_and_the_class():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(2 * 30, 4))
    decoder = nn.Sequential(nn.Linear(2 + 3, 30), nn.Unflatten((1, 6, 5)))
    model = ConditionalVAE((1, 6, 5), 3, latent_dim=2, encoder=encoder, decoder=decoder)
    assert model.reconstruct(images(2), [0, 1]).shape == (2, 1, 6, 5)


@pytest.mark.parametrize(
    ("classes", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), ("ten", TypeError)]
)
def test_bad_numbers_of_classes(classes, error):
    with pytest.raises(error, match="classes must be"):
        ConditionalVAE(**{**DENSE, "classes": classes})


def test_a_step_reads_no_number_of_the_device(monkeypatch):
    """Steps are replayed on a GPU without Python: a value looked at on the host would be frozen into the replay."""
    model = ConditionalVAE(**SMALL, binarize="dynamic")
    x = model.tensor(images(4))
    y = mv.Tensor.wrap(x.backend.asarray(np.array([0, 1, 2, 1])))

    def refuse(*_):
        raise AssertionError("a number was read on the host")

    with monkeypatch.context() as patch:
        for name in ("item", "numpy", "__bool__", "__float__"):
            patch.setattr(mv.Tensor, name, refuse)
        model.loss(x, y).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
