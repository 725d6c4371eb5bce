"""The PixelCNN: what each logit may see and does see, its probabilities, its samples, and what its user sees."""

import json
from itertools import product

import numpy as np
import pytest
import scipy.stats
from strategies import host

import minivae as mv
from minivae.kernels import reference
from minivae.models import VAE, VQVAE, PixelCNN, load
from minivae.models.pixelcnn import PixelCNNLoss, gumbel

TINY = {"map_shape": (2, 3), "values": 2, "channels": 4, "layers": 2, "first_kernel": 3, "hidden": 6}
SMALL = {"map_shape": (4, 5), "values": 3, "channels": 4, "layers": 3, "first_kernel": 5, "hidden": 6}
CONFIGURATIONS = [
    SMALL,
    {**SMALL, "classes": 3},
    {**SMALL, "map_shape": (5, 3), "layers": 1, "first_kernel": 3},
    {**SMALL, "map_shape": (1, 6), "kernel": 1},
    {**SMALL, "map_shape": (6, 1)},
]


def maps(n, settings, seed=0):
    return np.random.default_rng(seed).integers(0, settings["values"], (n, *settings["map_shape"]))


def labels(n, settings, seed=1):
    return np.random.default_rng(seed).integers(0, settings["classes"], n) if settings.get("classes") else None


def model_of(settings, seed=0, dtype=np.float64):
    """In float64, its weights large enough that every influence is far above rounding, classes that differ."""
    mv.manual_seed(seed)
    model = PixelCNN(**settings).to(dtype=dtype)
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.inplace()[...] += parameter.backend.asarray(rng.normal(0, 0.2, parameter.shape).astype(dtype))
    return model.eval()


def positions(settings):
    return list(product(*map(range, settings["map_shape"])))


def seen_by_theory(settings, i, j):
    """Rows above and what is left in the row, as far as the kernels' reaches add up to, plus the shift by one."""
    reach = settings["first_kernel"] // 2 + (settings["layers"] - 1) * (settings.get("kernel", 3) // 2)
    seen = np.zeros(settings["map_shape"], bool)
    seen[max(0, i - 1 - reach) : i, max(0, j - reach) : j + reach + 1] = True
    seen[i, max(0, j - 1 - reach) : j] = True
    return seen


class TestCausality:
    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
    def test_by_autograd_every_logit_depends_on_all_of_the_past_in_reach_and_on_nothing_else(self, settings):
        """The derivative of a position's logits by the embedded inputs, for each position. As the past is exactly what
        is seen, there is no blind spot, no leak, and mask A is where it belongs and only there."""
        model = model_of(settings)
        y = labels(4, settings)
        x = mv.Tensor(host(model.features(mv.Tensor(maps(4, settings))).data), requires_grad=True)  # (N, H, W, C)
        for i, j in positions(settings):
            x.grad = None
            logits = model._logits(x, None if y is None else mv.Tensor(y))
            if seen_by_theory(settings, i, j).any():
                dy = np.zeros(logits.shape)
                dy[:, i, j] = np.random.default_rng(3).normal(size=dy[:, i, j].shape)
                logits.backward(logits.backend.asarray(dy))
                influence = np.abs(host(x.grad)).sum(axis=(0, 3)) > 0
                np.testing.assert_array_equal(influence, seen_by_theory(settings, i, j), err_msg=f"at {i}, {j}")

    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
    def test_by_perturbation_a_value_changes_all_later_logits_in_reach_and_no_other(self, settings):
        model = model_of(settings)
        x, y = maps(4, settings), labels(4, settings)
        before = model.logits(x, y).numpy()
        for r, c in positions(settings):
            other = x.copy()
            other[:, r, c] = (other[:, r, c] + 1) % settings["values"]
            change = np.abs(model.logits(other, y).numpy() - before).max(axis=(0, 3))
            expected = np.array([seen_by_theory(settings, i, j)[r, c] for i, j in positions(settings)])
            np.testing.assert_array_equal(change > 1e-9, expected.reshape(change.shape), err_msg=f"from {r}, {c}")
            assert not change[~expected.reshape(change.shape)].any()  # not even by rounding

    def test_the_default_sees_all_of_the_past(self):
        """Of 7 x 7 maps, in both corners that a single masked stack does not see."""
        default = {"map_shape": (7, 7), "first_kernel": 5, "layers": 5}
        assert {name: PixelCNN().get_params()[name] for name in default} == default
        for i, j in positions(default):
            order = np.arange(49).reshape(7, 7)
            np.testing.assert_array_equal(seen_by_theory(default, i, j), order < order[i, j])

    def test_an_example_does_not_depend_on_its_batch(self):
        """Nothing normalises over the batch, which would carry information around the masks; nor does the mode."""
        model = model_of(SMALL)
        x = maps(6, SMALL)
        together = model.score_samples(x)
        np.testing.assert_allclose([model.score_samples(x[k : k + 1])[0] for k in range(6)], together, rtol=1e-12)
        np.testing.assert_allclose(-model.train().nll(x).numpy(), together, rtol=1e-12)


