import json
from itertools import product

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
from minivae.kernels import reference
from minivae.kernels.contract import Noise
from minivae.models import Autoencoder, corrupt, load
from minivae.models.autoencoder import CORRUPTIONS, AutoencoderLoss

CONV = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "conv", "channels": (2, 3), "hidden": (7,)}
DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8,)}
LINEAR = {"image_shape": (1, 3, 2), "latent_dim": 2, "arch": "dense", "hidden": ()}
SETTINGS = [{**base, "corruption": kind} for base, kind in product((CONV, DENSE), (None, *CORRUPTIONS))]
TINY = [{**s, "image_shape": (1, 5, 4), "latent_dim": 2, "hidden": (3,)} for s in SETTINGS]  # for finite differences
TINY = [{**s, "channels": (2,)} if s["arch"] == "conv" else s for s in TINY]
NOISE = Noise(1, 0)


def name_of(settings):
    return f"{settings['arch']}-{settings.get('corruption')}"


def images(n, shape=(1, 6, 5), seed=0, dtype=np.float32):
    return numbers(n, *shape, seed=seed, low=0, high=1, dtype=dtype)


def pca_error(x, dim):
    """(mean (P,), components (dim, P), the error that they leave), from the eigenvalues of the covariance."""
    rows = x.reshape(len(x), -1)
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    return rows.mean(0), vectors.T[::-1][:dim], values[:-dim].sum()


# ---- the loss ----


