"""The vector quantiser: which code it takes, what flows where, and what it reports.

The bugs named in the tests are ones that other implementations had.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantizers import UPDATES, D, distances, latents, quantizer, rows_of
from strategies import examples, host, numbers, on_device, sizes

import minivae as mv
import minivae.functional as F
from minivae.nn import VectorQuantizer


class TestForward:
    @UPDATES
    @given(n=sizes, dim=sizes, size=st.lists(sizes, max_size=3), seed=st.integers(0, 9))
    @examples
    def test_every_latent_becomes_its_nearest_code(self, update, n, dim, size, seed):
        layer, z = quantizer(update, dim=dim).eval(), latents(n, dim, tuple(size), seed)
        result, codebook = layer(z), layer.codebook.numpy()
        expected = distances(rows_of(z), codebook).argmin(1)
        assert result.indices.dtype == np.int64
        assert result.indices.shape == (n, *size)
        np.testing.assert_array_equal(result.indices.numpy().ravel(), expected)
        np.testing.assert_array_equal(rows_of(result.quantized), codebook[expected])
        assert result.quantized.shape == z.shape
        np.testing.assert_array_equal(layer.encode(z).numpy(), result.indices.numpy())
        np.testing.assert_array_equal(layer.decode(result.indices).numpy(), result.quantized.numpy())

    @UPDATES
    def test_the_loss_is_a_sum_over_the_vector_and_a_mean_over_the_latents(self, update):
        layer, z = quantizer(update, commitment=0.3).eval(), latents()
        nearest = distances(rows_of(z), layer.codebook.numpy()).min(1)
        weight = 0.3 + (update == "gradient")
        assert layer(z).loss.item() == pytest.approx(weight * nearest.mean(), rel=1e-12)

    @UPDATES
    def test_neither_the_batch_nor_the_size_of_the_map_scales_the_loss(self, update):
        """Bug: reduction 'sum' over the whole batch, added to a likelihood per example."""
        layer, z = quantizer(update).eval(), numbers(4, D, 2, 3)
        loss = layer(z).loss.item()
        assert layer(np.concatenate([z, z])).loss.item() == pytest.approx(loss, rel=1e-12)
        assert layer(np.concatenate([z, z], axis=3)).loss.item() == pytest.approx(loss, rel=1e-12)


class TestGradients:
    """The straight-through estimator is no derivative; here it is what its definition says, exactly."""

    @UPDATES
    def test_the_gradient_at_the_codes_goes_to_the_latents_unchanged(self, update):
        layer, z, dy = quantizer(update, commitment=0.0), latents(), numbers(4, D, 2, 3, seed=1)
        layer(z).quantized.backward(on_device(dy))
        np.testing.assert_array_equal(host(z.grad), dy)

    @UPDATES
    def test_what_is_made_of_the_codes_gives_the_codebook_nothing(self, update):
        """Bug: the reconstruction loss leaks into the codebook."""
        layer, z = quantizer(update), latents()
        (layer(z).quantized ** 2).sum().backward()
        assert layer.codebook.grad is None

    def test_the_example_of_the_docstring(self):
        """Codes 0 and 1, z = 0.8 and the decoder's gradient 0.5: 0.5 straight through and -0.1 from the commitment."""
        for commitment, expected in ((0.0, 0.5), (0.25, 0.4)):
            layer = quantizer("gradient", codes=2, dim=1, commitment=commitment).eval()
            layer.codebook.inplace()[...] = on_device(np.array([[0.0], [1.0]]))
            z = mv.Tensor(np.array([[0.8]]), requires_grad=True)
            result = layer(z)
            assert result.quantized.item() == 1.0
            (0.5 * result.quantized.sum() + result.loss).backward()
            assert host(z.grad).item() == pytest.approx(expected, rel=1e-12)
            np.testing.assert_allclose(host(layer.codebook.grad).ravel(), [0.0, 0.4], rtol=1e-12)
        assert layer.encode(np.array([[0.49], [0.51]])).numpy().tolist() == [0, 1]

    @UPDATES
    @pytest.mark.parametrize("commitment", [0.25, 1.5])
    def test_the_latents_get_the_commitment_and_nothing_of_the_codebook_term(self, update, commitment):
        """2 commitment (z - e) / M. Bugs: the weight on the other term; losses after the straight-through step."""
        layer, z = quantizer(update, commitment=commitment), latents()
        before = layer.codebook.numpy()
        result = layer(z)
        result.loss.backward()
        rows = rows_of(z)
        expected = 2 * commitment * (rows - before[result.indices.numpy().ravel()]) / len(rows)
        np.testing.assert_allclose(np.moveaxis(host(z.grad), 1, -1).reshape(-1, D), expected, rtol=1e-12)

    def test_a_code_gets_the_codebook_term_and_nothing_of_the_commitment(self):
        """2 sum(e_k - z) / M over the latents that chose it, whatever the commitment; zero for those nobody chose."""
        layer, z = quantizer("gradient", codes=12, commitment=7.0), latents()
        result = layer(z)
        (result.loss + (result.quantized**3).sum()).backward()
        rows, index, codebook = rows_of(z), result.indices.numpy().ravel(), layer.codebook.numpy()
        expected = np.zeros_like(codebook)
        for row, k in zip(rows, index, strict=True):
            expected[k] += 2 * (codebook[k] - row) / len(rows)
        assert len(set(index.tolist())) < 12
        np.testing.assert_allclose(host(layer.codebook.grad), expected, rtol=1e-10, atol=1e-14)

    def test_a_codebook_of_moving_averages_is_not_trained(self):
        layer = quantizer("ema")
        assert layer.parameters() == []
        assert len(quantizer("gradient").parameters()) == 1

    @UPDATES
    def test_the_surrogate_with_frozen_choices(self, update):
        """With indices, and what the losses hold constant, frozen, all of it is a derivative."""
        layer, z = quantizer(update).eval(), latents()
        index = layer.encode(z)
        z0, e0 = z.numpy(), layer.decode(index).numpy()
        w = numbers(*z.shape, seed=3)

        def surrogate(z, codebook):
            e = F.transpose(F.embedding(index, codebook), (0, 3, 1, 2))
            loss = (((z + (e0 - z0)) ** 2) * w).sum() + 0.25 * ((z - e0) ** 2).sum() / index.size
            return loss + ((e - z0) ** 2).sum() / index.size * float(update == "gradient")

        codebook = mv.Tensor(layer.codebook.numpy(), requires_grad=True)
        assert mv.gradcheck(surrogate, [z, codebook])
        surrogate(z, codebook).backward()
        expected, z.grad = host(z.grad), None
        result = layer(z)
        ((result.quantized**2 * w).sum() + result.loss).backward()
        np.testing.assert_allclose(host(z.grad), expected, rtol=1e-9, atol=1e-12)
        if update == "gradient":
            np.testing.assert_allclose(host(layer.codebook.grad), host(codebook.grad), rtol=1e-9, atol=1e-12)

    def test_straight_through_refuses_what_does_not_fit(self):
        with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
            F.straight_through(np.zeros((2, 3)), np.zeros((3, 2)))
        with pytest.raises(TypeError, match="float32"):
            F.straight_through(np.zeros(2), np.zeros(2, np.float32))
        with pytest.raises(ValueError, match=r"\(2, 3\) and \(4, 2\)"):
            F.quantize(np.zeros((2, 3)), np.zeros((4, 2)))


