"""How near sounds are to others, in closed form, and mu-law coding."""

from math import log

import numpy as np
import pytest

from minivae import uses


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, shape)


class TestSegmentalSnr:
    def test_a_tenth_of_the_signal_is_20_db(self):
        x = noise(3, 1000)
        assert uses.segmental_snr(x, 1.1 * x) == pytest.approx(20, rel=1e-9)

    def test_it_is_the_mean_over_frames_and_not_of_the_whole(self):
        x = noise(1, 512)
        y = x.copy()
        y[:, :256] *= 1.1
        y[:, 256:] *= 1.01
        assert uses.segmental_snr(x, y) == pytest.approx((20 + 35) / 2, rel=1e-9)  # 40 dB counts as 35

    def test_frames_are_clipped_and_pauses_left_out(self):
        x = noise(1, 512)
        assert uses.segmental_snr(x, x) == 35
        assert uses.segmental_snr(x, -9 * x) == -10
        x[:, 256:] *= 1e-3
        y = x.copy()
        y[:, 256:] += 0.5
        assert uses.segmental_snr(x, y) == 35


class TestDistance:
    def test_a_louder_sound_is_as_far_as_its_level(self):
        x = noise(2, 512)
        assert uses.log_spectral_distance(x, x) == 0
        assert uses.log_spectral_distance(x, x * 10 ** (3 / 20)) == pytest.approx(3, rel=0.02)

    def test_weak_frequencies_count_as_the_floor(self):
        """Bug: log of 0 where a decoder is silent; without a floor one silent band decides the mean."""
        x = noise(1, 512)
        assert uses.log_spectral_distance(x, 0 * x) < 40


class TestMuLaw:
    def test_its_error_is_at_most_half_a_step_in_the_compressed_domain(self):
        x = np.linspace(-1, 1, 40_001)
        for bits in (1, 4, 8):
            compressed = [np.sign(v) * np.log1p(255 * np.abs(v)) / log(256) for v in (x, uses.mu_law(x, bits))]
            assert np.abs(compressed[0] - compressed[1]).max() <= 0.5 / 2 ** (bits - 1) + 1e-12
            assert len(np.unique(uses.mu_law(x, bits))) == 2**bits

    def test_8_bits_of_a_loud_sound_are_near_38_db(self):
        """The textbook's signal-to-noise ratio of 8-bit mu-law: 6.02 * 8 - 20 log10(log(1 + 255)) + 4.77 dB = 38.1."""
        x = noise(1, 100_000)
        error = ((x - uses.mu_law(x, 8)) ** 2).sum()
        assert 10 * np.log10((x**2).sum() / error) == pytest.approx(38.1, abs=1.5)

    def test_at_8_bits_a_sample_it_keeps_all_or_resamples_to_what_is_better(self):
        x = noise(2, 1024)
        y, bits = uses.mu_law_at(x, 8)
        assert bits == 8
        np.testing.assert_allclose(y, uses.mu_law(x, 8), atol=1e-9)

    def test_a_slow_tone_keeps_its_samples_bits_at_few_bits_a_sample(self):
        x = 0.5 * np.sin(2 * np.pi * np.arange(1024) * 8 / 1024)[None]
        y, bits = uses.mu_law_at(x, 0.5)
        assert bits > 4
        assert uses.segmental_snr(x, y) > 20

    def test_samples_out_of_range(self):
        with pytest.raises(ValueError, match=r"\[-1, 1\], got -1.5 to 0.5"):
            uses.mu_law(np.array([0.5, -1.5]))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (noise(1, 255), noise(1, 255), "at least 256"),
        (noise(1, 256), noise(2, 256), r"\(1, 256\) and \(2, 256\)"),
        (np.zeros((1, 256)), noise(1, 256), "silent"),
    ],
)
def test_waveforms_that_do_not_compare(x, y, message):
    for measure in (uses.segmental_snr, uses.log_spectral_distance):
        with pytest.raises(ValueError, match=message):
            measure(x, y)
