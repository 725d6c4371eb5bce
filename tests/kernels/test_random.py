"""Philox against its published vectors, the order of the words in a draw, and the statistics of the random numbers.

The statistical tests have fixed seeds, so that each of them always passes or always fails. A correct generator fails
their bounds with a probability of at most 1e-4.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

from minivae.kernels.contract import Noise
from minivae.kernels.reference.random import philox4x32

DTYPES = [np.float32, np.float64]
words = st.integers(0, 2**32 - 1)
longs = st.integers(0, 2**64 - 1)

# Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def parse(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def philox_of_one(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 by its definition, in Python's integers (Salmon et al. 2011, section 2.2)."""
    (a, b, c, d), (k, l) = counter, key  # noqa: E741
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k, q % 2**32, (p >> 32) ^ d ^ l, p % 2**32
        k, l = (k + 0x9E3779B9) % 2**32, (l + 0xBB67AE85) % 2**32  # noqa: E741
    return [a, b, c, d]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result) -> None:
    counter, key, result = parse(counter), parse(key), parse(result)
    assert philox_of_one(counter, key) == result
    given_counters = np.array([counter, counter], np.uint64).T
    np.testing.assert_array_equal(philox4x32(given_counters, tuple(key)), np.array([result, result]).T)
    np.testing.assert_array_equal(given_counters, np.array([counter, counter]).T)


@examples
@given(st.lists(st.tuples(words, words, words, words), min_size=1, max_size=5), st.tuples(words, words))
def test_philox_is_its_definition(counters, key) -> None:
    expected = [philox_of_one(list(counter), list(key)) for counter in counters]
    np.testing.assert_array_equal(philox4x32(np.array(counters, np.uint64).T, key).T, expected)


@examples
@given(seed=longs, draw=longs, count=st.integers(0, 23))
def test_layout_of_a_draw(seed, draw, count) -> None:
    """Words 4i .. 4i+3 are Philox of (i, i >> 32, draw, draw >> 32) under (seed, seed >> 32)."""
    key = [seed % 2**32, seed >> 32]
    expected = [w for i in range(6) for w in philox_of_one([i, 0, draw % 2**32, draw >> 32], key)]
    bits = k.random_bits(count, Noise(seed, draw))
    assert bits.dtype == np.uint32
    assert bits.tolist() == expected[:count]


def test_blocks_of_a_long_draw_fit_together() -> None:
    count = 300_001
    bits = k.random_bits(count, Noise(7, 8))
    np.testing.assert_array_equal(k.random_bits(100_003, Noise(7, 8)), bits[:100_003])
    for i in [0, 16_383, 16_384, 16_385, 65_535, 65_536, 75_000 - 1]:
        assert bits[4 * i : 4 * i + 4].tolist() == philox_of_one([i, 0, 8, 0], [7, 0])


