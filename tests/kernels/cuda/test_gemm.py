"""Matrix products on the GPU are exact on integers and as precise as they claim."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels.cuda import gemm, launcher
from minivae.kernels.cuda.gemm import matmul
from minivae.kernels.cuda.settings import settings

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

ALL_ORDERS, FORWARD = Emulator(order="all"), Emulator()
FILLS = [1, 264, 10**6]  # how many blocks fill the device: 1 gives large tiles, 10^6 gives small tiles and split K


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(FORWARD):
        yield


def integers(*shape: int, dtype: type = np.float32, seed: int = 0, most: int = 8) -> np.ndarray:
    """Small integers, whose products and sums are exact in every dtype."""
    return np.random.default_rng(seed).integers(-most, most + 1, shape).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """An equal array in another memory layout."""
    if layout == "transposed":
        return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "gaps":
        gaps = np.full([2 * n for n in x.shape], np.nan, x.dtype)[tuple(slice(0, 2 * n, 2) for n in x.shape)]
        gaps[...] = x
        return gaps
    if layout == "unaligned":
        memory = np.empty(x.size + 1, x.dtype)
        memory[1:] = x.ravel()
        return memory[1:].reshape(x.shape)
    return x


LAYOUTS = ["plain", "transposed", "gaps", "unaligned"]
# M, K, N: one of each; ragged; ragged only in one of them; fours that are whole; more than one large tile; a long K.
SIZES = [(1, 1, 1), (5, 7, 3), (16, 8, 65), (70, 20, 12), (64, 64, 64), (132, 9, 36), (33, 36, 140), (12, 300, 20)]


@pytest.fixture(params=[False, True], ids=["registers", "tf32"])
def tf32(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether TF32 is allowed: with it products use tensor cores, without it register blocks."""
    monkeypatch.setattr(settings, "allow_tf32", request.param)
    return request.param


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_exact_on_integers_of_any_size(sizes, transposed, tf32) -> None:
    M, K, N = sizes
    for dtype in (np.float32, np.float64):
        a = laid_out(integers(M, K, dtype=dtype), LAYOUTS[transposed[0]])
        b = laid_out(integers(K, N, dtype=dtype, seed=1), LAYOUTS[transposed[1]])
        c = matmul(a, b)
        assert c.dtype == dtype
        np.testing.assert_array_equal(c, np.int64(a) @ np.int64(b))


def test_it_does_not_depend_on_the_order_of_threads(tf32) -> None:
    a, b = numbers(34, 40, dtype=np.float32), numbers(40, 36, seed=1, dtype=np.float32)
    with launcher.use_engine(ALL_ORDERS):
        for x in (a, laid_out(a, "transposed")):
            matmul(x, b)


@pytest.mark.parametrize("guard", ["start", "end"])
def test_it_accesses_no_memory_outside_its_arrays(guard, tf32) -> None:
    with launcher.use_engine(Emulator(guard=guard, check_bounds=True)):
        for M, K, N in ((3, 5, 2), (4, 8, 4), (130, 17, 131)):
            c = matmul(integers(M, K), integers(K, N))
            np.testing.assert_array_equal(c, integers(M, K) @ integers(K, N))


@pytest.mark.parametrize("fill", FILLS)
def test_the_error_is_that_of_the_format(fill, tf32, monkeypatch) -> None:
    """The bound is |c - a b| <= error |a| |b| (Higham 2002, section 3.5), where `error` depends on the format.

    float32: K roundings. TF32: also two operands rounded to 11 bits. A lower bound for the error of TF32 shows that
    tensor cores are really used.
    """
    monkeypatch.setattr(gemm, "FILL", fill)
    a, b = numbers(40, 500, dtype=np.float32), numbers(500, 30, seed=1, dtype=np.float32)
    exact, scale = np.float64(a) @ np.float64(b), np.abs(np.float64(a)) @ np.abs(np.float64(b))
    error = np.max(np.abs(matmul(a, b) - exact) / scale)
    if tf32:
        assert 2.0**-16 < error < 2.0**-10 + 500 * 2.0**-24
    else:
        assert error < 2.0**-21  # roundings mostly cancel


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fill", FILLS)
@examples
@given(
    lead=st.lists(st.integers(0, 3), max_size=2),
    M=st.integers(0, 9),
    K=st.integers(0, 9) | st.integers(256, 300),
    N=st.integers(0, 9),
    shared=st.sampled_from(["both", "left", "right", "ones", "one"]),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
)
def test_matmul_is_exact_on_integers(fill, dtype, lead, M, K, N, shared, layouts) -> None:
    of_a = lead if shared != "right" else []
    of_b = {"both": lead, "left": [], "right": lead, "ones": [1] * len(lead), "one": [1, *lead[1:]] if lead else []}
    a = laid_out(integers(*of_a, M, K, dtype=dtype), layouts[0])
    b = laid_out(integers(*of_b[shared], K, N, dtype=dtype, seed=1), layouts[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemm, "FILL", fill)
        c = matmul(a, b)
    assert c.dtype == dtype
    np.testing.assert_array_equal(c, np.int64(a) @ np.int64(b))


def test_a_long_k_is_split_if_there_are_few_tiles() -> None:
    """The pieces of K consist of whole tiles, are not shorter than 64, and do not overfill the device."""
    for tiles, K in ((1, 784), (14, 784), (26, 400), (3, 10**6), (65, 300)):
        piece = gemm._k_per_split(tiles, K)
        assert piece % gemm.DEEPEST_TILE == 0
        assert 64 <= piece < K
        assert tiles * -(-K // piece) <= gemm.FILL
    for tiles, K in ((1, 20), (1, 255), (66, 784), (10**6, 10**6)):
        assert gemm._k_per_split(tiles, K) >= K


def test_operands_are_copied_only_if_they_must_be() -> None:
    x = integers(3, 4, 5)
    for view, lead, transposed, step in (
        (x, (3,), False, 20),
        (x.swapaxes(1, 2), (3,), True, 20),
        (x[0].T, (7,), True, 0),
        (x[:1], (7,), False, 0),
    ):
        operand = gemm._operand(view, lead)
        assert (operand.transposed, operand.step) == (transposed, step)
        assert np.shares_memory(operand.buffer, x)
    assert not np.shares_memory(gemm._operand(x[:, ::2], (3,)).buffer, x)


def test_allow_tf32_changes_float32_products_and_no_others(monkeypatch) -> None:
    assert settings.allow_tf32 is False
    a, b = numbers(40, 30, dtype=np.float32), numbers(30, 20, seed=1, dtype=np.float32)
    exact, exact64 = matmul(a, b), matmul(np.float64(a), np.float64(b))
    monkeypatch.setattr(settings, "allow_tf32", True)
    assert not np.array_equal(matmul(a, b), exact)
    np.testing.assert_array_equal(matmul(np.float64(a), np.float64(b)), exact64)
    with pytest.raises(TypeError, match="allow_tf32 must be True or False, got 1"):
        settings.allow_tf32 = 1  # type: ignore[assignment]


def test_nothing_is_copied_to_the_host_while_a_graph_is_captured() -> None:
    a, b = arrays.array(integers(6, 300)), arrays.array(integers(300, 5))
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        c = matmul(a, b)
    np.testing.assert_array_equal(arrays.asnumpy(c), integers(6, 300) @ integers(300, 5))
