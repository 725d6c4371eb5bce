"""Hypothesis strategies for shapes, seeded numbers to fill them, and the backend and device under test."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import minivae as mv
from minivae.kernels import backend, backend_of

# conftest.py runs a test once for each device; Hypothesis reports that as an error in methods unless told otherwise.
examples = settings(
    deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.differing_executors]
)

sizes = st.integers(1, 4)
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
filled = st.lists(sizes, min_size=1, max_size=4).map(tuple)


@st.composite
def broadcastable(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast together, of lengths 0 to 3: leading axes are dropped and lengths made 1 at random."""
    full = draw(st.lists(st.integers(0, 3), min_size=0, max_size=4).map(tuple))

    def shrink() -> tuple[int, ...]:
        kept = full[draw(st.integers(0, len(full))) :]
        return tuple(1 if draw(st.booleans()) else n for n in kept)

    a, b = shrink(), shrink()
    return a, b


@st.composite
def shape_and_axes(draw: st.DrawFn, least: int = 0) -> tuple[tuple[int, ...], tuple[int, ...] | int | None]:
    """A shape and an axis argument for it: None, one axis (possibly negative), or several."""
    shape = draw(st.lists(st.integers(least, 4), min_size=1, max_size=4).map(tuple))
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.sets(st.integers(0, len(shape) - 1), min_size=1).map(tuple)
    return shape, draw(st.one_of(st.none(), one, several))


def numbers(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0, dtype: type = np.float64) -> np.ndarray:
    """An array of this shape with seeded uniform numbers in [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def apart(*shape: int, gap: float = 0.05, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    """Seeded numbers around 0, no two closer than `gap` and none within gap / 2 of 0, where functions have a kink."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count // 2 + 0.5) * gap
    return np.random.default_rng(seed).permutation(values).reshape(shape).astype(dtype)


class _CpuKernels:
    """The primitives of the CPU backend under test (see conftest.py)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(backend("cpu"), name)


k = _CpuKernels()


def on_device(array: Any) -> Any:
    """The array that a Tensor made from this one holds: an array of the device under test (see conftest.py)."""
    return mv.Tensor(array).data


def host(array: Any) -> np.ndarray:
    """An array of any device as a NumPy array."""
    return backend_of(array).to_host(array)
