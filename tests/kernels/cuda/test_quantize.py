"""The nearest code on the GPU: np.argmin of all distances on integers, and equal up to rounding on other numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels.cuda import launcher, quantize
from minivae.kernels.cuda.quantize import nearest_code

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]
ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
# How many blocks fill the device. 1: large tiles, codes in one piece; 10^6: small tiles, codes split into many pieces.
FILLS = [1, 6, 10**6]
# (M, K, D): 1 of each; incomplete tiles; more than one tile of rows, of codes, along D; multiples of 4; many codes
SIZES = [(1, 1, 1), (5, 7, 3), (130, 20, 8), (33, 140, 12), (64, 64, 64), (70, 270, 17), (3, 600, 2), (129, 129, 5)]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def integers(*shape: int, dtype: type = np.float32, seed: int = 0, most: int = 2) -> np.ndarray:
    """Integers with few different values, so that there are ties; they are small, so that sums are exact."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(dtype)


def distances(x: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The squared distances (M, K) of all rows to all codes, in float64."""
    return np.square(np.float64(x)[:, None] - np.float64(codebook)).sum(-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("sizes", SIZES)
def test_integers_are_exact_with_ties(sizes, fill, dtype, monkeypatch) -> None:
    monkeypatch.setattr(quantize, "FILL", fill)
    M, K, D = sizes
    for most in (1, 8):
        x, codebook = integers(M, D, dtype=dtype, most=most), integers(K, D, dtype=dtype, seed=1, most=most)
        nearest = nearest_code(x, codebook)
        assert (nearest.dtype, nearest.shape) == (np.int64, (M,))
        np.testing.assert_array_equal(nearest, distances(x, codebook).argmin(1))


@examples
@given(
    M=st.integers(0, 70),
    K=st.integers(1, 140),
    D=st.integers(0, 40),
    fill=st.sampled_from(FILLS),
    layouts=st.tuples(st.booleans(), st.booleans()),
    dtype=st.sampled_from(DTYPES),
)
def test_any_shape_and_layout(M, K, D, fill, layouts, dtype) -> None:
    x, codebook = (
        integers(D, n, dtype=dtype, seed=n).T if transposed else integers(n, D, dtype=dtype, seed=n)
        for n, transposed in ((M, layouts[0]), (K, layouts[1]))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "FILL", fill)
        nearest = nearest_code(x, codebook)
    np.testing.assert_array_equal(nearest, distances(x, codebook).argmin(1))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("copies", [2, 3, 100])
def test_of_equal_codes_the_first_wins(copies, fill, monkeypatch) -> None:
    """Equal codes are compared by one thread, by neighbouring lanes, by both warps, and by different blocks."""
    monkeypatch.setattr(quantize, "FILL", fill)
    codebook = np.repeat(integers(4, 9, most=50), copies, axis=0)
    order = np.random.default_rng(copies).permutation(len(codebook))
    shuffled = codebook[order]
    nearest = nearest_code(codebook, shuffled)
    first = [np.flatnonzero((shuffled == code).all(1))[0] for code in codebook]
    np.testing.assert_array_equal(nearest, first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", FILLS)
def test_nothing_depends_on_the_order_of_threads(fill, dtype, monkeypatch) -> None:
    monkeypatch.setattr(quantize, "FILL", fill)
    x, codebook = integers(67, 10, dtype=dtype), integers(133, 10, dtype=dtype, seed=1)
    with launcher.use_engine(ALL_ORDERS):
        nearest = nearest_code(x, codebook)
    np.testing.assert_array_equal(nearest, distances(x, codebook).argmin(1))


@pytest.mark.parametrize("guard", ["start", "end"])
def test_no_kernel_accesses_memory_outside_its_arrays(guard, monkeypatch) -> None:
    with launcher.use_engine(Emulator(guard=guard, check_bounds=True)):
        for fill in FILLS:
            monkeypatch.setattr(quantize, "FILL", fill)
            for M, K, D in ((3, 5, 2), (4, 8, 4), (130, 131, 9)):
                x, codebook = integers(M, D), integers(K, D, seed=1)
                np.testing.assert_array_equal(nearest_code(x, codebook), distances(x, codebook).argmin(1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_code_found_is_the_nearest_up_to_rounding(dtype) -> None:
    x, codebook = numbers(200, 30, dtype=dtype), numbers(150, 30, seed=1, dtype=dtype)
    of_all = distances(x, codebook)
    found = of_all[np.arange(200), nearest_code(x, codebook)]
    scale = np.square(x).sum(1) + np.square(codebook).sum(1).max()
    assert np.all(found - of_all.min(1) <= 4 * np.finfo(dtype).eps * scale)


def test_memory_that_is_not_aligned_to_16_bytes() -> None:
    memory = integers(8 * 8 + 1)
    x = memory[1:].reshape(8, 8)
    np.testing.assert_array_equal(nearest_code(x, x), distances(x, x).argmin(1))


def test_a_row_with_nan_gets_the_first_code() -> None:
    x, codebook = integers(3, 4), integers(300, 4, seed=1)
    x[1, 2] = np.nan
    assert nearest_code(x, codebook)[1] == 0


def test_codes_are_split_only_if_there_are_few_rows() -> None:
    """The pieces consist of whole tiles, are equally long except for the last, and do not overfill the device."""
    for rows, K, width in ((1, 512, 64), (16, 512, 64), (3, 1000, 128), (100, 10**6, 128)):
        piece = quantize._codes_per_split(rows, K, width)
        assert piece % width == 0
        assert piece < K
        assert rows * -(-K // piece) <= quantize.FILL
    assert quantize._codes_per_split(quantize.FILL, 512, 64) == 512


def test_the_search_can_be_captured() -> None:
    x, codebook = integers(20, 5), integers(300, 5, seed=1)
    device = arrays.array(x), arrays.array(codebook)
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        nearest = nearest_code(*device)
    np.testing.assert_array_equal(arrays.asnumpy(nearest), distances(x, codebook).argmin(1))
