"""Activations and their gradients on the GPU, against those of the reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import apart, examples, numbers

from minivae.kernels import cuda, reference
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.activation import FUNCTIONS

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
EDGES = [0.0, -0.0, 1e-6, 20.0, -20.0, 88.0, -88.0, 500.0, -500.0, 1e30, -1e30, np.inf, -np.inf, np.nan]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(Emulator(order="all")):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_the_reference(name, dtype) -> None:
    x = np.concatenate([np.linspace(-9, 9, 801), EDGES]).astype(dtype)
    close = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}
    with np.errstate(all="ignore"):
        y, expected = getattr(cuda, name)(x), getattr(reference, name)(x)
        assert y.dtype == dtype
        np.testing.assert_allclose(y, expected, **close)
        if name == "erf":
            return
        seen, dy = expected if name in ("sigmoid", "tanh") else x, numbers(x.size, dtype=dtype)
        gradient = getattr(cuda, f"{name}_grad")(dy, seen)
        np.testing.assert_allclose(gradient, getattr(reference, f"{name}_grad")(dy, seen), **close)


@examples
@given(data=st.data(), shape=st.lists(st.integers(0, 4), max_size=4), name=st.sampled_from(FUNCTIONS))
def test_any_shape_and_layout(data, shape, name) -> None:
    layout = data.draw(st.permutations(range(len(shape))))
    x = numbers(*(shape[a] for a in layout)).transpose(np.argsort(layout))
    y = getattr(cuda, name)(x)
    assert y.shape == tuple(shape)
    np.testing.assert_allclose(y, getattr(reference, name)(x), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (5, 3), (2, 3, 4, 5)])
def test_relu_with_and_without_bias(shape, last, dtype) -> None:
    x, b = apart(*shape, dtype=dtype), numbers(shape[1], seed=1, dtype=dtype)
    if last and x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for bias in (None, b):
        np.testing.assert_array_equal(cuda.bias_relu(x, bias), reference.bias_relu(x, bias))
    y, dy = np.maximum(x, 0), numbers(*shape, seed=2, dtype=dtype)
    np.testing.assert_array_equal(cuda.relu_grad(dy, y), reference.relu_grad(dy, y))
    np.testing.assert_array_equal(cuda.bias_relu(np.array([[np.nan, 1, -1]], dtype), None), [[np.nan, 1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_that_32_bits_cannot_count(dtype, monkeypatch) -> None:
    """Run the kernel with 64-bit indices on a small array, for which 32 bits would suffice."""
    x, b = numbers(2, 3, 4, dtype=dtype), numbers(3, seed=1, dtype=dtype)
    monkeypatch.setattr(cuda.activation, "MOST_FOR_32_BITS", x.size - 1)
    np.testing.assert_array_equal(cuda.bias_relu(x, b), np.maximum(x + b[:, None], 0))


def test_the_layout_is_kept_and_nothing_is_copied_for_it() -> None:
    x = numbers(2, 5, 4, 3).transpose(0, 3, 1, 2)
    assert cuda.erf(x).strides == x.strides
    on_device = arrays.array(numbers(2, 5, 4, 3)).transpose(0, 3, 1, 2)
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        y = cuda.erf(on_device)
    np.testing.assert_array_equal(arrays.asnumpy(y), cuda.erf(x))
