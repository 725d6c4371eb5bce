"""A PixelCNN in integers: the same bits whatever the order of summation, threads and process, and nearly the same nats.

In another order of summation the floating-point network gives other logits, and a decoder that uses it loses the codes
(CompressAI #20, #236: files that another machine cannot decode).
"""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pixelcnns import CONFIGURATIONS, SMALL, labels, maps, model_of

import minivae as mv
from minivae.coding import ExactPixelCNN, Uniform, decode_maps, encode_maps, exact
from minivae.coding import maps as coded_maps

CONFIGURED = pytest.mark.parametrize("configuration", CONFIGURATIONS)


def frequencies(prior, values, y=None):
    """Return what the coder uses for maps of these values, (H, W, N, K)."""
    found = []

    def choose(i, j, table):
        found.append(table)
        return values[:, i, j]

    assert (prior.walk(len(values), y, choose) == values).all()
    return np.array(found).reshape(*values.shape[1:], len(values), -1)


def shuffled(seed):
    """Return a product whose sums run over the inputs in another order, in parts."""

    def product(x, weight):
        order = np.random.default_rng(seed).permutation(len(weight))
        parts = [x[..., part] @ weight[part] for part in np.array_split(order, min(3, len(order)))]
        return sum(parts[::-1])

    return patch.object(exact, "product", product)


class TestProbabilities:
    @CONFIGURED
    def test_are_those_of_the_model_but_for_rounding(self, configuration):
        model, values = model_of(configuration), maps(7, configuration)
        y = labels(7, configuration)
        table = frequencies(ExactPixelCNN(model), values, y)  # (H, W, N, K)
        logits = model.logits(values, y).numpy().transpose(1, 2, 0, 3)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        np.testing.assert_allclose(table / table.sum(-1, keepdims=True), p / p.sum(-1, keepdims=True), atol=1e-3)
        nats = -np.log(np.take_along_axis(table, values.transpose(1, 2, 0)[..., None], -1)[..., 0] / table.sum(-1))
        np.testing.assert_allclose(nats.sum((0, 1)), -model.score_samples(values, y), rtol=1e-3)

    def test_no_value_is_impossible(self):
        model = model_of(SMALL)
        model.output[3].bias.inplace()[...] = model.embedding.weight.backend.asarray(np.array([0.0, 500.0, -500.0]))
        table = frequencies(ExactPixelCNN(model), maps(3, SMALL))
        assert table.min() == 1
        assert table.max() == (1 << 24) + 1


class TestBits:
    @CONFIGURED
    @pytest.mark.parametrize("seed", [0, 1])
    def test_do_not_depend_on_the_order_of_summation(self, configuration, seed):
        prior, values = ExactPixelCNN(model_of(configuration)), maps(5, configuration)
        y = labels(5, configuration)
        table = frequencies(prior, values, y)
        with shuffled(seed):
            np.testing.assert_array_equal(frequencies(prior, values, y), table)

    @CONFIGURED
    def test_are_those_of_pythons_integers(self, configuration):
        """Every number is an integer, and every sum equals that of integers without a limit."""
        prior, values = ExactPixelCNN(model_of(configuration)), maps(3, configuration)
        y = labels(3, configuration)
        table = frequencies(prior, values, y)
        whole = np.vectorize(lambda number: int(number) if number.is_integer() else pytest.fail(f"{number}"), "O")

        def affine(self, x):
            return (whole(x) @ whole(self.weight) + whole(self.bias)).astype(np.float64)

        def rounded(x, bits):
            return own(whole(x).astype(np.float64), bits)

        own = exact.rounded
        with patch.object(exact.Affine, "__call__", affine), patch.object(exact, "rounded", rounded):
            np.testing.assert_array_equal(frequencies(prior, values, y), table)

    def test_do_not_depend_on_the_other_maps_of_a_group(self):
        prior, values = ExactPixelCNN(model_of(SMALL)), maps(9, SMALL)
        table = frequencies(prior, values)
        for n in range(9):
            np.testing.assert_array_equal(frequencies(prior, values[n : n + 1])[:, :, 0], table[:, :, n])

    def test_would_depend_on_the_order_without_rounding(self):
        """In the buggy variant weights and features are not rounded, as in PixelCNN.logits()."""
        values = maps(50, SMALL)
        with patch.object(exact, "rounded", lambda x, bits: np.asarray(x, np.float64) * 2.0**bits):
            prior = ExactPixelCNN(model_of(SMALL))
            seen = []
            record = patch.object(exact.Affine, "__call__", lambda self, x: _kept(seen, exact.product(x, self.weight)))
            with record:
                frequencies(prior, values)
                first, seen = seen, []
                with shuffled(0):
                    frequencies(prior, values)
        assert any((a != b).any() for a, b in zip(first, seen, strict=True))

    @pytest.mark.parametrize("threads", ["1", "2"])
    def test_are_those_of_another_process(self, tmp_path, threads):
        """It has another number of BLAS threads and other kernels, and so many maps that BLAS splits the work."""
        settings = {**SMALL, "channels": 48, "hidden": 64, "classes": 3}
        model, values, y = model_of(settings), maps(200, settings), labels(200, settings)
        model.save(tmp_path / "prior.npz")
        np.savez(tmp_path / "maps.npz", values=values, y=y)
        data = encode_maps(ExactPixelCNN(model), values, y)
        code = (
            "import sys, numpy as np; from minivae.models import load; from minivae.coding import *\n"
            "prior = ExactPixelCNN(load('prior.npz')); given = np.load('maps.npz')\n"
            "data = sys.stdin.buffer.read(); values, y = decode_maps(prior, data, 200)\n"
            "assert (values == given['values']).all() and (y == given['y']).all()\n"
            "sys.stdout.buffer.write(encode_maps(prior, values, y))"
        )
        root = str(Path(exact.__file__).parents[2])
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONPATH": root}
        environment["MINIVAE_CPU"] = "reference"
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, input=data, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr.decode()
        assert result.stdout == data


