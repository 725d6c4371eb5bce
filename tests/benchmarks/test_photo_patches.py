"""The patches of photographs: of equal size, and those of the test share no pixel with those of the training."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import photo_patches

SCRIPT = Path(photo_patches.__file__)


def test_no_pixel_is_in_both_parts():
    photos = [k * 10**4 + np.arange(3.0 * h * w).reshape(3, h, w) for k, (h, w) in enumerate([(20, 40), (17, 33)])]
    training, test = photo_patches.split(photos, 8, 2)
    assert training.shape[1:] == test.shape[1:] == (3, 8, 8)
    assert not np.isin(test, training).any()  # every number is that of one pixel
    assert len(test) == 7 * 2 + 5


def test_shrinking_takes_means():
    photo = np.random.default_rng(0).random((3, 6, 9)).astype(np.float32)
    small = photo_patches.shrunk(photo, 2)
    assert small.shape == (3, 3, 4)
    assert small[1, 2, 3] == pytest.approx(photo[1, 4:6, 6:8].mean())


def test_a_folder_of_photographs_becomes_a_file_of_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (140, 400, 3)).astype(np.uint8)
    image.fromarray(pixels).save(folder / "a.png")
    out = tmp_path / "patches.npz"
    subprocess.run([sys.executable, SCRIPT, out, "--photos", folder], check=True)
    found = np.load(out)
    assert found["x_train"].shape[1:] == found["x_test"].shape[1:] == (3, 64, 64)
    assert found["x_train"].dtype == np.float32
    expected = photo_patches.shrunk(pixels.transpose(2, 0, 1) / np.float32(255), 2)[:, :64, :64]
    np.testing.assert_array_equal(found["x_train"][0], expected)
