"""The error function on the device, against SciPy's and that of the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.special
from cuda_emulator import Emulator, arrays, compiler
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, numbers

from minivae.kernels import cpu
from minivae.kernels.cuda import launcher
from minivae.kernels.cuda.special import erf

pytestmark = pytest.mark.skipif(compiler() is None, reason="the CUDA emulator needs g++")

DTYPES = [np.float32, np.float64]


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[None]:
    with launcher.use_engine(Emulator(order="all")):
        yield


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_few_units_in_the_last_place(dtype) -> None:
    x = np.concatenate([np.linspace(-7, 7, 1401), np.geomspace(1e-30, 1, 100), [0, np.inf, -np.inf]]).astype(dtype)
    y, exact = erf(x), scipy.special.erf(np.float64(x))
    assert y.dtype == dtype
    assert (np.abs(y - exact) <= 4 * np.spacing(np.abs(exact).astype(dtype))).all()
    assert (np.abs(y - cpu.erf(x)) <= 8 * np.spacing(np.abs(y))).all()


def test_not_a_number_stays_one() -> None:
    assert np.isnan(erf(np.array([np.nan, 1.0]))).tolist() == [True, False]


@examples
@given(data=st.data(), shape=st.lists(st.integers(0, 5), max_size=4), dtype=st.sampled_from(DTYPES))
def test_any_shape_and_layout(data, shape, dtype) -> None:
    layout = data.draw(st.permutations(range(len(shape))))
    x = numbers(*(shape[a] for a in layout), dtype=dtype).transpose(np.argsort(layout))
    y = erf(x)
    assert (y.dtype, y.shape) == (dtype, tuple(shape))
    np.testing.assert_allclose(y, scipy.special.erf(x), rtol=4 * np.finfo(dtype).eps)


def test_the_layout_is_kept_and_nothing_is_copied_for_it() -> None:
    x = numbers(2, 5, 4, 3).transpose(0, 3, 1, 2)
    assert erf(x).strides == x.strides
    on_device = arrays.array(numbers(2, 5, 4, 3)).transpose(0, 3, 1, 2)
    with launcher.use_engine(Emulator(xp=arrays)), arrays.captured():
        y = erf(on_device)
    np.testing.assert_array_equal(arrays.asnumpy(y), erf(x))
