"""Likelihoods: what their nats and bits are, beside the distributions of SciPy."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from strategies import numbers

import minivae as mv
from minivae.kernels.contract import Noise
from minivae.nn.likelihoods import LIKELIHOODS, SIGMA_FLOOR, Bernoulli, ContinuousBernoulli, Gaussian, LogisticMixture

LEVELS = np.arange(256) / 255
LOGITS = [-1e4, -40.0, -3.0, -0.3, -0.25, -0.2, -1e-5, 0.0, 1e-9, 0.1, 0.25, 2.0, 40.0, 1e4]


def test_a_bernoulli_pixel_costs_minus_the_logarithm_of_its_probability():
    logits, x = numbers(3, 1, 4, 5), numbers(3, 1, 4, 5, seed=1) > 0
    nll = Bernoulli().nll(mv.Tensor(logits), mv.Tensor(x.astype(float)))
    expected = -scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(nll.numpy(), expected, rtol=1e-12)


def test_a_grey_pixel_costs_the_mean_over_black_and_white_ones():
    logits, x = numbers(6, 1), numbers(6, 1, seed=1, low=0, high=1)
    of = [Bernoulli().nll(mv.Tensor(logits), mv.Tensor(pixels)).numpy() for pixels in (x, 0 * x, 0 * x + 1)]
    np.testing.assert_allclose(of[0], (1 - x[:, 0]) * of[1] + x[:, 0] * of[2], rtol=1e-12)


def test_a_model_that_knows_nothing_needs_one_bit_for_a_binary_pixel():
    shape = (3, 4, 5)
    nll = Bernoulli().nll(mv.Tensor(np.zeros((1, *shape))), mv.Tensor(np.ones((1, *shape))))
    assert Bernoulli().bits_per_dim(nll.item(), shape) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("raw", [-20.0, -4.0, 0.0], ids=["at the floor", "sigma 0.14", "sigma 1"])
def test_bits_of_a_gaussian_are_nearly_those_of_8_bit_pixels(raw):
    """Within what the head of the module says of the floor: 0.01 bits too few at the mean, 0.07 too many at 3 sigma."""
    likelihood = Gaussian().to(dtype=np.float64)
    likelihood.raw_log_var.inplace()[...] = raw
    sigma = float(np.exp(likelihood.log_var.item() / 2))
    assert sigma >= SIGMA_FLOOR
    for z, low, high in ((0.0, -0.01, 0.0), (1.0, -0.01, 0.01), (2.0, 0.0, 0.03), (3.0, 0.0, 0.075)):
        nats = likelihood.nll(mv.Tensor(np.zeros((1, 1))), mv.Tensor(np.full((1, 1), z * sigma))).item()
        edges = [(z * sigma + half / 255) / sigma for half in (-0.5, 0.5)]
        discrete = -np.log2(np.diff(scipy.stats.norm.cdf(edges))[0])
        assert low <= likelihood.bits_per_dim(nats, (1, 1, 1)) - discrete <= high


def mixture_of(seed, shift=0.0):
    """The output of a decoder for one grey pixel, (1, 3 K, 1, 1), with scales around exp(shift)."""
    K = LogisticMixture.COMPONENTS
    output = numbers(1, 3 * K, 1, 1, seed=seed, low=-1, high=1)
    output[:, 2 * K :] += shift
    return mv.Tensor(output)


def repeated(output, n):
    return mv.Tensor(np.repeat(output.numpy(), n, axis=0))


def log_p(likelihood, output, x):
    """log p of each of the pixels x, under one and the same output."""
    return -likelihood.nll(repeated(output, x.size), mv.Tensor(x.reshape(-1, 1, 1, 1))).numpy()


class TestLogisticMixture:
    @pytest.mark.parametrize("shift", [-12.0, -4.0, -1.0, 3.0])
    def test_the_probabilities_of_256_levels_sum_to_one(self, shift):
        assert np.exp(log_p(LogisticMixture(), mixture_of(0, shift), LEVELS)).sum() == pytest.approx(1, abs=1e-10)

    @pytest.mark.parametrize("shift", [-12.0, -4.0, -1.0, 3.0])
    def test_the_mean_is_the_expectation_but_for_rounding_to_levels(self, shift):
        output = mixture_of(1, shift)
        expected = (np.exp(log_p(LogisticMixture(), output, LEVELS)) * LEVELS).sum()
        assert LogisticMixture().mean(output).item() == pytest.approx(expected, abs=1 / 510)
        if shift > -5:  # as soon as a scale is of the size of a level, the two agree far better
            assert LogisticMixture().mean(output).item() == pytest.approx(expected, abs=1e-4)

    @pytest.mark.parametrize("shift", [-6.0, -2.0, 1.0])
    def test_samples_have_the_frequencies_of_the_distribution(self, shift):
        """Chi-squared over the levels that are expected at least five times, the rest taken together; fixed seed."""
        output, n = mixture_of(2, shift), 20_000
        x = LogisticMixture().sample(repeated(output, n), Noise(5, 0)).numpy().ravel()
        np.testing.assert_array_equal(x, np.rint(x * 255) / 255)
        expected = n * np.exp(log_p(LogisticMixture(), output, LEVELS))
        found = np.bincount(np.rint(x * 255).astype(int), minlength=256)
        often = expected >= 5
        found, expected = (np.append(a[often], a[~often].sum()) for a in (found, expected))
        if expected[-1] < 5:
            found, expected = found[:-1], expected[:-1] * found[:-1].sum() / expected[:-1].sum()
        assert scipy.stats.chisquare(found, expected).pvalue > 1e-3

    def test_each_channel_of_each_pixel_has_its_own_mixture(self):
        """Two channels and two pixels together cost what each costs alone with its 3 K numbers."""
        K = LogisticMixture.COMPONENTS
        output, x = numbers(1, 6 * K, 1, 2), LEVELS[[[[3, 0]], [[255, 70]]]].reshape(1, 2, 1, 2)
        assert LogisticMixture.channels(2) == 6 * K
        alone = sum(
            LogisticMixture()
            .nll(
                mv.Tensor(output[:, 3 * K * c : 3 * K * (c + 1), :, w : w + 1]),
                mv.Tensor(x[:, c : c + 1, :, w : w + 1]),
            )
            .item()
            for c in range(2)
            for w in range(2)
        )
        assert LogisticMixture().nll(mv.Tensor(output), mv.Tensor(x)).item() == pytest.approx(alone, rel=1e-12)
        mean = LogisticMixture().mean(mv.Tensor(output)).numpy()
        one = LogisticMixture().mean(mv.Tensor(output[:, 3 * K :, :, 1:])).item()
        assert mean.shape == (1, 2, 1, 2)
        assert mean[0, 1, 0, 1] == pytest.approx(one, rel=1e-12)

    def test_a_pixel_that_is_as_likely_as_any_other_costs_8_bits(self):
        """Its bits/dim are those of the exact code: -log2 P averaged over the channels and pixels."""
        assert LogisticMixture().bits_per_dim(6 * np.log(256), (3, 2, 1)) == pytest.approx(8, rel=1e-12)

    def test_the_numbers_of_the_head(self):
        K = LogisticMixture.COMPONENTS
        output = np.zeros((1, 3 * K, 1, 1))
        output[0, K : 2 * K], output[0, 2 * K :] = -1, np.log(1 / 255 - np.exp(-7))
        bits = -log_p(LogisticMixture(), mv.Tensor(output), LEVELS[:2]) / np.log(2)
        np.testing.assert_allclose(np.exp2(-bits), [0.731, 0.222], atol=5e-4)
        np.testing.assert_allclose(bits, [0.45, 2.17], atol=5e-3)


class TestContinuousBernoulli:
    @pytest.mark.parametrize("logit", LOGITS)
    def test_the_density_integrates_to_one_and_has_this_mean(self, logit):
        """Bug: sigmoid(l), the Bernoulli's mean, for the mean; or a normaliser that is 0 / 0 near l = 0."""
        likelihood, output = ContinuousBernoulli(), mv.Tensor(np.full((1, 1, 1, 1), logit))

        def density(x):
            return np.exp(log_p(likelihood, output, np.array([x])))[0]

        width = min(1, 60 / max(abs(logit), 1e-9))  # beyond that nothing is left of the density
        ends = (0, width) if logit < 0 else (1 - width, 1)
        assert scipy.integrate.quad(density, *ends)[0] == pytest.approx(1, rel=1e-9)
        expected = scipy.integrate.quad(lambda x: x * density(x), *ends)[0]
        assert likelihood.mean(output).item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("logit", LOGITS)
    def test_in_float32_the_nats_and_the_mean_are_those_of_float64(self, logit):
        likelihood, x = ContinuousBernoulli(), np.array([[0.0, 0.3, 1.0]])
        outputs = [mv.Tensor(np.full((1, 3), logit, dtype)) for dtype in (np.float32, np.float64)]
        narrow, wide = (likelihood.nll(o, mv.Tensor(x.astype(o.dtype))).item() for o in outputs)
        assert narrow == pytest.approx(wide, rel=1e-5, abs=1e-6)
        narrow, wide = (likelihood.mean(o).numpy()[0, 0] for o in outputs)
        assert narrow == pytest.approx(wide, rel=5e-6 if abs(logit) < 1 else 2e-4)

    @pytest.mark.parametrize("logit", LOGITS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_gradient_is_the_mean_minus_the_pixel_and_always_finite(self, logit, dtype):
        """Bug: where() between two formulas, of which the one that is not taken has an infinite derivative."""
        output = mv.Tensor(np.full((1, 2), logit, dtype), requires_grad=True)
        x = mv.Tensor(np.array([[0.0, 0.7]], dtype))
        ContinuousBernoulli().nll(output, x).sum().backward()
        expected = ContinuousBernoulli().mean(output.detach()) - x
        np.testing.assert_allclose(mv.Tensor(output.grad).numpy(), expected.numpy(), atol=1e-6)

    @pytest.mark.parametrize("logit", [-300.0, -2.0, 0.0, 1e-6, 0.3, 8.0, 300.0])
    def test_samples_follow_the_distribution_function(self, logit):
        """Kolmogorov-Smirnov against F(x) = (exp(l x) - 1) / (exp(l) - 1), with a fixed seed."""
        x = ContinuousBernoulli().sample(mv.Tensor(np.full((4000, 1, 1, 1), logit)), Noise(3, 0)).numpy().ravel()
        assert x.min() >= 0
        assert x.max() <= 1
        distribution = (
            scipy.stats.uniform if abs(logit) < 1e-5 else scipy.stats.truncexpon(abs(logit), 0, 1 / abs(logit))
        )
        assert scipy.stats.kstest(1 - x if logit > 0 else x, distribution.cdf).pvalue > 0.01

    def test_the_numbers_of_the_head(self):
        output = mv.Tensor(np.full((1, 1), 2.0))
        assert ContinuousBernoulli().nll(output, mv.Tensor(np.zeros((1, 1)))).item() == pytest.approx(1.161, abs=5e-4)
        assert ContinuousBernoulli().nll(output, mv.Tensor(np.ones((1, 1)))).item() == pytest.approx(-0.839, abs=5e-4)
        assert ContinuousBernoulli().mean(output).item() == pytest.approx(0.657, abs=5e-4)
        black = ContinuousBernoulli().nll(mv.Tensor(np.full((1, 1), -1e3)), mv.Tensor(np.zeros((1, 1)))).item()
        assert np.exp(-black) / 255 == pytest.approx(3.9, abs=0.05)


class TestSamples:
    def test_bernoulli_pixels_are_one_with_their_probability(self):
        logits = mv.Tensor(np.repeat([[-2.0, 0.0, 1.5]], 20_000, axis=0))
        x = Bernoulli().sample(logits, Noise(1, 0)).numpy()
        assert set(np.unique(x)) == {0.0, 1.0}
        for column, logit in zip(x.T, (-2.0, 0.0, 1.5), strict=True):
            assert scipy.stats.binomtest(int(column.sum()), len(x), scipy.special.expit(logit)).pvalue > 1e-3

    def test_gaussian_pixels_have_the_variance_of_the_likelihood(self):
        likelihood = Gaussian().to(dtype=np.float64)
        likelihood.raw_log_var.inplace()[...] = -1.0
        x = likelihood.sample(mv.Tensor(np.full((4000, 1), 0.3)), Noise(2, 0)).numpy().ravel()
        sigma = np.exp(likelihood.log_var.item() / 2)
        assert scipy.stats.kstest(x, scipy.stats.norm(0.3, sigma).cdf).pvalue > 0.01

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_one_noise_gives_one_sample_and_the_generator_others_without_a_gradient(self, name):
        likelihood = LIKELIHOODS[name]()
        output = mv.Tensor(numbers(2, likelihood.channels(3), 4, 5, dtype=np.float32), requires_grad=True)
        one, again = (likelihood.sample(output, Noise(7, 3)).numpy() for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert (one.shape, one.dtype) == ((2, 3, 4, 5), np.float32)
        mv.manual_seed(0)
        first, second = likelihood.sample(output), likelihood.sample(output)
        assert not np.array_equal(first.numpy(), second.numpy())
        assert not first.requires_grad
        assert likelihood.mean(output).shape == (2, 3, 4, 5)

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_the_mean_is_differentiable(self, name):
        likelihood = LIKELIHOODS[name]()
        output = numbers(1, likelihood.channels(1), 2, 1)
        assert mv.gradcheck(lambda o: likelihood.mean(o) * 1.0, [output])
