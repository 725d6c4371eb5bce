from math import log

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae import nn
from minivae.models import SparseAutoencoder, load
from minivae.models.sparse import SparseLoss, _kl
from minivae.training import evaluate

L1 = {"image_shape": (1, 5, 4), "latent_dim": 6, "sparsity": "l1"}
KL = {**L1, "sparsity": "kl"}
CONV = {**L1, "arch": "conv", "channels": (2,), "hidden": (3,)}
SETTINGS = [L1, {**L1, "hidden": (4,), "decay": 0.3}, KL, {**KL, "rho": 0.2, "penalty": 2.0, "decay": 0.1}, CONV]
KINDS = pytest.mark.parametrize("settings", SETTINGS, ids=["l1", "l1-deep", "kl", "kl-rho", "l1-conv"])


def images(n, seed=0, dtype=np.float64):
    return numbers(n, 1, 5, 4, seed=seed, low=0, high=1, dtype=dtype)


def made(settings, seed=0):
    mv.manual_seed(seed)
    return SparseAutoencoder(**settings).to(dtype=np.float64)


# ---- the loss ----


@KINDS
def test_the_whole_loss_is_differentiated_right(settings):
    model, x = made(settings), images(3)
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    assert mv.gradcheck(lambda *_: model.loss(x).loss, model.parameters(), rtol=1e-4)


@KINDS
def test_the_terms_are_those_of_the_paper(settings):
    """Written out in NumPy from encoder and dictionary."""
    model, x = made(settings), images(7)
    with mv.no_grad():
        a = model.encoder(mv.Tensor(x)).numpy()
    weight, bias = model.dictionary.weight.numpy(), model.dictionary.bias.numpy()
    z = np.maximum(a, 0) if settings["sparsity"] == "l1" else 1 / (1 + np.exp(-a))
    error = ((x.reshape(7, -1) - z @ weight.T - bias) ** 2).sum() / 7
    if settings["sparsity"] == "l1":
        sparsity, penalty, decay = (z * np.linalg.norm(weight, axis=0)).sum() / 7, 0.5, settings.get("decay", 0.0)
    else:
        rho, r = settings.get("rho", 0.05), z.mean(axis=0)
        sparsity = (rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))).sum()
        penalty, decay = settings.get("penalty", 0.3), settings.get("decay", 1e-2)
    norm = (weight**2).sum()
    found = model.loss(x)
    assert isinstance(found, SparseLoss)
    expected = [error + penalty * sparsity + decay * norm, error, sparsity, norm]
    np.testing.assert_allclose([term.item() for term in found], expected, rtol=1e-9)
    np.testing.assert_allclose(model.encode(x), z, rtol=1e-9)


def test_the_kl_is_zero_where_the_mean_is_rho_and_grows_away_from_it():
    def cost(mean, rho=0.05):
        return _kl(rho, mv.Tensor(np.full((4, 1), log(mean / (1 - mean))))).item()

    assert cost(0.05) == pytest.approx(0, abs=1e-12)
    assert cost(0.5) == pytest.approx(0.05 * log(0.1) + 0.95 * log(1.9))
    assert 0 < cost(0.04) < cost(0.02) < cost(0.001)
    assert 0 < cost(0.06) < cost(0.3) < cost(0.9)


@pytest.mark.parametrize("a", [-60.0, 60.0])
def test_saturated_latents_have_a_finite_kl_and_a_gradient(a):
    """log(1 - sigmoid(60)) is -60 and not log(0), as it is if 1 - r is computed from an r that rounds to 1."""
    logits = mv.Tensor(np.full((3, 2), a, np.float32), requires_grad=True)
    kl = _kl(0.05, logits)
    share = 0.95 if a > 0 else 0.05  # of the logarithm that is large
    assert kl.item() == pytest.approx(2 * (share * 60 + 0.05 * log(0.05) + 0.95 * log(0.95)), rel=1e-5)
    kl.backward()
    gradient = np.asarray(logits.numpy() * 0 + mv.Tensor(logits.grad).numpy())
    np.testing.assert_allclose(gradient, np.sign(a) * share / 3, rtol=1e-5)


@KINDS
def test_doubling_the_batch_changes_nothing(settings):
    model, x = made(settings), images(4)
    once, twice = model.loss(x), model.loss(np.concatenate([x, x]))
    np.testing.assert_allclose([t.item() for t in twice], [t.item() for t in once], rtol=1e-12)


