"""The IWAE: its bound, its gradient, and the mistakes that were made in other implementations of it."""

from __future__ import annotations

import itertools
from math import log

import numpy as np
import pytest
import scipy.special
from linear_gaussian import linear_gaussian
from strategies import host, numbers

import minivae as mv
from minivae import ops as F
from minivae.kernels.contract import Noise
from minivae.models import IWAE, VAE, load
from minivae.training import evaluate

DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (8, 7)}
SMALL = {"image_shape": (1, 6, 5), "latent_dim": 3, "channels": (2, 3), "hidden": (7,)}
CONFIGURATIONS = [
    {**SMALL, "likelihood": "bernoulli", "binarize": "dynamic"},
    {**DENSE, "likelihood": "gaussian"},
]
NOISE = Noise(1, 0)


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def doubled(k=4, **settings):
    """A model in float64, away from the kinks of the ReLUs at 0."""
    model = IWAE(**(settings or DENSE), importance_samples=k).to(dtype=np.float64)
    for tensor in model.parameters():
        tensor.inplace()[...] += 0.05
    return model


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [host(p.grad).copy() for p in model.parameters()]


@pytest.mark.parametrize("settings", CONFIGURATIONS, ids=lambda s: f"{s.get('arch', 'conv')}-{s['likelihood']}")
def test_the_whole_loss_is_differentiated_right(settings):
    model, x = doubled(3, **settings), images(2, dtype=np.float64)
    assert mv.gradcheck(lambda *_: model.loss(x, NOISE).loss, model.parameters(), rtol=1e-4)


def test_the_loss_is_minus_the_logarithm_of_the_mean_weight():
    """With SciPy's logsumexp, from the same draws; for every example, so that doubling the batch is no question."""
    model, x = doubled(), images(5, dtype=np.float64)
    weights = model.log_weights(x, 4, NOISE).numpy()  # (k, N)
    loss = model.loss(x, NOISE)
    expected = scipy.special.logsumexp(weights, axis=0) - log(4)
    assert loss.loss.item() == pytest.approx(-expected.mean(), rel=1e-12)
    kl = mv.functional.gaussian_kl(*model.posterior(x)).numpy().sum(axis=1).mean()
    assert loss.kl.item() == pytest.approx(kl, rel=1e-12)
    assert loss.loss.item() < -weights.mean()  # the mean of logarithms is the ELBO, which is lower


