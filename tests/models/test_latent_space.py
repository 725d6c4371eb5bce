"""Which latents of a VAE are used, and walks through them."""

import itertools

import numpy as np
import pytest
import scipy.stats
from strategies import numbers, on_device

import minivae as mv
from minivae.models import VAE

DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def coder(scales):
    """A model whose code is mu_j = scales[j] * pixel j with variance 1."""
    D = len(scales)
    model = VAE((1, 1, D), D, "dense", "gaussian", hidden=()).to(dtype=np.float64)
    model.encoder[1].weight.data = on_device(np.concatenate([np.diag(scales), np.zeros((D, D))]))
    model.encoder[1].bias.data = on_device(np.zeros(2 * D))
    return model


class TestLatentUsage:
    def test_active_are_latents_whose_mean_varies_more_than_a_hundredth(self):
        x = numbers(300, 1, 1, 4)
        spread = x[:, 0, 0].std(axis=0)
        usage = coder(np.sqrt([0.0, 0.0098, 0.0102, 2.0]) / spread).latent_usage(x)
        np.testing.assert_allclose(usage.variance, [0.0, 0.0098, 0.0102, 2.0], rtol=1e-9, atol=1e-15)
        assert usage.active == 2

    def test_a_constant_mean_is_not_active_wherever_it_lies(self):
        model = coder(np.zeros(3))
        model.encoder[1].bias.inplace()[:3] = 5.0
        usage = model.latent_usage(numbers(50, 1, 1, 3))
        assert usage.active == 0
        np.testing.assert_allclose(usage.kl, 12.5)

    def test_its_kl_is_the_losss_latent_by_latent(self):
        model = VAE(**DENSE).to(dtype=np.float64)
        x = images(300, dtype=np.float64)
        usage = model.latent_usage(x)
        mu, log_var = (t.numpy() for t in model.posterior(x))
        for d in range(3):
            q, p = (mu[:, d], np.exp(log_var[:, d] / 2)), (0.0, 1.0)
            expected = np.log(p[1] / q[1]) + (q[1] ** 2 + q[0] ** 2) / 2 - 0.5
            assert usage.kl[d] == pytest.approx(expected.mean(), rel=1e-9)
        assert usage.kl.sum() == pytest.approx(model.loss(x).kl.item(), rel=1e-9)


class TestWalks:
    def test_interpolation_leads_straight_from_code_to_code(self):
        model, a, b = VAE(**DENSE), images(3), images(3, seed=1)
        paths = model.interpolate(a, b, steps=5)
        assert paths.shape == (3, 5, 1, 6, 5)
        start, end = model.encode(a), model.encode(b)
        for i, t in enumerate((0, 0.25, 0.5, 0.75, 1)):
            np.testing.assert_allclose(paths[:, i], model.decode(start + t * (end - start)), rtol=1e-4, atol=1e-6)

    def test_traversal_moves_one_latent_and_leaves_the_others(self):
        model, x = VAE(**DENSE), images(1)
        grid = model.traverse(x, dims=(2, 0), values=(-1.0, 0.5))
        assert grid.shape == (2, 2, 1, 6, 5)
        for (row, d), (column, value) in itertools.product(enumerate((2, 0)), enumerate((-1.0, 0.5))):
            z = model.encode(x)
            z[0, d] = value
            np.testing.assert_allclose(grid[row, column], model.decode(z)[0], rtol=1e-4, atol=1e-6)

    def test_traversal_from_the_prior(self):
        model = VAE(**DENSE)
        grid = model.traverse()
        assert grid.shape == (3, 7, 1, 6, 5)
        for row in range(3):
            z = np.zeros((1, 3))
            np.testing.assert_allclose(grid[row, 3], model.decode(z)[0], rtol=1e-5)
            z[0, row] = 3
            np.testing.assert_allclose(grid[row, 6], model.decode(z)[0], rtol=1e-5)

    def test_the_manifold_is_a_square_of_equal_probabilities(self):
        """Row by row from the upper left: latent 1 grows to the right, latent 2 upwards."""
        model = VAE((1, 6, 5), 2, "dense", hidden=(8,))
        images = model.manifold(4)
        points = scipy.stats.norm.ppf([0.125, 0.375, 0.625, 0.875])
        for row, column in itertools.product(range(4), range(4)):
            z = np.array([[points[column], points[3 - row]]])
            np.testing.assert_allclose(images[4 * row + column], model.decode(z)[0], rtol=1e-4, atol=1e-6)
        assert len(images) == 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.latent_usage(images(0)), "at least one image"),
        (lambda m: m.interpolate(images(2), images(3)), "2 and 3"),
        (lambda m: m.interpolate(images(2), images(2), steps=1), "steps must be at least 2, got 1"),
        (lambda m: m.traverse(images(2)), "one image, got 2"),
        (lambda m: m.traverse(dims=[3]), r"\[0, 3\), got \[3\]"),
        (lambda m: m.traverse(dims=[]), "dims"),
        (lambda m: m.traverse(values=[]), "values"),
        (lambda m: m.manifold(), "this model has 3"),
        (lambda m: VAE((1, 6, 5), 2, "dense").manifold(0), "at least 1"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call(VAE(**DENSE))
