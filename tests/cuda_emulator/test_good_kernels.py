"""Kernels without bugs give exact results on the emulator in every order of threads; the numbers are integers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from cuda_emulator import ORDERS, Emulator, compiler
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.launcher import ceil_div

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

KERNELS = Path(__file__).with_name("kernels")
GOOD = launcher.Module(KERNELS / "good.cu")
GEMM = launcher.Module(KERNELS / "gemm.cu", {"gemm": [("float", 8, True), ("double", 16, True)]})
sizes = st.integers(1, 40)


@pytest.fixture(params=[*ORDERS, "all"], autouse=True, scope="module")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with launcher.use_engine(Emulator(order=request.param)) as engine:
        yield engine  # type: ignore[misc]


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return rng.integers(-8, 9, shape).astype(dtype)


@given(sizes, sizes, sizes, st.integers(0, 2**32), st.sampled_from([("float32", 8), ("float64", 16)]))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_gemm(M: int, N: int, K: int, seed: int, instance: tuple[str, int]) -> None:
    dtype, tile = instance
    rng = np.random.default_rng(seed)
    a, b = integers(rng, (M, K), dtype), integers(rng, (K, N), dtype)
    c = np.full((M, N), np.nan, dtype)
    kernel = GEMM.kernel("gemm", np.dtype(dtype), tile, True)
    kernel[(ceil_div(N, tile), ceil_div(M, tile)), (tile, tile)](a, b, c, {"M": M, "N": N, "K": K})
    assert np.array_equal(c, a @ b)


@given(sizes, st.integers(1, 700), st.integers(0, 2**32), st.sampled_from(["float32", "float64"]))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_row_sum(rows: int, columns: int, seed: int, dtype: str) -> None:
    x = integers(np.random.default_rng(seed), (rows, columns), dtype)
    sums = np.full(rows, np.nan, dtype)
    GOOD.kernel("row_sum", dtype.replace("float32", "float").replace("float64", "double"))[rows, 128](x, sums, columns)
    assert np.array_equal(sums, x.sum(1))


def test_subnormals_are_zero_as_on_a_gpu_and_afterwards_not() -> None:
    """CuPy passes -ftz=true to NVRTC, which cannot be turned off."""
    x, sums = np.array([[1e-40], [1.5e-38]], np.float32), np.full(2, np.nan, np.float32)
    GOOD.kernel("row_sum", "float")[2, 128](x, sums, 1)
    assert sums.tolist() == [0, x[1, 0]]
    assert x[0, 0] * np.float32(0.5) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 31, 64, 1000])
def test_dynamic_shared_memory(dtype: str, threads: int) -> None:
    x = np.arange(2 * threads + 1).astype(dtype)
    y = np.full_like(x, np.nan)
    GOOD.kernel("reverse", np.dtype(dtype))[3, threads, threads * x.itemsize](x, y, x.size)
    runs = [x[i : i + threads][::-1] for i in range(0, x.size, threads)]
    assert np.array_equal(y, np.concatenate(runs))


@pytest.mark.parametrize("K", [8, 40])
def test_tensor_core(K: int) -> None:
    rng = np.random.default_rng(K)
    a, b = integers(rng, (16, K), "float32"), integers(rng, (K, 8), "float32")
    d = np.full((16, 8), np.nan, np.float32)
    GOOD.kernel("mma")[1, 32](a, b, d, K)
    assert np.array_equal(d, a @ b)


def test_round_to_tf32_is_to_nearest() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(1000), [1 + 2.0**-11, -1 - 2.0**-11, 0, np.inf]]).astype(np.float32)
    y = np.empty_like(x)
    GOOD.kernel("round_to_tf32")[1, 32](x, y, x.size)
    mantissa, exponent = np.frexp(x[:-1].astype(float))
    nearest = np.copysign(np.floor(np.abs(mantissa) * 2**11 + 0.5), mantissa) / 2**11  # ties away from zero
    assert np.array_equal(y[:-1], np.ldexp(nearest, exponent))
    assert y[-1] == np.inf


@pytest.mark.parametrize(("grid", "block"), [((2, 3, 4), (5, 2, 3)), ((3, 2), (33, 2)), (5, 7)])
def test_coordinates(grid: tuple[int, ...] | int, block: tuple[int, ...] | int) -> None:
    shape = tuple(reversed([*np.atleast_1d(grid), *[1] * (3 - np.size(grid))]))
    shape += tuple(reversed([*np.atleast_1d(block), *[1] * (3 - np.size(block))]))
    out = np.full((*shape, 6), -1, np.int32)
    GOOD.kernel("coordinates")[grid, block](out)
    assert np.array_equal(out, np.moveaxis(np.indices(shape), 0, -1))


def test_integer_atomics() -> None:
    values = np.random.default_rng(0).integers(0, 10, 500).astype(np.int32)
    counts = np.zeros(10, np.int32)
    GOOD.kernel("histogram")[ceil_div(500, 64), 64](values, counts, 500)
    assert np.array_equal(counts, np.bincount(values, minlength=10))


def test_warp_intrinsics() -> None:
    x = np.random.default_rng(0).integers(-4, 9, 32).astype(np.int32)
    x[16:] = abs(x[16:]) + 1
    out = np.zeros((32, 10), np.int32)
    GOOD.kernel("warp_intrinsics")[1, 32](x, out)
    lane = np.arange(32)
    low, high = x[:16], x[16:]
    expected = [
        np.full(32, x[5]),
        x[lane // 8 * 8 + 3],
        np.where(lane >= 2, x[lane - 2], x),
        np.where(lane % 16 + 3 < 16, x[(lane + 3) % 32], x),
        x[lane ^ 1],
        np.full(32, np.packbits(x > 0, bitorder="little").view(np.int32)[0]),
        np.repeat([any(low > 0) * 2 + all(low > 0), any(high > 0) * 2 + all(high > 0)], 16),
        np.repeat([low.sum(), high.sum()], 16),
        np.concatenate([np.full(16, low.sum()), np.repeat(high.reshape(2, 8).sum(1), 8)]),
        np.where(lane & 8, x[lane ^ 8], x),  # a lane can only read from its own segment or lower ones
    ]
    assert np.array_equal(out, np.stack(expected, 1))


@pytest.mark.parametrize("n", [1, 4, 7, 130])
def test_vector_loads(n: int) -> None:
    x, y, z = np.arange(n, dtype=np.float32), np.full(n, 100, np.float32), np.zeros(n, np.float32)
    GOOD.kernel("add_vectors")[1, 32](x, y, z, n)
    assert np.array_equal(z, x + y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tables_of_pointers_and_structs(dtype: str) -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([1, 0, 100, 33])
    arrays = [integers(rng, (n,), dtype) for n in sizes]
    addends = [integers(rng, (n,), dtype) for n in sizes]
    expected = [-(a * 3 + 2 + b) for a, b in zip(arrays, addends, strict=True)]
    tables = launcher.pointer_table(arrays), launcher.pointer_table(addends)
    kernel = GOOD.kernel("transform", np.dtype(dtype))
    kernel[4, 32](tables[0], sizes, tables[1], {"scale": 3.0, "offset": 2, "negate": True})
    assert all(np.array_equal(a, e) for a, e in zip(arrays, expected, strict=True))


@pytest.mark.parametrize(("x", "y"), [(slice(0, 32), slice(8, 40)), (slice(8, 40), slice(0, 32)), (slice(4, 36),) * 2])
def test_arguments_that_overlap(x: slice, y: slice) -> None:
    """What is written to one is read from the other, because the emulator's copies overlap as the arrays do."""
    memory, seen = np.zeros(40, np.float32), np.zeros(32, np.float32)
    expected = memory.copy()
    expected[x] = np.arange(1, 33)
    GOOD.kernel("write_then_read")[1, 32](memory[x], memory[y], seen)
    assert np.array_equal(memory, expected)
    assert np.array_equal(seen, expected[y])


