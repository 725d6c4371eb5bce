"""Batch and group normalisation against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_inputs import DTYPES, LAYOUTS, assert_close, assert_same_for_any_threads, laid_out
from strategies import examples, numbers

from minivae.kernels import native, reference

EPS = 1e-2
kinds = st.sampled_from(["batch", "group"])


def forward(k, kind, x, weight, bias, groups):
    return k.batch_norm(x, weight, bias, EPS) if kind == "batch" else k.group_norm(x, weight, bias, groups, EPS)


def backward(k, kind, dy, x, weight, mean, var):
    return (k.batch_norm_grad if kind == "batch" else k.group_norm_grad)(dy, x, weight, mean, var, EPS)


def wide(*arrays):
    return [None if a is None else np.float64(a) for a in arrays]


def check(kind, x, dy, weight, bias, groups, layout="as it is") -> None:
    dtype, laid, laid_dy = x.dtype, laid_out(x, layout), laid_out(dy, "as it is")
    expected = forward(reference, kind, *wide(x, weight, bias), groups)
    for actual, e in zip(forward(native, kind, laid, weight, bias, groups), expected, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, e, 1e-5, 1e-12)
    moments = expected[1:]
    gradients = backward(native, kind, laid_dy, laid, weight, *(m.astype(dtype) for m in moments))
    for actual, e in zip(gradients, backward(reference, kind, *wide(dy, x, weight), *moments), strict=True):
        assert actual.dtype == dtype
        assert_close(actual, e, 2e-5, 1e-11)
    np.testing.assert_array_equal(laid, x)


@examples
@given(
    kind=kinds,
    N=st.integers(0, 4),
    groups=st.integers(1, 3),
    per_group=st.sampled_from([1, 2, 3, 8, 11]),
    rest=st.lists(st.integers(0, 6), max_size=3).map(tuple),
    affine=st.sampled_from([(True, True), (True, False), (False, True), (False, False)]),
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(DTYPES),
)
def test_norms_equal_those_of_the_reference(kind, N, groups, per_group, rest, affine, layout, dtype) -> None:
    shape = (N, groups * per_group, *rest)
    x, dy = (numbers(*shape, seed=s, dtype=dtype) for s in (0, 1))
    weight, bias = (numbers(shape[1], seed=s + 2, dtype=dtype) if given else None for s, given in enumerate(affine))
    check(kind, x, dy, weight, bias, groups, layout)


@pytest.mark.parametrize("kind", ["batch", "group"])
@pytest.mark.parametrize(
    "shape", [(2, 32, 40, 37), (3, 6, 150, 33), (1, 48, 101, 3), (300, 5), (2, 400, 9), (1, 1, 70_001)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_blocks_and_incomplete_ones(kind, shape, dtype) -> None:
    x, dy = (numbers(*shape, seed=s, dtype=dtype) + dtype(1) for s in (0, 1))
    check(kind, x, dy, numbers(shape[1], seed=2, dtype=dtype), None, 2 if shape[1] % 2 == 0 else 1, "channels last")


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_a_large_mean_does_not_spoil_the_variance(kind) -> None:
    x = numbers(32, 8, 16, 16, dtype=np.float32) + np.float32(1000)
    y, _, var = forward(native, kind, x, None, None, 4)
    expected = forward(reference, kind, np.float64(x), None, None, 4)
    np.testing.assert_allclose(var, expected[2], rtol=1e-5)
    np.testing.assert_allclose(y, expected[0], atol=1e-3)


def test_means_are_as_accurate_as_pairwise_sums() -> None:
    x = numbers(1 << 20, 3, low=0, high=1, dtype=np.float32)
    _, mean, _ = native.batch_norm(x, None, None, EPS)
    np.testing.assert_allclose(mean, np.float64(x).mean(axis=0), rtol=2e-7)


@pytest.mark.parametrize("kind", ["batch", "group"])
def test_integers_give_exact_moments_and_sums(kind) -> None:
    """Every sum of these integers is exact in float32 in any order, and every set has 2^n elements."""
    rng = np.random.default_rng(0)
    x, dy = (rng.integers(-8, 9, (16, 4, 8, 8)).astype(np.float32) for _ in range(2))
    _, mean, _ = forward(native, kind, x, None, None, 2)
    np.testing.assert_array_equal(mean, forward(reference, kind, x, None, None, 2)[1])
    _, _, dbias = backward(native, kind, dy, x, None, mean, np.ones_like(mean))
    np.testing.assert_array_equal(dbias, dy.sum(axis=(0, 2, 3)))


def test_results_are_channels_last_where_the_input_was() -> None:
    x = laid_out(numbers(3, 4, 5, 6), "channels last")
    y, mean, var = native.batch_norm(x, None, None, EPS)
    assert y.strides == native.batch_norm_grad(x, x, None, mean, var, EPS)[0].strides == x.strides


@pytest.mark.parametrize("place", [0, 5, 77, 1023])
def test_nan_affects_its_own_channel_only(place) -> None:
    x = numbers(1024, 3, dtype=np.float32)
    x[place, 1] = np.nan
    y, mean, var = native.batch_norm(x, None, None, EPS)
    assert list(np.isnan(mean)) == list(np.isnan(var)) == [False, True, False]
    assert list(np.isnan(y).any(axis=0)) == [False, True, False]


@pytest.mark.parametrize("shape", [(5, 6, 30, 31), (2, 8, 100, 101)])
def test_threads_change_nothing(shape) -> None:
    x, dy = (numbers(*shape, seed=s, dtype=np.float32) for s in (0, 1))

    def run():
        batch, group = native.batch_norm(x, None, None, EPS), native.group_norm(x, None, None, 2, EPS)
        gradients = (
            native.batch_norm_grad(dy, x, None, *batch[1:], EPS),
            native.group_norm_grad(dy, x, None, *group[1:], EPS),
        )
        return [*batch, *group, *gradients[0], *gradients[1]]

    assert_same_for_any_threads(run)
