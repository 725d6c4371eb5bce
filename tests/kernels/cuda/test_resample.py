"""Max pooling and upsampling on the GPU equal those of the reference exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler

from minivae.kernels import cuda, reference
from minivae.kernels.cuda import launcher

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
WINDOWS = [  # image, kernel, stride, padding
    ((2, 3, 6, 8), (2, 2), (2, 2), (0, 0)),
    ((1, 5, 7, 5), (3, 2), (2, 1), (1, 1)),
    ((3, 1, 5, 9), (2, 3), (1, 3), (1, 0)),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0)),
    ((1, 70, 4, 6), (3, 3), (1, 1), (1, 1)),
]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(Emulator(order="all")):
        yield


def integers(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    """Integers with few different values, so that there are many ties."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), WINDOWS)
def test_max_pooling_and_its_gradient(shape, kernel, stride, padding, dtype) -> None:
    x = integers(*shape, dtype=dtype)
    if x.size:
        x[0, 0, 1, 1] = np.nan
    y, winner = cuda.max_pool2d(x, kernel, stride, padding)
    expected = reference.max_pool2d(x, kernel, stride, padding)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(winner, expected[1])
    assert (y.dtype, winner.dtype) == (dtype, np.int32)
    dy = integers(*y.shape, seed=1, dtype=dtype)
    dx = cuda.max_pool2d_grad(dy, winner, shape, kernel, stride, padding)
    np.testing.assert_array_equal(dx, reference.max_pool2d_grad(dy, winner, shape, kernel, stride, padding))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 2, 3, 3), (1, 80, 2, 4)])
def test_upsampling_and_its_gradient(shape, scale, dtype) -> None:
    x = integers(*shape, dtype=dtype)
    y = cuda.upsample(x, scale)
    np.testing.assert_array_equal(y, reference.upsample(x, scale))
    dy = integers(*y.shape, seed=1, dtype=dtype)
    np.testing.assert_array_equal(cuda.upsample_grad(dy, scale), reference.upsample_grad(dy, scale))
