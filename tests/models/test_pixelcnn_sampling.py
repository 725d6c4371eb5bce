"""Samples of the PixelCNN: drawn as the whole network would, distributed as it says."""

from itertools import product

import numpy as np
import pytest
import scipy.special
import scipy.stats
from pixelcnns import CONFIGURATIONS, SMALL, TINY, drawn_one_by_one, labels, model_of

import minivae as mv
from minivae.kernels import reference
from minivae.models import PixelCNN
from minivae.nn.categorical import gumbel


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
        monkeypatch.setattr("minivae.models.autoregressive.SAMPLES_AT_A_TIME", 20)
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
        monkeypatch.setattr("minivae.models.autoregressive.SAMPLES_AT_A_TIME", 4)
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


class TestOnPosition:
    """on_position is told each position once, in raster order, with what is drawn there."""

    @pytest.mark.parametrize("settings", [*CONFIGURATIONS[:2], {**SMALL, "map_shape": (2, 4, 5)}], ids=str)
    def test_it_is_told_what_is_drawn(self, settings, monkeypatch):
        monkeypatch.setattr("minivae.models.autoregressive.SAMPLES_AT_A_TIME", 2)
        model, told = model_of(settings, dtype=np.float32), []
        y = labels(3, settings)
        mv.manual_seed(4)
        maps = model.sample(3, y=y, on_position=lambda i, j, values: told.append((i, j, values)))
        mv.manual_seed(4)
        np.testing.assert_array_equal(maps, model.sample(3, y=y))  # being told changes nothing
        *_, H, W = settings["map_shape"]
        positions = list(np.ndindex(H, W))
        assert [(i, j) for i, j, _ in told] == positions * 2
        for part, calls in ((maps[:2], told[: H * W]), (maps[2:], told[H * W :])):
            by_stage = part.reshape(len(part), -1, H, W)
            for (i, j), (_, _, values) in zip(positions, calls, strict=True):
                np.testing.assert_array_equal(values, by_stage[:, :, i, j])
