"""How the codebook learns: the moving averages against a loop, restarts of dead codes, and k-means.

The bugs named in the tests are ones that other implementations had.
"""

import numpy as np
import pytest
from quantizers import UPDATES, D, K, distances, latents, quantizer, rows_of
from strategies import numbers, on_device

import minivae as mv
from minivae.nn.quantizers.k_means import k_means


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

    def test_the_example_of_the_docstring(self):
        """Decay 0.9 and one code at 1, chosen by 0.8 and 0.6."""
        layer = quantizer(codes=1, dim=1, decay=0.9)
        for tensor in (layer.codebook, layer.sums):
            tensor.inplace()[...] = 1.0
        layer(np.array([[0.8], [0.6]]))
        assert layer.counts.numpy() == pytest.approx([1.1], rel=1e-12)
        assert layer.sums.numpy()[0] == pytest.approx([1.04], rel=1e-12)
        assert layer.codebook.numpy()[0] == pytest.approx([0.945], abs=5e-4)

    def test_smoothing_draws_a_code_to_0_only_when_its_count_is_about_eps(self):
        layer = quantizer(codes=2, dim=1, decay=0.9)
        for tensor in (layer.codebook, layer.sums):
            tensor.inplace()[...] = on_device(np.array([[0.0], [5.0]]))
        for _ in range(40):
            layer(np.zeros((8, 1)))
        assert layer.counts.numpy()[1] > 1e-2
        assert layer.codebook.numpy()[1] == pytest.approx([5.0], rel=1e-3)
        for _ in range(110):
            layer(np.zeros((8, 1)))
        assert layer.counts.numpy()[1] < 1e-6
        assert abs(layer.codebook.numpy()[1]) < 0.5

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
