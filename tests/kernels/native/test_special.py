"""The errors of exp, log, erf, ..., in units in the last place, are at most what special.h states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.special
from native_inputs import DTYPES

from minivae.kernels import native
from minivae.kernels.native.library import Kernel

# Added to the bounds where long double, in which the exact results are computed, is no wider than float64.
SLACK = 0.0 if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps else 1.0


def of_kernel(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def function(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        Kernel(name)[x.dtype](x.size, x, y)
        return y

    return function


exp, log = of_kernel("exp"), of_kernel("log")


def ulps(y: np.ndarray, exact: np.ndarray) -> float:
    """The largest error, in units in the last place of the exact result."""
    unit = np.spacing(np.maximum(np.abs(exact), np.finfo(y.dtype).smallest_subnormal).astype(y.dtype))
    return float((np.abs(y.astype(np.longdouble) - exact) / unit.astype(np.longdouble)).max()) - SLACK


def numbers_of_all_sizes(dtype: type, largest: float) -> np.ndarray:
    x = np.concatenate([np.linspace(0, largest, 100_001), np.geomspace(np.finfo(dtype).tiny, 1, 20_001)]).astype(dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_within_2_ulp_down_to_denormal_numbers(dtype) -> None:
    limits = np.log(np.finfo(dtype).smallest_subnormal), np.log(np.finfo(dtype).max)
    x = np.concatenate([np.linspace(*limits, 200_001), numbers_of_all_sizes(dtype, 1)]).astype(dtype)
    with np.errstate(over="ignore", under="ignore"):
        exact = np.exp(x.astype(np.longdouble))
    finite = exact <= np.finfo(dtype).max
    assert ulps(exp(x[finite]), exact[finite]) <= 2
    edges = np.array([np.inf, 1e30, limits[1] * 1.001, -np.inf, -1e30, limits[0] * 1.02, 0, -0.0, np.nan], dtype)
    np.testing.assert_array_equal(exp(edges), np.array([np.inf] * 3 + [0] * 3 + [1, 1, np.nan], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_within_1_ulp_down_to_denormal_numbers(dtype) -> None:
    info = np.finfo(dtype)
    x = np.exp(np.linspace(np.log(info.smallest_subnormal), np.log(info.max), 200_001)[:-1]).astype(dtype)
    x = np.concatenate([x, np.linspace(0.5, 2, 100_001), [info.smallest_subnormal, info.tiny, info.max]]).astype(dtype)
    assert ulps(log(x), np.log(x.astype(np.longdouble))) <= 1
    edges = np.array([np.inf, 0.0, -0.0, -1, -np.inf, np.nan, 1], dtype)
    np.testing.assert_array_equal(log(edges), np.array([np.inf, -np.inf, -np.inf, np.nan, np.nan, np.nan, 0], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_within_7_ulp(dtype) -> None:
    x = np.concatenate([numbers_of_all_sizes(dtype, 7), np.array([100, -1e30], dtype)])
    assert ulps(native.erf(x), scipy.special.erf(np.float64(x)).astype(np.longdouble)) <= 7
    assert np.abs(native.erf(x)).max() == 1
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(native.erf(edges), np.array([0, 0, 1, -1, np.nan], dtype))
    assert list(np.signbit(native.erf(edges)[:4])) == [False, True, False, True]
    np.testing.assert_array_equal(native.erf(-x), -native.erf(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_within_3_ulp(dtype) -> None:
    x = numbers_of_all_sizes(dtype, 25)
    assert ulps(native.tanh(x), np.tanh(x.astype(np.longdouble))) <= 3
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30], dtype)
    np.testing.assert_array_equal(native.tanh(edges), np.array([0, 0, 1, -1, np.nan, 1], dtype))
    assert list(np.signbit(native.tanh(edges)[:4])) == [False, True, False, True]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_within_3_ulp_and_softplus_within_2(dtype) -> None:
    x = numbers_of_all_sizes(dtype, 80)
    wide = x.astype(np.longdouble)
    assert ulps(native.sigmoid(x), 1 / (1 + np.exp(-wide))) <= 3
    assert ulps(native.softplus(x), np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))) <= 2
    edges = np.array([0, np.inf, -np.inf, np.nan, 1e30, -1e30], dtype)
    np.testing.assert_array_equal(native.sigmoid(edges), np.array([0.5, 1, 0, np.nan, 1, 0], dtype))
    np.testing.assert_array_equal(native.softplus(edges)[1:], np.array([np.inf, 0, np.nan, 1e30, 0], dtype))
