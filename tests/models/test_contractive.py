import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae import nn
from minivae.kernels.contract import Noise
from minivae.models import ContractiveAutoencoder, load
from minivae.models.contractive import STEP, ContractiveLoss

ONE = {"image_shape": (1, 4, 3), "latent_dim": 5, "penalty": 0.7}
DEEP = {**ONE, "hidden": (6,)}
CONV = {**ONE, "arch": "conv", "channels": (2,), "hidden": (4,)}
SETTINGS = [ONE, {**ONE, "decay": 0.2}, DEEP, CONV]
KINDS = pytest.mark.parametrize("settings", SETTINGS, ids=["one", "one-decay", "deep", "conv"])
NOISE = Noise(3, 0)


def images(n, seed=0, dtype=np.float64):
    return numbers(n, 1, 4, 3, seed=seed, low=0, high=1, dtype=dtype)


def made(settings, seed=0, scale=1.0):
    mv.manual_seed(seed)
    model = ContractiveAutoencoder(**settings).to(dtype=np.float64)
    for parameter in model.parameters():
        parameter.inplace()[...] *= scale
    return model


def jacobians(model, x, step=1e-6):
    """dh / dx of each image by central differences of encode(): (N, D, P)."""
    columns = []
    for i in range(x[0].size):
        v = np.zeros(x[0].size)
        v[i] = step
        v = v.reshape(x[0].shape)
        columns.append((model.encode(x + v) - model.encode(x - v)) / (2 * step))
    return np.stack(columns, axis=2)


# ---- the penalty ----


def test_one_layer_has_the_norm_of_the_jacobian():
    model, x = made(ONE, scale=4.0), images(6)
    expected = (jacobians(model, x) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(model.jacobian_norm(x), expected, rtol=1e-7)
    assert model.loss(x).jacobian.item() == pytest.approx(expected.mean(), rel=1e-7)


@pytest.mark.cpu_only("4,000 encodings of a few images; the operations have tests of their own on every device")
@pytest.mark.parametrize("settings", [ONE, DEEP, CONV], ids=["one", "deep", "conv"])
def test_the_estimate_has_the_norm_of_the_jacobian_as_its_mean(settings):
    """Over n draws its error is that of a mean; a step in place of v, or v of another length, is far outside of it."""
    model, x, n = made(settings, scale=1.5), images(3), 4000
    J = jacobians(model, x)
    squared = np.einsum("ndp,nep->nde", J, J)
    expected, variance = np.trace(squared, axis1=1, axis2=2), 2 * (squared**2).sum(axis=(1, 2))
    many = mv.Tensor(np.repeat(x, n, axis=0))
    with mv.no_grad():
        estimates = model._estimate(many, model._encoded(many), NOISE).numpy().reshape(3, n)
    assert (np.abs(estimates.mean(axis=1) - expected) < 4 * (variance / n) ** 0.5).all()
    np.testing.assert_allclose(estimates.var(axis=1), variance, rtol=0.25)


def test_the_estimate_is_the_derivative_along_its_direction():
    model, x = made(DEEP, scale=1.5), images(4)
    v = mv.kernels.reference.normal(x.shape, np.dtype(np.float64), NOISE)
    expected = (np.einsum("ndp,np->nd", jacobians(model, x), v.reshape(4, -1)) ** 2).sum(axis=1)
    with mv.no_grad():
        found = model._estimate(mv.Tensor(x), model._encoded(mv.Tensor(x)), NOISE).numpy()
    np.testing.assert_allclose(found, expected, rtol=20 * STEP)
    assert model.loss(x, NOISE).jacobian.item() == pytest.approx(found.mean(), rel=1e-12)


def test_float32_is_good_enough_for_the_difference():
    model, x = made(DEEP, scale=1.5), images(50)
    exact = model.loss(x, NOISE).jacobian.item()
    rounded = model.to(dtype=np.float32).loss(x.astype(np.float32), NOISE).jacobian
    assert rounded.dtype == np.float32
    assert rounded.item() == pytest.approx(exact, rel=5e-3)


# ---- the loss ----


@KINDS
def test_the_whole_loss_is_differentiated_right(settings):
    model, x = made(settings), images(2)
    for tensor in model.parameters():  # away from the kinks of the ReLUs at 0
        tensor.inplace()[...] += 0.05
    assert mv.gradcheck(lambda *_: model.loss(x, NOISE).loss, model.parameters(), rtol=1e-4)


@KINDS
def test_the_terms_add_up(settings):
    model, x = made(settings), images(6)
    found = model.loss(x, NOISE)
    assert isinstance(found, ContractiveLoss)
    assert found.squared_error.item() == pytest.approx(((x - model.reconstruct(x)) ** 2).sum() / 6, rel=1e-10)
    weights = [model.layer.weight] if model.one_layer else [p for p in model.decoder.parameters() if p.ndim > 1]
    assert len(weights) == (1 if model.one_layer else 3 if settings is CONV else 2)
    assert found.norm.item() == pytest.approx(sum((w.numpy() ** 2).sum() for w in weights), rel=1e-10)
    decay = settings.get("decay", 0.0 if model.one_layer else 1e-3)
    total = found.squared_error.item() + 0.7 * found.jacobian.item() + decay * found.norm.item()
    assert found.loss.item() == pytest.approx(total, rel=1e-12)


def test_doubling_the_batch_changes_nothing():
    model, x = made(ONE), images(4)
    once, twice = model.loss(x), model.loss(np.concatenate([x, x]))
    np.testing.assert_allclose([t.item() for t in twice], [t.item() for t in once], rtol=1e-12)


def test_one_layer_draws_nothing_and_the_others_one_direction_a_step():
    for settings, draws in ((ONE, 0), (DEEP, 1)):
        model = made(settings)
        before = mv.random.default_generator.draw
        model.loss(images(2))
        assert mv.random.default_generator.draw == before + draws


# ---- the penalty cannot be escaped ----


def test_small_codes_with_a_large_decoder_do_not_pay():
    """With encoder / 10 the penalty falls by a factor of 100; untied, ten times the decoder would keep the error.

    Tied, the error rises by more than the penalty falls; of several layers the decay does.
    """
    model, x = made({**ONE, "penalty": 0.1}), images(300)
    model.fit(x, epochs=60, batch_size=50, lr=2e-2)
    before = model.loss(x)
    model.layer.weight.inplace()[...] /= 10
    after = model.loss(x)
    assert after.jacobian.item() < before.jacobian.item() / 20
    assert after.loss.item() > before.loss.item()

    deep = made({**ONE, "encoder": nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), "decoder": own_decoder()})
    errors, losses = [], []
    for scale in (1e-2, 1e-3):
        first = deep.encoder[1]
        first.weight.inplace()[...] *= scale / np.abs(first.weight.numpy()).max()
        h = np.column_stack([deep.encode(x), np.ones(len(x))])
        fit = np.linalg.lstsq(h, x.reshape(len(x), -1), rcond=None)[0]  # the best decoder of these codes
        asarray = first.weight.backend.asarray
        deep.decoder[0].weight.inplace()[...] = asarray(fit[:-1].T.copy())
        deep.decoder[0].bias.inplace()[...] = asarray(fit[-1])
        found = deep.loss(x, NOISE)
        errors.append(found.squared_error.item() + 0.7 * found.jacobian.item())
        losses.append(found.loss.item())
    assert errors[1] < errors[0] * 1.001
    assert losses[1] > 50 * losses[0]