class TestUsage:
    def layer(self):
        """Codes 0, 1, 2, 3 in one dimension."""
        layer = quantizer(codes=4, dim=1).eval()
        for tensor in (layer.codebook, layer.sums):
            tensor.inplace()[...] = on_device(np.arange(4.0)[:, None])
        return layer

    @pytest.mark.parametrize(
        ("z", "perplexity", "usage"),
        [
            ([0, 1, 2, 3], 4, 1),
            ([2, 2, 2, 2], 1, 0.25),
            ([0, 0, 3, 3], 2, 0.5),
            ([0, 0, 0, 1], 4 / 3**0.75, 0.5),
            ([0] * 9 + [1], 0.9**-0.9 * 0.1**-0.1, 0.5),
        ],
    )
    def test_of_a_batch(self, z, perplexity, usage):
        result = self.layer()(np.array(z, float)[:, None])
        assert result.perplexity.item() == pytest.approx(perplexity, rel=1e-12)
        assert result.usage.item() == usage

    @pytest.mark.parametrize("training", [False, True])
    def test_of_a_pass_is_not_the_mean_of_its_batches(self, training):
        """Four batches of one code each: every batch has perplexity 1, the pass has 4."""
        layer = self.layer()
        layer(np.zeros((3, 1)))
        layer.begin_pass()
        for k in range(4):
            layer.train(training)(np.full((5, 1), float(k)))
        assert layer.end_pass() == pytest.approx({"perplexity": 4.0, "usage": 1.0})
        layer.begin_pass()
        layer(np.full((5, 1), 2.0))
        assert layer.end_pass() == pytest.approx({"perplexity": 1.0, "usage": 0.25})

    def test_an_empty_pass_has_none(self):
        layer = self.layer()
        layer.begin_pass()
        assert layer.end_pass() == {}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"codes": 0}, ValueError, "codes must be at least 1, got 0"),
        ({"dim": 1.5}, TypeError, "dim must be an int, got 1.5"),
        ({"update": "kmeans"}, ValueError, "'ema' or 'gradient'.*'kmeans'"),
        ({"commitment": -0.1}, ValueError, "commitment"),
        ({"commitment": float("nan")}, ValueError, "commitment"),
        ({"decay": 1.0}, ValueError, "decay"),
        ({"restart": 1.0}, ValueError, "restart"),
        ({"eps": 0.0}, ValueError, "eps"),
    ],
)
def test_settings_out_of_range(settings, error, message):
    with pytest.raises(error, match=message):
        VectorQuantizer(**{"codes": 4, "dim": 2, **settings})


def test_bad_calls():
    layer = quantizer()
    with pytest.raises(ValueError, match=r"\(N, 3, ...\), got \(2, 4, 3\)"):
        layer(np.zeros((2, 4, 3)))
    with pytest.raises(TypeError, match="float32"):
        layer(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"\[0, 5\)"):
        layer.decode(np.array([[5]]))
    with pytest.raises(TypeError, match="integers"):
        layer.decode(np.array([[1.0]]))
