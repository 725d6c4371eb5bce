"""log p(x) by importance sampling."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from linear_gaussian import linear_gaussian
from strategies import examples, numbers, on_device

import minivae as mv
from minivae.kernels.contract import Noise
from minivae.models import VAE
from minivae.models.importance import importance_log_likelihood

DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def drawn(exact, n, seed=0):
    return exact.rvs(n, random_state=seed).reshape(n, 1, 1, 6)


class TestEstimator:
    """log mean exp of given weights, in pieces."""

    @examples
    @given(st.integers(0, 7), st.integers(1, 12), st.integers(1, 20), st.sampled_from([0.0, -1000.0, 800.0]))
    def test_it_is_the_logarithm_of_the_mean_weight(self, n, samples, rows, offset):
        """Each image gets exactly `samples` weights, and no piece has more than `rows` of them."""
        table = numbers(n, samples, seed=n, low=-30, high=30) + offset
        used = np.zeros(n, int)

        def log_weights(block, count):
            assert 1 <= len(block) * count <= rows
            pieces = np.array([table[i, used[i] : used[i] + count] for i in block])  # (B, count)
            used[block] += count
            return mv.Tensor(pieces.T)

        found = importance_log_likelihood(log_weights, np.arange(n), samples, rows)
        expected = scipy.special.logsumexp(table, axis=1) - np.log(samples)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
        assert (used == samples).all()

    def test_impossible_images_have_minus_infinity(self):
        def log_weights(block, count):
            return mv.Tensor(np.full((count, len(block)), -np.inf))

        assert (importance_log_likelihood(log_weights, np.arange(2), 6, 4) == -np.inf).all()

    @pytest.mark.cpu_only("asks nothing of a device")
    def test_the_estimate_rises_to_the_logarithm_of_the_mean(self):
        """The example at the head of importance.py: weights of 1 or 3, equally likely, over all draws of k."""
        means = []
        for k in (1, 2, 3, 10):
            table = np.log(list(itertools.product((1, 3), repeat=k)))  # (2^k, k)
            found = importance_log_likelihood(lambda block, n: mv.Tensor(block.T), table, k, k)
            means.append(found.mean())
        assert (np.diff(means) > 0).all()
        np.testing.assert_allclose(means[:2], [0.549, 0.621], atol=5e-4)
        assert 0.67 < means[-1] < np.log(2)

    @pytest.mark.cpu_only("asks nothing of a device")
    def test_a_bar_changes_nothing(self):
        def log_weights(block, count):
            return mv.Tensor(numbers(count, len(block)))

        runs = [importance_log_likelihood(log_weights, np.arange(3), 4, 4, shown) for shown in (False, True)]
        np.testing.assert_array_equal(*runs)


class TestLogLikelihood:
    @pytest.mark.parametrize(("samples", "rows"), [(1, 100), (7, 3), (4, 12)])
    def test_it_is_exact_where_q_is_the_posterior(self, samples, rows):
        """All weights are p(x) then: no Monte Carlo, equal to rounding."""
        model, exact = linear_gaussian()
        x = drawn(exact, 5)
        found = model.log_likelihood(x, samples, rows)
        np.testing.assert_allclose(found, exact.logpdf(x.reshape(5, 6)), rtol=1e-10)

    @pytest.mark.cpu_only("many draws")
    def test_it_finds_the_exact_value_where_q_is_not_the_posterior(self):
        """It closes a gap of more than half a nat between the ELBO and log p(x)."""
        model, exact = linear_gaussian()
        x = drawn(exact, 20)
        model.encoder[1].bias.inplace()[...] += 0.4
        truth = exact.logpdf(x.reshape(20, 6))
        assert (truth - model.score_samples(x, 200)).mean() > 0.5
        np.testing.assert_allclose(model.log_likelihood(x, 5000), truth, atol=0.2)
        assert model.log_likelihood(x, 5000).mean() == pytest.approx(truth.mean(), abs=0.03)

    @pytest.mark.cpu_only("many draws")
    def test_it_rises_from_the_elbo_to_the_truth_with_more_samples(self):
        """E L_1 = ELBO <= E L_k <= E L_m <= log p(x) for k <= m (Burda et al. 2015, theorem 1)."""
        model, exact = linear_gaussian()
        x = drawn(exact, 300)
        model.encoder[1].bias.inplace()[...] += 0.8
        elbo = model.score_samples(x, 50).mean()
        one = np.mean([model.log_likelihood(x, 1) for _ in range(20)])
        means = [model.log_likelihood(x, k).mean() for k in (2, 10, 50)]
        assert one == pytest.approx(elbo, abs=0.15)
        truth = exact.logpdf(x.reshape(300, 6)).mean()
        assert all(a + 0.15 < b for a, b in itertools.pairwise([elbo, *means]))
        assert means[-1] < truth

    def test_one_sample_is_the_elbo_of_that_sample(self):
        """-nll + log p(z) - log q(z | x), with SciPy's densities and the very z that was drawn."""
        model = VAE(**DENSE).to(dtype=np.float64)
        x = images(4, dtype=np.float64)
        mv.manual_seed(3)
        found = model.log_likelihood(x, samples=1)
        mu, log_var = (t.numpy() for t in model.posterior(x))
        z = mv.functional.reparameterize(mu, log_var, Noise(3, 0)).numpy()
        log_q = scipy.stats.norm.logpdf(z, mu, np.exp(log_var / 2)).sum(axis=1)
        log_prior = scipy.stats.norm.logpdf(z).sum(axis=1)
        p = model.decode(z)
        log_p = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(found, log_p + log_prior - log_q, rtol=1e-8)

    def test_a_posterior_far_narrower_than_float32_can_square(self):
        """exp(250) is infinite in float32, and z - mu is 0 there: their product is no number, eps^2 is one."""
        model = VAE(**DENSE)
        *_, last = model.encoder
        last.weight.inplace()[...] = 0
        last.bias.inplace()[:3], last.bias.inplace()[3:] = 2, -250
        x, noise = images(4), Noise(5, 0)
        eps = on_device(np.zeros((4, 3), np.float32))
        eps = mv.functional.reparameterize(eps, eps, noise).numpy()
        z = np.full((4, 3), 2, np.float32)
        p = np.float64(model.decode(z))
        log_p = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
        expected = log_p + 0.5 * (-250 + eps**2 - z**2).sum(axis=1)
        np.testing.assert_allclose(model.log_weights(x, 1, noise).numpy()[0], expected, rtol=1e-5)

    @pytest.mark.cpu_only("many draws")
    def test_the_probabilities_of_all_images_sum_to_one(self):
        """Sign, scale and constants in one: a model of 2 x 2 binary images is a distribution over 16 of them."""
        mv.manual_seed(2)
        model = VAE((1, 2, 2), 2, "dense", hidden=(6,))
        for tensor in model.decoder.parameters():  # q stays close to the prior, for weights that vary little
            tensor.inplace()[...] *= 5
        x = np.array(list(itertools.product((0, 1), repeat=4)), np.float32)
        log_p = model.log_likelihood(x, samples=5000)
        assert np.exp(log_p).std() > 0.02
        assert np.exp(log_p).sum() == pytest.approx(1, abs=0.02)

    def test_grey_images_count_as_their_one_binarisation(self):
        model, x = VAE(**DENSE, binarize="dynamic"), images(4)
        for score in (lambda x: model.log_likelihood(x, 6), lambda x: model.score_samples(x, 2)):
            mv.manual_seed(1)
            grey = score(x)
            mv.manual_seed(1)
            np.testing.assert_array_equal(grey, score(model.binarized(x)))

    def test_it_evaluates_and_leaves_the_mode_and_the_gradients_alone(self):
        modes = []

        class Watched(VAE):
            def log_weights(self, x, samples=1, noise=None):
                modes.append(self.decoder.training)
                return super().log_weights(x, samples, noise)

        model = Watched(**DENSE)
        model.log_likelihood(images(2), 3)
        assert modes == [False]
        assert model.training
        assert all(p.grad is None for p in model.parameters())

    def test_no_images(self):
        assert VAE(**DENSE).log_likelihood(images(0), 5).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.log_likelihood(images(2), samples=0), "samples must be at least 1, got 0"),
        (lambda m: m.log_likelihood(images(2), rows=0), "rows must be at least 1, got 0"),
        (lambda m: m.log_likelihood(images(2) * 2), r"\[0, 1\]"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call(VAE(**DENSE))
