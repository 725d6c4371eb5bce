"""The PixelCNN with maps as its context: free in the context, causal in the map, sampled as the whole network would."""

from itertools import product

import numpy as np
import pytest
from pixelcnns import SMALL, TINY, drawn_one_by_one, maps, model_of, positions
from strategies import host

import minivae as mv
from minivae.models import PixelCNN, load

GIVEN = {**SMALL, "context_shape": (2, 2), "context_values": (4, 2), "context_blocks": 1}  # 2 x 2 for maps of 4 x 5
CONFIGURATIONS = [
    GIVEN,
    {**GIVEN, "context_shape": (4, 5), "context_values": (3, 3, 3), "context_blocks": 0},  # the last frames of a video
    {**GIVEN, "context_shape": (1, 1), "context_values": (3,), "map_shape": (1, 6)},
    {**GIVEN, "context_shape": (4, 5), "context_values": (3, 3), "context_motion": 1},
]
NAMES = ["coarse", "frames", "1x1", "moved"]


def contexts(n, settings, seed=2):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, K, (n, *settings["context_shape"])) for K in settings["context_values"]], axis=1)


class TestCausality:
    def test_by_autograd_logits_see_the_past_of_the_map_and_all_of_the_context(self):
        """Bug: a mask on the context too, or the position that is predicted unmasked because it is in the context."""
        settings = {**GIVEN, "context_shape": (4, 5), "context_blocks": 2, "layers": 5}
        model = model_of(settings)
        x = mv.Tensor(host(model.features(mv.Tensor(maps(4, settings))).data), requires_grad=True)  # (N, H, W, C)
        features, _ = model.context(mv.Tensor(contexts(4, settings)))  # (N, H, W, C)
        order = np.arange(20).reshape(4, 5)
        for i, j in positions(settings):
            h = mv.Tensor(host(features.data), requires_grad=True)
            model.context.forward = lambda _, h=h: (h, None)
            x.grad = None
            logits = model.output(model._stacks(x, mv.Tensor(contexts(4, settings)))[1])
            dy = np.zeros(logits.shape)
            dy[:, i, j] = np.random.default_rng(3).normal(size=dy[:, i, j].shape)
            logits.backward(logits.backend.asarray(dy))
            seen = np.zeros((4, 5)) if x.grad is None else np.abs(host(x.grad)).sum(axis=(0, 3))
            np.testing.assert_array_equal(seen > 0, order < order[i, j])
            assert np.abs(host(h.grad)).sum(axis=(0, 3))[i, j] > 0

    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=NAMES)
    def test_by_perturbation(self, settings):
        """A value of the map changes later logits alone; a value of the context changes those before it too."""
        model = model_of({**settings, "context_blocks": 4})
        x, c = maps(4, settings), contexts(4, settings)
        before = model.logits(x, c).numpy()
        for n, (i, j) in enumerate(positions(settings)):
            other = x.copy()
            other[:, i, j] = (other[:, i, j] + 1) % settings["values"]
            change = np.abs(model.logits(other, c).numpy() - before).max(axis=(0, 3)).reshape(-1)
            assert not change[: n + 1].any()
        for m, values in enumerate(settings["context_values"]):
            other = c.copy()
            other[:, m, -1, -1] = (other[:, m, -1, -1] + 1) % values
            change = np.abs(model.logits(x, other).numpy() - before).max(axis=(0, 3))
            assert (change > 1e-9).all()  # through the blocks, also the first position

    def test_the_context_is_where_the_map_is(self):
        """Neither transposed nor flipped: without blocks each context value is seen at its own positions first."""
        settings = {**GIVEN, "layers": 1, "context_blocks": 0, "first_kernel": 1}
        model = model_of(settings)
        x, c = maps(2, settings), contexts(2, settings)
        before = model.logits(x, c).numpy()
        for r, s in product(range(2), range(2)):
            other = c.copy()
            other[:, 0, r, s] = (other[:, 0, r, s] + 1) % 4
            change = np.abs(model.logits(x, other).numpy() - before).max(axis=(0, 3)) > 1e-9
            rows, columns = np.arange(4)[:, None] * 2 // 4 == r, np.arange(5) * 2 // 5 == s
            np.testing.assert_array_equal(change, rows & columns)


