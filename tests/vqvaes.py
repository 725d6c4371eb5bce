"""Small VQ-VAEs, images for them, and a prior."""

from math import log

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
from minivae.models import VQVAE

SHAPE = (2, 8, 12)
SMALL = {
    "image_shape": SHAPE,
    "codes": 6,
    "code_dim": 3,
    "channels": 4,
    "residual_channels": 3,
    "residual_blocks": 1,
}
CONFIGURATIONS = [
    {**SMALL, "likelihood": likelihood, "update": update}
    for likelihood, update in (("bernoulli", "ema"), ("gaussian", "gradient"), ("logistic", "ema"))
]
configured = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s['likelihood']}-{s['update']}")


def images(n, shape=SHAPE, seed=0, dtype=np.float32):
    """Of 8-bit pixels, which every likelihood takes."""
    return (np.rint(numbers(n, *shape, seed=seed, low=0, high=255)) / 255).astype(dtype)


def vqvae(settings=SMALL, dtype=np.float32, x=None):
    """Return a model whose codebook comes from images, as after the beginning of fit()."""
    mv.manual_seed(0)
    model = VQVAE(**settings).to(dtype=dtype)
    model.prepare(images(20, seed=8, dtype=dtype) if x is None else x)
    return model.eval()


class Uniform:
    """It is a prior with P = K^-hw for every map."""

    def __init__(self, model, **attributes):
        self.codes, self.shape = model.codes, model.code_shape
        self.calls = []
        vars(self).update(attributes)

    def sample(self, n, temperature=1.0, y=None):
        self.calls.append((n, temperature, y))
        return np.random.default_rng(0).integers(0, self.codes, (n, *self.shape))

    def score_samples(self, maps, y=None):
        self.calls.append((len(maps), y))
        return np.full(len(maps), -np.prod(self.shape) * log(self.codes))


def check_against_surrogate(model, surrogate, x):
    """Check a loss with straight-through by a surrogate, in which indices and what is held constant are frozen.

    The surrogate is differentiable, so finite differences prove its gradient, and the loss must have the same value and
    the same gradient for every parameter.
    """
    assert mv.gradcheck(surrogate, model.parameters(), rtol=1e-4)
    model.zero_grad()
    surrogate().backward()
    expected = {name: host(p.grad) for name, p in model.named_parameters()}
    model.zero_grad()
    loss = model.loss(x).loss
    loss.backward()
    assert loss.item() == pytest.approx(surrogate().item(), rel=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(host(p.grad), expected[name], rtol=1e-8, atol=1e-11, err_msg=name)
    assert len(expected) == len(model.parameters())