def test_every_kind_of_number() -> None:
    values = [True, 255, -32768, 2**32 - 1, 2**40, 0.1, 0.1]
    out = np.zeros(7)
    GOOD.kernel("scalars")[1, 1](*values, out)
    assert np.array_equal(out, [1, 255, -32768, 2**32 - 1, 2**40, np.float32(0.1), 0.1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_of_the_device(dtype: str) -> None:
    x = np.linspace(-3, 3, 101).astype(dtype)
    out = np.empty((101, 8), dtype)
    GOOD.kernel("functions", np.dtype(dtype))[2, 64](x, out, 101)
    v = x.astype(float)
    expected = [np.exp(v), np.log1p(abs(v)), erf(v), np.tanh(v), np.sin(np.pi * v), np.cos(np.pi * v)]
    expected += [1 / np.sqrt(np.maximum(v, 1)), v * v + 1]
    np.testing.assert_allclose(out, np.stack(expected, 1), rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    assert np.all(out[np.isin(v, [-3, -2, -1, 0, 1, 2, 3]), 4] == 0)  # sin(pi n) is exactly 0


def test_none_is_the_null_pointer() -> None:
    out = np.zeros(1, np.int32)
    GOOD.kernel("is_null")[1, 1](None, out)
    assert out[0] == 1


@pytest.mark.parametrize("kwargs", [{"guard": "start"}, {"check_bounds": True}, {"ucontext": True}])
def test_other_modes_give_the_same(kwargs: dict) -> None:
    with launcher.use_engine(Emulator(**kwargs)):
        test_dynamic_shared_memory("float32", 64)
        test_vector_loads(7)
        test_arguments_that_overlap(slice(0, 32), slice(8, 40))
        test_warp_intrinsics()