class TestLikelihood:
    def test_given_any_context_the_probabilities_of_all_maps_sum_to_one(self):
        settings = {**TINY, "context_shape": (1, 2), "context_values": (3,)}
        mv.manual_seed(0)
        c = contexts(60, settings)
        x = (np.repeat(c[:, 0], 2, axis=1)[:, :, [0, 0, 1]] > 0).astype(int)  # known from the context
        model = PixelCNN(**settings).fit(x, c, epochs=15, batch_size=20, lr=1e-2)
        assert model.history[-1]["nll"] < 0.5 < model.history[0]["nll"]
        every = np.array(list(product(range(2), repeat=6))).reshape(-1, 2, 3)
        for context in contexts(3, settings):
            scores = model.score_samples(every, np.repeat(context[None], len(every), axis=0))
            assert np.exp(scores).sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(model.sample(60, temperature=0, y=c), x)
        assert model.score(x, c) > -0.5

    def test_a_label_as_a_context_of_one_pixel_is_a_label(self):
        """Equal functions where the tables are equal."""
        model = model_of({**TINY, "classes": 3})
        given = model_of({**TINY, "context_shape": (1, 1), "context_values": (3,), "context_blocks": 0, "channels": 4})
        table = given.context.embeddings[0].weight
        table.inplace()[...] = table.backend.asarray(np.eye(3, 4))
        own = dict(given.named_parameters())
        for name, parameter in model.named_parameters():
            if name.endswith("_class"):
                other = own[name.replace("_class", "_context") + ".weight"]  # (2 C, C), of which 3 columns are used
                other.inplace()[:, :3] = parameter.data.T
            else:
                own[name].inplace()[...] = parameter.data
        x, y = maps(5, TINY), np.array([0, 1, 2, 1, 0])
        np.testing.assert_allclose(
            given.score_samples(x, y[:, None, None, None]), model.score_samples(x, y), rtol=1e-12
        )

    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=NAMES)
    def test_the_whole_loss_is_differentiated_right(self, settings):
        model = model_of({**settings, "map_shape": (2, 3), "channels": 2, "hidden": 3, "layers": 2}).train()
        x, c = maps(3, {**settings, "map_shape": (2, 3)}), contexts(3, settings)
        assert mv.gradcheck(lambda *_: model.loss(x, c).loss, model.parameters(), rtol=1e-4)
        model.loss(x, c).loss.backward()
        assert all(p.grad is not None and host(p.grad).any() for p in model.parameters())


class TestSampling:
    @pytest.mark.parametrize("temperature", [1.0, 0.0])
    @pytest.mark.parametrize("settings", CONFIGURATIONS, ids=NAMES)
    def test_it_is_the_whole_network_for_each_position(self, settings, temperature):
        """The cache changes nothing: under the same noise the same maps, value by value."""
        model = model_of(settings, dtype=np.float32)
        c = contexts(7, settings)
        mv.manual_seed(5)
        expected = drawn_one_by_one(model, 7, temperature, c)
        mv.manual_seed(5)
        np.testing.assert_array_equal(model.sample(7, temperature, c), expected)

    def test_maps_of_several_stages_take_a_context_too(self):
        """At temperature 0 each value is the likeliest given those before it and the context."""
        settings = {**GIVEN, "map_shape": (2, 4, 5)}
        model, c = model_of(settings), contexts(3, settings)
        x = model.sample(3, temperature=0, y=c)
        np.testing.assert_array_equal(model.logits(x, c).numpy().argmax(axis=-1), x)
        assert not np.array_equal(model.score_samples(x, c), model.score_samples(x, c[::-1]))

    def test_one_context_for_all_and_parts(self, monkeypatch):
        model, c = model_of(GIVEN), contexts(5, GIVEN)
        mv.manual_seed(1)
        expected = model.sample(5, y=np.repeat(c[:1], 5, axis=0))
        mv.manual_seed(1)
        np.testing.assert_array_equal(model.sample(5, y=c[0]), expected)
        monkeypatch.setattr("minivae.models.autoregressive.SAMPLES_AT_A_TIME", 2)
        np.testing.assert_array_equal(model.sample(5, 0, c), [model.sample(1, 0, c[k])[0] for k in range(5)])


def test_round_trip(tmp_path):
    model = model_of(GIVEN, dtype=np.float32)
    model.save(tmp_path / "model.npz")
    x, c = maps(3, GIVEN), contexts(3, GIVEN)
    np.testing.assert_array_equal(load(tmp_path / "model.npz").score_samples(x, c), model.score_samples(x, c))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"context_shape": None}, ValueError, "both context_shape and context_values"),
        ({"context_values": None}, ValueError, "both context_shape and context_values"),
        ({"context_values": ()}, ValueError, "a number for each map"),
        ({"context_values": (0,)}, ValueError, "context_values"),
        ({"context_shape": (2,)}, ValueError, "context_shape"),
        ({"context_blocks": -1}, ValueError, "context_blocks"),
        ({"context_motion": -1}, ValueError, "context_motion"),
        ({"context_shape": None, "context_values": None, "context_motion": 1}, ValueError, "context_motion=0"),
        ({"classes": 3}, ValueError, "classes=None"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        PixelCNN(**{**GIVEN, **settings})


X, C = maps(2, GIVEN), contexts(2, GIVEN)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.fit(X), ValueError, "needs contexts y, got None"),
        (lambda m: m.fit(X, C, validation=X), ValueError, "needs contexts y"),
        (lambda m: m.score_samples(X), ValueError, "needs contexts y"),
        (lambda m: m.score_samples(X, C[:, 0]), ValueError, r"\(2, 2, 2, 2\), \(N, M, h, w\), got \(2, 2, 2\)"),
        (lambda m: m.score_samples(X, C[:1]), ValueError, r"got \(1, 2, 2, 2\)"),
        (lambda m: m.score_samples(X, C[:, ::-1] * 0 + 3), ValueError, r"map 1 of the context must be in \[0, 2\)"),
        (lambda m: m.sample(2, y=C - 1), ValueError, r"map 0 of the context .* got -1"),
        (lambda m: m.sample(3, y=C), ValueError, r"\(3, 2, 2, 2\)"),
        (lambda m: m.sample(2, y=1), ValueError, r"\(2, 2, 2, 2\)"),
        (lambda m: m.loss(X, C.astype(float)), TypeError, "integers, got .*float64"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(PixelCNN(**GIVEN))