@pytest.mark.parametrize("name", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_numbers_of_a_longer_draw_are_the_shorter_draw(name, dtype) -> None:
    make = getattr(k, name)
    long = make((101,), dtype, Noise(3, 4))
    for n in (0, 1, 2, 7, 100):
        np.testing.assert_array_equal(make((n,), dtype, Noise(3, 4)), long[:n])
    assert make((), dtype, Noise(3, 4)) == long[0]
    np.testing.assert_array_equal(make((5, 1, 7), dtype, Noise(3, 4)).ravel(), long[:35])
    assert isinstance(make((), dtype, Noise(3, 4)), np.ndarray)


@given(first=st.integers(0, 13), count=st.integers(0, 9), size=st.integers(0, 7), dtype=st.sampled_from(DTYPES))
def test_the_noise_of_some_examples_is_that_part_of_the_noise_of_the_batch(first, count, size, dtype) -> None:
    noise = Noise(3, 4)
    own, part = noise._replace(example=first), slice(first, first + count)
    for make in (k.uniform, k.normal):
        np.testing.assert_array_equal(make((count, size), dtype, own), make((first + count, size), dtype, noise)[part])
    a, log_var = np.cos(np.arange(2 * (first + count) * size)).astype(dtype).reshape(2, first + count, size)
    for combine in (k.reparameterize, k.reparameterize_grad):
        np.testing.assert_array_equal(combine(a[part], log_var[part], own), combine(a, log_var, noise)[part])
    np.testing.assert_array_equal(k.random_bits(count, own), k.random_bits(first + count, noise)[part])


def test_uniform_is_made_of_the_words_as_the_contract_says() -> None:
    noise = Noise(5, 6)
    w = [int(word) for word in k.random_bits(2000, noise)]
    single, double = k.uniform((1000,), np.float32, noise), k.uniform((1000,), np.float64, noise)
    assert single.dtype == np.float32
    assert double.dtype == np.float64
    assert single.tolist() == [(word >> 8) / 2**24 for word in w[:1000]]
    assert double.tolist() == [((w[2 * i] >> 5) * 2**26 + (w[2 * i + 1] >> 6)) / 2**53 for i in range(1000)]


def test_normal_is_made_of_the_words_as_the_contract_says() -> None:
    noise = Noise(5, 6)
    u = (np.float64(k.random_bits(1000, noise)) + 0.5) / 2**32
    z = np.sqrt(-2 * np.log(u[0::2])) * np.exp(2j * np.pi * u[1::2])
    double = k.normal((999,), np.float64, noise)
    np.testing.assert_allclose(double, np.stack([z.real, z.imag], 1).ravel()[:999], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(k.normal((999,), np.float32, noise), double, rtol=0, atol=2e-6)


def test_uniform_is_uniform() -> None:
    u = k.uniform((100_000,), np.float64, Noise(0, 0))
    assert u.min() >= 0
    assert u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-4
    counts = np.bincount(k.random_bits(25_000, Noise(0, 1)).view(np.uint8), minlength=256)
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_normal_is_normal() -> None:
    n = 200_000
    z = k.normal((n,), np.float64, Noise(1, 0))
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-4
    moments = [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]  # of z^power: power, expectation, variance
    for power, mean, variance in moments:
        assert abs(np.mean(z**power) - mean) < 4 * np.sqrt(variance / n)


@pytest.mark.parametrize("lag", [1, 2, 3, 4])
def test_neighbours_and_neighbouring_draws_and_seeds_are_independent(lag) -> None:
    n = 100_000
    z = k.normal((n + lag,), np.float64, Noise(2, 0))
    others = [z[lag:], k.normal((n,), np.float64, Noise(2, lag)), k.normal((n,), np.float64, Noise(2 + lag, 0))]
    for other in others:
        assert abs(np.corrcoef(z[:n], other)[0, 1]) < 4 / np.sqrt(n)
        assert abs(np.corrcoef(z[:n] ** 2, other**2)[0, 1]) < 4 / np.sqrt(n)


def test_draws_do_not_overlap() -> None:
    """No block of four words occurs twice within a draw or in two draws, also if their numbers are 2^32 apart."""
    noises = [Noise(0, 0), Noise(0, 1), Noise(1, 0), Noise(0, 2**32), Noise(2**32, 0), Noise(1, 1)]
    all_blocks = np.concatenate([k.random_bits(40_000, noise).reshape(-1, 4) for noise in noises])
    assert len(np.unique(all_blocks, axis=0)) == len(all_blocks)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (1,)])
def test_reparameterize_is_its_formula(dtype, shape) -> None:
    mu, log_var, dz = (numbers(*shape, seed=s, dtype=dtype) for s in range(3))
    noise = Noise(9, 9)
    eps = k.normal(shape, np.float64, noise)
    sigma = np.exp(np.float64(log_var) / 2)
    z, dlog_var = k.reparameterize(mu, log_var, noise), k.reparameterize_grad(dz, log_var, noise)
    tolerance = {"rtol": 20 * np.finfo(dtype).eps, "atol": 20 * np.finfo(dtype).eps}
    assert z.dtype == dlog_var.dtype == dtype
    np.testing.assert_allclose(z, mu + sigma * eps, **tolerance)
    np.testing.assert_allclose(dlog_var, dz * sigma * eps / 2, **tolerance)


def test_reparameterize_grad_is_the_derivative() -> None:
    mu, log_var, dz = (numbers(4, 3, seed=s) for s in range(3))
    noise, h = Noise(1, 1), 1e-6
    numeric = (k.reparameterize(mu, log_var + h, noise) - k.reparameterize(mu, log_var - h, noise)) / (2 * h) * dz
    np.testing.assert_allclose(k.reparameterize_grad(dz, log_var, noise), numeric, rtol=1e-7, atol=1e-9)
