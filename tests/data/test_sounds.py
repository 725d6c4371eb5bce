"""Sounds: generated ones, and files of the user's own."""

import sys
import wave

import numpy as np
import pytest

import minivae as mv
from minivae.data import sound, syllables


def write(path, samples, rate=8000, width=2, channels=1):
    """Samples in [-1, 1), (T,) or (T, channels), as whole numbers of `width` bytes."""
    if width == 1:
        data = np.round(np.asarray(samples) * 128 + 128).astype(np.uint8).tobytes()
    else:
        whole = np.round(np.asarray(samples) * 2.0 ** (8 * width - 1)).astype("<i4").ravel()
        data = whole.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


def tone(count, level=0.5, period=20):
    return level * np.sin(2 * np.pi * np.arange(count) / period)


class TestFiles:
    @pytest.mark.parametrize(("width", "step"), [(1, 1 / 128), (2, 2.0**-15), (3, 2.0**-23), (4, 2.0**-24)])
    def test_whole_numbers_of_every_width_come_back(self, tmp_path, width, step):
        samples = tone(100)
        x, rate = sound.read(write(tmp_path / "a.wav", samples, 11025, width))
        assert rate == 11025
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, samples, atol=step)

    def test_channels_are_averaged(self, tmp_path):
        both = np.stack([tone(100), np.zeros(100)], axis=1)
        x, _ = sound.read(write(tmp_path / "a.wav", both, channels=2))
        np.testing.assert_allclose(x, tone(100) / 2, atol=1e-4)

    def test_flac_and_ogg_by_soundfile(self, tmp_path):
        soundfile = pytest.importorskip("soundfile")
        for name, tolerance in (("a.flac", 1e-4), ("b.ogg", 0.1)):
            soundfile.write(tmp_path / name, tone(4000), 16000)
            x, rate = sound.read(tmp_path / name)
            assert rate == 16000
            np.testing.assert_allclose(x, tone(4000), atol=tolerance)

    def test_without_soundfile(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "soundfile", None)
        (tmp_path / "a.flac").write_bytes(b"fLaC")
        with pytest.raises(ImportError, match=r"pip install 'minivae\[audio\]'"):
            sound.read(tmp_path / "a.flac")

    def test_every_truncation_of_a_wav_is_noticed(self, tmp_path):
        raw = write(tmp_path / "a.wav", tone(20)).read_bytes()
        for length in range(len(raw)):
            (tmp_path / "b.wav").write_bytes(raw[:length])
            with pytest.raises(ValueError, match=r"b.wav' (is no readable sound|is empty)"):
                sound.read(tmp_path / "b.wav")