def test_only_the_kl_is_no_mean_over_the_images():
    x = images(8)
    for settings, is_mean in ((L1, True), (KL, False)):
        model = made(settings)
        for parameter in model.encoder.parameters():
            parameter.inplace()[...] *= 3  # so that the latents differ from image to image
        whole = model.loss(x)
        halves = [model.loss(x[:4]), model.loss(x[4:])]
        for name in ("squared_error", "norm", "sparsity"):
            mean = sum(getattr(half, name).item() for half in halves) / 2
            same = getattr(whole, name).item() == pytest.approx(mean, rel=1e-10)
            assert same == (is_mean or name != "sparsity"), name


# ---- the penalty cannot be escaped ----


def test_l1_small_codes_with_large_atoms_cost_the_same():
    """The plain sum of |z| would fall to a tenth at the same reconstructions."""
    model, x = made(L1), images(9)
    before, codes, seen = model.loss(x), model.encode(x), model.reconstruct(x)
    for parameter in model.encoder.parameters():
        parameter.inplace()[...] /= 10
    model.dictionary.weight.inplace()[...] *= 10
    np.testing.assert_allclose(model.encode(x), codes / 10, rtol=1e-12)
    np.testing.assert_allclose(model.reconstruct(x), seen, rtol=1e-12)
    after = model.loss(x)
    assert after.loss.item() == pytest.approx(before.loss.item(), rel=1e-9)
    assert after.sparsity.item() == pytest.approx(before.sparsity.item(), rel=1e-9)


def test_kl_codes_that_hardly_move_escape_the_kl_but_not_the_decay():
    """z = rho + tiny makes a linear autoencoder, whose KL falls to 0 at the same error: only the decay objects."""
    model, x = made({**KL, "penalty": 1.0}), images(9)
    weight = model.encoder[1].weight.numpy()
    found = []
    for scale in (1e-1, 1e-2, 1e-3):
        model.encoder[1].weight.inplace()[...] = model.parameters()[0].backend.asarray(weight * scale)
        model.encoder[1].bias.inplace()[...] = log(0.05 / 0.95)
        rows, h = x.reshape(9, -1), model.encode(x)
        fit = np.linalg.lstsq(np.column_stack([h, np.ones(9)]), rows, rcond=None)[0]  # the best decoder of these codes
        model.dictionary.weight.inplace()[...] = model.parameters()[0].backend.asarray(fit[:-1].T.copy())
        model.dictionary.bias.inplace()[...] = model.parameters()[0].backend.asarray(fit[-1])
        found.append(model.loss(x))
    errors, kls = [t.squared_error.item() for t in found], [t.sparsity.item() for t in found]
    assert errors[2] == pytest.approx(errors[1], rel=0.05)
    assert kls[0] > 50 * kls[1] > 2500 * kls[2]
    without = [t.squared_error.item() + 1.0 * t.sparsity.item() for t in found]
    assert without[2] < 1.01 * without[0]  # as good, and not sparse at all
    assert found[2].loss.item() > 90 * found[1].loss.item() > found[1].loss.item() > found[0].loss.item()


@pytest.mark.cpu_only("trains for 300 steps")
@pytest.mark.parametrize("sparsity", ["l1", "kl"])
def test_a_penalty_makes_codes_sparse(sparsity):
    """Images of one bar out of eight: with a penalty an image takes few latents, without it many."""
    x = np.repeat(np.eye(8, dtype=np.float32)[:, None, :, None], 4, axis=3)[np.arange(160) % 8]  # (160, 1, 8, 4)
    shares = []
    for penalty in (0.0, 0.5):
        mv.manual_seed(0)
        model = SparseAutoencoder(
            (1, 8, 4), 24, sparsity=sparsity, penalty=penalty, rho=0.05 if sparsity == "kl" else None
        )
        model.fit(x, epochs=60, batch_size=32, lr=2e-2)
        shares.append(model.activity(x).share)
        assert -model.score_samples(x).mean() < 1.0  # of 4, the squared norm of an image
    assert shares[1] < 0.5 * shares[0]
    assert shares[1] < 0.2


def test_each_weight_stands_once_in_a_file():
    names = ["encoder.1.weight", "encoder.1.bias", "decoder.0.weight", "decoder.0.bias"]
    assert list(SparseAutoencoder(**L1).state_dict()) == names


