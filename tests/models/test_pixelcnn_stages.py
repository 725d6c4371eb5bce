"""A PixelCNN over maps with several integers at a position: their order, its probabilities, and its samples."""

from itertools import product

import numpy as np
import pytest
import scipy.special
from pixelcnns import SMALL, TINY, maps, model_of
from strategies import host

import minivae as mv
from minivae.models import PixelCNN, load

STAGED = {**SMALL, "map_shape": (3, 3, 4), "layers": 2}


def order(shape):
    """All (s, i, j) in the order of the chain rule."""
    S, H, W = shape
    return [(s, i, j) for i, j, s in product(range(H), range(W), range(S))]


def seen(settings, position, other):
    """Whether the logits at (s, i, j) depend on the value at another place: at earlier positions as far as the kernels
    reach, at the same position on the stages before."""
    (s, i, j), (t, r, c) = position, other
    reach = settings["first_kernel"] // 2 + (settings["layers"] - 1) * (settings.get("kernel", 3) // 2)
    if (i, j) == (r, c):
        return t < s
    return (r == i and j - 1 - reach <= c < j) or (i - 1 - reach <= r < i and abs(c - j) <= reach)


def test_by_perturbation_a_value_changes_all_later_logits_in_reach_and_no_other():
    model, x = model_of(STAGED), maps(4, STAGED)
    before = model.logits(x).numpy()  # (N, S, H, W, values)
    places = order(STAGED["map_shape"])
    for s, i, j in places:
        other = x.copy()
        other[:, s, i, j] = (other[:, s, i, j] + 1) % STAGED["values"]
        change = np.abs(model.logits(other).numpy() - before).max(axis=(0, -1))
        for place in places:
            expected = seen(STAGED, place, (s, i, j))
            assert (change[place] > 1e-9) == expected, (place, (s, i, j))
            assert expected or change[place] == 0  # not even by rounding


@pytest.mark.parametrize("shape", [(2, 1, 2), (2, 2, 1), (3, 1, 1)])
def test_the_probabilities_of_all_maps_sum_to_one(shape):
    """Also after training on maps whose stages are equal, where a leak would show: it would put more than 1 on them."""
    mv.manual_seed(0)
    settings = {**TINY, "map_shape": shape, "layers": 1}
    x = maps(60, settings)
    x[:, 1:] = x[:, :1]
    model = PixelCNN(**settings).fit(x, epochs=6, batch_size=20, lr=3e-2)
    assert model.history[-1]["nll"] < 0.8 * model.history[0]["nll"]
    every = np.array(list(product(range(2), repeat=np.prod(shape)))).reshape(-1, *shape)
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1, abs=1e-5)


def test_nats_are_summed_over_positions_and_stages():
    model, x = model_of(STAGED), maps(5, STAGED)
    logits = model.logits(x).numpy()
    log_p = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    chosen = np.take_along_axis(log_p, x[..., None], axis=-1).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(model.score_samples(x), chosen, rtol=1e-12)
    assert model.loss(x).loss.item() == pytest.approx(-chosen.mean(), rel=1e-12)
    assert model.bits_per_dim(36 * np.log(2)) == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("classes", [None, 2])
def test_samples_are_drawn_as_the_whole_network_would(temperature, classes):
    settings = {**STAGED, "classes": classes}
    model = model_of(settings, dtype=np.float32)
    y = None if classes is None else np.array([0, 1, 1, 0, 1])
    drawn = np.zeros((5, *STAGED["map_shape"]), np.int64)
    mv.manual_seed(5)
    for place in order(STAGED["map_shape"]):
        logits = model.logits(drawn, y).numpy()[(slice(None), *place)]
        u = host(mv.random.default_generator.uniform(logits.shape, np.float64))
        drawn[(slice(None), *place)] = (logits - temperature * np.log(-np.log(u))).argmax(axis=1)
    mv.manual_seed(5)
    np.testing.assert_array_equal(model.sample(5, temperature, y), drawn)


def test_the_whole_loss_is_differentiated_right_and_every_weight_is_used():
    settings = {**TINY, "map_shape": (3, 1, 2), "channels": 2, "hidden": 3, "layers": 1}
    model, x = model_of(settings).train(), maps(3, settings)
    assert mv.gradcheck(lambda *_: model.loss(x).loss, model.parameters(), rtol=1e-4)
    model = model_of(STAGED)
    model.loss(maps(8, STAGED)).loss.backward()
    assert all(p.grad is not None and host(p.grad).any() for p in model.parameters())


def test_one_stage_is_the_pixelcnn_of_a_map_of_integers():
    """Also in its weights and their names: files of before load."""
    flat, one = model_of(SMALL), model_of({**SMALL, "map_shape": (1, *SMALL["map_shape"])})
    assert flat.state_dict().keys() == one.state_dict().keys()
    assert not any(name.startswith("later") for name in flat.state_dict())
    x = maps(6, SMALL)
    np.testing.assert_array_equal(flat.score_samples(x), one.score_samples(x[:, None]))
    mv.manual_seed(3)
    drawn = flat.sample(4)
    mv.manual_seed(3)
    np.testing.assert_array_equal(one.sample(4), drawn[:, None])


def test_a_file_keeps_the_stages(tmp_path):
    model, x = model_of(STAGED, dtype=np.float32), maps(3, STAGED)
    model.save(tmp_path / "prior.npz")
    np.testing.assert_array_equal(load(tmp_path / "prior.npz").score_samples(x), model.score_samples(x))


def test_maps_of_other_shapes():
    with pytest.raises(ValueError, match=r"\(N, 3, 3, 4\), got \(2, 2, 3, 4\)"):
        PixelCNN(**STAGED).score_samples(np.zeros((2, 2, 3, 4), int))
    with pytest.raises(ValueError, match=r"\(N, 3, 3, 4\), got \(2, 3, 4\)"):
        PixelCNN(**STAGED).fit(np.zeros((2, 3, 4), int))