class TestLikelihood:
    @pytest.mark.parametrize(
        "settings",
        [TINY, {**TINY, "map_shape": (2, 2), "values": 3}, {**TINY, "classes": 2}],
        ids=["2x3 binary", "2x2 of 3 values", "conditional"],
    )
    def test_the_probabilities_of_all_images_sum_to_one(self, settings):
        """Also after training, where a leak would show: it would put more than 1 in all on the images."""
        mv.manual_seed(0)
        x, y = maps(60, settings), labels(60, settings)
        x[..., 1:] = x[..., :1]  # something to learn, and to leak
        model = PixelCNN(**settings).fit(x, y, epochs=15, batch_size=20, lr=1e-2)
        assert model.history[-1]["nll"] < model.history[0]["nll"]
        every = np.array(list(product(range(settings["values"]), repeat=np.prod(settings["map_shape"]))))
        every = every.reshape(-1, *settings["map_shape"])
        for label in range(settings.get("classes") or 1):
            y = np.full(len(every), label) if settings.get("classes") else None
            assert np.exp(model.score_samples(every, y)).sum() == pytest.approx(1, abs=1e-5)

    def test_nats_are_summed_over_positions_and_averaged_over_maps(self):
        model = model_of(SMALL)
        x = maps(5, SMALL)
        logits = model.logits(x).numpy()
        log_p = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
        chosen = np.array([sum(log_p[n, i, j, x[n, i, j]] for i, j in positions(SMALL)) for n in range(5)])
        np.testing.assert_allclose(model.score_samples(x), chosen, rtol=1e-12)
        loss = model.loss(x)
        assert isinstance(loss, PixelCNNLoss)
        assert loss.loss.item() == pytest.approx(-chosen.mean(), rel=1e-12)
        assert loss.nll.item() == loss.loss.item()
        assert model.bits_per_dim(20 * np.log(2)) == pytest.approx(1)

    @pytest.mark.parametrize("classes", [None, 2])
    def test_the_whole_loss_is_differentiated_right(self, classes):
        settings = {**TINY, "values": 3, "channels": 2, "hidden": 3, "classes": classes}
        model = model_of(settings).train()
        x, y = maps(3, settings), labels(3, settings)
        assert mv.gradcheck(lambda *_: model.loss(x, y).loss, model.parameters(), rtol=1e-4)

    def test_every_weight_is_used(self):
        model = model_of({**SMALL, "classes": 3})
        model.loss(maps(3, SMALL), np.arange(3)).loss.backward()
        assert all(p.grad is not None and host(p.grad).any() for p in model.parameters())


def drawn_one_by_one(model, n, temperature, y=None):
    """The definition of sampling: the whole network again for each position."""
    drawn = np.zeros((n, *model.map_shape), np.int64)
    for i, j in product(*map(range, model.map_shape)):
        logits = model.logits(drawn, y).numpy()[:, i, j]
        u = host(mv.random.default_generator.uniform(logits.shape, np.float64))
        drawn[:, i, j] = (logits - temperature * np.log(-np.log(u))).argmax(axis=1)
    return drawn


