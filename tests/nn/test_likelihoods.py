"""Likelihoods: what their nats and bits are, beside the distributions of SciPy."""

import numpy as np
import pytest
import scipy.stats
from strategies import numbers

import minivae as mv
from minivae.nn.likelihoods import SIGMA_FLOOR, Bernoulli, Gaussian


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