@pytest.mark.parametrize("settings", TINY, ids=name_of)
def test_the_whole_loss_is_differentiated_right(settings):
    mv.manual_seed(0)
    model = Autoencoder(**settings).to(dtype=np.float64)
    x = images(2, (1, 5, 4), dtype=np.float64)
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    assert mv.gradcheck(lambda *_: model.loss(x, NOISE).loss, model.parameters(), rtol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_the_loss_compares_with_clean_images_what_is_made_of_corrupted_ones(settings):
    """Summed over the pixels of an image, averaged over the images."""
    model = Autoencoder(**settings).to(dtype=np.float64)
    x = images(4, dtype=np.float64)
    kind = settings["corruption"]
    seen = x if kind is None else corrupt(x, kind, noise=NOISE)
    with mv.no_grad():
        expected = ((x - model(seen).numpy()) ** 2).sum() / 4
    loss = model.loss(x, NOISE)
    assert isinstance(loss, AutoencoderLoss)
    assert loss.loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_evaluation_does_not_corrupt_and_draws_nothing(settings):
    model = Autoencoder(**settings).to(dtype=np.float64)
    x = images(4, dtype=np.float64)
    mv.manual_seed(3)
    with mv.no_grad():
        clean = ((x - model(x).numpy()) ** 2).sum() / 4
    model.eval()
    before = mv.random.default_generator.draw
    assert model.loss(x).loss.item() == pytest.approx(clean, rel=1e-12)
    assert mv.random.default_generator.draw == before
    model.train()
    trained = model.loss(x).loss.item()
    assert (trained == pytest.approx(clean, rel=1e-12)) == (settings["corruption"] is None)
    assert mv.random.default_generator.draw == before + (settings["corruption"] is not None)


@pytest.mark.parametrize("settings", [CONV, DENSE], ids=name_of)
def test_doubling_the_batch_changes_nothing(settings):
    model = Autoencoder(**settings).to(dtype=np.float64)
    x = images(4, dtype=np.float64)
    doubled = model.loss(np.concatenate([x, x])).loss.item()
    assert doubled == pytest.approx(model.loss(x).loss.item(), rel=1e-12)


@pytest.mark.parametrize("settings", [CONV, DENSE], ids=name_of)
def test_scores_are_the_loss_image_by_image(settings):
    model = Autoencoder(**settings, corruption="masking").eval()
    x = images(5)
    scores = model.score_samples(x)
    assert scores.shape == (5,)
    assert -scores.mean() == pytest.approx(model.loss(x).loss.item(), rel=1e-5)
    np.testing.assert_allclose(-scores, ((x - model.reconstruct(x)) ** 2).sum((1, 2, 3)), rtol=1e-5)


# ---- a linear autoencoder is PCA ----


def test_pca_is_a_linear_autoencoder_without_gradient():
    x = images(20, (1, 3, 2), dtype=np.float64)
    mean, components, error = pca_error(x, 2)
    model = Autoencoder(**LINEAR).to(dtype=np.float64)
    weights = {
        "encoder.1.weight": components,
        "encoder.1.bias": -components @ mean,
        "decoder.0.weight": components.T.copy(),
        "decoder.0.bias": mean,
    }
    model.load_state_dict(weights)
    loss = model.loss(x).loss
    assert loss.item() == pytest.approx(error, rel=1e-10)
    loss.backward()
    for parameter in model.parameters():
        np.testing.assert_allclose(host(parameter.grad), 0, atol=1e-12)


@pytest.mark.cpu_only("trains for 500 steps")
def test_a_linear_autoencoder_learns_pca():
    x = images(20, (1, 3, 2), dtype=np.float64)
    _, _, error = pca_error(x, 2)
    mv.manual_seed(0)
    model = Autoencoder(**LINEAR).to(dtype=np.float64).fit(x, epochs=500, batch_size=20, lr=0.05)
    assert error * (1 - 1e-9) <= -model.score_samples(x).mean() < error * 1.001


@pytest.mark.cpu_only("trains for 600 steps")
def test_a_denoiser_learns_the_mean_of_what_an_image_may_have_been():
    """Of black and of white images under masking: what is not all black was white, of the others E[x | x~] is Bayes'.

    Of P = 6 pixels masked with probability 1/2 a white image is all black once in 64, so that there x_hat = 1 / 65.
    """
    x = np.repeat(np.array([0.0, 1.0], np.float32), 256).reshape(-1, 1, 1, 1) * np.ones((1, 1, 3, 2), np.float32)
    mv.manual_seed(0)
    model = Autoencoder((1, 3, 2), 2, "dense", "masking", 0.5, hidden=(32,)).fit(x, epochs=150, batch_size=128, lr=1e-2)
    black, half = np.zeros((1, 1, 3, 2)), np.array([[[[1, 0], [0, 1], [1, 0]]]], float)
    np.testing.assert_allclose(model.denoise(black), 1 / 65, atol=0.05)
    np.testing.assert_allclose(model.denoise(half), 1, atol=0.1)


# ---- corruption ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gaussian_noise_has_its_deviation_and_is_not_clipped(dtype):
    x = images(400, dtype=dtype)
    y = corrupt(x, "gaussian", 0.3, NOISE)
    assert y.dtype == dtype
    difference = np.float64(y) - x
    n = difference.size
    assert abs(difference.mean()) < 4 * 0.3 / n**0.5
    assert difference.std() == pytest.approx(0.3, rel=4 / (2 * n) ** 0.5)
    assert abs(np.mean(difference < -0.3) - 0.158655) < 4 * (0.158655 * 0.841345 / n) ** 0.5  # Phi(-1)
    assert y.min() < 0
    assert y.max() > 1


@pytest.mark.parametrize("level", [0.0, 0.2, 0.7, 1.0])
def test_masking_blackens_a_share_of_the_pixels_and_leaves_the_others(level):
    x = 0.25 + images(400) / 2  # no pixel is black
    y = corrupt(x, "masking", level, NOISE)
    hit = y != x
    assert (y[hit] == 0).all()
    assert abs(hit.mean() - level) <= 4 * (level * (1 - level) / hit.size) ** 0.5


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_salt_and_pepper_are_of_equal_share(level):
    x = 0.25 + images(400) / 2  # no pixel is black or white
    y = corrupt(x, "salt-and-pepper", level, NOISE)
    black, white = y == 0, y == 1
    np.testing.assert_array_equal(y[~black & ~white], x[~black & ~white])
    half = level / 2
    for share in (black.mean(), white.mean()):
        assert abs(share - half) <= 4 * (half * (1 - half) / x.size) ** 0.5


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corruption_is_named_by_its_noise(kind):
    """One seed, one corruption; the next draw is another one; x itself stays as it is."""
    x = images(4)
    kept = x.copy()
    mv.manual_seed(5)
    first, second = corrupt(x, kind), corrupt(x, kind)
    mv.manual_seed(5)
    np.testing.assert_array_equal(corrupt(x, kind), first)
    np.testing.assert_array_equal(corrupt(x, kind, 0.3, Noise(5, 1)), second)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(x, kept)


def test_the_devices_see_the_same_corruption(device):
    """What a model in training makes of its input, on the device of the test, is what corrupt() does on the host."""
    x = images(4)
    for kind in CORRUPTIONS:
        on_device = mv.models.autoencoder._corrupted(mv.Tensor(x), kind, 0.4, NOISE)
        assert on_device.device == ("cpu" if device == "cpu" else "cuda")
        np.testing.assert_allclose(on_device.numpy(), corrupt(x, kind, 0.4, NOISE), atol=2e-6)


def test_pixels_are_masked_where_the_noise_says():
    x = images(2) + 1
    u = reference.uniform(x.shape, np.dtype(np.float32), NOISE)
    np.testing.assert_array_equal(corrupt(x, "masking", 0.4, NOISE), np.where(u < 0.4, 0, x))


# ---- training, arrays, files ----


def test_one_seed_is_one_run_bit_by_bit():
    def fitted(seed):
        mv.manual_seed(seed)
        return Autoencoder(**DENSE, corruption="gaussian").fit(images(50), epochs=2, batch_size=16).state_dict()

    a, b, other = fitted(0), fitted(0), fitted(1)
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name])
    assert not np.array_equal(a["decoder.0.weight"], other["decoder.0.weight"])