class TestSampling:
    @pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=str)
    def test_it_is_the_whole_network_for_each_position(self, settings, temperature):
        """The windows and what is kept between them change nothing: under the same noise the same maps."""
        model = model_of(settings, dtype=np.float32)
        y = labels(7, settings)
        mv.manual_seed(5)
        expected = drawn_one_by_one(model, 7, temperature, y)
        mv.manual_seed(5)
        np.testing.assert_array_equal(model.sample(7, temperature, y), expected)

    def test_samples_are_distributed_as_the_model_says(self):
        model = model_of({**TINY, "map_shape": (2, 2), "values": 2})
        for parameter in model.output[3].parameters():
            parameter.inplace()[...] *= 3  # away from uniform
        every = np.array(list(product(range(2), repeat=4)))
        p = np.exp(model.score_samples(every.reshape(-1, 2, 2)))
        assert p.max() > 2 * p.min()
        mv.manual_seed(1)
        counts = np.bincount(model.sample(3000).reshape(-1, 4) @ [8, 4, 2, 1], minlength=16)
        assert scipy.stats.chisquare(counts, 3000 * p / p.sum()).pvalue > 1e-3

    def test_temperature_divides_the_logits(self):
        """Of a map with one position, whose logits are those of an empty past."""
        model = model_of({**SMALL, "map_shape": (1, 1)})
        logits = model.logits(np.zeros((1, 1, 1), np.int64)).numpy()[0, 0, 0]
        p = scipy.special.softmax(logits / 0.3)
        assert np.abs(p - scipy.special.softmax(logits)).max() > 0.1
        mv.manual_seed(2)
        counts = np.bincount(model.sample(3000, temperature=0.3).ravel(), minlength=3)
        assert scipy.stats.chisquare(counts, 3000 * p).pvalue > 1e-3

    def test_at_temperature_0_each_value_is_the_likeliest(self):
        model = model_of(SMALL)
        x = model.sample(3, temperature=0)
        np.testing.assert_array_equal(model.logits(x).numpy().argmax(axis=-1), x)
        np.testing.assert_array_equal(model.sample(3, temperature=1e-9), x)

    def test_labels_choose_the_distribution(self, monkeypatch):
        """Black maps are of class 0, white ones of class 1; each part of many samples has its own labels."""
        monkeypatch.setattr("minivae.models.pixelcnn.SAMPLES_AT_A_TIME", 20)
        mv.manual_seed(0)
        settings = {**TINY, "classes": 2}
        y = labels(200, settings)
        x = np.broadcast_to(y[:, None, None], (200, 2, 3))
        model = PixelCNN(**settings).fit(x, y, epochs=6, batch_size=20, lr=3e-2)
        assert model.sample(50, y=0).mean() < 0.1
        assert model.sample(50, y=1).mean() > 0.9
        mixed = (np.arange(50) >= 25).astype(int)
        assert np.abs(model.sample(50, y=mixed).mean(axis=(1, 2)) - mixed).mean() < 0.1

    def test_the_seed_decides_and_the_mode_comes_back(self, monkeypatch):
        monkeypatch.setattr("minivae.models.pixelcnn.SAMPLES_AT_A_TIME", 4)
        model = model_of(SMALL).train()
        mv.manual_seed(0)
        a, b = model.sample(6), model.sample(6)
        mv.manual_seed(0)
        np.testing.assert_array_equal(model.sample(6), a)
        assert not np.array_equal(a, b)
        assert not np.array_equal(a[:2], a[4:])  # each part has noise of its own
        assert (a.shape, a.dtype) == ((6, 4, 5), np.int64)
        assert model.training

    @pytest.mark.cpu_only("arithmetic on the host")
    def test_gumbel_noise_is_finite_even_where_the_uniform_number_is_0(self):
        class Zeros:
            xp = np
            uniform = staticmethod(lambda shape, dtype, noise: np.zeros(shape, dtype))

        assert np.isfinite(gumbel(Zeros, (3,))).all()
        mv.manual_seed(0)
        g = gumbel(reference, (5000,))
        assert scipy.stats.kstest(g, scipy.stats.gumbel_r.cdf).pvalue > 1e-3


