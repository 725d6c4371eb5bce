"""The nearest code against its definition, on integers, for which all distances are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_same_for_any_threads, laid_out
from strategies import examples, numbers

from minivae.kernels import native, reference


@examples
@given(
    M=st.integers(0, 140),
    D=st.integers(0, 9),
    K=st.integers(1, 120),
    layouts=st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS)),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_it_is_the_first_of_the_nearest_codes(M, D, K, layouts, dtype, seed) -> None:
    rng = np.random.default_rng(seed)
    x, codebook = (rng.integers(-2, 3, (n, D)).astype(dtype) for n in (M, K))  # many ties
    expected = ((x[:, None] - codebook) ** 2).sum(axis=2).argmin(axis=1)
    actual = native.nearest_code(laid_out(x, layouts[0]), laid_out(codebook, layouts[1]))
    assert actual.dtype == np.int64
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("K", [1, 5, 24, 48, 49, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_as_in_argmin(K, dtype) -> None:
    rng = np.random.default_rng(K)
    for value in (np.nan, np.inf, -np.inf):
        for code in {0, K // 2, K - 1}:
            x, codebook = (rng.integers(-2, 3, (n, 2)).astype(dtype) for n in (9, K))
            x[4, 1] = codebook[code, 0] = value
            with np.errstate(all="ignore"):
                expected = reference.nearest_code(x, codebook)
            np.testing.assert_array_equal(native.nearest_code(x, codebook), expected)


def test_an_empty_codebook_is_refused() -> None:
    with pytest.raises(ValueError, match="no codes"):
        native.nearest_code(np.zeros((2, 3)), np.zeros((0, 3)))


def test_threads_change_nothing() -> None:
    x, codebook = numbers(1000, 7, dtype=np.float32), numbers(130, 7, seed=1, dtype=np.float32)
    assert_same_for_any_threads(lambda: native.nearest_code(x, codebook))
