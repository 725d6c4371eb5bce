"""Images as PNG, JPEG and WebP: how many bytes they take, and at which PSNR.

Formats for photographs spend some hundred bytes on the header of each file, more than a small image takes. So images
are written in two ways: each in a file of its own, and all on one sheet. Pillow is imported where it is used.
"""

from __future__ import annotations

from io import BytesIO
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np

from minivae.data.batches import images_as_floats
from minivae.kernels import checks

from .metrics import check_unit_interval, psnr

LOSSY = ("JPEG", "WEBP")
BEST = 95  # quality above which JPEG only grows


class FormatRow(NamedTuple):
    """It describes images in one format: bytes of all files, PSNR in dB (infinite without loss), quality or None."""

    format: str
    sheet: bool
    bytes: int
    psnr: float
    quality: int | None


def image_formats(x: np.ndarray, least_psnr: float) -> list[FormatRow]:
    """Write images x (N, C, H, W) in [0, 1], grey or RGB, as PNG, JPEG and WebP, as separate files and on one sheet.

    JPEG and WebP have the least quality at which the sheet has a PSNR of at least least_psnr, or else the quality 95.
    The PSNR is that of pixels of 8 bits. Raises ValueError for no images, for other shapes and ranges; ImportError
    without Pillow.
    """
    x = images_as_floats(x)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.size:
        raise ValueError(f"PNG, JPEG and WebP take images (N, 1 or 3, H, W), at least one, got {x.shape}")
    check_unit_interval(x)
    least_psnr = checks.number("least_psnr", least_psnr, "[0, inf]")
    pixels = as_bytes(x)  # (N, H, W, C)
    whole = sheet(pixels)[None]
    rows = []
    for name in ("PNG", *LOSSY):
        quality = None if name == "PNG" else _least_quality(name, whole, least_psnr)
        for images in (pixels, whole):
            size, seen = _written(name, images, quality)
            rows.append(FormatRow(name, images is whole, size, psnr(images / 255, seen / 255), quality))
    return rows


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Turn images (N, C, H, W) into bytes (N, H, W, C), clipped to [0, 1] and rounded."""
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def sheet(pixels: np.ndarray) -> np.ndarray:
    """Put images (N, H, W, C) on a sheet that is about square: (rows H, columns W, C), black where there is none."""
    N, H, W, C = pixels.shape
    columns = ceil(sqrt(N))
    rows = ceil(N / columns)
    padded = np.concatenate([pixels, np.zeros((rows * columns - N, H, W, C), np.uint8)])
    return padded.reshape(rows, columns, H, W, C).transpose(0, 2, 1, 3, 4).reshape(rows * H, columns * W, C)


def write_png(file: Any, pixels: np.ndarray) -> None:
    """Write an image (H, W, C) of bytes, C = 1 or 3, into an open file. ImportError without Pillow."""
    _image(pixels).save(file, "PNG", optimize=True)


def _image(pixels: np.ndarray) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("PNG, JPEG and WebP need Pillow: pip install 'minivae[cli]'") from error
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _written(name: str, images: np.ndarray, quality: int | None) -> tuple[int, np.ndarray]:
    """Write images (N, H, W, C) as N files; return their bytes together, and what is read from them."""
    from PIL import Image

    size, seen = 0, np.empty_like(images)
    for n, pixels in enumerate(images):
        file = BytesIO()
        if quality is None:
            write_png(file, pixels)
        else:
            _image(pixels).save(
                file, name, quality=quality, **({"method": 6} if name == "WEBP" else {"optimize": True})
            )
        size += len(file.getvalue())
        with Image.open(file) as image:
            seen[n] = np.asarray(image.convert("L" if pixels.shape[-1] == 1 else "RGB")).reshape(pixels.shape)
    return size, seen


def _least_quality(name: str, images: np.ndarray, least_psnr: float) -> int:
    """Return the least quality in [1, BEST] that gives this PSNR, by bisection; BEST if none does."""
    low, high = 1, BEST
    while low < high:
        middle = (low + high) // 2
        _, seen = _written(name, images, middle)
        if psnr(images / 255, seen / 255) >= least_psnr:
            high = middle
        else:
            low = middle + 1
    return high
