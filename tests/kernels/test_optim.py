"""The optimisers are compared with the formulas of their papers, computed in float64 for several steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, k, numbers

DTYPES = [np.float32, np.float64]
SHAPES = [(3, 4), (), (0, 5), (2, 3, 2, 1), (7,), (300, 301)]  # the last one is larger than a block
LAYOUTS = ["C", "F", "gaps", "rows backwards"]


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    if layout == "gaps":
        gaps = np.full((*x.shape, 2), np.nan, x.dtype)[..., 0]
        gaps[...] = x
        return gaps
    if layout == "rows backwards" and x.ndim:
        return x[::-1].copy()[::-1]
    return np.asarray(x, order="F" if layout == "F" else "C")


def parameters(dtype: type, layouts: tuple[str, ...]) -> list[list[np.ndarray]]:
    """Lists of parameters, gradients, first moments and second moments, each in the memory layout named."""
    low = [-2, -2, -1, 0]
    return [
        [laid_out(numbers(*shape, seed=10 * i + j, low=low[i], dtype=dtype), layout) for j, shape in enumerate(SHAPES)]
        for i, layout in enumerate(layouts)
    ]


def check(actual: list[list[np.ndarray]], objects: list[list[int]], expected: list[list[np.ndarray]], dtype) -> None:
    """Check that the same array objects, with the same dtype, hold the expected numbers."""
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for arrays, ids, values in zip(actual, objects, expected, strict=True):
        assert [id(a) for a in arrays] == ids
        for a, v in zip(arrays, values, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, v, rtol=tolerance, atol=tolerance)


def identities(lists: list[list[np.ndarray]]) -> list[list[int]]:
    return [[id(a) for a in arrays] for arrays in lists]


some_layouts = st.lists(st.sampled_from(LAYOUTS), min_size=4, max_size=4).map(tuple)


@examples
@given(
    layouts=some_layouts,
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1]),
    nesterov=st.booleans(),
    dtype=st.sampled_from(DTYPES),
)
def test_sgd_is_its_formula(layouts, momentum, weight_decay, nesterov, dtype) -> None:
    params, grads, velocities, _ = parameters(dtype, layouts)
    velocities = velocities if momentum else []
    objects = identities([params, grads, velocities])
    p, g0, v = ([a.astype(np.float64) for a in arrays] for arrays in (params, grads, velocities))
    lr = 0.1
    for _ in range(3):
        k.sgd_step(params, grads, velocities, lr, momentum, weight_decay, nesterov and momentum > 0)
        for i in range(len(p)):
            g = g0[i] + weight_decay * p[i]
            if momentum:
                v[i] = momentum * v[i] + g
                g = g + momentum * v[i] if nesterov else v[i]
            p[i] = p[i] - lr * g
    check([params, grads, velocities], objects, [p, g0, v], dtype)


@examples
@given(
    layouts=some_layouts,
    weight_decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)]),
    dtype=st.sampled_from(DTYPES),
)
def test_adam_is_algorithm_1(layouts, weight_decay, decoupled, betas, dtype) -> None:
    params, grads, first, second = parameters(dtype, layouts)
    for state in (first, second):
        for array in state:
            array[...] = 0
    objects = identities([params, grads, first, second])
    p, g0, m, v = ([a.astype(np.float64) for a in arrays] for arrays in (params, grads, first, second))
    lr, eps, (b1, b2) = 0.05, 1e-3, betas
    for t in range(1, 5):
        k.adam_step(params, grads, first, second, t, lr, betas, eps, weight_decay, decoupled)
        for i in range(len(p)):
            g = g0[i] if decoupled else g0[i] + weight_decay * p[i]
            p[i] = p[i] * (1 - lr * weight_decay) if decoupled else p[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            p[i] = p[i] - lr * (m[i] / (1 - b1**t)) / (np.sqrt(v[i] / (1 - b2**t)) + eps)
    check([params, grads, first, second], objects, [p, g0, m, v], dtype)


def test_moments_that_are_given_are_used() -> None:
    params, grads, first, second = ([np.array([value])] for value in (1.0, 2.0, 3.0, 4.0))
    k.adam_step(params, grads, first, second, 2, 0.1, (0.5, 0.75), 0.5, 0.0, False)
    m, v = 0.5 * 3 + 0.5 * 2, 0.75 * 4 + 0.25 * 4
    np.testing.assert_allclose([first[0][0], second[0][0]], [m, v])
    np.testing.assert_allclose(params[0], 1 - 0.1 * (m / 0.75) / (np.sqrt(v / (1 - 0.75**2)) + 0.5))


@pytest.mark.parametrize("scalar", [float, np.float64])
def test_hyperparameters_do_not_change_the_dtype_or_the_result(scalar) -> None:
    for step in (0, 1):
        results = []
        for kind in (float, scalar):
            p, g, m, s = ([numbers(50, seed=i, low=0, dtype=np.float32)] for i in range(4))
            if step:
                k.adam_step(p, g, m, s, 3, kind(0.1), (kind(0.9), kind(0.99)), kind(1e-8), kind(0.1), True)
            else:
                k.sgd_step(p, g, m, kind(0.1), kind(0.9), kind(0.1), True)
            results.append([p[0], m[0], s[0]])
        for a, b in zip(*results, strict=True):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_gradient_may_be_a_broadcast_view() -> None:
    p = [np.ones((3, 4), np.float32)]
    k.sgd_step(p, [np.broadcast_to(np.float32(2), (3, 4))], [], 0.25, 0.0, 0.0, False)
    np.testing.assert_array_equal(p[0], np.full((3, 4), 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_global_norm(dtype, layout) -> None:
    arrays = parameters(dtype, (layout,))[0]
    expected = np.sqrt(sum(np.sum(np.float64(a) ** 2) for a in arrays))
    norm = k.global_norm(arrays)
    assert (norm.shape, norm.dtype) == ((), np.float64)
    np.testing.assert_allclose(norm, expected, rtol=1e-13)


def test_global_norm_accumulates_in_float64_and_does_not_overflow() -> None:
    assert k.global_norm([]) == 0
    assert k.global_norm([np.array([3e30], np.float32), np.array([-4e30], np.float32)]) == pytest.approx(5e30, rel=1e-6)
    assert k.global_norm([np.array([1e4], np.float32), np.full(10_000, 1e-2, np.float32)]) > 1e4
    assert np.isnan(k.global_norm([np.array([np.nan])]))
