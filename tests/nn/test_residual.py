"""Residual vector quantisation: what each stage quantises, what flows where, and how its codebooks start and learn.

The bugs named in the tests are ones that other implementations had.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers import UPDATES, D, K, distances, latents, rows_of
from strategies import examples, host, numbers, on_device, sizes

import minivae as mv
import minivae.functional as F
from minivae.nn import ResidualVectorQuantizer, VectorQuantizer


def residual(stages=3, update="ema", codes=K, dim=D, **settings):
    mv.manual_seed(0)
    return ResidualVectorQuantizer(codes, dim, stages, update, **{"restart": 0.0, **settings}, dtype=np.float64)


def by_hand(layer, rows):
    """rows (M, D) -> for each stage what it is given, its codes and its indices, by NumPy."""
    found = []
    for stage in layer.stages:
        codebook = stage.codebook.numpy()
        index = distances(rows, codebook).argmin(1)
        found.append((rows, codebook[index], index))
        rows = rows - codebook[index]
    return found


class TestForward:
    @UPDATES
    @given(n=sizes, dim=sizes, size=st.lists(sizes, max_size=2), stages=st.integers(1, 4), seed=st.integers(0, 9))
    @examples
    def test_each_stage_quantises_what_the_ones_before_leave(self, update, n, dim, size, stages, seed):
        layer, z = residual(stages, update, dim=dim).eval(), latents(n, dim, tuple(size), seed)
        result, expected = layer(z), by_hand(layer, rows_of(z))
        assert result.indices.shape == (n, stages, *size)
        assert layer.code_shape(*size) == (stages, *size)
        for s, (_, _, index) in enumerate(expected):
            np.testing.assert_array_equal(result.indices.numpy()[:, s].ravel(), index)
        np.testing.assert_allclose(rows_of(result.quantized), sum(q for _, q, _ in expected), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(layer.encode(z).numpy(), result.indices.numpy())
        np.testing.assert_array_equal(layer.decode(result.indices).numpy(), result.quantized.numpy())

    def test_codes_and_the_last_residual_sum_to_the_latent(self):
        """Exactly: all are multiples of 1/8, of which floating point loses nothing."""
        layer = residual(4).eval()
        rng = np.random.default_rng(1)
        for i, stage in enumerate(layer.stages):
            stage.codebook.inplace()[...] = on_device(rng.integers(-8, 9, (K, D)) / 2.0**i / 8 * 2.0**i)
        z = rng.integers(-40, 41, (6, D, 2)) / 8
        rest = by_hand(layer, rows_of(mv.Tensor(z)))[-1]
        last = np.moveaxis((rest[0] - rest[1]).reshape(6, 2, D), -1, 1)
        np.testing.assert_array_equal(layer(z).quantized.numpy() + last, z)

    def test_one_stage_is_the_vector_quantiser(self):
        for update in ("ema", "gradient"):
            layer, z = residual(1, update), latents()
            mv.manual_seed(0)
            alone = VectorQuantizer(K, D, update, restart=0.0, dtype=np.float64)
            for _ in range(3):
                one, other = layer(z), alone(z)
                np.testing.assert_array_equal(one.quantized.numpy(), other.quantized.numpy())
                np.testing.assert_array_equal(one.indices.numpy()[:, 0], other.indices.numpy())
                assert one.loss.item() == other.loss.item()
            np.testing.assert_array_equal(layer.codebooks()[0], alone.codebook.numpy())

    def test_the_example_of_the_docstring(self):
        layer = example()
        z = mv.Tensor(on_device(np.array([[0.8]])), requires_grad=True)
        result = layer(z)
        assert result.indices.numpy().tolist() == [[1, 0]]
        assert result.quantized.item() == 0.75
        result.loss.backward()
        assert host(z.grad).item() == pytest.approx(-0.1 + 0.025, rel=1e-12)


def example():
    """Stage 1 has the codes 0 and 1, stage 2 has -0.25 and 0.25."""
    layer = residual(2, "gradient", codes=2, dim=1).eval()
    for stage, codes in zip(layer.stages, ([0.0, 1.0], [-0.25, 0.25]), strict=True):
        stage.codebook.inplace()[...] = on_device(np.array(codes)[:, None])
    return layer


class TestPrefix:
    def test_it_is_the_sum_of_the_first_stages(self):
        layer, z = residual(3).eval(), latents()
        parts, indices = by_hand(layer, rows_of(z)), layer.encode(z).numpy()
        for s in (1, 2, 3):
            expected = sum(q for _, q, _ in parts[:s])
            np.testing.assert_allclose(rows_of(layer.decode(indices[:, :s])), expected, rtol=1e-12, atol=1e-12)

    def test_after_k_means_the_error_falls_with_each_stage(self):
        layer, rows = residual(4, codes=8), numbers(400, D)
        layer.initialize(rows)
        indices = layer.eval().encode(rows).numpy()
        errors = [((layer.decode(indices[:, :s]).numpy() - rows) ** 2).mean() for s in range(1, 5)]
        assert all(later < 0.7 * before for before, later in pairwise(errors))

    @pytest.mark.parametrize("shape", [(2, 0, 3), (2, 4, 3), (2,)])
    def test_no_stage_and_too_many(self, shape):
        with pytest.raises(ValueError, match="s = 1 to 3 stages"):
            residual(3).decode(np.zeros(shape, np.int64))


class TestGradients:
    @UPDATES
    def test_the_gradient_at_the_sum_goes_to_the_latents_unchanged(self, update):
        """Once, not once for each stage."""
        layer, z, dy = residual(3, update, commitment=0.0), latents(), numbers(4, D, 2, 3, seed=1)
        layer(z).quantized.backward(on_device(dy))
        np.testing.assert_array_equal(host(z.grad), dy)

    @UPDATES
    def test_each_stage_commits_the_latents(self, update):
        """2 commitment (r - q) / M from each stage. encodec issue 25, vector-quantize-pytorch issue 33: where the codes
        that are taken off are passed straight through, the gradient of all stages but the first is 0."""
        layer, z = residual(3, update, commitment=0.7).eval(), latents()
        parts, total = by_hand(layer, rows_of(z)), np.zeros((24, D))
        r = z
        for s, stage in enumerate(layer.stages):
            z.grad = None
            part = stage(r)
            part.loss.backward(retain_graph=True)
            mine = 2 * 0.7 * (parts[s][0] - parts[s][1]) / 24
            np.testing.assert_allclose(rows_of(mv.Tensor(z.grad)), mine, rtol=1e-10, atol=1e-14)
            assert np.abs(mine).max() > 1e-3
            total += mine
            r = r - part.quantized.detach()
        z.grad = None
        layer(z).loss.backward()
        np.testing.assert_allclose(rows_of(mv.Tensor(z.grad)), total, rtol=1e-10, atol=1e-14)

    def test_a_code_learns_from_its_own_stage_alone(self):
        """2 sum(e_k - r) / M. descript-audio-codec issue 107: later stages move the codes of earlier ones."""
        layer, z = residual(3, "gradient"), latents()
        parts = by_hand(layer, rows_of(z))
        result = layer(z)
        (result.loss + (result.quantized**3).sum()).backward()
        for stage, (rows, q, index) in zip(layer.stages, parts, strict=True):
            expected = np.zeros((K, D))
            np.add.at(expected, index, 2 * (q - rows) / len(rows))
            np.testing.assert_allclose(host(stage.codebook.grad), expected, rtol=1e-10, atol=1e-14)

    @UPDATES
    def test_the_surrogate_with_frozen_choices(self, update):
        layer, z = residual(2, update).eval(), latents()
        z0, w = z.numpy(), numbers(*z.shape, seed=3)
        parts = by_hand(layer, rows_of(z))
        e0 = layer(z).quantized.numpy()

        def surrogate(z, *codebooks):
            loss = (((z + (e0 - z0)) ** 2) * w).sum()
            rows = F.reshape(F.transpose(z, (0, 2, 3, 1)), (-1, D))
            for (r, q, index), codebook in zip(parts, codebooks, strict=True):
                loss = loss + 0.25 * ((rows + (r - rows_of(mv.Tensor(z0))) - q) ** 2).sum() / len(index)
                e = F.embedding(index, codebook)
                loss = loss + ((e - r) ** 2).sum() / len(index) * float(update == "gradient")
            return loss

        codebooks = [mv.Tensor(codebook, requires_grad=True) for codebook in layer.codebooks()]
        assert mv.gradcheck(surrogate, [z, *codebooks])
        z.grad = None
        surrogate(z, *codebooks).backward()
        expected, z.grad = host(z.grad), None
        result = layer(z)
        ((result.quantized**2 * w).sum() + result.loss).backward()
        np.testing.assert_allclose(host(z.grad), expected, rtol=1e-9, atol=1e-12)
        if update == "gradient":
            for stage, codebook in zip(layer.stages, codebooks, strict=True):
                np.testing.assert_allclose(host(stage.codebook.grad), host(codebook.grad), rtol=1e-9, atol=1e-12)


class TestLearning:
    def test_each_stage_restarts_its_own_dead_codes(self):
        """Codes of stage 2 far from all residuals come back, those of stage 1 are in use and stay."""
        layer = residual(2, restart=0.5, decay=0.5, codes=4)
        z = mv.Tensor(numbers(40, D))
        layer.initialize(z.numpy())
        layer.stages[1].codebook.inplace()[2:] = 100.0
        layer.stages[1].sums.inplace()[2:] = 100.0
        for _ in range(4):
            result = layer(z)
        assert np.abs(layer.codebooks()[1]).max() < 10
        assert layer.eval()(z).usage.numpy()[1] == 1
        assert result.usage.shape == result.perplexity.shape == (2,)

    def test_use_of_a_pass_by_stage(self):
        layer = example()
        layer.begin_pass()
        assert layer.end_pass() == {}
        for z in (0.2, 0.8, 0.7, 0.9):
            layer(on_device(np.array([[z]])))
        first = np.exp(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
        expected = {"perplexity_1": first, "usage_1": 1.0, "perplexity_2": first, "usage_2": 1.0}
        found = layer.end_pass()
        assert found == pytest.approx({"perplexity": first, "usage": 1.0, **expected})

    def test_it_wants_latents_until_it_has_been_started(self):
        layer = residual(2)
        assert layer.vectors_wanted() == 64 * K
        layer.initialize(numbers(30, D))
        assert layer.vectors_wanted() == 0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"stages": 0}, ValueError, "stages must be at least 1, got 0"),
        ({"stages": 65}, ValueError, "stages must be at most 64, got 65"),
        ({"stages": 1.5}, TypeError, "stages must be an int, got 1.5"),
        ({"codes": 0}, ValueError, "codes"),
        ({"update": "kmeans"}, ValueError, "'ema' or 'gradient'"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        ResidualVectorQuantizer(**{"codes": 4, "dim": 2, "stages": 2, **settings})


def test_bad_calls():
    layer = residual()
    with pytest.raises(ValueError, match=r"ResidualVectorQuantizer needs z \(N, 3, ...\), got \(2, 4\)"):
        layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"\[0, 5\)"):
        layer.decode(np.array([[5]]))
    with pytest.raises(TypeError, match="integers"):
        layer.decode(np.array([[1.0]]))