def own_decoder():
    return nn.Sequential(nn.Linear(5, 12), nn.Unflatten((1, 4, 3)))


@pytest.mark.cpu_only("trains for 240 steps")
@pytest.mark.parametrize("settings", [ONE, DEEP], ids=["one", "deep"])
def test_a_penalty_makes_codes_move_less(settings):
    x = images(200, dtype=np.float32)
    norms = []
    for penalty in (0.0, 3.0):
        mv.manual_seed(0)
        model = ContractiveAutoencoder(**{**settings, "penalty": penalty}).fit(x, epochs=60, batch_size=50, lr=1e-2)
        norms.append((jacobians(model.to(dtype=np.float64), images(50)) ** 2).sum(axis=(1, 2)).mean())
    assert norms[1] < norms[0] / 2


# ---- arrays, files ----


@KINDS
def test_files_shapes_and_codes_in_the_unit_interval(tmp_path, settings):
    model, x = ContractiveAutoencoder(**settings), images(5, dtype=np.float32)
    z = model.encode(x)
    assert z.shape == (5, 5)
    assert 0 < z.min() < z.max() < 1
    np.testing.assert_allclose(model.decode(z), model.reconstruct(x), rtol=1e-6)
    assert model.encode(x[:0]).shape == (0, 5)
    model.save(tmp_path / "model.npz")
    loaded = load(tmp_path / "model.npz")
    assert isinstance(loaded, ContractiveAutoencoder)
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.reconstruct(x), model.reconstruct(x))


def test_one_layer_shares_its_weights():
    model = made(ONE)
    assert sorted(name for name, _ in model.named_parameters()) == ["bias", "layer.bias", "layer.weight"]
    h = model.encode(images(3))
    expected = h @ model.layer.weight.numpy() + model.bias.numpy()
    np.testing.assert_allclose(model.decode(h), expected.reshape(3, 1, 4, 3), rtol=1e-12)
    np.testing.assert_array_equal(model.atoms().reshape(5, 12), model.layer.weight.numpy())
    with pytest.raises(ValueError, match="one layer"):
        made(DEEP).atoms()


def test_one_seed_is_one_run():
    x = images(40, dtype=np.float32)
    a, b = (ContractiveAutoencoder(**DEEP, random_state=2).fit(x, epochs=2, batch_size=16) for _ in range(2))
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(array, b.state_dict()[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": -0.1}, "penalty"),
        ({"penalty": float("inf")}, "penalty"),
        ({"decay": -1.0}, "decay"),
        ({"hidden": (3,), "decay": 0.0}, "needs a decay above 0, got 0.0"),
        ({"arch": "mlp"}, "'conv' or 'dense'"),
        ({"channels": (3,)}, "channels"),
        ({"latent_dim": 0}, "latent_dim"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        ContractiveAutoencoder((1, 5, 4), **{"latent_dim": 3, **settings})