def test_the_gradient_has_the_normalised_weights():
    """sum_i softmax(log w)_i grad log w_i, each draw's gradient on its own, of each image."""
    k, N = 4, 3
    model, x = doubled(k), images(N, dtype=np.float64)
    v = scipy.special.softmax(model.log_weights(x, k, NOISE).numpy(), axis=0)  # (k, N)
    assert v.max() > 1.5 / k  # else they could as well be equal
    expected = [np.zeros(p.shape) for p in model.parameters()]
    for i, n in itertools.product(range(k), range(N)):
        of_one = gradients(model, model.log_weights(x, k, NOISE)[i, n])
        expected = [e - v[i, n] * g / N for e, g in zip(expected, of_one, strict=True)]
    for found, wanted in zip(gradients(model, model.loss(x, NOISE).loss), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_one_sample_is_the_one_sample_estimate_of_the_elbo():
    """Not the VAE's loss, whose KL is in closed form, but of the same expectation."""
    model, x = doubled(1), images(5, dtype=np.float64)
    loss = model.loss(x, NOISE)
    assert loss.loss.item() == pytest.approx(-model.log_weights(x, 1, NOISE).mean().item(), rel=1e-12)
    assert loss.loss.item() != pytest.approx(loss.nll.item() + loss.kl.item(), rel=1e-6)


@pytest.mark.cpu_only("many draws")
def test_its_mean_over_draws_with_one_sample_is_the_elbo():
    model, x = doubled(1), np.repeat(images(5, dtype=np.float64), 100, axis=0)
    losses = [model.loss(x) for _ in range(40)]
    bound, elbo = (
        np.array(v) for v in zip(*((r.loss.item(), r.nll.item() + r.kl.item()) for r in losses), strict=True)
    )
    difference = bound - elbo
    assert difference.mean() == pytest.approx(0, abs=4 * difference.std() / 40**0.5)
    assert difference.std() > 0


# ---- a model whose log p(x) is known ----


def exact_model(k):
    """The linear-Gaussian model, a VAE that IWAE.loss() takes, and the exact density."""
    model, exact = linear_gaussian()
    model.importance_samples = k
    return model, exact


@pytest.mark.parametrize("k", [1, 2, 7])
def test_it_is_the_log_likelihood_where_q_is_the_posterior(k):
    """Every weight is p(x) then, for all draws: equal to rounding."""
    model, exact = exact_model(k)
    x = exact.rvs(5, random_state=0).reshape(5, 1, 1, 6)
    assert IWAE.loss(model, x).loss.item() == pytest.approx(-exact.logpdf(x.reshape(5, 6)).mean(), rel=1e-10)


@pytest.mark.cpu_only("many draws")
def test_the_bound_rises_with_k_to_the_log_likelihood():
    """E L_1 <= E L_5 <= E L_50 <= log p(x) (theorem 1), where q is not the posterior."""
    means = []
    for k in (1, 5, 50):
        model, exact = exact_model(k)
        model.encoder[1].bias.inplace()[...] += 0.8
        x = exact.rvs(300, random_state=0).reshape(300, 1, 1, 6)
        means.append(-np.mean([IWAE.loss(model, x).loss.item() for _ in range(5)]))
    assert all(a + 0.15 < b for a, b in itertools.pairwise(means))
    assert means[-1] < exact.logpdf(x.reshape(300, 6)).mean()


# ---- what others got wrong ----


def detached(t):
    return mv.Tensor(t.data)


def _terms(model, x):
    x = model.tensor(x)
    return model._draws(x, *model.posterior(x), model.importance_samples, NOISE)


def _bound(log_w):
    return -(F.logsumexp(log_w, axis=0) - log(len(log_w))).mean()


def _sign(model, x):
    """AntixK/PyTorch-VAE#34: the nll enters the weight with the wrong sign."""
    log_ratio, nll = _terms(model, x)
    return _bound(log_ratio + nll)


def _sign_of_the_ratio(model, x):
    log_ratio, nll = _terms(model, x)
    return _bound(-log_ratio - nll)


def _closed_form(model, x):
    """The closed form of the KL in the place of the sample's log q - log p."""
    _, nll = _terms(model, x)
    return _bound(-nll - F.gaussian_kl(*model.posterior(x)).sum(axis=1))


def _attached(model, x):
    """sum of softmax(log w) log w, whose softmax has a gradient of its own."""
    log_ratio, nll = _terms(model, x)
    log_w = log_ratio - nll
    return -(F.softmax(log_w, axis=0) * log_w).sum(axis=0).mean()


def _mean_of_logarithms(model, x):
    """generative-tf#1: the ELBO of k samples."""
    log_ratio, nll = _terms(model, x)
    return -(log_ratio - nll).mean()


def _without_the_count(model, x):
    """log of the sum in the place of log of the mean: off by log k, above log p(x)."""
    log_ratio, nll = _terms(model, x)
    return -F.logsumexp(log_ratio - nll, axis=0).mean()


def _eps_over_log_var(model, x):
    """log q(z | x) with z - mu divided by log_var in the place of sigma."""
    x = model.tensor(x)
    mu, log_var = (mv.models.vae._repeat(t, model.importance_samples) for t in model.posterior(x))
    z = F.reparameterize(mu, log_var, NOISE)
    off = (z - mu) / log_var
    log_ratio = 0.5 * (log_var + off * off - z * z).sum(axis=1)
    return _bound(log_ratio.reshape(model.importance_samples, len(x)) - _terms(model, x)[1])


def _over_the_batch(model, x):
    """logsumexp over images and not over draws."""
    log_ratio, nll = _terms(model, x)
    return -(F.logsumexp(log_ratio - nll, axis=1) - log(len(x))).mean()


def _log_ratio_detached(model, x):
    """Weights whose log p(z) - log q(z | x) is a constant: the value is right and the gradient is not."""
    log_ratio, nll = _terms(model, x)
    return _bound(detached(log_ratio) - nll)


def _weights_detached(model, x):
    """sum of softmax(log w) log w with constant weights: its gradient is right and its value is not."""
    log_ratio, nll = _terms(model, x)
    log_w = log_ratio - nll
    return -(detached(F.softmax(log_w, axis=0)) * log_w).sum(axis=0).mean()


def value_is_right(model, x, loss):
    log_w = model.log_weights(x, model.importance_samples, NOISE).numpy()
    return loss.item() == pytest.approx(-(scipy.special.logsumexp(log_w, axis=0) - log(len(log_w))).mean(), rel=1e-10)


def gradient_is_right(model, x, loss):
    """By the sum with constant weights, which test_the_gradient_has_the_normalised_weights derives draw by draw."""
    found, expected = gradients(model, loss), gradients(model, _weights_detached(model, x))
    return all(np.allclose(a, b, rtol=1e-8, atol=1e-11) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        (lambda model, x: model.loss(x, NOISE).loss, True, True),
        (_sign, False, False),
        (_sign_of_the_ratio, False, False),
        (_closed_form, False, False),
        (_attached, False, False),
        (_mean_of_logarithms, False, False),
        (_without_the_count, False, True),
        (_eps_over_log_var, False, False),
        (_over_the_batch, False, False),
        (_log_ratio_detached, True, False),
        (_weights_detached, False, True),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
def test_the_checks_tell_the_bound_from_what_others_computed(loss, value, gradient):
    model, x = doubled(), images(3, dtype=np.float64)
    assert value_is_right(model, x, loss(model, x)) == value
    assert gradient_is_right(model, x, loss(model, x)) == gradient


# ---- training, files, arguments ----


def test_evaluation_and_training_have_one_loss_and_a_vae_has_comparable_terms():
    model, x = IWAE(**DENSE, importance_samples=3), images(6)
    training = model.train().loss(x, NOISE)
    assert [t.item() for t in model.eval().loss(x, NOISE)] == [t.item() for t in training]
    vae = VAE(**DENSE)
    vae.load_state_dict(model.state_dict())
    assert evaluate(model, x)["kl"] == pytest.approx(evaluate(vae, x)["kl"], rel=1e-6)
    many = images(600)  # as the draws of both are different ones
    assert evaluate(model, many)["loss"] < evaluate(vae, many)["loss"]


def test_everything_stays_in_single_precision():
    assert {t.dtype for t in IWAE(**DENSE, binarize="dynamic").loss(images(2))} == {np.dtype(np.float32)}


def test_a_step_reads_no_number_of_the_device(monkeypatch):
    """Steps are replayed on a GPU without Python: a value looked at on the host would be frozen into the replay."""
    model = IWAE(**SMALL, binarize="dynamic")
    x = model.tensor(images(4))

    def refuse(*_):
        raise AssertionError("a number was read on the host")

    with monkeypatch.context() as patch:
        for name in ("item", "numpy", "__bool__", "__float__"):
            patch.setattr(mv.Tensor, name, refuse)
        model.loss(x).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_it_learns_and_comes_back_from_a_file(tmp_path):
    patterns = (numbers(4, 1, 6, 5, seed=3) > 0).astype(np.float32)
    x = patterns[np.arange(200) % 4]
    mv.manual_seed(1)  # from half of all seeds two of the patterns stay one
    model = IWAE(**DENSE, importance_samples=2).fit(x, epochs=60, batch_size=20, lr=1e-2)
    assert model.history[0]["loss"] > 15
    assert np.log(4) - 0.05 < model.history[-1]["loss"] < 3 * np.log(4)
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert isinstance(loaded, IWAE)
    assert loaded.get_params() == model.get_params()
    assert loaded.importance_samples == 2
    np.testing.assert_array_equal(loaded.encode(x[:4]), model.encode(x[:4]))


def test_impossible_draws_do_not_make_nan():
    """Weights of exp(-1000) are zero as numbers; the sum is taken in logarithms."""
    model, x = IWAE(**DENSE, importance_samples=3), images(2)
    *_, layer, _ = model.decoder
    layer.bias.inplace()[...] = 1000
    loss = model.loss(x).loss
    loss.backward()
    assert loss.item() > 1e4
    assert all(np.isfinite(host(p.grad)).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"importance_samples": 0}, ValueError, "importance_samples must be at least 1, got 0"),
        ({"importance_samples": -5}, ValueError, "at least 1, got -5"),
        ({"importance_samples": 2.0}, TypeError, "importance_samples must be an int"),
        ({"beta": 2.0}, ValueError, r"beta must be 1\.0 as the bound of an IWAE has no KL term, got 2\.0"),
        ({"kl_warmup": 10}, ValueError, "kl_warmup must be 0 as the bound"),
        ({"free_bits": 0.1}, ValueError, r"free_bits must be 0\.0 as the bound"),
        ({"latents": 3}, TypeError, "latents"),
    ],
)
def test_bad_arguments(settings, error, message):
    with pytest.raises(error, match=message):
        IWAE(**{**DENSE, **settings})


def test_parameters_are_those_of_the_vae_and_one_more():
    model = IWAE(**DENSE)
    assert set(model.get_params()) == {*VAE(**DENSE).get_params(), "importance_samples"}
    model.set_params(importance_samples=2, beta=1.0)
    assert model.importance_samples == 2
    with pytest.raises(ValueError, match="beta must be"):
        model.set_params(beta=2.0)
