"""Mu-law: samples and levels, and the categorical likelihood over them."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from strategies import host, numbers

import minivae as mv
from minivae.nn import mu_law
from minivae.nn.mu_law import LEVELS, MuLaw, levels_of, values_of

N, H, T = 3, 4, 5


def likelihood(dtype=np.float64):
    mv.manual_seed(0)
    model = MuLaw(H).to(dtype=dtype)
    model.head.weight.inplace()[...] *= 5  # far from uniform
    return model


def features(n=N, seed=0, dtype=np.float64):
    return mv.Tensor(numbers(n, H, 1, T, seed=seed, low=-1, high=1, dtype=dtype))


def waves(n=N, dtype=np.float64):
    return mv.Tensor(numbers(n, 1, 1, T, seed=9, low=-1, high=1, dtype=dtype))


@pytest.mark.cpu_only("arithmetic on the host")
class TestLevels:
    @pytest.mark.parametrize("levels", [2, 16, 256, 65536])
    def test_a_level_is_the_level_of_its_own_value(self, levels):
        k = np.arange(levels)
        np.testing.assert_array_equal(levels_of(values_of(k, levels), levels), k)
        assert (np.diff(values_of(k, levels)) > 0).all()
        np.testing.assert_allclose(values_of(k, levels), -values_of(k[::-1], levels), rtol=1e-12)

    def test_the_ends_belong_to_the_outermost_levels(self):
        assert levels_of(np.array([-1.0, 1.0])).tolist() == [0, 255]

    def test_the_docstrings_examples(self):
        for x in (0.001, 0.002, 0.5, 0.501):
            assert f"{levels_of(np.array(x))}" in mu_law.__doc__


class TestLikelihood:
    def test_the_probabilities_of_all_levels_sum_to_one(self):
        """Of each sample by itself: those of another sample cost the same in all of them."""
        model, output = likelihood(), features(1)
        every = np.tile(numbers(1, 1, 1, T, low=-1, high=1, dtype=np.float64), (LEVELS, 1, 1, 1))
        others = -model.nll(output, mv.Tensor(every[:1])).item()
        every[:, 0, 0, 2] = values_of(np.arange(LEVELS))
        repeated = mv.Tensor(np.tile(host(output.data), (LEVELS, 1, 1, 1)))
        log_p = -host(model.nll(repeated, mv.Tensor(every)).data)
        own = scipy.special.log_softmax(host(model.logits(output).data)[2])
        rest = others - own[levels_of(numbers(1, 1, 1, T, low=-1, high=1, dtype=np.float64))[0, 0, 0, 2]]
        assert np.exp(log_p - rest).sum() == pytest.approx(1, rel=1e-10)

    def test_nats_are_summed_over_samples(self):
        model, output, x = likelihood(), features(), waves()
        log_p = scipy.special.log_softmax(host(model.logits(output).data), axis=1).reshape(N, T, LEVELS)
        levels = levels_of(host(x.data)).reshape(N, T, 1)
        expected = -np.take_along_axis(log_p, levels, axis=2).sum(axis=(1, 2))
        np.testing.assert_allclose(host(model.nll(output, x).data), expected, rtol=1e-10)

    def test_a_uniform_distribution_costs_8_bits_a_sample(self):
        model = likelihood()
        for parameter in model.parameters():
            parameter.inplace()[...] = 0
        nats = model.nll(features(), waves())
        np.testing.assert_allclose([model.bits_per_dim(n, (1, 1, T)) for n in nats.numpy()], 8, rtol=1e-12)

    def test_the_mean_is_the_expected_value(self):
        model, output = likelihood(), features()
        p = scipy.special.softmax(host(model.logits(output).data), axis=1)
        expected = (p @ values_of(np.arange(LEVELS))).reshape(N, 1, 1, T)
        np.testing.assert_allclose(host(model.mean(output).data), expected, rtol=1e-10)

    def test_samples_are_distributed_as_it_says(self):
        model, n = likelihood(), 3000
        output = features(1)
        mv.manual_seed(1)
        drawn = host(model.sample(mv.Tensor(np.tile(host(output.data), (n, 1, 1, 1)))).data)
        p = scipy.special.softmax(host(model.logits(output).data)[3].astype(np.float64))
        likely = np.argsort(p)[-8:]
        counts = np.bincount(levels_of(drawn)[:, 0, 0, 3], minlength=LEVELS)
        seen, expected = (np.append(c[likely], n - c[likely].sum()) for c in (counts, n * p))
        assert scipy.stats.chisquare(seen, expected).pvalue > 1e-3

    def test_the_gradient(self):
        model, x = likelihood(), waves()
        output = mv.Tensor(host(features().data), requires_grad=True)
        weights = mv.Tensor(np.array([0.5, 2.0, -1.0]))
        assert mv.gradcheck(lambda *_: (model.nll(output, x) * weights).sum(), [output, *model.parameters()])

    def test_many_examples_are_the_parts_that_they_are_computed_in(self, monkeypatch):
        """Their logits, 256 numbers for each sample, would not fit into memory at once."""
        model, output, x = likelihood(), features(5), waves(5)
        whole = [host(t.data) for t in (model.nll(output, x), model.mean(output))]
        monkeypatch.setattr(mu_law, "AT_A_TIME", 2)
        for array, again in zip(whole, (model.nll(output, x), model.mean(output)), strict=True):
            np.testing.assert_allclose(host(again.data), array, rtol=1e-12)
