"""Sharpness and the Frechet distance: closed forms, invariances, and what blur does to both."""

import numpy as np
import pytest
from judges import judge, pictures

from minivae.uses import frechet_distance, realism, sharpness
from minivae.uses.realism import laplacian_energy
from minivae.uses.wholeness import blurred

RNG = np.random.default_rng(0)


def gaussians(n, mean, root):
    """Rows (n, F) whose mean and covariance are exactly `mean` and root root^T."""
    x = np.random.default_rng(1).normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / n)).T
    return mean + x @ np.asarray(root).T


class TestSharpness:
    def test_the_energy_of_a_wave(self):
        """sin(a i) has the second difference -2 (1 - cos a) sin(a i), along one axis and along two."""
        a, i = 2 * np.pi / 8, np.arange(34)
        wave = np.broadcast_to(np.sin(a * i), (1, 1, 34, 34)) / 2 + 0.5
        expected = (2 * (1 - np.cos(a)) / 2) ** 2 * (np.sin(a * i[1:-1]) ** 2).mean()
        assert laplacian_energy(wave) == pytest.approx(expected, rel=1e-12)

    def test_the_numbers_of_the_head(self):
        sharp, soft = (np.broadcast_to(np.array(row), (1, 1, 3, 4)) for row in ([0, 0, 1.0, 1], [0, 1 / 3, 2 / 3, 1]))
        assert laplacian_energy(sharp) == 1
        assert laplacian_energy(soft) == pytest.approx(0, abs=1e-30)

    def test_a_plane_has_none_and_a_constant_adds_nothing(self):
        x = RNG.uniform(size=(2, 1, 6, 7))
        plane = np.add.outer(np.arange(6.0), 2.0 * np.arange(7))
        assert laplacian_energy(x + plane) == pytest.approx(laplacian_energy(x), rel=1e-9)

    def test_it_is_relative_to_real_images_and_grows_with_the_square_of_contrast(self):
        x = RNG.uniform(size=(5, 3, 6, 7))
        assert sharpness(x, x) == 1
        assert sharpness(x / 2, x) == pytest.approx(0.25, rel=1e-12)

    def test_blur_is_less_sharp(self):
        x, _ = pictures(50)
        assert sharpness(blurred(x), x) < 0.5


class TestFrechetDistance:
    def test_equal_sets_have_none(self):
        x = RNG.normal(size=(40, 6))
        assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-12)

    def test_a_covariance_without_full_rank(self):
        """Bug: the square root of a rounded negative eigenvalue is NaN. 5 rows of 20 features have rank 4."""
        x = RNG.normal(size=(5, 20))
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
        assert frechet_distance(x, x[:1]) == pytest.approx(
            ((x.mean(0) - x[0]) ** 2).sum() + x.var(axis=0).sum(), rel=1e-9
        )

    def test_two_gaussians_with_common_axes(self):
        """||m - n||^2 + sum (s - t)^2 for deviations s and t; of the head: N(0, 1), N(3, 4)."""
        s, t, shift = np.array([1.0, 2.0, 0.5]), np.array([0.3, 2.5, 0.5]), np.array([1.0, -2.0, 0.5])
        a, b = gaussians(30, np.zeros(3), np.diag(s)), gaussians(50, shift, np.diag(t))
        assert frechet_distance(a, b) == pytest.approx((shift**2).sum() + ((s - t) ** 2).sum(), rel=1e-9)
        assert frechet_distance(gaussians(9, [0.0], [[1.0]]), gaussians(9, [3.0], [[2.0]])) == pytest.approx(10)

    def test_covariances_that_do_not_commute(self):
        """For 2 x 2 matrices tr (S T)^1/2 = sqrt(tr(S T) + 2 sqrt(det(S T)))."""
        A, B = np.array([[1.0, 0.0], [0.8, 0.6]]), np.array([[0.5, 0.0], [-1.0, 2.0]])
        S, T = A @ A.T, B @ B.T
        cross = np.sqrt(np.trace(S @ T) + 2 * np.sqrt(np.linalg.det(S @ T)))
        found = frechet_distance(gaussians(20, [0.0, 1.0], A), gaussians(20, [0.0, 1.0], B))
        assert found == pytest.approx(np.trace(S) + np.trace(T) - 2 * cross, rel=1e-9)

    def test_it_is_symmetric_and_a_rotation_of_both_changes_nothing(self):
        a, b = RNG.normal(size=(30, 4)) * [1, 2, 3, 4], RNG.normal(size=(20, 4)) + 1
        Q, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
        expected = frechet_distance(a, b)
        assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
        assert frechet_distance(a @ Q + 3, b @ Q + 3) == pytest.approx(expected, rel=1e-9)


def test_of_images_in_the_features_of_a_judge():
    """Other images of the kind are near, blurred ones further, and one image for ever is far."""
    x, other = pictures(300, seed=3)[0], pictures(300, seed=4)[0]
    near = realism(judge(), other, x)
    soft = realism(judge(), blurred(blurred(other)), x)
    one = realism(judge(), np.repeat(other[:1], 300, axis=0), x)
    assert near.frechet < soft.frechet
    assert near.frechet < one.frechet
    assert near.sharpness == pytest.approx(1, abs=0.2)
    assert soft.sharpness < 0.3
    assert judge().features(x).shape == (300, 128)
