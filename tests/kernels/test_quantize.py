"""The nearest code, compared with distances that are computed one by one; exact on integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

ROWS = 1 << 16  # more than any backend takes at once
DTYPES = [np.float32, np.float64]


def integers(*shape: int, seed: int = 0) -> np.ndarray:
    """Integers with few different values, so that there are many ties."""
    return np.random.default_rng(seed).integers(-2, 3, shape)


def naive(x: np.ndarray, codebook: np.ndarray) -> list[int]:
    """The index of the nearest code of each row, by loops; of equally near codes it is the first."""
    chosen = []
    for row in x.tolist():
        best, least = 0, float("inf")
        for i, code in enumerate(codebook.tolist()):
            distance = sum((a - b) ** 2 for a, b in zip(row, code, strict=True))
            if distance < least:
                best, least = i, distance
        chosen.append(best)
    return chosen


@examples
@given(
    M=st.integers(0, 9),
    K=st.integers(1, 9),
    D=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_integers_are_exact_and_of_equally_near_codes_the_first_wins(M, K, D, dtype, transposed, seed) -> None:
    x, codebook = integers(M, D, seed=seed), integers(K, D, seed=seed + 1)
    order = "F" if transposed else "C"
    nearest = k.nearest_code(x.astype(dtype, order=order), codebook.astype(dtype, order=order))
    assert nearest.dtype == np.int64
    assert nearest.shape == (M,)
    assert nearest.tolist() == naive(x, codebook)


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_rows_than_one_block(dtype) -> None:
    """There are full blocks of rows and a last one that is not full; every row is near a known code."""
    K, D = 300, 8
    codebook = numbers(K, D, dtype=dtype)
    index = np.random.default_rng(1).integers(0, K, 3 * (ROWS // K) + 7)
    x = codebook[index] + numbers(len(index), D, seed=2, low=-1e-3, high=1e-3, dtype=dtype)
    np.testing.assert_array_equal(k.nearest_code(x, codebook), index)


def test_codes_that_are_close_together_far_from_the_origin() -> None:
    """Taking a square root of the distance, or float32 norms of float64 codes, would lose the difference."""
    codebook = np.array([[1000.0, 0.0], [1000.001, 0.0]])
    x = np.array([[1000.0004, 0.0], [1000.0006, 0.0]])
    assert k.nearest_code(x, codebook).tolist() == [0, 1]
