"""Every likelihood and loss is checked by finite differences, over shapes that Hypothesis draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import apart, examples, filled, numbers, sizes

import minivae as mv
import minivae.functional as F
from minivae.autograd import Function
from minivae.ops import likelihood

pytestmark = pytest.mark.usefixtures("differentiated")
spatial = st.lists(sizes, max_size=2).map(tuple)
images = st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple)


@given(shape=images)
@examples
def test_bernoulli_nll(shape):
    logits = numbers(*shape, low=-8, high=8)
    assert mv.gradcheck(F.bernoulli_nll, [logits, numbers(*shape, seed=1, low=0, high=1)])


@given(n=st.integers(0, 2), c=st.integers(1, 2), k=st.integers(1, 3), rest=st.lists(st.integers(0, 3), max_size=2))
@examples
def test_logistic_mixture_nll(n, c, k, rest):
    x = np.random.default_rng(1).integers(0, 256, (n, c, *rest)) / 255
    x[..., :1] = np.rint(x[..., :1])  # the ends of the range, 0 and 1
    assert mv.gradcheck(lambda output: F.logistic_mixture_nll(output, x), [numbers(n, 3 * k * c, *rest)])


@given(shape=images)
@examples
def test_continuous_bernoulli(shape):
    """Logits on both sides of 1/4, where a series takes over."""
    logits = numbers(*shape, low=-1, high=1)
    logits += np.where(np.abs(np.abs(logits) - 0.25) < 0.01, 0.02, 0)
    assert mv.gradcheck(F.continuous_bernoulli_nll, [logits, numbers(*shape, seed=1, low=0, high=1)])
    assert mv.gradcheck(F.continuous_bernoulli_nll, [10 * logits, numbers(*shape, seed=1, low=0, high=1)])
    assert mv.gradcheck(F.continuous_bernoulli_mean, [logits])


@given(shape=images, data=st.data())
@examples
def test_gaussian_nll(shape, data):
    """The log-variance is one number, one per pixel, or one per pixel of each example."""
    form = data.draw(st.sampled_from(["scalar", "pixel", "full"]))
    log_var_shape = {"scalar": (), "pixel": (1, *shape[1:]), "full": shape}[form]
    inputs = [numbers(*shape), numbers(*log_var_shape, seed=1), numbers(*shape, seed=2)]
    assert mv.gradcheck(F.gaussian_nll, inputs)


@given(n=st.integers(0, 4), d=sizes)
@examples
def test_gaussian_kl(n, d):
    assert mv.gradcheck(F.gaussian_kl, [numbers(n, d), numbers(n, d, seed=1)])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@given(n=sizes, k=sizes, rest=spatial)
@examples
def test_cross_entropy(reduction, n, k, rest):
    target = np.random.default_rng(0).integers(0, k, (n, *rest))
    assert mv.gradcheck(lambda x: F.cross_entropy(x, target, reduction), [numbers(n, k, *rest)])


@given(shape=filled)
@examples
def test_averaged_losses(shape):
    a, b = apart(*shape), numbers(*shape, seed=1, low=0.1, high=0.9)
    assert mv.gradcheck(F.mse_loss, [a, b])
    assert mv.gradcheck(F.binary_cross_entropy_with_logits, [a, b])


def test_every_likelihood_has_been_differentiated_by_this_file(differentiated):
    wanted = {f.__name__ for f in Function.__subclasses__() if f.__module__ == likelihood.__name__}
    assert wanted
    assert wanted <= differentiated
