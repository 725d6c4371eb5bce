"""The arguments of a C function are checked before it is called."""

from __future__ import annotations

import numpy as np
import pytest

from minivae.kernels.native.library import Kernel

sum_middle = Kernel("sum_middle")  # (A, R, B, const real x[A * R * B], real y[A * B])
matmul = Kernel("matmul")  # ..., OPTIONAL const real bias[N], ...
F32 = np.dtype(np.float32)


def call(x: object, y: object) -> None:
    sum_middle[F32](1, 3, 4, x, y)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    return np.ones(12, np.float32), np.zeros(4, np.float32)


def test_a_call() -> None:
    x, y = arrays()
    call(x, y)
    assert (y == 3).all()


def test_other_dtypes_and_types_are_refused() -> None:
    x, y = arrays()
    for wrong in (x.astype(np.float64), x.astype(np.int32), x.astype(">f4"), [1.0] * 12, None, np.float32(1)):
        with pytest.raises(TypeError, match="sum_middle_f32: x must be a numpy.ndarray of float32, got"):
            call(wrong, y)
    with pytest.raises(TypeError, match="y must be a numpy.ndarray of float32, got float64 array"):
        call(x, y.astype(np.float64))


def test_subclasses_are_refused() -> None:
    x, y = arrays()
    with pytest.raises(TypeError, match="got float32 array"):
        call(x.view(np.recarray), y)


def test_other_sizes_and_layouts_are_refused() -> None:
    x, y = arrays()
    shifted = np.zeros(49, np.uint8)[1:].view(np.float32)
    for wrong in (x[:11], np.ones(13, np.float32), np.ones(24, np.float32)[::2], shifted):
        with pytest.raises(ValueError, match="x must be an array of 12 elements, contiguous and aligned"):
            call(wrong, y)


def test_a_read_only_array_is_not_written() -> None:
    x, y = arrays()
    x.flags.writeable = False
    call(x, y)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="y must be .* and writeable; got .* writeable: False"):
        call(x, y)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.complex64])
def test_kernels_are_for_float32_and_float64(dtype: type) -> None:
    with pytest.raises(TypeError, match="sum_middle: expected arrays of float32 or float64, got"):
        sum_middle[np.dtype(dtype)]


def test_optional_arrays() -> None:
    a, at, c = np.eye(2, dtype=np.float32), np.zeros(1, np.int64), np.zeros(4, np.float32)
    matmul[F32](1, 2, 2, 2, a, at, 2, 1, a, at, 2, 1, None, 0, c)
    assert c.tolist() == [1, 0, 0, 1]
    with pytest.raises(ValueError, match="bias must be an array of 2 elements"):
        matmul[F32](1, 2, 2, 2, a, at, 2, 1, a, at, 2, 1, np.ones(3, np.float32), 0, c)