def test_one_layer_starts_with_atoms_that_it_looks_for():
    for settings in (L1, KL):
        model = made({**settings, "random_state": 1})
        weight = model.dictionary.weight.numpy()
        np.testing.assert_allclose(np.linalg.norm(weight, axis=0), 1, rtol=1e-6)
        np.testing.assert_array_equal(model.encoder[1].weight.numpy(), weight.T)
    np.testing.assert_allclose(model.encode(np.zeros((1, 1, 5, 4))), 0.05, rtol=1e-6)


def test_training_starts_from_the_mean_image_and_only_once():
    x = images(20)
    for settings in SETTINGS:
        model = made(settings)
        model.prepare(x)
        np.testing.assert_allclose(model.dictionary.bias.numpy(), x.mean(axis=0).ravel(), rtol=1e-12)
        if model.one_layer:
            logits = model._logits(mv.Tensor(x)).numpy().mean(axis=0)
            expected = 0 if settings["sparsity"] == "l1" else log(1 / settings.get("rho", 0.05) - 1)
            np.testing.assert_allclose(logits, -expected, atol=1e-6)
        before = model.state_dict()
        model.prepare(x + 1)
        assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


# ---- arrays, files ----


@KINDS
def test_activity_counts_what_is_on(settings):
    model, x = made(settings), images(11)
    z = model.encode(x)
    on = z > (0 if settings["sparsity"] == "l1" else 0.5)
    found = model.activity(x)
    np.testing.assert_allclose(found.frequency, on.sum(axis=0) / 11)
    assert found.share == pytest.approx(on.sum() / on.size)
    assert found.dead == (~on.any(axis=0)).sum()
    with pytest.raises(ValueError, match="at least one image"):
        model.activity(x[:0])


@KINDS
def test_an_image_is_the_sum_of_its_atoms(settings):
    model, x = made(settings), images(3)
    z, atoms = model.encode(x), model.atoms()
    assert atoms.shape == (6, 1, 5, 4)
    expected = np.einsum("nd,dchw->nchw", z, atoms) + model.decode(np.zeros((1, 6)))
    np.testing.assert_allclose(model.reconstruct(x), expected, rtol=1e-9, atol=1e-12)
    scores = -((x - model.reconstruct(x)) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(model.score_samples(x), scores, rtol=1e-9)


@KINDS
def test_files_and_parameters(tmp_path, settings):
    model = SparseAutoencoder(**settings)
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert isinstance(loaded, SparseAutoencoder)
    assert loaded.get_params() == model.get_params()
    x = images(3, dtype=np.float32)
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))


def test_an_encoder_of_ones_own_and_one_seed_one_run():
    own = nn.Sequential(nn.Flatten(), nn.Linear(20, 5), nn.Tanh(), nn.Linear(5, 6))
    x = images(30, dtype=np.float32)
    model = SparseAutoencoder(**L1, encoder=own, random_state=1).fit(x, epochs=2, batch_size=8)
    again = SparseAutoencoder(**L1, encoder=own, random_state=1).fit(x, epochs=2, batch_size=8)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, again.state_dict()[name])
    record = model.history[-1]
    assert record["loss"] == pytest.approx(record["squared_error"] + 0.5 * record["sparsity"], rel=1e-5)
    assert evaluate(model, x)["loss"] < model.history[0]["loss"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": "l2"}, "'l1' or 'kl', got 'l2'"),
        ({"penalty": -1.0}, "penalty"),
        ({"penalty": float("nan")}, "penalty"),
        ({"rho": 0.1}, "rho belongs to sparsity='kl', got rho=0.1 for sparsity='l1'"),
        ({"sparsity": "kl", "rho": 0.0}, r"rho.*\(0, 1\)"),
        ({"sparsity": "kl", "rho": 1.0}, r"rho.*\(0, 1\)"),
        ({"sparsity": "kl", "decay": 0.0}, "needs a decay above 0"),
        ({"decay": -0.1}, "decay"),
        ({"channels": (3,)}, "channels"),
        ({"latent_dim": 0}, "latent_dim"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        SparseAutoencoder((1, 5, 4), **{"latent_dim": 3, **settings})


def test_given_modules_leave_nothing_to_describe():
    with pytest.raises(ValueError, match="arch describes networks that are built"):
        SparseAutoencoder((1, 5, 4), 6, arch="conv", encoder=nn.Sequential(nn.Flatten(), nn.Linear(20, 6)))
