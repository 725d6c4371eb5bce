"""The convolution by its definition (the ladder) equals the convolution of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler

from minivae.kernels import reference
from minivae.kernels.cuda import ladder, launcher
from minivae.kernels.geometry import conv2d_geometry

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "w", "stride", "padding", "dilation", "groups"),
    [
        ((2, 8, 7, 6), (6, 8, 3, 3), 2, 1, 1, 1),
        ((2, 6, 7, 6), (8, 3, 3, 2), (1, 2), (2, 0), (1, 2), 2),
        ((1, 3, 4, 4), (3, 1, 2, 2), 1, 1, 2, 3),
    ],
)
def test_it_is_exact_on_integers(x, w, stride, padding, dilation, groups, dtype) -> None:
    g, rng = conv2d_geometry(x, w, stride, padding, dilation, groups), np.random.default_rng(0)
    images, kernels = (rng.integers(-4, 5, shape).astype(dtype) for shape in (x, w))
    with launcher.use_engine(Emulator(order="all", check_bounds=True)):
        y = ladder.conv2d(images, kernels, g)
    np.testing.assert_array_equal(y, reference.conv2d(images, kernels, None, g))
