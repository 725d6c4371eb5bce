"""The judge of samples: what patchworks are made of, what it finds whole, and that it depends on its seed alone."""

import numpy as np
import pytest
from judges import SIZE, judge, pictures

import minivae as mv
from minivae.random import Generator
from minivae.uses import WholenessJudge
from minivae.uses.wholeness import _interpolation, blurred, patchworks


class TestPatchworks:
    def test_each_is_one_half_of_an_image_and_one_half_of_another_class(self):
        """The images of class k have the value k everywhere."""
        y = np.arange(90) % 2
        x = np.broadcast_to(y[:, None, None, None], (90, 2, 14, 12)).astype(np.float32)
        torn = patchworks(x, y, Generator(3))
        assert torn.shape == x.shape
        np.testing.assert_array_equal(torn[:, 0], torn[:, 1])  # all channels are torn along one border
        np.testing.assert_allclose((abs(torn - x) < 0.5).mean(axis=(1, 2, 3)), 0.5, atol=0.01)
        assert ((torn < 0.1) | (torn > 0.9)).mean() > 0.6  # the border is narrow

    def test_the_other_image_is_of_any_other_class(self):
        y = np.arange(90) % 3
        x = np.broadcast_to(y[:, None, None, None], (90, 1, 14, 12)).astype(np.float32)
        torn = patchworks(x, y, Generator(3))
        other = [y[n] + np.round(2 * (torn[n].mean() - y[n])) for n in range(90)]  # as each half has the same area
        assert {*zip(y.tolist(), other, strict=True)} == {(a, b) for a in range(3) for b in range(3) if a != b}

    def test_a_small_class_and_a_large_one(self):
        x, y = np.zeros((7, 1, 8, 8), np.float32), np.array([0, 1, 1, 1, 1, 1, 1])
        x[0] = 1
        torn = patchworks(x, y, Generator(0))
        assert ((torn > 0.9).any(axis=(1, 2, 3)) & (torn < 0.1).any(axis=(1, 2, 3))).all()

    def test_interpolation_keeps_planes_and_blurring_keeps_what_is_smooth(self):
        np.testing.assert_allclose(_interpolation(4, 13) @ np.arange(4), np.linspace(0, 3, 13))
        np.testing.assert_allclose(_interpolation(4, 13).sum(axis=1), 1)
        plane = np.add.outer(np.arange(8.0), 2 * np.arange(9.0))[None, None]
        np.testing.assert_allclose(blurred(plane)[..., 1:-1, 1:-1], plane[..., 1:-1, 1:-1])
        dot = np.zeros((1, 1, 5, 5))
        dot[..., 2, 2] = 16
        np.testing.assert_array_equal(blurred(dot)[0, 0, 1:4, 1:4], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


class TestJudge:
    def test_it_tells_new_images_from_torn_ones_and_from_noise(self):
        x, y = pictures(200, seed=1)
        noise = np.random.default_rng(2).random(x.shape, np.float32)
        whole, torn, none = (judge().judge(images) for images in (x, patchworks(x, y, Generator(9)), noise))
        assert whole.whole > 0.9
        assert torn.whole < 0.2
        assert none.whole < 0.1
        assert judge().judge(blurred(x)).whole > 0.9
        assert all(0 <= found.certain <= found.whole for found in (whole, torn, none))

    def test_its_classes_are_those_of_the_labels_and_then_torn(self):
        x, y = pictures(100, seed=1)
        named = WholenessJudge(*pictures(600)[:1], np.array(["up", "level"])[pictures(600)[1]])
        assert named.labels.tolist() == ["level", "up"]
        p = named.probabilities(x)
        assert p.shape == (100, 3)
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        assert (np.array(["level", "up"])[p[:, :2].argmax(axis=1)] == np.array(["up", "level"])[y]).mean() > 0.95
        share = (p[:, 2] < 0.5).mean(), (p[:, :2].max(axis=1) >= 0.9).mean()
        assert named.judge(x) == pytest.approx(share)

    def test_the_seed_decides_and_noise_outside_does_not(self):
        x, _ = pictures(50, seed=1)
        before = mv.random.default_generator.state_dict()
        again = WholenessJudge(*pictures(600), 0)
        assert mv.random.default_generator.state_dict() == before
        np.testing.assert_array_equal(again.probabilities(x), judge().probabilities(x))
        assert not np.array_equal(judge(1).probabilities(x), judge().probabilities(x))


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (np.zeros((4, 1, 8, 7), np.float32), np.arange(4), "at least 8 x 8"),
            (np.zeros((4, 64), np.float32), np.arange(4), r"\(N, C, H, W\)"),
            (np.full((4, 1, 8, 8), 2, np.float32), np.arange(4), "pixels must lie in"),
            (np.full((4, 1, 8, 8), np.nan, np.float32), np.arange(4), "nan"),
            (np.zeros((4, 1, 8, 8), np.float32), np.zeros(4, int), "at least two classes, got 1"),
            (np.zeros((4, 1, 8, 8), np.float32), np.arange(3), "a label for each image"),
        ],
    )
    def test_is_refused(self, x, y, words):
        with pytest.raises(ValueError, match=words):
            WholenessJudge(x, y)

    def test_no_images_have_no_share(self):
        with pytest.raises(ValueError, match="at least one image"):
            judge().judge(np.zeros((0, 1, SIZE, SIZE), np.float32))
