"""PNG, JPEG and WebP of images: what they take, and how well they keep them."""

from io import BytesIO
from math import inf

import numpy as np
import pytest
from strategies import numbers

from minivae.uses import image_formats, psnr
from minivae.uses.image_formats import as_bytes, sheet, write_png


def smooth(n, channels=1, size=24):
    """Images that JPEG and WebP can compress."""
    wave = np.sin(np.arange(size) / 4)
    return 0.5 + 0.4 * np.arange(1, n * channels + 1).reshape(n, channels, 1, 1) / n / channels * np.outer(wave, wave)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_format_is_there_in_both_ways(channels):
    rows = image_formats(smooth(5, channels), 30.0)
    assert [(row.format, row.sheet) for row in rows] == [(f, s) for f in ("PNG", "JPEG", "WEBP") for s in (False, True)]
    for alone, together in zip(rows[::2], rows[1::2], strict=True):
        assert 0 < together.bytes < alone.bytes
        assert together.quality == alone.quality
        if alone.format == "PNG":
            assert (alone.psnr, together.psnr, alone.quality) == (inf, inf, None)
        else:
            assert 30 <= together.psnr < inf


def test_the_least_quality_is_taken():
    x = numbers(4, 1, 16, 16, low=0, high=1)
    coarse, fine = (next(r for r in image_formats(x, least) if r.format == "JPEG" and r.sheet) for least in (15, 30))
    assert coarse.quality < fine.quality
    assert coarse.bytes < fine.bytes
    assert next(r for r in image_formats(x, inf) if r.format == "JPEG" and r.sheet).quality == 95


def test_a_png_holds_the_pixels_of_the_sheet():
    from PIL import Image

    x = numbers(5, 3, 4, 6, low=0, high=1)
    file = BytesIO()
    write_png(file, sheet(as_bytes(x)))
    pixels = np.asarray(Image.open(file))
    assert pixels.shape == (2 * 4, 3 * 6, 3)
    np.testing.assert_array_equal(pixels[4:8, 6:12], as_bytes(x)[4])
    assert not pixels[4:, 12:].any()


def test_bytes_are_rounded_and_clipped():
    x = np.array([-0.5, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 1.5]).reshape(1, 1, 1, 6)
    assert as_bytes(x).ravel().tolist() == [0, 0, 0, 1, 255, 255]
    assert psnr(np.ones((1, 1, 1, 1)), as_bytes(np.ones((1, 1, 1, 1))) / 255) == inf