class TestFolders:
    def test_segments_labels_and_held_out_recordings(self, tmp_path):
        """Recording i holds numbers near i / 100; the end of each, shorter than a segment, is left out."""
        for i in range(20):
            write(tmp_path / ("anna" if i < 12 else "bert") / f"{i:02}.wav", np.full(37, (i + 1) / 100))
        data = mv.datasets.load(tmp_path, image_shape=(1, 1, 10))
        assert (data.sample_rate, data.class_names) == (8000, ("anna", "bert"))
        assert data.x_train.shape == (54, 1, 1, 10)
        np.testing.assert_array_equal(np.unique(np.round(data.x_test * 100)), [10, 20])
        np.testing.assert_array_equal(data.y_test, [0, 0, 0, 1, 1, 1])
        np.testing.assert_array_equal(data.y_train, np.round(data.x_train[:, 0, 0, 0] * 100) > 12)

    def test_of_few_recordings_the_end_of_each_is_held_out(self, tmp_path):
        write(tmp_path / "a.wav", np.arange(1, 201) / 400)
        data = mv.datasets.load(tmp_path, image_shape=(1, 1, 10))
        assert data.y_train is None
        np.testing.assert_allclose(data.x_test.ravel(), np.arange(181, 201) / 400, atol=1e-4)
        assert len(data.x_train) == 18

    def test_images_stay_images(self, tmp_path):
        (tmp_path / "images").mkdir()
        with pytest.raises(ValueError, match="must hold PNG files"):
            mv.datasets.load(tmp_path / "images")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"a.wav": (tone(50), 8000), "b.wav": (tone(50), 16000)}, "b.wav' has 16000 samples a second, .* has 8000"),
            ({"a.wav": (tone(50), 8000), "b.wav": (tone(0), 8000)}, "b.wav' is empty"),
            ({"a.wav": (tone(50), 8000), "b.wav": (np.zeros(50), 8000)}, "b.wav' is silent"),
            ({"a.wav": (tone(50), 8000), "b.wav": (tone(9), 8000)}, "1 of 2 recordings are shorter than .* 10 .*b.wav"),
            ({"a.wav": (tone(50), 8000), "b.wav": b"no sound"}, "b.wav' is no readable sound"),
            ({"a.wav": (tone(50), 8000), "s/b.wav": (tone(50), 8000)}, "it holds both"),
            ({"a.wav": (tone(12), 8000)}, r"has 1 segment\(s\)"),
        ],
    )
    def test_bad_folders(self, tmp_path, files, message):
        for name, content in files.items():
            if isinstance(content, bytes):
                (tmp_path / name).write_bytes(content)
            else:
                write(tmp_path / name, *content)
        with pytest.raises(ValueError, match=message):
            mv.datasets.load(tmp_path, image_shape=(1, 1, 10))

    @pytest.mark.parametrize("shape", [(1, 2, 10), (3, 1, 10)])
    def test_shapes_that_are_no_segments(self, tmp_path, shape):
        write(tmp_path / "a.wav", tone(50))
        for name in (tmp_path, "syllables"):
            with pytest.raises(ValueError, match=r"must be \(1, 1, T\)"):
                mv.datasets.load(name, image_shape=shape)


class TestSyllables:
    def test_more_segments_leave_the_first_ones_unchanged(self):
        (a, y), (b, z) = syllables.generate(3, 600), syllables.generate(6, 600)
        np.testing.assert_array_equal(a, b[:3])
        np.testing.assert_array_equal(y, z[:3])
        assert np.abs(b).max() <= 1

    def test_a_resonator_is_that_of_the_formula(self):
        """Its gain is |A / (1 - B w - C w^2)| with w = exp(-2 pi i f / r), which is 1 at f = 0."""
        x = np.zeros((4000, 1))
        x[0] = 1
        formants = np.array([700.0, 1200.0, 2400.0])
        y = syllables._resonate(x, np.broadcast_to(formants[:, None, None], (3, 4000, 1)))[:, 0]
        gain = np.abs(np.fft.rfft(y))
        expected = np.ones(2001)
        w = np.exp(-2j * np.pi * np.arange(2001) / 4000)
        for f, width in zip(formants, syllables.BANDWIDTHS, strict=True):
            c = -np.exp(-2 * np.pi * width / 8000)
            b = 2 * np.exp(-np.pi * width / 8000) * np.cos(2 * np.pi * f / 8000)
            expected = expected * np.abs((1 - b - c) / (1 - b * w - c * w**2))
        np.testing.assert_allclose(gain, expected, rtol=1e-6)
        assert gain[0] == pytest.approx(1, rel=1e-9)
        for f in formants:  # a peak within 1 percent
            near = slice(int(f / 2) - 60, int(f / 2) + 60)
            assert abs(2 * (np.argmax(gain[near]) + near.start) - f) < 0.01 * f + 4

    def test_the_glottis_has_a_pulse_in_each_period(self):
        pulses = syllables._glottis(np.full((800, 2), [100.0, 200.0]), np.array([0.0, 0.3]))
        for k, period in enumerate((80, 40)):
            np.testing.assert_allclose(pulses[1 + period :, k], pulses[1:-period, k], atol=1e-9)
            steepest = np.flatnonzero(pulses[:, k] < 0.99 * pulses[1:, k].min())  # where the glottis closes
            assert (np.diff(steepest)[np.diff(steepest) > 1] == period).all()
            assert 0.3 < -pulses[:, k].min() < 1.1

    def test_the_data_set(self):
        data = mv.datasets.load("syllables", image_shape=(1, 1, 320))
        assert data.x_train.shape == (2400, 1, 1, 320)
        assert data.sample_rate == 8000
        assert set(data.y_train) == set(range(4))
