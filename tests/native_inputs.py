"""Helpers for the tests of the C kernels: memory layouts, errors relative to the largest number, numbers of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minivae.kernels.native import library

DTYPES = [np.float32, np.float64]
LAYOUTS = ["as it is", "channels last", "transposed", "gaps", "reversed"]


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """An array equal to x with another memory layout."""
    if layout == "channels last" and x.ndim > 2:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T if x.ndim else x
    if layout == "gaps":
        gaps = np.full((*x.shape, 2), np.nan, x.dtype)[..., 0]
        gaps[...] = x
        return gaps
    if layout == "reversed":
        backwards = (*(slice(None, None, -1) for _ in x.shape), ...)
        return x[backwards].copy()[backwards]
    return x


def assert_close(actual: np.ndarray, expected: np.ndarray, single: float = 2e-6, double: float = 1e-13) -> None:
    """Check that the shapes are equal and the errors small.

    single, double: the largest error for float32 and for float64, relative to the largest number, or absolute where all
    numbers are below 1.
    """
    assert actual.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=scale * (single if actual.dtype == np.float32 else double)
    )


def assert_same_for_any_threads(run: Callable[[], Any]) -> None:
    """Check that the results for 1, 2, 3 and 5 threads are bitwise equal."""
    results = []
    for threads in (1, 2, 3, 5):
        library.set_num_threads(threads)
        results.append([np.asarray(a).tobytes() for a in _arrays(run())])
    library.set_num_threads(1)
    assert all(result == results[0] for result in results)


def _arrays(result: Any) -> Any:
    return result if isinstance(result, tuple | list) else (result,)