def test_shapes_and_names():
    for settings in (CONV, DENSE):
        model, x = Autoencoder(**settings), images(7)
        z = model.encode(x)
        assert z.shape == (7, 3)
        assert model.decode(z).shape == x.shape
        np.testing.assert_allclose(model.decode(z), model.reconstruct(x), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(model.denoise(x), model.reconstruct(x))
        np.testing.assert_array_equal(model.transform(x), z)
        np.testing.assert_array_equal(model.transform(x.reshape(7, 30)), z)
        np.testing.assert_array_equal(model.inverse_transform(z), model.decode(z))
        assert model.encode(images(0)).shape == (0, 3)
        assert model.score_samples(images(0)).shape == (0,)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 9), (2, 5, 4)])
def test_odd_sizes_come_back(shape):
    model = Autoencoder(shape, arch="conv", channels=(3, 4), hidden=(8,))
    assert model.reconstruct(images(2, shape)).shape == (2, *shape)


def test_noisy_images_outside_the_unit_interval_are_taken():
    x = images(3) * 4 - 2
    assert np.isfinite(Autoencoder(**CONV).denoise(x)).all()


@pytest.mark.parametrize("settings", SETTINGS, ids=name_of)
def test_files(tmp_path, settings):
    model = Autoencoder(**settings, level=None if settings["corruption"] is None else 0.2)
    model.save(tmp_path / "model.npz")
    for loaded in (Autoencoder.load(tmp_path / "model.npz"), load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(loaded.reconstruct(images(3)), model.reconstruct(images(3)))
        assert json.dumps(loaded.get_params()) == json.dumps(model.get_params())


def test_clone():
    base = pytest.importorskip("sklearn.base")
    model = Autoencoder(**DENSE, corruption="masking", level=0.5)
    assert base.clone(model).get_params() == model.get_params()


# ---- bad input ----


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim"),
        ({"arch": "transformer"}, "'conv' or 'dense'"),
        ({"image_shape": (28, 28)}, "image_shape"),
        ({"image_shape": (1, 1, 1), "arch": "conv"}, "too small"),
        ({"arch": "dense", "channels": (3,)}, "channels"),
        ({"corruption": "blur"}, "salt-and-pepper.*'blur'"),
        ({"corruption": "gaussian", "level": -0.1}, "level"),
        ({"corruption": "gaussian", "level": float("nan")}, "level"),
        ({"corruption": "masking", "level": 1.5}, r"masking.* in \[0, 1\], got 1.5"),
        ({"level": 0.2}, "needs a kind of corruption, got corruption = None"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(**settings)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.encode(images(2, (1, 5, 5))), ValueError, r"\(N, 1, 6, 5\).*\(2, 1, 5, 5\)"),
        (lambda m: m.denoise(np.zeros((2, 1, 6, 5), np.uint8)), TypeError, "uint8"),
        (lambda m: m.score_samples(np.full((2, 1, 6, 5), np.nan)), ValueError, "images.*0"),
        (lambda m: m.decode(np.zeros((2, 4))), ValueError, r"\(N, 3\), got \(2, 4\)"),
        (lambda m: corrupt(np.zeros((2, 2), np.uint8), "masking"), TypeError, "uint8"),
        (lambda m: corrupt(images(1), "blur"), ValueError, "'blur'"),
        (lambda m: corrupt(images(1), "salt-and-pepper", 1.1), ValueError, r"in \[0, 1\], got 1.1"),
        (lambda m: corrupt(images(1), "gaussian", float("inf")), ValueError, "level"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(Autoencoder(**CONV))
