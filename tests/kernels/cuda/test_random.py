"""Random numbers on the GPU: the words and uniforms equal those of the CPU, the normals equal up to rounding."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import cuda, reference
from minivae.kernels.contract import Noise
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.random import normal, random_bits, reparameterize, reparameterize_grad, uniform

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
NORMAL = {np.float32: 2e-6, np.float64: 1e-12}  # errors: float32 by the contract, float64 by rounding
longs = st.integers(0, 2**64 - 1)
any_shape = st.lists(st.integers(0, 7), max_size=4).map(tuple)


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(Emulator(order="all")):
        yield


SOURCE = """
#include "philox.cuh"
__global__ void words(unsigned* out, unsigned long long seed, unsigned long long draw, unsigned long long i) {
  const uint4 w = philox(seed, draw, i);
  out[0] = w.x, out[1] = w.y, out[2] = w.z, out[3] = w.w;
}
"""

# Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_philox_gives_the_published_words(counter, key, result, tmp_path) -> None:
    shutil.copy(Path(cuda.__path__[0], "philox.cuh"), tmp_path)
    (tmp_path / "words.cu").write_text(SOURCE, encoding="utf-8")
    out = np.empty(4, np.uint32)
    i, draw, seed = (low | high << 32 for low, high in (counter[:2], counter[2:], key))
    launcher.Module(tmp_path / "words.cu").kernel("words")[1, 1](out, seed, draw, i)
    assert " ".join(f"{word:08x}" for word in out) == result


@examples
@given(seed=longs, draw=longs, count=st.integers(0, 40))
def test_words_are_those_of_the_cpu(seed, draw, count) -> None:
    bits = random_bits(count, Noise(seed, draw))
    assert (bits.dtype, bits.shape) == (np.uint32, (count,))
    np.testing.assert_array_equal(bits, reference.random_bits(count, Noise(seed, draw)))


@pytest.mark.parametrize("count", [1023, 1024, 1025, 5000])
def test_blocks_of_threads_fit_together(count) -> None:
    noise = Noise(3, 4)
    np.testing.assert_array_equal(random_bits(count, noise), reference.random_bits(count, noise))
    for dtype in DTYPES:
        np.testing.assert_array_equal(uniform((count,), dtype, noise), reference.uniform((count,), dtype, noise))
        np.testing.assert_allclose(
            normal((count,), dtype, noise), reference.normal((count,), dtype, noise), atol=NORMAL[dtype]
        )


@examples
@given(seed=longs, draw=longs, shape=any_shape, dtype=st.sampled_from(DTYPES))
def test_uniforms_are_bitwise_those_of_the_cpu(seed, draw, shape, dtype) -> None:
    u = uniform(shape, dtype, Noise(seed, draw))
    assert (u.dtype, u.shape) == (dtype, shape)
    np.testing.assert_array_equal(u, reference.uniform(shape, dtype, Noise(seed, draw)))


@examples
@given(seed=longs, draw=longs, shape=any_shape, dtype=st.sampled_from(DTYPES))
def test_normals_are_those_of_the_cpu_up_to_rounding(seed, draw, shape, dtype) -> None:
    z = normal(shape, np.dtype(dtype), Noise(seed, draw))
    assert (z.dtype, z.shape) == (dtype, shape)
    np.testing.assert_allclose(z, reference.normal(shape, dtype, Noise(seed, draw)), rtol=0, atol=NORMAL[dtype])


def test_normals_of_both_types_are_the_same_numbers() -> None:
    noise = Noise(2**63, 2**40)
    np.testing.assert_array_equal(normal((999,), np.float32, noise), normal((999,), np.float64, noise).astype("f4"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("draw", "offset"), [(3, 4), (0, 2**40), (2**64 - 2, 5), (9, 0)])
def test_the_offset_is_added_to_the_draw_when_the_kernel_runs(dtype, draw, offset) -> None:
    """The sum is modulo 2^64. A captured kernel keeps its arguments, but it reads a new offset from the same array."""
    counter = np.array([offset], np.uint64)
    relative, absolute = Noise(2**33 + 1, draw, counter), Noise(2**33 + 1, (draw + offset) % 2**64)
    mu, log_var = numbers(3, 5, dtype=dtype), numbers(3, 5, seed=1, dtype=dtype)
    makers = [
        lambda noise: random_bits(21, noise),
        lambda noise: uniform((3, 5), dtype, noise),
        lambda noise: normal((3, 5), dtype, noise),
        lambda noise: reparameterize(mu, log_var, noise),
        lambda noise: reparameterize_grad(mu, log_var, noise),
    ]
    for make in makers:
        before = make(relative)
        np.testing.assert_array_equal(before, make(absolute))
        counter += np.uint64(1)
        assert not np.array_equal(make(relative), before)
        counter -= np.uint64(1)


@examples
@given(shape=any_shape, dtype=st.sampled_from(DTYPES), seed=longs, transposed=st.booleans())
def test_reparameterize_is_that_of_the_cpu_in_any_layout(shape, dtype, seed, transposed) -> None:
    mu, log_var, dz = (numbers(*shape, seed=s, dtype=dtype) for s in range(3))
    if transposed:
        mu, dz = mu.copy(order="F"), dz.copy(order="F")
    noise, tolerance = Noise(seed, 1), 8 * np.finfo(dtype).eps + NORMAL[dtype]
    z, dlog_var = reparameterize(mu, log_var, noise), reparameterize_grad(dz, log_var, noise)
    for found, expected in [
        (z, reference.reparameterize(mu, log_var, noise)),
        (dlog_var, reference.reparameterize_grad(dz, log_var, noise)),
    ]:
        assert (found.dtype, found.shape) == (dtype, shape)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_reparameterize_uses_the_noise_that_normal_makes() -> None:
    """With mu = 0 and log_var = 0 the result is the noise itself, and the gradient by log_var at dz = 2 is it too."""
    noise, zero = Noise(5, 6), np.zeros((7, 43), np.float32)
    z = normal(zero.shape, np.float32, noise)
    np.testing.assert_array_equal(reparameterize(zero, zero, noise), z)
    np.testing.assert_array_equal(reparameterize_grad(zero + 2, zero, noise), z)


def test_inputs_need_no_alignment() -> None:
    buffers = [numbers(14, seed=s, dtype=np.float32) for s in range(2)]
    mu, log_var = (buffer[1:] for buffer in buffers)
    expected = reparameterize(mu.copy(), log_var.copy(), Noise(0, 0))
    np.testing.assert_array_equal(reparameterize(mu, log_var, Noise(0, 0)), expected)


def test_noise_can_be_drawn_while_a_graph_is_captured() -> None:
    mu, log_var = (arrays.array(numbers(4, 3, seed=s, dtype=np.float32)) for s in range(2))
    noise = Noise(1, 2, arrays.array(np.array([5], np.uint64)))
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        z, u = reparameterize(mu.T, log_var.T, noise), uniform((), np.float32, noise)
    expected = reference.reparameterize(arrays.asnumpy(mu).T, arrays.asnumpy(log_var).T, Noise(1, 7))
    np.testing.assert_allclose(arrays.asnumpy(z), expected, rtol=3e-6, atol=3e-6)
    assert arrays.asnumpy(u) == reference.uniform((), np.float32, Noise(1, 7))