class TestTraining:
    def test_it_learns_what_there_is_to_learn(self):
        """Rows that repeat the row above, turned by one: the first row costs log 3 a position, the rest nothing."""
        mv.manual_seed(0)
        settings = {**SMALL, "map_shape": (3, 3), "channels": 16, "layers": 2, "hidden": 16}
        x = maps(400, settings)
        x[:, 1], x[:, 2] = np.roll(x[:, 0], 1, axis=1), np.roll(x[:, 0], 2, axis=1)
        model = PixelCNN(**settings).fit(x[:300], epochs=10, batch_size=20, lr=2e-2)
        nll = -model.score_samples(x[300:]).mean()
        assert 3 * np.log(3) - 0.1 < nll < 3 * np.log(3) + 0.2

    def fitted(self, settings=SMALL, **fit):
        mv.manual_seed(0)
        x = maps(30, settings)
        return PixelCNN(**settings).fit(x, labels(30, settings), **{"epochs": 3, "batch_size": 8, **fit})

    def test_an_interrupted_run_resumes_bit_by_bit(self, tmp_path):
        settings = {**SMALL, "classes": 3}

        def stop(record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

        whole, fit = self.fitted(settings), {"checkpoint": tmp_path / "checkpoint.npz"}
        with pytest.raises(KeyboardInterrupt):
            self.fitted(settings, on_epoch=stop, **fit)
        resumed = self.fitted(settings, resume=True, **fit)
        for name, array in whole.state_dict().items():
            np.testing.assert_array_equal(array, resumed.state_dict()[name])

    def test_validation(self):
        model = self.fitted(validation=maps(9, SMALL, seed=7))
        expected = -model.score_samples(maps(9, SMALL, seed=7)).mean()
        assert model.history[-1]["validation_nll"] == pytest.approx(expected, rel=1e-5)

    def test_validation_with_labels(self):
        settings = {**SMALL, "classes": 3}
        held_out = maps(9, settings, seed=7), labels(9, settings, seed=8)
        model = self.fitted(settings, validation=held_out)
        expected = -model.score_samples(*held_out).mean()
        assert model.history[-1]["validation_nll"] == pytest.approx(expected, rel=1e-5)

    def test_models_without_classes_ignore_labels_in_fit(self):
        """As scikit-learn's Pipeline passes them on."""
        plain = self.fitted()
        mv.manual_seed(0)
        with_labels = PixelCNN(**SMALL).fit(maps(30, SMALL), ["none"] * 30, epochs=3, batch_size=8)
        for name, array in plain.state_dict().items():
            np.testing.assert_array_equal(array, with_labels.state_dict()[name])
        x = np.zeros((4, 1, 6, 5), np.float32)
        VAE((1, 6, 5), latent_dim=2, channels=(2,), hidden=(3,)).fit(x, y="ignored", epochs=1, validation=(x, None))


class TestFiles:
    @pytest.mark.parametrize("settings", [SMALL, {**SMALL, "classes": 3, "codebook_digest": "abc"}], ids=str)
    def test_round_trip(self, tmp_path, settings):
        model = model_of(settings, dtype=np.float32)
        model.save(tmp_path / "model.npz")
        x, y = maps(3, settings), labels(3, settings)
        for loaded in (PixelCNN.load(tmp_path / "model.npz"), load(tmp_path / "model.npz")):
            np.testing.assert_array_equal(loaded.score_samples(x, y), model.score_samples(x, y))
            assert json.dumps(loaded.get_params()) == json.dumps(model.get_params())
            assert loaded.codebook_digest == settings.get("codebook_digest")

    def test_parameters(self):
        model = PixelCNN(**SMALL)
        assert model.get_params()["map_shape"] is SMALL["map_shape"]
        assert model.set_params(values=4).logits(maps(2, SMALL)).shape == (2, 4, 5, 4)

    def test_clone(self):
        base = pytest.importorskip("sklearn.base")
        model = PixelCNN(**SMALL)
        assert base.clone(model).get_params() == model.get_params()


def test_it_is_a_prior_for_the_codes_of_a_vqvae():
    vqvae = VQVAE((1, 8, 12), codes=3, code_dim=2, channels=4, residual_channels=2, residual_blocks=1)
    settings = {**SMALL, "map_shape": vqvae.code_shape, "values": vqvae.codes}
    prior = PixelCNN(**settings, codebook_digest=vqvae.codebook_digest)
    assert vqvae.sample(3, prior).shape == (3, 1, 8, 12)
    x = maps(4, settings)
    np.testing.assert_array_equal(vqvae.code_cost(x, prior), -prior.score_samples(x))
    with pytest.raises(ValueError, match="another codebook"):
        vqvae.sample(3, PixelCNN(**settings, codebook_digest="0" * 64))


class TestArrays:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64])
    def test_all_kinds_of_integers_are_the_same_maps(self, dtype):
        model = model_of(TINY)
        x = maps(5, TINY)
        np.testing.assert_array_equal(model.score_samples(x.astype(dtype)), model.score_samples(x))

    def test_no_maps(self):
        for settings in (SMALL, {**SMALL, "classes": 3}):
            scores = PixelCNN(**settings).score_samples(maps(0, settings), labels(0, settings))
            assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"map_shape": (1, 7, 7)}, ValueError, r"\(H, W\).*, got \(1, 7, 7\)"),
        ({"map_shape": (0, 7)}, ValueError, "map_shape"),
        ({"values": 1}, ValueError, "values must be at least 2, got 1"),
        ({"channels": 0}, ValueError, "channels"),
        ({"layers": 0}, ValueError, "layers"),
        ({"layers": 2.0}, TypeError, "layers must be an int, got 2.0"),
        ({"first_kernel": 4}, ValueError, "first_kernel must be odd, got 4"),
        ({"kernel": 2}, ValueError, "kernel must be odd, got 2"),
        ({"hidden": 0}, ValueError, "hidden"),
        ({"classes": 0}, ValueError, "classes must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        PixelCNN(**settings)


X, Y = maps(2, SMALL), np.array([0, 2])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, c: m.fit(X.astype(float)), TypeError, r"\[0, 3\) must be an array of .*integers, got .*float64"),
        (lambda m, c: m.fit(X + 1), ValueError, r"\[0, 3\), got 1 to 3"),
        (lambda m, c: m.score_samples(X - 1), ValueError, r"\[0, 3\), got -1 to"),
        (lambda m, c: m.loss(X + 1), ValueError, r"\[0, 3\)"),
        (lambda m, c: m.fit(X[:, None]), ValueError, r"\(N, 4, 5\), got \(2, 1, 4, 5\)"),
        (lambda m, c: m.fit(X[0]), ValueError, r"\(N, 4, 5\), got \(4, 5\)"),
        (lambda m, c: m.fit(X[:0]), ValueError, "nothing"),
        (lambda m, c: m.fit(X, validation=X + 1), ValueError, r"\[0, 3\)"),
        (lambda m, c: m.score_samples(X, Y), ValueError, "classes=None"),
        (lambda m, c: m.loss(X, Y), ValueError, "classes=None"),
        (lambda m, c: m.sample(2, y=Y), ValueError, "classes=None"),
        (lambda m, c: m.sample(0), ValueError, "at least 1, got 0"),
        (lambda m, c: m.sample(2, temperature=-1.0), ValueError, r"temperature must be a number in \[0, inf\), got -1"),
        (lambda m, c: m.sample(2, temperature=float("nan")), ValueError, "got nan"),
        (lambda m, c: c.fit(X), ValueError, "classes=3 needs labels y"),
        (lambda m, c: c.fit(X, Y, validation=X), ValueError, "needs labels y"),
        (lambda m, c: c.fit(X, Y, validation=(X, Y + 1)), ValueError, r"\[0, 3\)"),
        (lambda m, c: c.fit(X, Y[:1]), ValueError, r"\(2,\), one for each example, got \(1,\)"),
        (lambda m, c: c.fit(X, Y.astype(float)), TypeError, "labels .* of integers, got .*float64"),
        (lambda m, c: c.fit(X, Y + 1), ValueError, r"labels must be in \[0, 3\), got 1 to 3"),
        (lambda m, c: c.fit(X, Y - 1), ValueError, r"labels must be in \[0, 3\), got -1 to 1"),
        (lambda m, c: c.loss(X), ValueError, "needs labels y"),
        (lambda m, c: c.loss(X, Y + 1), ValueError, r"\[0, 3\)"),
        (lambda m, c: c.score_samples(X), ValueError, "needs labels y"),
        (lambda m, c: c.sample(2), ValueError, "needs labels y"),
        (lambda m, c: c.sample(2, y=3), ValueError, r"\[0, 3\), got 3"),
        (lambda m, c: c.sample(3, y=Y), ValueError, r"\(3,\)"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(PixelCNN(**SMALL), PixelCNN(**SMALL, classes=3))
