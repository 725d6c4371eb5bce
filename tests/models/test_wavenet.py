"""WaveNet: what each logit may see and does see, its probabilities, its samples, and what its user sees."""

from itertools import product

import numpy as np
import pytest
import scipy.special
import scipy.stats
from strategies import host

import minivae as mv
from minivae.models import VQVAE1d, WaveNet, load
from minivae.models.wavenet import DILATIONS
from minivae.random import fork

TINY = {"map_shape": (1, 4), "values": 2, "channels": 4, "dilations": (1, 2), "hidden": 6}
SMALL = {"map_shape": (1, 9), "values": 3, "channels": 4, "dilations": (1, 3), "hidden": 6}
CONFIGURATIONS = [
    SMALL,
    {**SMALL, "classes": 3},
    {**SMALL, "dilations": (2, 1, 2)},
    {**SMALL, "dilations": (1, 2, 40)},  # one that reaches back beyond the beginning
    {**SMALL, "map_shape": (1, 1)},
]
configured = pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)


def sequences(n, settings, seed=0):
    return np.random.default_rng(seed).integers(0, settings["values"], (n, *settings["map_shape"]))


def labels(n, settings, seed=1):
    return np.random.default_rng(seed).integers(0, settings["classes"], n) if settings.get("classes") else None


def model_of(settings, dtype=np.float64):
    """A model with weights so large that every influence is far above rounding, and classes that differ."""
    mv.manual_seed(0)
    model = WaveNet(**settings).to(dtype=dtype)
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.inplace()[...] += parameter.backend.asarray(rng.normal(0, 0.2, parameter.shape).astype(dtype))
    return model.eval()


def seen_by_theory(settings, t):
    """The times of codes that the logits at t depend on: t - 1 minus the sum of any of the dilations."""
    times = np.zeros(settings["map_shape"][1], bool)
    for taken in product((0, 1), repeat=len(settings["dilations"])):
        if (s := t - 1 - np.dot(taken, settings["dilations"])) >= 0:
            times[s] = True
    return times


def drawn_one_by_one(model, n, temperature, y=None):
    """The definition of sampling: the whole network again for each code."""
    drawn = np.zeros((n, *model.map_shape), np.int64)
    for t in range(model.map_shape[1]):
        logits = model.logits(drawn, y).numpy()[:, 0, t]
        u = host(mv.random.default_generator.uniform(logits.shape, np.float64))
        drawn[:, 0, t] = (logits - temperature * np.log(-np.log(u))).argmax(axis=1)
    return drawn


class TestCausality:
    """Bug: a first layer that is not shifted sees the code that it is to predict, whose nll falls to 0."""

    @configured
    def test_by_autograd_every_logit_depends_on_the_receptive_field_and_on_nothing_else(self, settings):
        model = model_of(settings)
        y = labels(4, settings)
        codes = mv.Tensor(sequences(4, settings)[:, 0])
        x = mv.Tensor(host(mv.functional.embedding(codes, model.embedding.weight).data), requires_grad=True)
        for t in range(settings["map_shape"][1]):
            expected = seen_by_theory(settings, t)
            if expected.any():
                x.grad = None
                logits = model._from_embedded(x, model.biases(None if y is None else mv.Tensor(y)))
                dy = np.zeros(logits.shape)
                dy[:, t] = np.random.default_rng(3).normal(size=dy[:, t].shape)
                logits.backward(logits.backend.asarray(dy))
                np.testing.assert_array_equal(np.abs(host(x.grad)).sum(axis=(0, 2)) > 0, expected, err_msg=f"at {t}")

    @configured
    def test_by_perturbation_a_code_changes_later_logits_in_reach_and_no_other(self, settings):
        model, T = model_of(settings), settings["map_shape"][1]
        x, y = sequences(4, settings), labels(4, settings)
        before = model.logits(x, y).numpy()
        for s in range(T):
            other = x.copy()
            other[:, :, s] = (other[:, :, s] + 1) % 3
            change = np.abs(model.logits(other, y).numpy() - before).max(axis=(0, 1, 3))
            expected = np.array([seen_by_theory(settings, t)[s] for t in range(T)])
            np.testing.assert_array_equal(change > 1e-9, expected, err_msg=f"from {s}")
            assert not change[~expected].any()  # not even by rounding

    def test_the_receptive_field_is_that_of_theory(self):
        assert WaveNet().receptive_field == 128 == len(range(1 + sum(DILATIONS)))
        settings = {**SMALL, "map_shape": (1, 20), "dilations": (1, 2, 4)}
        assert model_of(settings).receptive_field == seen_by_theory(settings, 19).sum() == 8

    def test_the_default_sees_all_of_a_default_waveforms_codes(self):
        assert WaveNet().get_params()["map_shape"] == VQVAE1d().code_shape
        default = {"map_shape": (1, 128), "dilations": DILATIONS}
        for t in (1, 60, 127):
            np.testing.assert_array_equal(seen_by_theory(default, t), np.arange(128) < t)

    def test_an_example_does_not_depend_on_its_batch(self):
        model, x = model_of(SMALL), sequences(6, SMALL)
        together = model.score_samples(x)
        np.testing.assert_allclose([model.score_samples(x[k : k + 1])[0] for k in range(6)], together, rtol=1e-12)


