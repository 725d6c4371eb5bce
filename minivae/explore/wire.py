"""How images, clips and sounds travel to the page and back: as base64 of integers."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from typing import Any

import numpy as np

from minivae.kernels import checks

MOST_16_BIT = 2**15 - 1  # the sample that stands for the loudest


class Wire:
    """It writes arrays as text. Pixels become bytes, 0 the lowest of the data and 255 the highest, which for most data
    are 0 and 1. Samples of a sound become integers of 16 bits, little-endian, where 0 stays 0.

    low, high: of the data. sound: whether they are samples.
    """

    def __init__(self, low: float, high: float, sound: bool) -> None:
        self.sound = sound
        if sound:
            self.high = max(1.0, -low, high)
            self.low = -self.high
        else:
            self.low, self.high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)

    def text(self, x: np.ndarray) -> str:
        """Return base64 of x, in row-major order; what lies outside [low, high] is clipped."""
        x = x.astype(np.float64)
        if self.sound:
            numbers = np.rint(np.clip(x / self.high, -1, 1) * MOST_16_BIT).astype("<i2")
        else:
            numbers = np.rint(np.clip((x - self.low) / (self.high - self.low), 0, 1) * 255).astype(np.uint8)
        return b64encode(numbers.tobytes()).decode()

    def image(self, text: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the image (1, *shape), float32, of base64. Raise ValueError unless it has as many bytes as pixels."""
        try:
            pixels = np.frombuffer(b64decode(text, validate=True), np.uint8)
        except (TypeError, ValueError, NoBase64):
            raise ValueError(f"images must be base64 of bytes, got {checks.shown(text)}") from None
        if pixels.size != np.prod(shape):
            raise ValueError(f"images must be the {np.prod(shape)} bytes of one image {shape}, got {pixels.size}")
        return (self.low + pixels.reshape(1, *shape) / 255 * (self.high - self.low)).astype(np.float32)
