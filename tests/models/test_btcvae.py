"""The beta-TC-VAE: its three terms against exact densities, its estimates of q(z), its gradients, and the size N."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from strategies import host, numbers

import minivae as mv
from minivae.kernels.contract import Noise
from minivae.models import VAE, BetaTCVAE, load
from minivae.models.btcvae import SAMPLINGS, BetaTCVAELoss, aggregate_posterior, kl_terms
from minivae.training import evaluate

SMALL = {"image_shape": (1, 6, 5), "latent_dim": 2, "channels": (2, 2), "hidden": (3,)}
DENSE = {"image_shape": (1, 6, 5), "latent_dim": 3, "arch": "dense", "hidden": (6,)}
N, D = 6, 3


@pytest.fixture(autouse=True)
def seeded():
    """Weights and noise do not depend on the tests before."""
    mv.manual_seed(0)


def images(n, seed=0, dtype=np.float32):
    return numbers(n, 1, 6, 5, seed=seed, low=0, high=1, dtype=dtype)


def posteriors(n=N, d=D):
    """z (n, d), each drawn from its own N(mu, exp(log_var)), and these; sigma is far from log_var and from 1."""
    mu, log_var = numbers(n, d, seed=1), numbers(n, d, seed=2, low=-3, high=0.5)
    return mu + np.exp(log_var / 2) * np.random.default_rng(3).normal(size=(n, d)), mu, log_var


def terms(z, mu, log_var, size, sampling="stratified"):
    return [t.item() for t in kl_terms(*map(mv.Tensor, (z, mu, log_var)), size, sampling)]


def exact(z, mu, log_var):
    """log q(z | x) of the own image, log q(z) and sum over j of log q(z_j) by enumeration of the mixture, log p(z)."""
    each = norm.logpdf(z[:, None], mu, np.exp(log_var / 2))  # (i, k, j)
    own = each[np.arange(len(z)), np.arange(len(z))].sum(1)
    joint = logsumexp(each.sum(2), axis=1) - np.log(len(mu))
    marginals = (logsumexp(each, axis=1) - np.log(len(mu))).sum(1)
    return own, joint, marginals, norm.logpdf(z).sum(1)


# ---- the decomposition ----


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [N, 50])
def test_the_three_terms_add_up_to_the_kl_of_the_sample(sampling, size):
    """Exactly, whatever the estimate of q(z): the estimates cancel."""
    z, mu, log_var = posteriors()
    own, _, _, prior = exact(z, mu, log_var)
    assert sum(terms(z, mu, log_var, size, sampling)) == pytest.approx((own - prior).mean(), rel=1e-12)


def test_with_all_images_in_the_batch_each_term_is_exact():
    """It fails for a log_var that is taken for a deviation, for a logsumexp over z in place of the images or over the
    latents, and for a missing N M or one of the wrong sign."""
    z, mu, log_var = posteriors()
    own, joint, marginals, prior = exact(z, mu, log_var)
    expected = [(own - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean()]
    np.testing.assert_allclose(terms(z, mu, log_var, N), expected, rtol=1e-12)


def test_weighted_sampling_is_equation_3():
    """log q(z_i) ~ log(1 / (N M) sum over k of q(z_i | x_k)): all images in the batch give log q(z) - log N."""
    z, mu, log_var = posteriors()
    own, joint, marginals, prior = exact(z, mu, log_var)
    shift = np.log(N)
    expected = [
        (own - joint).mean() + shift,
        (joint - marginals).mean() + (D - 1) * shift,
        (marginals - prior).mean() - D * shift,
    ]
    np.testing.assert_allclose(terms(z, mu, log_var, N, "weighted"), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_stratified_sampling_is_unbiased(size):
    """Over all batches that hold image 0, the estimates of the densities q(z_0) and q(z_0j) have the exact mean; those
    of weighted sampling, and those of a data set that is taken to be as small as the batch, do not."""
    z, mu, log_var = posteriors(d=1)
    expected = np.exp(exact(z, mu, log_var)[1][0])
    batches = [[0, *others] for others in combinations(range(1, N), size - 1)]

    def mean_estimate(*how):
        found = [aggregate_posterior(*(mv.Tensor(a[b]) for a in (z, mu, log_var)), *how) for b in batches]
        joint, marginal = (np.mean([np.exp(pair[i].numpy()[0]) for pair in found]) for i in (0, 1))
        assert joint == pytest.approx(marginal, rel=1e-12)  # there is one latent
        return joint

    assert mean_estimate(N, "stratified") == pytest.approx(expected, rel=1e-10)
    assert abs(mean_estimate(N, "weighted") / expected - 1) > 0.1
    assert abs(mean_estimate(size, "stratified") / expected - 1) > 0.1


def test_the_numbers_at_the_head_of_the_file():
    """Densities 1 and 0.2 at z_1 = 0, as of N(mu, 1 / (2 pi)) with mu = 0 and mu^2 = log(5) / pi."""
    mu = np.array([[0.0], [np.sqrt(np.log(5) / np.pi)]])
    batch = [mv.Tensor(a) for a in (np.zeros((2, 1)), mu, np.full((2, 1), -np.log(2 * np.pi)))]
    found = [np.exp(aggregate_posterior(*batch, 4, sampling)[0].numpy()[0]) for sampling in SAMPLINGS]
    np.testing.assert_allclose(found, [0.4, 0.15], rtol=1e-12)
    assert np.exp(aggregate_posterior(*batch, 2)[0].numpy()[0]) == pytest.approx(0.6)  # the mean over the batch


def test_the_mutual_information_is_at_most_log_n():
    """Of posteriors that do not overlap it is log N with either number of images in the batch, and no more."""
    mu = 100.0 * np.arange(8)[:, None] + np.zeros((8, D))
    for size in (8, 1000):
        information, correlation, _ = terms(mu, mu, np.zeros_like(mu), size)
        assert information == pytest.approx(np.log(size), rel=1e-10)
        assert correlation == pytest.approx((D - 1) * np.log(size), rel=1e-10)  # each latent says all


def test_independent_latents_have_no_total_correlation():
    """All pairs of 5 values of one latent and 5 of the other: q(z) is the product of its marginals."""
    mu = np.array([(a, b) for a in range(5) for b in range(5)], float)
    z = mu + 0.3 * np.random.default_rng(0).normal(size=mu.shape)
    log_var = np.full_like(mu, 2 * np.log(0.3))
    assert terms(z, mu, log_var, 25)[1] == pytest.approx(0, abs=1e-12)
    twice = np.repeat(mu[:, :1], 2, axis=1)  # two latents that say the same
    assert terms(twice, twice, log_var, 25)[1] > 1


def test_the_terms_of_a_doubled_batch():
    """They are statistics of the batch. They stay as they are if the data set is doubled with it, and only then."""
    batch = posteriors()
    doubled = [np.concatenate([a, a]) for a in batch]
    np.testing.assert_allclose(terms(*doubled, 2 * N), terms(*batch, N), rtol=1e-12)
    assert abs(terms(*doubled, 100)[1] - terms(*batch, 100)[1]) > 0.1


def test_extreme_posteriors_stay_finite_in_float32():
    z, mu, log_var = (a.astype(np.float32) for a in posteriors())
    assert np.isfinite(terms(z * 100, mu * 100, log_var - 30, 10**6)).all()
    assert kl_terms(*map(mv.Tensor, (z, mu, log_var)), 10**6).total_correlation.dtype == np.float32
    assert np.isfinite(terms(z[:1], mu[:1], log_var[:1], 1)).all()


# ---- the model ----


@pytest.mark.parametrize(("settings", "sampling"), [(SMALL, "stratified"), (DENSE, "weighted")], ids=SAMPLINGS)
def test_the_whole_loss_is_differentiated_right(settings, sampling):
    weights = {"alpha": 0.7, "beta": 5.0, "gamma": 1.3}
    model = BetaTCVAE(**settings, **weights, sampling=sampling, binarize="dynamic").to(dtype=np.float64)
    x, noise = images(3, dtype=np.float64), Noise(1, 0)
    model.prepare(np.empty((40, 1)))
    model.train()
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    assert mv.gradcheck(lambda *_: model.loss(x, noise).loss, model.parameters(), rtol=1e-4)


def test_the_loss_is_equation_4_in_training_and_minus_the_elbo_in_evaluation():
    model = BetaTCVAE(**DENSE, alpha=0.5, beta=4.0, gamma=2.0).to(dtype=np.float64)
    x, noise = images(4, dtype=np.float64), Noise(1, 0)
    found = model.train().loss(x, noise)
    assert isinstance(found, BetaTCVAELoss)
    loss, nll, kl, information, correlation, dimension = (float(t.item()) for t in found)
    assert loss == pytest.approx(nll + 0.5 * information + 4 * correlation + 2 * dimension, rel=1e-12)
    evaluated = model.eval().loss(x, noise)
    assert evaluated.loss.item() == pytest.approx(nll + kl, rel=1e-12)
    plain = VAE(**DENSE).to(dtype=np.float64)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k != "data_size"})
    expected = plain.loss(x, noise)
    assert (nll, kl) == (pytest.approx(expected.nll.item(), rel=1e-12), pytest.approx(expected.kl.item(), rel=1e-12))


def test_the_loss_takes_the_terms_of_its_own_sample_and_posterior():
    model = BetaTCVAE(**DENSE).to(dtype=np.float64)
    x, noise = images(N, dtype=np.float64), Noise(1, 0)
    mu, log_var = (t.numpy() for t in model.posterior(x))
    z = mv.functional.reparameterize(mu, log_var, noise).numpy()
    own, joint, marginals, prior = exact(z, mu, log_var)  # without a fit the batch is the whole data set
    expected = [(own - joint).mean(), (joint - marginals).mean(), (marginals - prior).mean()]
    np.testing.assert_allclose([t.item() for t in model.loss(x, noise)[3:]], expected, rtol=1e-10)


# ---- N ----


def information(model, x):
    return model.loss(x, Noise(1, 0)).mutual_information.item()


def test_fit_tells_the_loss_how_many_images_there_are():
    """A data set that is forgotten gives the terms of a batch that is the whole of it: at most log M."""
    model = BetaTCVAE(**DENSE, epochs=1, batch_size=10)
    x = images(30)
    model.fit(x)
    for p in model.encoder.parameters():  # codes that say something
        p.inplace()[...] *= 10
    assert host(model.data_size.data) == 30
    mu, log_var = model.posterior(x[:4])
    z = mv.functional.reparameterize(mu, log_var, Noise(1, 0))
    assert information(model, x[:4]) == pytest.approx(kl_terms(z, mu, log_var, 30).mutual_information.item(), rel=1e-5)
    assert information(model, x[:4]) > kl_terms(z, mu, log_var, 4).mutual_information.item() + 0.5
    model.fit(images(20))
    assert host(model.data_size.data) == 20


def test_a_batch_larger_than_the_data_set_counts_as_all_of_it():
    model = BetaTCVAE(**DENSE)
    expected = information(model, images(12))  # of a model that has not seen data
    model.prepare(images(5))
    assert information(model, images(12)) == expected


def test_a_file_has_the_number_of_images(tmp_path):
    model = BetaTCVAE(**DENSE, epochs=1, batch_size=10).fit(images(30))
    model.save(tmp_path / "model.npz")
    for loaded in (load(tmp_path / "model.npz"), BetaTCVAE.load(tmp_path / "model.npz")):
        assert information(loaded, images(4)) == information(model, images(4))


def test_a_resumed_training_goes_on_bit_by_bit(tmp_path):
    """The number of images is in the checkpoint; nobody calls prepare() in a training that goes on."""
    path = tmp_path / "checkpoint.npz"

    def fitted(**options):
        mv.manual_seed(0)
        return BetaTCVAE(**DENSE, epochs=4, batch_size=16, lr=1e-2).fit(images(50), **options)

    def stop(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    whole = fitted()
    with pytest.raises(KeyboardInterrupt):
        fitted(checkpoint=path, on_epoch=stop)
    resumed = fitted(checkpoint=path, resume=True)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, resumed.state_dict()[name])
    assert [r["loss"] for r in whole.history] == [r["loss"] for r in resumed.history]


@pytest.mark.cpu_only("a training")
def test_it_lowers_the_total_correlation():
    """Images of two independent factors. A VAE of dependent latents pays for them; here they cost 20 times as much."""
    angle = np.linspace(0, 1, 12)
    x = np.array([np.outer(np.cos(a + np.arange(6)), np.sin(b + np.arange(5))) for a in angle for b in angle])
    x = (0.5 + 0.45 * x[:, None]).astype(np.float32)
    found = {}
    for beta in (1.0, 20.0):
        mv.manual_seed(0)
        model = BetaTCVAE(**DENSE, beta=beta, likelihood="gaussian", epochs=40, lr=1e-2, batch_size=48).fit(x)
        found[beta] = evaluate(model, x)
    assert found[20.0]["total_correlation"] < 0.5 * found[1.0]["total_correlation"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": -1.0}, ValueError, "alpha"),
        ({"gamma": float("inf")}, ValueError, "gamma"),
        ({"beta": "6"}, TypeError, "beta"),
        ({"sampling": "mws"}, ValueError, "'stratified' or 'weighted'"),
        ({"free_bits": 0.1}, TypeError, "free_bits"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        BetaTCVAE(**DENSE, **settings)
