"""The PixelCNN: what each logit may see and does see, its probabilities, and what its user sees."""

import json
from itertools import product

import numpy as np
import pytest
import scipy.special
from pixelcnns import CONFIGURATIONS, SMALL, TINY, labels, maps, model_of, positions
from strategies import host

import minivae as mv
import minivae.functional as F
from minivae.models import VAE, VQVAE, PixelCNN, load, pixelcnn
from minivae.models.autoregressive import AutoregressiveLoss
from minivae.models.pixelcnn import GatedLayer
from minivae.random import fork


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
            logits = model.output(model._stacks(x, None if y is None else mv.Tensor(y))[1])
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


class TestPictures:
    """The pictures in the module's docstring are what masks and backward passes of this engine give."""

    X = 5, 1

    def drawn(self, columns):
        """The picture of 7 x 7 pixels that stands in these columns of the docstring: where there is a #."""
        lines = pixelcnn.__doc__.splitlines()
        first = next(i for i, line in enumerate(lines) if "one masked stack" in line) + 1
        picture = [line[columns].split() for line in lines[first : first + 7]]
        assert np.argwhere(np.array(picture) == "X").tolist() == [list(self.X)]
        return np.array(picture) == "#"

    def mask(self, name):
        """3 x 3 ones and zeros, as the docstring draws them."""
        lines = pixelcnn.__doc__.splitlines()
        first = next(i for i, line in enumerate(lines) if name in line and "#" in line)
        start = lines[first].index(name) + len("mask A") + 4
        return np.array([line[start : start + 5].split() for line in lines[first : first + 3]]) == "#"

    def influence(self, features, x):
        """Where the gradient of features (1, H, W, C) at X by the input is not 0."""
        dy = np.zeros(features.shape)
        dy[:, self.X[0], self.X[1]] = np.random.default_rng(3).normal(size=features.shape[-1])
        features.backward(features.backend.asarray(dy))
        return np.abs(host(x.grad)).sum(axis=(0, 3)) > 0

    def masked_stack(self, layers):
        """What X depends on after this many convolutions whose kernels are 0 where the masks are."""
        x = mv.Tensor(np.ones((1, 7, 7, 1)), requires_grad=True)
        features = F.transpose(x, (0, 3, 1, 2))
        for name in ["mask A", *["mask B"] * (layers - 1)]:
            features = F.conv2d(features, self.mask(name).astype(float)[None, None], padding=1)
        return self.influence(F.transpose(features, (0, 2, 3, 1)), x)

    def test_one_masked_stack_has_a_blind_spot_however_deep_it_is(self):
        order = np.arange(49).reshape(7, 7)
        past = order < order[self.X]
        rows, columns = np.indices((7, 7))
        triangle = past & (columns - self.X[1] > self.X[0] - rows)
        for layers in (5, 12):
            np.testing.assert_array_equal(self.masked_stack(layers), self.drawn(slice(4, 17)))
            np.testing.assert_array_equal(self.masked_stack(layers), past & ~triangle)
        assert triangle.sum() == 10

    @pytest.mark.parametrize(("stack", "columns"), [(0, slice(24, 37)), (1, slice(44, 57))], ids=["above", "left"])
    def test_two_stacks_have_none(self, stack, columns):
        model = model_of({**SMALL, "map_shape": (7, 7), "layers": 5, "first_kernel": 3, "kernel": 3})
        x = mv.Tensor(host(model.features(mv.Tensor(np.zeros((1, 7, 7), np.int64))).data), requires_grad=True)
        np.testing.assert_array_equal(self.influence(model._stacks(x, None)[stack], x), self.drawn(columns))


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
        assert isinstance(loss, AutoregressiveLoss)
        assert loss.loss.item() == pytest.approx(-chosen.mean(), rel=1e-12)
        assert loss.nll.item() == loss.loss.item()
        assert model.bits_per_dim(20 * np.log(2)) == pytest.approx(1)

    @pytest.mark.parametrize(("classes", "dropout"), [(None, 0.0), (2, 0.4)])
    def test_the_whole_loss_is_differentiated_right(self, classes, dropout):
        """For frozen noise. No gradient is 0, as it would be below dead units of the output, whatever its formula."""
        settings = {**TINY, "values": 3, "channels": 3, "hidden": 4, "classes": classes, "dropout": dropout}
        model = model_of(settings).train()
        x, y = maps(3, settings), labels(3, settings)

        def loss(*_):
            with fork(7):
                return model.loss(x, y).loss

        with fork(8):
            assert (model.loss(x, y).loss.item() != loss().item()) == (dropout > 0)
        assert mv.gradcheck(loss, model.parameters(), rtol=1e-4)
        loss().backward()
        assert all(host(p.grad).any() for p in model.parameters())

    def test_every_weight_is_used(self):
        model = model_of({**SMALL, "classes": 3})
        model.loss(maps(3, SMALL), np.arange(3)).loss.backward()
        assert all(p.grad is not None and host(p.grad).any() for p in model.parameters())


DROPOUT = {**SMALL, "classes": 3, "dropout": 0.3}


class TestDropout:
    def test_it_zeroes_gated_features_of_both_stacks_and_keeps_their_mean(self):
        layer = GatedLayer(8, 1, None, 0.3)
        window = mv.Tensor(np.random.default_rng(0).normal(size=(40, 9, 10, 8)).astype(np.float32))
        whole, _ = layer.eval().rows(window, None)
        with fork(3):
            dropped, _ = layer.train().rows(window, None)
        kept = host(dropped.data) != 0
        assert (~kept).mean() == pytest.approx(0.3, abs=0.02)
        np.testing.assert_allclose(host(dropped.data)[kept], host(whole.data)[kept] / np.float32(0.7), rtol=1e-5)
        link = mv.Tensor(np.zeros((40, 9, 9, 16), np.float32))
        changes = [host(layer.pixels(window, link, None).data) for _ in range(2)]
        assert not np.array_equal(*changes)

    def test_it_is_off_outside_of_training(self):
        """Scores and samples are those of a model without dropout that has the same weights, bit by bit."""
        model, plain = model_of(DROPOUT), PixelCNN(**{**DROPOUT, "dropout": 0.0}).to(dtype=np.float64)
        plain.load_state_dict(model.state_dict())
        x, y = maps(5, SMALL), labels(5, DROPOUT)
        np.testing.assert_array_equal(model.train().score_samples(x, y), plain.score_samples(x, y))
        with fork(1):
            drawn = model.sample(5, y=y)
        with fork(1):
            np.testing.assert_array_equal(drawn, plain.sample(5, y=y))

    def test_no_logit_sees_later_values_in_training(self):
        model = model_of(DROPOUT).train()
        x, y = maps(4, SMALL), labels(4, DROPOUT)

        def logits(x):
            with fork(5):
                return model.logits(x, y).numpy()

        before, order = logits(x), np.arange(20).reshape(4, 5)
        for r, c in [(0, 0), (1, 2), (2, 4), (3, 4)]:
            other = x.copy()
            other[:, r, c] = (other[:, r, c] + 1) % 3
            np.testing.assert_array_equal(logits(other)[:, order <= order[r, c]], before[:, order <= order[r, c]])


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
        settings = {**SMALL, "classes": 3, "dropout": 0.2}

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
        ({"map_shape": (1, 1, 7, 7)}, ValueError, r"\(H, W\).*, got \(1, 1, 7, 7\)"),
        ({"map_shape": (65, 7, 7)}, ValueError, "the stages of map_shape must be at most 64, got 65"),
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
        (lambda m, c: m.fit(X[:0]), ValueError, "at least one example"),
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
