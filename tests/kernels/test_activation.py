"""bias_relu and relu_grad, on the CPU and on the emulated GPU, against the NumPy line that says what they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import apart, examples, numbers

from minivae.kernels import cpu, cuda
from minivae.kernels.cpu.blocks import BLOCK
from minivae.kernels.cuda import launcher

needs_emulator = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")


@pytest.fixture(params=["cpu", pytest.param("emulator", marks=needs_emulator)], scope="module")
def kernels(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "cpu":
        yield cpu
    else:
        with launcher.use_engine(Emulator()):
            yield cuda


shapes = st.one_of(
    st.tuples(st.integers(0, 5), st.integers(1, 5)),
    st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(shape=shapes, last=st.booleans(), with_bias=st.booleans())
@examples
def test_it_is_max_of_x_plus_b_and_0(kernels, dtype, shape, last, with_bias) -> None:
    x, b = numbers(*shape, dtype=dtype), numbers(shape[1], seed=1, dtype=dtype) if with_bias else None
    if last and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    y = kernels.bias_relu(x, b)
    expected = x if b is None else x + b.reshape(-1, *[1] * (x.ndim - 2))
    np.testing.assert_array_equal(y, np.maximum(expected, 0))
    assert y.dtype == dtype
    if last and x.ndim == 4:
        assert y.transpose(0, 2, 3, 1).flags.c_contiguous


@needs_emulator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_that_32_bits_cannot_count(dtype, monkeypatch) -> None:
    """Their kernel, on an array for which they would do."""
    x, b = numbers(2, 3, 4, dtype=dtype), numbers(3, seed=1, dtype=dtype)
    monkeypatch.setattr(cuda.activation, "MOST_FOR_32_BITS", x.size - 1)
    with launcher.use_engine(Emulator()):
        np.testing.assert_array_equal(cuda.bias_relu(x, b), np.maximum(x + b[:, None], 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(shape=shapes, last=st.booleans())
@examples
def test_the_gradient_passes_where_the_result_is_positive(kernels, dtype, shape, last) -> None:
    y, dy = np.maximum(apart(*shape, dtype=dtype), 0), numbers(*shape, seed=1, dtype=dtype)
    if last and y.ndim == 4:
        y = np.ascontiguousarray(y.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(kernels.relu_grad(dy, y), dy * (y > 0))


def test_arrays_of_many_blocks(kernels) -> None:
    x = numbers(3, 2, BLOCK // 2 + 5, dtype=np.float32)
    b = np.array([0.5, -0.5], np.float32)
    np.testing.assert_array_equal(kernels.bias_relu(x, b), np.maximum(x + b[:, None], 0))
    np.testing.assert_array_equal(kernels.relu_grad(x, np.maximum(x, 0)), x * (x > 0))


def test_nan_stays(kernels) -> None:
    x = np.array([[np.nan, 1, -1]], np.float32)
    np.testing.assert_array_equal(kernels.bias_relu(x, None), [[np.nan, 1, 0]])
