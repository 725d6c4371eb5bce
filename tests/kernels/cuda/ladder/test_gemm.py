"""The ladder of matrix products: every step is exact on integers and as precise as it claims."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, compiler
from strategies import numbers

from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.ladder.gemm import MODULES, STEPS, gemm

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
EXACT = ("naive", "shared", "registers")
# M, K, N: one of each; ragged; ragged only in one of them; whole tiles; more than one tile.
SIZES = [(1, 1, 1), (5, 7, 3), (16, 8, 65), (70, 20, 12), (64, 64, 64), (132, 9, 36), (33, 36, 140)]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def integers(*shape: int, dtype: type = np.float32, seed: int = 0, most: int = 8) -> np.ndarray:
    """Small integers, whose products and sums are exact in every dtype."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(dtype)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_exact_on_integers(step: str, sizes: tuple[int, int, int]) -> None:
    M, K, N = sizes
    for dtype in (np.float32, np.float64)[: 1 + (step in EXACT)]:
        a, b = integers(M, K, dtype=dtype), integers(N, K, dtype=dtype, seed=1).T
        c = gemm(step, a, b)
        assert c.dtype == dtype
        np.testing.assert_array_equal(c, np.int64(a) @ np.int64(b))


@pytest.mark.parametrize("step", STEPS)
def test_no_step_depends_on_the_order_of_threads(step: str) -> None:
    with launcher.use_engine(ALL_ORDERS):
        gemm(step, numbers(34, 40, dtype=np.float32), numbers(40, 36, seed=1, dtype=np.float32))


@pytest.mark.parametrize("guard", ["start", "end"])
@pytest.mark.parametrize("step", STEPS)
def test_no_step_accesses_memory_outside_its_arrays(step: str, guard: str) -> None:
    with launcher.use_engine(Emulator(guard=guard, check_bounds=True)):
        for M, K, N in ((3, 5, 2), (66, 9, 35)):
            c = gemm(step, integers(M, K), integers(K, N))
            np.testing.assert_array_equal(c, integers(M, K) @ integers(K, N))


@pytest.mark.parametrize("step", STEPS)
def test_the_error_is_that_of_the_format(step: str) -> None:
    """The bound is |c - a b| <= error |a| |b| (Higham 2002, section 3.5), where `error` depends on the format.

    float32: K roundings. TF32: two operands rounded to 11 bits. Three TF32 products: operands of 22 bits, K roundings.
    A lower bound for the error of TF32 shows that tensor cores are really used.
    """
    a, b = numbers(40, 500, dtype=np.float32), numbers(500, 30, seed=1, dtype=np.float32)
    exact, scale = np.float64(a) @ np.float64(b), np.abs(np.float64(a)) @ np.abs(np.float64(b))
    error = np.max(np.abs(gemm(step, a, b) - exact) / scale)
    of_sums = 500 * 2.0**-24
    assert error < {"tf32": 2.0**-10 + of_sums, "3xtf32": 2.0**-21 + of_sums}.get(step, of_sums)
    if step == "tf32":
        assert error > 2.0**-16
    else:
        assert error < 2.0**-19  # roundings mostly cancel


def test_three_tf32_products_restore_what_one_loses() -> None:
    a, b = integers(20, 50, most=4095), integers(50, 20, most=1, seed=1)  # 12 bits: one more than TF32 has
    exact = np.int64(a) @ np.int64(b)
    np.testing.assert_array_equal(gemm("3xtf32", a, b), exact)
    assert not np.array_equal(gemm("tf32", a, b), exact)


def test_the_ladder_names_its_steps() -> None:
    a = integers(2, 2)
    with pytest.raises(ValueError, match="one of naive, shared, registers, tf32, 3xtf32, got 'fast'"):
        gemm("fast", a, a)
    for step in ("tf32", "3xtf32"):
        with pytest.raises(TypeError, match=f"step '{step}' multiplies float32 matrices, got float64"):
            gemm(step, np.float64(a), np.float64(a))


@pytest.mark.parametrize("file", MODULES)
def test_each_file_can_be_read_alone(file: str) -> None:
    assert "#include" not in MODULES[file].path.read_text(encoding="utf-8")