class TestLikelihood:
    @pytest.mark.parametrize("settings", [TINY, {**TINY, "values": 3}, {**TINY, "classes": 2}], ids=str)
    def test_the_probabilities_of_all_sequences_sum_to_one(self, settings):
        """Also after training, where a leak would show: it would put more than 1 in all on them."""
        mv.manual_seed(0)
        x, y = sequences(60, settings), labels(60, settings)
        x[..., 1:] = x[..., :1]  # something to learn, and to leak
        model = WaveNet(**settings).fit(x, y, epochs=10, batch_size=20, lr=1e-2)
        assert model.history[-1]["nll"] < model.history[0]["nll"]
        every = np.array(list(product(range(settings["values"]), repeat=4)))[:, None]
        for label in range(settings.get("classes") or 1):
            y = np.full(len(every), label) if settings.get("classes") else None
            assert np.exp(model.score_samples(every, y)).sum() == pytest.approx(1, abs=1e-5)

    def test_nats_are_summed_over_time_and_averaged_over_sequences(self):
        model, x = model_of(SMALL), sequences(5, SMALL)
        log_p = scipy.special.log_softmax(model.logits(x).numpy(), axis=-1)
        chosen = np.take_along_axis(log_p, x[..., None], axis=-1).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(model.score_samples(x), chosen, rtol=1e-12)
        assert model.loss(x).loss.item() == pytest.approx(-chosen.mean(), rel=1e-12)
        assert model.bits_per_dim(9 * np.log(2)) == pytest.approx(1)

    @pytest.mark.parametrize(("classes", "dropout"), [(None, 0.0), (2, 0.4)])
    def test_the_whole_loss_is_differentiated_right(self, classes, dropout):
        """For frozen noise; every weight is used."""
        settings = {**TINY, "values": 3, "channels": 3, "hidden": 4, "classes": classes, "dropout": dropout}
        model = model_of(settings).train()
        x, y = sequences(3, settings), labels(3, settings)

        def loss(*_):
            with fork(7):
                return model.loss(x, y).loss

        with fork(8):
            assert (model.loss(x, y).loss.item() != loss().item()) == (dropout > 0)
        assert mv.gradcheck(loss, model.parameters(), rtol=1e-4)
        model.zero_grad()
        loss().backward()
        assert all(p.grad is not None and host(p.grad).any() for p in model.parameters())


class TestSampling:
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
    @configured
    def test_it_is_the_whole_network_for_each_code(self, settings, temperature):
        """The queues change nothing: under the same noise the same codes."""
        model = model_of(settings, dtype=np.float32)
        y = labels(7, settings)
        mv.manual_seed(5)
        expected = drawn_one_by_one(model, 7, temperature, y)
        mv.manual_seed(5)
        np.testing.assert_array_equal(model.sample(7, temperature, y), expected)

    def test_samples_are_distributed_as_the_model_says(self):
        model = model_of(TINY)
        for parameter in model.output[3].parameters():
            parameter.inplace()[...] *= 3  # away from uniform
        every = np.array(list(product(range(2), repeat=4)))[:, None]
        p = np.exp(model.score_samples(every))
        assert p.max() > 2 * p.min()
        mv.manual_seed(1)
        counts = np.bincount(model.sample(3000).reshape(-1, 4) @ [8, 4, 2, 1], minlength=16)
        assert scipy.stats.chisquare(counts, 3000 * p / p.sum()).pvalue > 1e-3

    def test_labels_choose_the_distribution(self):
        mv.manual_seed(0)
        settings = {**TINY, "classes": 2}
        y = labels(200, settings)
        x = np.broadcast_to(y[:, None, None], (200, 1, 4))
        model = WaveNet(**settings).fit(x, y, epochs=6, batch_size=20, lr=3e-2)
        assert model.sample(50, y=0).mean() < 0.1
        assert model.sample(50, y=1).mean() > 0.9

    def test_logits_that_are_not_finite_give_no_samples(self):
        model = model_of(SMALL)
        model.output[3].bias.inplace()[...] = np.nan
        with pytest.raises(FloatingPointError, match="NaN or infinite"):
            model.sample(2)


