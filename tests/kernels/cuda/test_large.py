"""In arrays of over 2^31 numbers, the first element of a block is computed with 64 bits; no such array is allocated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler

from minivae.kernels import cuda
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.conv import _forward_job
from minivae.kernels.geometry import conv2d_geometry

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

SOURCE = """
#include "gather.cuh"

// Which pixel a thread of the weight gradient begins with, and how far from x its part of dy is.
__global__ void begin(const float* x, long long* pixel, Correlation s, long long first_pixel) {
  GatheredColumns<float, 64, 16, 4> of_x(x, s, 0, 0, pixel_at(first_pixel, s));
  Operand<float, 64, 16, false> of_dy(x, 0, s.outputs, s.outputs, first_pixel);
  pixel[0] = pixels_of(s);
  pixel[1] = of_x.n[0], pixel[2] = of_x.u[0], pixel[3] = of_x.v[0];
  pixel[4] = of_dy.from[0] - x;
}
"""


def test_the_weight_gradient_counts_pixels_beyond_32_bits(tmp_path: Path) -> None:
    for name in ("gather.cuh", "common.cuh", "pipeline.cuh", "tile.cuh"):
        shutil.copy(Path(cuda.__path__[0], name), tmp_path)
    (tmp_path / "begin.cu").write_text(SOURCE, encoding="utf-8")
    N, side, channels = 5000, 1024, 4
    g = conv2d_geometry((N, channels, side, side), (channels, channels, 1, 1), 1, 0, 1, 1)
    _, correlation = _forward_job(g)
    first = N * side * side - 3 * side - 7
    assert first > 2**32
    found = np.zeros(5, np.int64)
    with launcher.use_engine(Emulator()):
        launcher.Module(tmp_path / "begin.cu").kernel("begin")[1, 1](np.zeros(4, np.float32), found, correlation, first)
    assert found.tolist() == [N * side * side, N - 1, side - 4, side - 7, first * channels]