def _kept(seen, x):
    seen.append(x)
    return x


class TestBounds:
    def test_hold_for_every_integer(self):
        """Every sum stays below its bound, here with weights whose bound is just allowed."""
        model = model_of({**SMALL, "classes": 3})
        seen = []
        prior = ExactPixelCNN(model)
        call = exact.Affine.__call__
        with patch.object(exact.Affine, "__call__", lambda self, x: _kept(seen, call(self, x))):
            frequencies(prior, maps(20, SMALL), labels(20, {"classes": 3}))
        largest = max(np.abs(x).max() for x in seen)
        with patch.object(exact, "LIMIT", largest), pytest.raises(ValueError, match="too large"):
            ExactPixelCNN(model)

    @pytest.mark.parametrize(
        "name", ["embedding.weight", "stack.1.left.weight", "stack.0.above.bias", "output.3.weight"]
    )
    def test_weights_beyond_them_are_refused(self, name):
        model = model_of(SMALL)
        dict(model.named_parameters())[name].inplace()[...] *= 1e8
        with pytest.raises(ValueError, match="weights are too large to be evaluated exactly"):
            ExactPixelCNN(model)

    def test_weights_beyond_float64_are_refused(self):
        model = model_of(SMALL)
        model.stack[0].project.weight.inplace()[...] = 1e306
        model.embedding.weight.inplace()[...] = 0  # infinity times zero is no number
        with pytest.raises(ValueError, match="too large"):
            ExactPixelCNN(model)
        model.stack[0].above.weight.inplace()[...] = 1e306
        with pytest.raises(ValueError, match="too large"):
            ExactPixelCNN(model)

    def test_class_biases_count(self):
        model = model_of({**SMALL, "classes": 3})
        model.stack[0].left_class.inplace()[1, 0] = 1e8
        with pytest.raises(ValueError, match="too large"):
            ExactPixelCNN(model)

    def test_weights_that_are_not_finite_are_refused(self):
        model = model_of(SMALL)
        model.output[1].bias.inplace()[2] = np.nan
        with pytest.raises(ValueError, match=r"output\.1\.bias"):
            ExactPixelCNN(model)

    def test_a_part_that_it_does_not_know_is_refused(self):
        model = model_of(SMALL)
        model.stack[0].extra = mv.nn.Linear(2, 2)
        with pytest.raises(ValueError, match=r"does not know the part 'stack\.0\.extra"):
            ExactPixelCNN(model)


@st.composite
def any_maps(draw):
    """Draw a uniform distribution, and maps of its values."""
    H, W, values, count = (draw(st.integers(1, most)) for most in (5, 5, 300, 6))
    seed = draw(st.integers(0, 100))
    return Uniform((H, W), values), np.random.default_rng(seed).integers(0, values, (count, H, W))


class TestMaps:
    @given(st.integers(0, len(CONFIGURATIONS) - 1), st.integers(0, 12), st.integers(0, 1000))
    @settings(max_examples=40, deadline=None)
    def test_any_map_survives_under_a_prior(self, k, count, seed):
        prior, values = priors()[k], maps(count, CONFIGURATIONS[k], seed)
        y = labels(count, CONFIGURATIONS[k], seed)
        with patch.object(coded_maps, "group_size", lambda distribution: 5):
            found, classes = decode_maps(prior, encode_maps(prior, values, y), count)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(classes, y)

    @given(any_maps())
    @settings(max_examples=40, deadline=None)
    def test_any_map_survives_under_the_uniform_prior(self, given_):
        prior, values = given_
        data = encode_maps(prior, values)
        np.testing.assert_array_equal(decode_maps(prior, data, len(values))[0], values)
        assert len(data) <= values.size * np.log2(prior.values) / 8 + 2

    def test_the_size_is_the_models_nats(self):
        """Maps that the model has drawn itself take nats / (8 log 2) bytes, within 1 % and two bytes."""
        model = model_of(SMALL)
        values = model.sample(300)
        ideal = -model.score_samples(values).sum() / (8 * np.log(2))
        assert abs(len(encode_maps(ExactPixelCNN(model), values)) - ideal) < 0.01 * ideal + 2


def priors(found=[]):  # noqa: B006
    if not found:
        found.extend(ExactPixelCNN(model_of(configuration)) for configuration in CONFIGURATIONS)
    return found
