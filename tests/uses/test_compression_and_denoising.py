"""Compression and denoising, with models whose results are known."""

import numpy as np
import pytest
from strategies import numbers

import minivae as mv
from minivae.kernels.contract import Noise
from minivae.models import Autoencoder, corrupt
from minivae.uses import PCA, compression, denoising, psnr


def images(n, seed=0):
    return numbers(n, 1, 4, 3, seed=seed, low=0, high=1, dtype=np.float32)


class Constant:
    """A model that reconstructs every image as uniform grey and records the images it gets."""

    def __init__(self, value):
        self.value = value

    def reconstruct(self, x):
        self.seen = x
        return np.full_like(x, self.value)


class TestCompression:
    def test_a_row_for_each_dimension_in_the_order_asked_for(self):
        x, t = images(40), images(10, seed=1)
        asked = []
        rows = compression(lambda dim: asked.append(dim) or PCA(x, dim), x, t, [5, 2, 12])
        assert asked == [row.dim for row in rows] == [5, 2, 12]
        for row in rows:  # the model is PCA too
            assert row.psnr == pytest.approx(row.pca_psnr, rel=1e-4)
            assert row.squared_error == pytest.approx(row.pca_squared_error, rel=1e-4, abs=1e-9)
        for row in rows[:2]:
            assert row.psnr == pytest.approx(10 * np.log10(12 / row.squared_error), rel=1e-9)
        assert rows[1].squared_error > rows[0].squared_error > rows[2].squared_error

    def test_pictures_are_clipped_before_they_are_compared(self):
        x, white = images(40), np.ones((5, 1, 4, 3), np.float32)
        (row,) = compression(lambda dim: Constant(7.0), x, white, [2])
        assert row.squared_error == 0
        assert row.psnr == np.inf

    def test_it_trains_autoencoders(self):
        x = images(40)
        rows = compression(
            lambda dim: Autoencoder((1, 4, 3), dim, "dense", hidden=()).fit(x, epochs=1), x, images(10, seed=1), [1, 3]
        )
        assert [row.dim for row in rows] == [1, 3]

    @pytest.mark.parametrize(("dims", "message"), [([], "at least one"), ([3, 0], "0"), ([13], r"\[1, 12\].*13")])
    def test_bad_dimensions_before_anything_is_trained(self, dims, message):
        def never(dim):
            raise AssertionError("trained")

        with pytest.raises(ValueError, match=message):
            compression(never, images(40), images(5), dims)

    @pytest.mark.parametrize("part", [0, 1])
    def test_pixels_that_psnr_says_nothing_about_before_anything_is_trained(self, part):
        parts = [images(40), images(5)]
        parts[part] = parts[part] * 255
        with pytest.raises(ValueError, match=r"\[0, 1\].*divide by 255"):
            compression(lambda dim: pytest.fail("trained"), *parts, [2])

    def test_test_images_with_nan_before_anything_is_trained(self):
        test = images(5)
        test[1, 0, 2, 1] = np.nan
        with pytest.raises(ValueError, match="nan"):
            compression(lambda dim: pytest.fail("trained"), images(40), test, [2])


class TestDenoising:
    @pytest.mark.parametrize("kind", ["gaussian", "masking", "salt-and-pepper"])
    def test_the_model_sees_the_noise_and_is_measured_against_clean_images(self, kind):
        x, model = images(30), Constant(0.5)
        result = denoising(model, x, kind, 0.4, seed=8)
        seen = corrupt(x, kind, 0.4, Noise(8, 0))
        np.testing.assert_array_equal(model.seen, seen)
        np.testing.assert_array_equal(result.noisy, np.clip(seen, 0, 1))
        assert result.noisy_psnr == psnr(x, np.clip(seen, 0, 1))
        assert result.denoised_psnr == psnr(x, np.full_like(x, 0.5))
        assert result.gain == result.denoised_psnr - result.noisy_psnr

    def test_a_model_of_pixels_in_the_unit_interval_sees_the_noise_clipped(self):
        model = Constant(0.5)
        model.unit_interval = True
        result = denoising(model, images(30), level=0.4)
        np.testing.assert_array_equal(model.seen, result.noisy)
        assert 0 == model.seen.min() < model.seen.max() == 1

    def test_a_model_of_8_bit_pixels_sees_such_ones(self):
        model = Constant(0.5)
        model.unit_interval, model.pixel_levels = True, 255
        denoising(model, images(30), level=0.4)
        np.testing.assert_array_equal(model.seen, np.rint(model.seen * 255) / np.float32(255))
        assert 0 == model.seen.min() < model.seen.max() == 1
        logistic = mv.models.VAE((1, 4, 3), 2, "dense", "logistic", hidden=(4,))
        assert np.isfinite(denoising(logistic, images(30), level=0.4).gain)

    def test_the_noise_is_that_of_its_seed_and_takes_none_from_training(self):
        x = images(30)
        mv.manual_seed(4)
        a, b, other = (denoising(Constant(2.0), x, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(a.noisy, b.noisy)
        assert not np.array_equal(a.noisy, other.noisy)
        assert mv.random.default_generator.state_dict() == {"seed": 4, "draw": 0}
        assert a.denoised.max() == 1  # clipped

    def test_projecting_onto_the_subspace_of_the_images_removes_the_noise_outside_it(self):
        """Images from a plane in 12 dimensions: projecting onto the plane leaves 2 / 12 of the energy of the noise."""
        plane = numbers(2, 12, seed=2)
        x = (0.5 + 0.04 * numbers(500, 2, seed=3) @ plane).reshape(500, 1, 4, 3)
        result = denoising(PCA(x, 2), x, level=0.05)
        assert result.gain == pytest.approx(10 * np.log10(6), abs=0.5)

    def test_nothing_is_gained_where_there_is_nothing_to_gain(self):
        """Without noise the PSNR is infinite before and after; infinity minus infinity is no gain."""

        class Identity:
            def reconstruct(self, x):
                return x

        assert denoising(Identity(), images(2), level=0.0)[:3] == (np.inf, np.inf, 0.0)
        assert denoising(Constant(0.5), images(2), level=0.0).gain == -np.inf

    def test_bad_input(self):
        with pytest.raises(ValueError, match="'blur'"):
            denoising(Constant(0.0), images(2), "blur")
        with pytest.raises(ValueError, match="no images"):
            denoising(Constant(0.0), images(0))
        with pytest.raises(ValueError, match=r"\[0, 1\], got -1 to -1"):
            denoising(Constant(0.0), np.full_like(images(2), -1))
