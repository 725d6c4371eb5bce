"""Finite scalar quantisation: which level each number takes, that indices and levels correspond, and its gradient.

The bugs named in the tests are ones that other implementations had (lucidrains/vector-quantize-pytorch).
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, host, numbers, on_device, sizes

import minivae as mv
import minivae.functional as F
from minivae.nn import FiniteScalarQuantizer

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def fsq(*levels):
    return FiniteScalarQuantizer(levels, dtype=np.float64)


def column(*values):
    """Latents (M, 1) on the device."""
    return mv.Tensor(on_device(np.array(values, float)[:, None]))


class TestLevels:
    @pytest.mark.parametrize("L", range(2, 12))
    def test_every_level_is_reached_and_lies_where_the_formula_says(self, L):
        """Levels at equal distances from -1 to 1. Bug 200: rounding after the scale, so that no result is a level."""
        z = np.linspace(-6, 6, 4001)
        found = fsq(L)(column(*z)).quantized.numpy()[:, 0]
        h = (L - 1) / 2
        np.testing.assert_allclose(np.unique(found), np.linspace(-1, 1, L), atol=1e-12)
        assert (np.abs(h * found - h * np.tanh(z)) <= 0.5 + 1e-9).all()  # the nearest one

    @pytest.mark.parametrize("L", range(2, 12))
    def test_minus_z_has_the_opposite_level(self, L):
        """Bugs 94 and 237: a shift for even L by tan in place of atanh, and of 3.8 for L = 2, which leaves it with one
        level for all but a few latents."""
        z = np.random.default_rng(0).normal(size=500)
        one, other = (fsq(L)(column(*values)).quantized.numpy() for values in (z, -z))
        np.testing.assert_allclose(one, -other, atol=1e-12)
        shares = np.bincount(fsq(L).encode(column(*z)).numpy(), minlength=L) / 500
        assert shares.min() > 0.25 / L

    def test_the_examples_of_the_docstring(self):
        assert fsq(5)(column(0.4)).quantized.item() == 0.5
        assert fsq(4)(column(0.4)).quantized.item() == pytest.approx(1 / 3, abs=1e-15)
        levels = on_device(np.array([[3 / 3.5 - 1, 1.0, 0.0]]))
        assert fsq(8, 6, 5).encode(np.arctanh(host(levels) * (1 - 1e-9))).item() == 139
        z = mv.Tensor(on_device(np.array([[0.4]])), requires_grad=True)
        (0.5 * fsq(5)(z).quantized.sum()).backward()
        assert host(z.grad).item() == pytest.approx(0.43, abs=0.005)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_very_large_latents_stay_in_range(self, dtype):
        """Bugs 207 and 107: negative indices, and one that is `codes`."""
        layer = FiniteScalarQuantizer((8, 5, 2), dtype)
        z = np.array([[1e30, 1e30, 1e30], [-1e30, -1e30, -1e30], [np.inf, -np.inf, np.inf]], dtype)
        assert layer.encode(z).numpy().tolist() == [79, 0, 47]

    def test_latents_with_nan_show_it_and_corrupt_no_memory(self):
        layer = fsq(3, 3)
        result = layer(np.array([[np.nan, 9.0]]))
        assert np.isnan(result.quantized.numpy()[0, 0])
        assert result.indices.item() == 6


class TestIndices:
    @given(levels=LEVELS)
    @examples
    def test_they_correspond_to_all_combinations_of_levels_one_to_one(self, levels):
        layer = fsq(*levels)
        assert layer.codes == np.prod(levels)
        assert layer.dim == len(levels)
        every = layer.decode(np.arange(layer.codes)).numpy()  # (codes, D)
        expected = set(product(*(np.linspace(-1, 1, L).round(9).tolist() for L in levels)))
        assert {*map(tuple, every.round(9).tolist())} == expected
        back = layer.encode(np.arctanh(every * (1 - 1e-9)))
        np.testing.assert_array_equal(back.numpy(), np.arange(layer.codes))

    @given(n=sizes, size=st.lists(sizes, max_size=3), levels=LEVELS, seed=st.integers(0, 9))
    @examples
    def test_forward_encode_and_decode_agree(self, n, size, levels, seed):
        layer, z = fsq(*levels), 2 * numbers(n, len(levels), *size, seed=seed)
        result = layer(mv.Tensor(z))
        assert result.quantized.shape == z.shape
        assert result.indices.shape == (n, *size)
        assert result.indices.dtype == np.int64
        np.testing.assert_array_equal(layer.encode(z).numpy(), result.indices.numpy())
        np.testing.assert_array_equal(layer.decode(result.indices).numpy(), result.quantized.numpy())
        assert result.loss.item() == 0

    def test_also_in_float32(self):
        layer, z = FiniteScalarQuantizer((8, 6, 5)), numbers(50, 3, 2, dtype=np.float32)
        result = layer(z)
        assert result.quantized.dtype == result.loss.dtype == np.float32
        np.testing.assert_array_equal(layer.decode(result.indices).numpy(), result.quantized.numpy())


class TestGradient:
    def test_rounding_is_passed_straight_through_and_tanh_is_differentiated(self):
        layer, z, dy = fsq(4, 5), mv.Tensor(numbers(3, 2, 2, 3), requires_grad=True), numbers(3, 2, 2, 3, seed=1)
        layer(z).quantized.backward(on_device(dy))
        np.testing.assert_allclose(host(z.grad), dy * (1 - np.tanh(z.numpy()) ** 2), rtol=1e-12)

    def test_the_surrogate_with_frozen_levels(self):
        """With what rounding adds held constant, all of it is a derivative."""
        layer, z = fsq(4, 5), mv.Tensor(numbers(3, 2, 2), requires_grad=True)
        added, w = layer(z).quantized.numpy() - np.tanh(z.numpy()), numbers(3, 2, 2, seed=2)

        def surrogate(z):
            return (((F.tanh(z) + added) ** 2) * w).sum()

        assert mv.gradcheck(surrogate, [z])
        surrogate(z).backward()
        expected, z.grad = host(z.grad), None
        ((layer(z).quantized ** 2) * w).sum().backward()
        np.testing.assert_allclose(host(z.grad), expected, rtol=1e-9, atol=1e-12)

    def test_there_is_nothing_to_train(self):
        layer = fsq(8, 5)
        before = layer.state_dict()
        layer(numbers(20, 2))
        assert layer.parameters() == []
        assert before.keys() == {"pass_counts"}


def test_usage_of_a_batch_and_of_a_pass():
    layer = fsq(2, 2)
    assert layer(np.array([[-9.0, -9.0], [9.0, 9.0]])).perplexity.item() == pytest.approx(2)
    layer.begin_pass()
    assert layer.end_pass() == {}
    for z in ([[-9.0, -9.0]], [[9.0, -9.0]]):
        assert layer(np.array(z)).usage.item() == 0.25
    assert layer.end_pass() == pytest.approx({"perplexity": 2.0, "usage": 0.5})


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        ((8, 1), ValueError, r"levels\[1\] must be at least 2, got 1"),
        ((), ValueError, r"levels must be at least one int, got \(\)"),
        ((2,) * 17, ValueError, "at most 65,536 codes"),
        ((300, 300), ValueError, r"at most 65,536 codes .*, got \(300, 300\)"),
        ((2.5,), TypeError, r"levels\[0\] must be an int, got 2.5"),
        (8, TypeError, "levels must be a sequence of ints, got 8"),
    ],
)
def test_levels_out_of_range(levels, error, message):
    with pytest.raises(error, match=message):
        FiniteScalarQuantizer(levels)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(np.zeros((2, 3, 4))), ValueError, r"\(N, 2, ...\), got \(2, 3, 4\)"),
        (lambda m: m(np.zeros((2, 2), np.float32)), TypeError, "float64, got float32"),
        (lambda m: m.decode(np.array([20])), ValueError, r"\[0, 20\), got 20 to 20"),
        (lambda m: m.decode(np.array([-1])), ValueError, r"\[0, 20\), got -1"),
        (lambda m: m.decode(np.array([1.0])), TypeError, "integers"),
        (lambda m: m.decode(np.array(1)), ValueError, r"\(N, ...\), got shape \(\)"),
        (lambda m: m.initialize(np.zeros((4, 3))), ValueError, r"\(M, 2\), got \(4, 3\)"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call(fsq(4, 5))
