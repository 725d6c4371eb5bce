"""Hypothesis strategies for shapes, and seeded numbers to fill them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import minivae as mv
from minivae.kernels import backend, backend_of

# The same test runs once for each device (conftest.py), which Hypothesis takes for a mistake in methods of classes.
examples = settings(
    deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.differing_executors]
)

sizes = st.integers(1, 4)
shapes = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
filled = st.lists(sizes, min_size=1, max_size=4).map(tuple)


@st.composite
def broadcastable(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast together: axes dropped in front and lengths made 1 at random, lengths 0 to 3."""
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
    """Reproducible numbers of this shape in [low, high)."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def apart(*shape: int, gap: float = 0.05, seed: int = 0, dtype: type = np.float64) -> np.ndarray:
    """Distinct numbers around 0, no two closer than `gap` and none within gap / 2 of 0: safe beside a kink."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count // 2 + 0.5) * gap
    return np.random.default_rng(seed).permutation(values).reshape(shape).astype(dtype)


class _CpuKernels:
    """The primitives of the CPU backend under test (see conftest.py)."""

    def __getattr__(self, name: str) -> Any:
        return getattr(backend("cpu"), name)


k = _CpuKernels()


def on_device(array: Any) -> Any:
    """An array of the device under test (see conftest.py): what a Tensor made of this one holds."""
    return mv.Tensor(array).data


def host(array: Any) -> np.ndarray:
    """An array of any device as one of NumPy."""
    return backend_of(array).to_host(array)
