"""The optimisers in C against the reference, for parameters of any shape, memory layout and dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_close, assert_same_for_any_threads, laid_out
from strategies import examples, numbers, shapes

from minivae.kernels import native, reference

many = st.lists(st.tuples(shapes, st.sampled_from(LAYOUTS), st.sampled_from(DTYPES)), max_size=4)


def lists(drawn, count: int) -> list[list[np.ndarray]]:
    """`count` lists of arrays like the parameters drawn; those of the second list are in C order, others as drawn."""
    return [
        [
            laid_out(
                np.asarray(np.abs(numbers(*shape, seed=10 * i + k, dtype=dtype))), "as it is" if k == 1 else layout
            )
            for i, (shape, layout, dtype) in enumerate(drawn)
        ]
        for k in range(count)
    ]


def wide(arrays):
    return [np.array(a, np.float64) for a in arrays]


def assert_all_close(actual, expected) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e)


@examples
@given(drawn=many, momentum=st.sampled_from([0, 0.9]), nesterov=st.booleans(), decay=st.sampled_from([0, 0.1]))
def test_sgd(drawn, momentum, nesterov, decay) -> None:
    p, g, v = lists(drawn, 3)
    expected = wide(p), wide(g), wide(v)
    reference.sgd_step(*expected, 0.1, momentum, decay, nesterov)
    before = wide(g)
    native.sgd_step(p, g, v if momentum else [], 0.1, momentum, decay, nesterov)
    assert_all_close(p, expected[0])
    assert_all_close(v, expected[2])
    for a, b in zip(g, before, strict=True):
        np.testing.assert_array_equal(a, b)


@examples
@given(drawn=many, step=st.sampled_from([1, 7]), decay=st.sampled_from([0, 0.1]), decoupled=st.booleans())
def test_adam(drawn, step, decay, decoupled) -> None:
    arrays = lists(drawn, 4)
    expected = [wide(a) for a in arrays]
    settings = (step, 1e-2, (0.9, 0.999), 1e-8, decay, decoupled)
    reference.adam_step(*expected, *settings)
    native.adam_step(*arrays, *settings)
    for a, e in zip(arrays, expected, strict=True):
        assert_all_close(a, e)


@pytest.mark.parametrize("size", [1, 5, 16, 17, 16_384, 16_385, 40_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_element_of_parameters_of_any_size(size, dtype) -> None:
    p, g, m, v = (np.abs(numbers(size, seed=s, dtype=dtype)) for s in range(4))
    expected = wide([p, g, m, v])
    reference.adam_step(*([a] for a in expected), 3, 1e-2, (0.9, 0.999), 1e-8, 0.0, False)
    native.adam_step([p], [g], [m], [v], 3, 1e-2, (0.9, 0.999), 1e-8, 0.0, False)
    assert_all_close([p, m, v], [expected[0], *expected[2:]])
    q = p.astype(np.float64)
    native.sgd_step([p], [g], [], 0.5, 0, 0, False)
    assert_close(p, q - np.float64(g) / 2)


def test_settings_may_be_numpy_scalars() -> None:
    p, g = np.ones(3, np.float32), np.ones(3, np.float32)
    native.sgd_step([p], [g], [], np.float64(0.5), np.float64(0), np.float32(0), np.bool_(False))
    np.testing.assert_array_equal(p, [0.5] * 3)


def test_shapes_that_differ_are_refused_and_change_nothing() -> None:
    p = [np.ones(4), np.ones(3)]
    with pytest.raises(ValueError, match=r"\(3,\).*\(2,\)"):
        native.sgd_step(p, [np.ones(4), np.ones(2)], [], 0.1, 0, 0, False)
    with pytest.raises(ValueError, match="shorter"):
        native.adam_step(p, p, p, p[:1], 1, 0.1, (0.9, 0.999), 1e-8, 0, False)
    assert p[0].tolist() == [1] * 4


@examples
@given(drawn=many)
def test_global_norm(drawn) -> None:
    (arrays,) = lists(drawn, 1)
    norm = native.global_norm(arrays)
    assert (type(norm), norm.shape, norm.dtype) == (np.ndarray, (), np.float64)
    np.testing.assert_allclose(norm, reference.global_norm(arrays), rtol=1e-14)


def test_global_norm_of_many_numbers_is_that_of_float64() -> None:
    arrays = [numbers(1_000_003, seed=s, dtype=np.float32) for s in range(2)]
    exact = np.sqrt(sum(np.square(a.astype(np.longdouble)).sum() for a in arrays))
    assert native.global_norm(arrays) == pytest.approx(float(exact), rel=1e-15)
    assert np.isnan(native.global_norm([np.array([1, np.nan, 2])]))


def test_threads_change_nothing() -> None:
    def run():
        p, g, m, v = ([np.abs(numbers(n, seed=s, dtype=np.float32)) for n in (5, 50_001, 20_000)] for s in range(4))
        native.adam_step(p, g, m, v, 2, 1e-2, (0.9, 0.999), 1e-8, 0.1, True)
        native.sgd_step(p, g, m, 1e-2, 0.9, 0.1, True)
        return [*p, *m, *v, native.global_norm(g)]

    assert_same_for_any_threads(run)