def test_it_learns_what_lies_far_back():
    """Sequences that repeat after 8 codes: the first half costs 8 log 3, the second nothing. (Half of it is enough.)"""
    mv.manual_seed(0)
    settings = {**SMALL, "map_shape": (1, 16), "channels": 16, "hidden": 16, "dilations": (1, 2, 4)}
    x = np.tile(sequences(600, {**settings, "map_shape": (1, 8)}), (1, 1, 2))
    model = WaveNet(**settings).fit(x[:500], epochs=12, batch_size=20, lr=1e-2)
    assert 8 * np.log(3) - 0.1 < -model.score_samples(x[500:]).mean() < 12 * np.log(3)


def test_an_interrupted_run_resumes_bit_by_bit(tmp_path):
    settings = {**SMALL, "classes": 3, "dropout": 0.2}
    x, y = sequences(30, settings), labels(30, settings)

    def fitted(**fit):
        mv.manual_seed(0)
        return WaveNet(**settings).fit(x, y, epochs=3, batch_size=8, **fit)

    def stop(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    whole, file = fitted(), tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        fitted(on_epoch=stop, checkpoint=file)
    resumed = fitted(resume=True, checkpoint=file)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, resumed.state_dict()[name])


def test_it_comes_back_from_a_file(tmp_path):
    settings = {**SMALL, "classes": 3, "codebook_digest": "abc"}
    model = model_of(settings, dtype=np.float32)
    model.save(tmp_path / "model.npz")
    again = load(tmp_path / "model.npz")
    assert isinstance(again, WaveNet)
    assert again.codebook_digest == "abc"
    x, y = sequences(3, settings), labels(3, settings)
    np.testing.assert_array_equal(again.score_samples(x, y), model.score_samples(x, y))


def test_it_is_a_prior_for_the_codes_of_waveforms():
    vqvae = VQVAE1d((1, 1, 36), codes=3, code_dim=2, channels=2, residual_channels=2, strides=(2, 2), classes=2)
    prior = WaveNet(vqvae.code_shape, vqvae.codes, 4, (1, 2), 4, 2, vqvae.codebook_digest)
    y = np.array([0, 1, 1])
    assert vqvae.sample(3, prior, y=y).shape == (3, 1, 1, 36)
    x = sequences(3, SMALL)
    np.testing.assert_array_equal(vqvae.code_cost(x, prior, y), -prior.score_samples(x, y))
    with pytest.raises(ValueError, match="another codebook"):
        vqvae.sample(3, WaveNet(vqvae.code_shape, 3, codebook_digest="0" * 64), y=y)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"map_shape": (2, 9)}, ValueError, r"must be \(1, T\), the shape of a sequence, got \(2, 9\)"),
        ({"map_shape": (9,)}, ValueError, "map_shape"),
        ({"values": 1}, ValueError, "values must be at least 2, got 1"),
        ({"channels": 0}, ValueError, "channels"),
        ({"dilations": ()}, ValueError, "dilations must be 1 to 1000 ints, one for each layer, got 0"),
        ({"dilations": (0,)}, ValueError, "dilations"),
        ({"dilations": (1.5,)}, TypeError, "dilations"),
        ({"hidden": 0}, ValueError, "hidden"),
        ({"classes": 0}, ValueError, "classes must be at least 1, got 0"),
        ({"codebook_digest": 1}, TypeError, "codebook_digest must be a str or None, got 1"),
        ({"dropout": 1.0}, ValueError, "dropout"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        WaveNet(**{**SMALL, **settings})


X, Y = sequences(2, SMALL), np.array([0, 2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, c: m.fit(X + 1), r"\[0, 3\), got 1 to 3"),
        (lambda m, c: m.score_samples(X[:, 0]), r"\(N, 1, 9\), got \(2, 9\)"),
        (lambda m, c: m.score_samples(X, Y), "classes=None"),
        (lambda m, c: m.sample(0), "at least 1, got 0"),
        (lambda m, c: m.sample(2, temperature=-1.0), r"temperature must be a number in \[0, inf\), got -1"),
        (lambda m, c: c.sample(2), "needs labels y"),
        (lambda m, c: c.sample(2, y=3), r"\[0, 3\), got 3"),
        (lambda m, c: c.loss(X, Y + 1), r"\[0, 3\)"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call(WaveNet(**SMALL), WaveNet(**SMALL, classes=3))


def test_on_position_is_told_each_code_when_it_is_drawn():
    model, told = model_of(SMALL, np.float32), []
    drawn = model.sample(2, on_position=lambda i, t, values: told.append((i, t, values)))
    assert [(i, t) for i, t, _ in told] == [(0, t) for t in range(SMALL["map_shape"][1])]
    np.testing.assert_array_equal(np.concatenate([values for _, _, values in told], axis=1), drawn[:, 0])
