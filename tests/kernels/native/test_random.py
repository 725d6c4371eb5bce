"""Random numbers: the words of Philox bit by bit, and the numbers that are computed from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, assert_close, assert_same_for_any_threads, laid_out
from strategies import examples, numbers

from minivae.kernels import native, reference
from minivae.kernels.contract import Noise

longs = st.integers(0, 2**64 - 1)


def test_the_first_words_are_the_published_ones() -> None:
    """They are in the file kat_vectors of Random123: philox4x32, 10 rounds, counter 0, key 0."""
    words = native.random_bits(4, Noise(0, 0))
    assert words.dtype == np.uint32
    assert [f"{word:08x}" for word in words.tolist()] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@examples
@given(seed=longs, draw=longs, count=st.integers(0, 300))
def test_words_and_uniforms_are_bitwise_those_of_the_reference(seed, draw, count) -> None:
    noise = Noise(seed, draw)
    np.testing.assert_array_equal(native.random_bits(count, noise), reference.random_bits(count, noise))
    for dtype in DTYPES:
        actual, expected = native.uniform((count,), dtype, noise), reference.uniform((count,), dtype, noise)
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("count", [4095, 4096, 4097, 100_003])
def test_blocks_of_a_long_draw_fit_together(count) -> None:
    noise = Noise(7, 2**40 + 8)
    np.testing.assert_array_equal(native.random_bits(count, noise), reference.random_bits(count, noise))
    np.testing.assert_array_equal(
        native.uniform((count,), np.float64, noise), reference.uniform((count,), np.float64, noise)
    )
    assert_close(native.normal((count,), np.float32, noise), reference.normal((count,), np.float64, noise), 4e-7)


def test_normal_numbers_within_2e_6_and_in_float64_to_rounding() -> None:
    noise = Noise(1, 2)
    exact = reference.normal((1 << 19,), np.float64, noise)
    np.testing.assert_allclose(native.normal((1 << 19,), np.float64, noise), exact, rtol=0, atol=1e-14)
    np.testing.assert_allclose(native.normal((1 << 19,), np.float32, noise), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes(dtype) -> None:
    long = native.normal((101,), dtype, Noise(3, 4))
    for n in (0, 1, 2, 7, 100):
        np.testing.assert_array_equal(native.normal((n,), dtype, Noise(3, 4)), long[:n])
    assert native.normal((), dtype, Noise(3, 4)) == long[0]
    assert native.normal((), dtype, Noise(3, 4)).shape == ()
    np.testing.assert_array_equal(native.normal((5, 1, 7), dtype, Noise(3, 4)).ravel(), long[:35])


@examples
@given(
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    layout=st.sampled_from(["as it is", "channels last", "transposed", "gaps"]),
    dtype=st.sampled_from(DTYPES),
)
def test_reparameterize_counts_its_noise_in_the_order_of_indices(shape, layout, dtype) -> None:
    mu, log_var = (np.asarray(numbers(*shape, seed=s, dtype=dtype)) for s in (0, 1))
    noise, wide = Noise(9, 10), (np.float64(mu), np.float64(log_var))
    z = native.reparameterize(laid_out(mu, layout), log_var, noise)
    assert z.dtype == dtype
    assert_close(z, reference.reparameterize(*wide, noise))
    dlog_var = native.reparameterize_grad(mu, laid_out(log_var, layout), noise)
    assert_close(dlog_var, reference.reparameterize_grad(*wide, noise))


def test_threads_change_nothing() -> None:
    mu, noise = numbers(3, 7001, dtype=np.float32), Noise(1, 1)
    assert_same_for_any_threads(
        lambda: [
            native.random_bits(20_001, noise),
            native.normal((20_001,), np.float32, noise),
            native.reparameterize(mu, mu, noise),
            native.reparameterize_grad(mu, mu, noise),
        ]
    )
