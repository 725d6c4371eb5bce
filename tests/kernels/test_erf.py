"""The error of erf relative to SciPy's, in units in the last place."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
from strategies import k

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_is_right_to_a_few_units_in_the_last_place(dtype) -> None:
    tiny = float(np.finfo(dtype).tiny)
    x = np.concatenate([np.linspace(0, 7, 70_001), np.geomspace(4 * tiny, 1, 20_001), [10, 100, 1e30]]).astype(dtype)
    x = np.concatenate([x, -x])
    y = k.erf(x)
    exact = scipy.special.erf(np.float64(x))
    assert y.dtype == dtype
    error = np.abs(np.float64(y) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert error.max() <= 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_at_the_edges(dtype) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    y = k.erf(x)
    np.testing.assert_array_equal(y, np.array([0, 0, 1, -1, np.nan]))
    assert list(np.signbit(y[:4])) == [False, True, False, True]


def test_erf_is_odd_keeps_layout_and_its_input() -> None:
    x = np.random.default_rng(0).normal(size=(5, 7, 300, 11)).transpose(0, 3, 1, 2)
    before = x.copy()
    y = k.erf(x)
    np.testing.assert_array_equal(y, -k.erf(-x))
    np.testing.assert_array_equal(y, k.erf(np.ascontiguousarray(x)))
    np.testing.assert_array_equal(y[:, ::2], k.erf(x[:, ::2]))
    assert y.strides == x.strides
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1)])
def test_erf_of_any_shape(shape) -> None:
    y = k.erf(np.zeros(shape, np.float32))
    assert y.shape == shape
    assert y.dtype == np.float32
