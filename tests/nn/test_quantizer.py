"""The vector quantiser: what flows where, the moving averages against a loop, k-means, restarts, and what it reports.

The bugs named in the tests are ones that other implementations had.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, host, numbers, on_device, sizes

import minivae as mv
import minivae.functional as F
from minivae.nn import VectorQuantizer
from minivae.nn.quantizer import k_means

K, D = 5, 3


def quantizer(update="ema", codes=K, dim=D, **settings):
    mv.manual_seed(0)
    return VectorQuantizer(codes, dim, update, **{"restart": 0.0, **settings}, dtype=np.float64)


def latents(n=4, dim=D, size=(2, 3), seed=0):
    return mv.Tensor(numbers(n, dim, *size, seed=seed), requires_grad=True)


def rows_of(z):
    """(N, D, ...) -> (M, D) on the host."""
    return np.moveaxis(z.numpy(), 1, -1).reshape(-1, z.shape[1])


def distances(rows, codebook):
    return ((rows[:, None] - codebook) ** 2).sum(-1)


UPDATES = pytest.mark.parametrize("update", ["ema", "gradient"])


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


class TestMovingAverages:
    def test_against_a_loop(self):
        """N_k and m_k code by code, and the smoothed N_k in the division only, over five batches."""
        decay, eps = 0.8, 1e-3
        layer = quantizer(codes=7, decay=decay, eps=eps)
        N, m = [1.0] * 7, layer.codebook.numpy().tolist()
        e = layer.codebook.numpy()
        for step in range(5):
            z = latents(seed=step)
            chosen = [int(np.argmin([((row - code) ** 2).sum() for code in e])) for row in rows_of(z)]
            layer(z)
            for k in range(7):
                mine = [row for row, c in zip(rows_of(z), chosen, strict=True) if c == k]
                N[k] = decay * N[k] + (1 - decay) * len(mine)
                m[k] = [decay * a + (1 - decay) * sum(row[i] for row in mine) for i, a in enumerate(m[k])]
            e = np.array([np.array(m[k]) / ((N[k] + eps) / (sum(N) + 7 * eps) * sum(N)) for k in range(7)])
            np.testing.assert_allclose(layer.counts.numpy(), N, rtol=1e-12)
            np.testing.assert_allclose(layer.sums.numpy(), m, rtol=1e-12)
            np.testing.assert_allclose(layer.codebook.numpy(), e, rtol=1e-12)

    def test_a_code_that_nobody_chooses_stays_where_it_is(self):
        """Bug: averages that start at N = 0 and m = e throw it 1e5 times as far out in the first step; debiased ones
        that start at m = 0 pull it to 0."""
        layer = quantizer(codes=50)
        before = layer.codebook.numpy()
        index = layer(latents(n=1)).indices.numpy()
        unused = np.setdiff1d(np.arange(50), index)
        assert len(unused) > 40
        np.testing.assert_allclose(layer.codebook.numpy()[unused], before[unused], rtol=1e-4)
        for _ in range(20):
            layer(latents(n=1))
        np.testing.assert_allclose(layer.codebook.numpy()[unused], before[unused], rtol=1e-2)

    def test_codes_end_as_the_means_of_what_chose_them(self):
        layer = quantizer(codes=2, decay=0.5)
        z = np.concatenate([numbers(6, D, low=4, high=5), numbers(6, D, low=-5, high=-4, seed=1)])
        layer.initialize(z)
        for _ in range(60):
            layer(z)
        centres = sorted([z[:6].mean(0).tolist(), z[6:].mean(0).tolist()])
        np.testing.assert_allclose(sorted(layer.codebook.numpy().tolist()), centres, rtol=1e-4)

    def test_the_result_is_that_of_the_codebook_before_the_update(self):
        """Bug: the update comes before the lookup."""
        layer, z = quantizer(), latents()
        before = layer.codebook.numpy()
        result = layer(z)
        np.testing.assert_array_equal(rows_of(result.quantized), before[result.indices.numpy().ravel()])
        assert not np.array_equal(before, layer.codebook.numpy())

    @UPDATES
    def test_evaluation_learns_nothing(self, update):
        layer = quantizer(update, restart=0.5).eval()
        before = layer.state_dict()
        layer(latents())
        for name, array in layer.state_dict().items():
            if name != "pass_counts":
                np.testing.assert_array_equal(array, before[name])

    def test_all_of_it_is_in_the_state(self):
        """Bug: averages that are missing from checkpoints. Two quantisers with one state go on alike."""
        a, b = quantizer(), quantizer()
        for seed in range(3):
            a(latents(seed=seed))
        assert set(a.state_dict()) == {"codebook", "counts", "sums", "pass_counts", "initialized"}
        b.load_state_dict(a.state_dict())
        for layer in (a, b):
            layer(latents(seed=7))
        for name, array in a.state_dict().items():
            np.testing.assert_array_equal(array, b.state_dict()[name])


class TestRestart:
    """Inputs around one far point: one code is used, the others die."""

    def dying(self, update="ema", steps=40, restart=0.3, codes=6):
        layer = quantizer(update, codes=codes, decay=0.8, restart=restart)
        layer.codebook.inplace()[...] = on_device(-50 - numbers(codes, D, low=0, high=1, seed=2))
        layer.codebook.inplace()[0] = 10.0
        if update == "ema":
            layer.sums.inplace()[...] = layer.codebook.data
        for seed in range(steps):
            layer(10 + numbers(4, D, 2, 3, seed=seed))
        return layer

    @UPDATES
    def test_dead_codes_come_back_as_inputs(self, update):
        assert distances(self.dying(update, restart=0.0).codebook.numpy(), np.full((1, D), 10.0)).max() > 1000
        layer = self.dying(update)
        assert distances(layer.codebook.numpy(), np.full((1, D), 10.0)).max() < 3 * 2.1**2

    @UPDATES
    def test_all_statistics_are_those_of_a_new_code(self, update):
        """Bug: only the code is replaced, and the next division by the old averages puts it back."""
        layer = quantizer(update, codes=4, decay=0.9, restart=0.5)
        layer.codebook.inplace()[...] = on_device(np.diag([1.0, 2, 3, 4])[:, :D] + np.eye(4, D))
        layer.counts.inplace()[...] = on_device(np.array([10.0, 10, 0.1, 10]))
        if update == "ema":
            layer.sums.inplace()[...] = layer.counts.data[:, None] * layer.codebook.data
        z = np.repeat(layer.codebook.numpy()[[0, 1, 3]], 10, axis=0)  # exactly on their codes
        layer(z)
        started = 2 * 0.5 * (3 * (9 + 1) + 0.09) / 4
        codebook = layer.codebook.numpy()
        np.testing.assert_allclose(layer.counts.numpy()[2], started, rtol=1e-12)
        assert distances(codebook[2:3], z).min() == 0
        if update == "ema":
            np.testing.assert_allclose(layer.sums.numpy()[2], started * codebook[2], rtol=1e-12)
            layer(z)
            assert distances(layer.codebook.numpy()[2:3], z).min() < 1e-3

    def test_living_codes_are_left_alone(self):
        layer, plain = quantizer(restart=0.01), quantizer(restart=0.0)
        for seed in range(3):
            layer(latents(seed=seed))
            plain(latents(seed=seed))
        np.testing.assert_array_equal(layer.codebook.numpy(), plain.codebook.numpy())

    def test_a_code_that_the_batch_uses_is_not_dead(self):
        """In 'gradient' its row has a gradient on the way that belongs to the old code."""
        layer = quantizer("gradient", codes=2, restart=0.9)
        layer.codebook.inplace()[...] = on_device(np.array([[0.0] * D, [9.0] * D]))
        layer.counts.inplace()[...] = on_device(np.array([100.0, 0.01]))
        before = layer.codebook.numpy()
        layer(np.array([[0.1] * D, [0.2] * D, [8.5] * D]))
        np.testing.assert_array_equal(layer.codebook.numpy(), before)

    def test_dead_codes_take_different_inputs(self):
        layer = quantizer(codes=10, restart=0.9)
        layer.codebook.inplace()[...] = on_device(np.arange(100.0, 130).reshape(10, D))
        layer.counts.inplace()[...] = on_device(np.array([1e6] + [0.0] * 9))
        layer.codebook.inplace()[0] = 0.0
        layer(numbers(40, D))
        assert len(np.unique(layer.codebook.numpy()[1:], axis=0)) == 9

    def test_one_seed_one_result(self):
        a, b = self.dying(), self.dying()
        np.testing.assert_array_equal(a.codebook.numpy(), b.codebook.numpy())
        mv.manual_seed(1)
        z = numbers(4, D)
        for layer, seed in ((a, 1), (b, 2)):
            layer.counts.inplace()[...] = on_device(np.array([100.0] + [0.0] * 5))
            layer.codebook.inplace()[1:] = -99.0
            mv.manual_seed(seed)
            layer(z)
        assert not np.array_equal(a.codebook.numpy(), b.codebook.numpy())


class TestInitialize:
    def test_k_means_finds_what_is_there(self):
        """Eight well-separated clumps of 20: k-means++ has one centre in each, Lloyd moves it to the mean."""
        mv.manual_seed(0)
        corners = 10.0 * np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
        rows = np.concatenate([c + numbers(20, 3, seed=i, low=-0.1, high=0.1) for i, c in enumerate(corners)])
        centres = k_means(rows, 8)
        means = rows.reshape(8, 20, 3).mean(1)
        np.testing.assert_allclose(means[distances(centres, means).argmin(1)], centres, rtol=0, atol=1e-9)
        assert len(np.unique(centres.round(), axis=0)) == 8

    def test_lloyd_makes_no_distance_longer(self):
        """The mean distance is at most that of the k-means++ centres, which no step improves for one centre a row."""
        mv.manual_seed(0)
        rows = numbers(30, 2)
        assert sorted(k_means(rows, 30).tolist()) == sorted(rows.tolist())
        one = k_means(rows, 1)
        np.testing.assert_allclose(one[0], rows.mean(0), rtol=1e-12)

    def test_equal_rows(self):
        assert k_means(np.ones((5, 2)), 3).tolist() == [[1.0, 1.0]] * 3

    @UPDATES
    def test_the_statistics_match_the_codes(self, update):
        """Bug: codes from k-means with the averages of the codes before, which come back with the first update."""
        layer = quantizer(update)
        for seed in range(5):
            layer(latents(seed=seed))
        rows = 20 + numbers(40, D, seed=9)
        layer.initialize(rows)
        np.testing.assert_array_equal(layer.counts.numpy(), np.ones(K))
        if update == "ema":
            np.testing.assert_array_equal(layer.sums.numpy(), layer.codebook.numpy())
            layer(rows)
            assert layer.codebook.numpy().min() > 17.9
        assert layer.initialized.item() == 1

    def test_one_seed_one_codebook(self):
        rows, made = numbers(60, D), []
        for seed in (3, 3, 4):
            mv.manual_seed(seed)
            made.append(k_means(rows, 7))
        np.testing.assert_array_equal(made[0], made[1])
        assert not np.array_equal(made[0], made[2])

    def test_more_codes_than_vectors(self):
        layer = quantizer()
        before = layer.state_dict()
        with pytest.raises(ValueError, match="4 vectors for 5 codes"):
            layer.initialize(numbers(4, D))
        with pytest.raises(ValueError, match=r"\(M, 3\), got \(9, 2\)"):
            layer.initialize(numbers(9, 2))
        for name, array in layer.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


class TestUsage:
    def layer(self):
        """Codes 0, 1, 2, 3 in one dimension."""
        layer = quantizer(codes=4, dim=1).eval()
        for tensor in (layer.codebook, layer.sums):
            tensor.inplace()[...] = on_device(np.arange(4.0)[:, None])
        return layer

    @pytest.mark.parametrize(
        ("z", "perplexity", "usage"),
        [([0, 1, 2, 3], 4, 1), ([2, 2, 2, 2], 1, 0.25), ([0, 0, 3, 3], 2, 0.5), ([0, 0, 0, 1], 4 / 3**0.75, 0.5)],
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
