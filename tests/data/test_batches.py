"""Mini-batches: every image once an epoch, in an order that is seeded, saved and restored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from minivae.data import Batches, check_finite


@given(n=st.integers(1, 50), size=st.integers(1, 60), seed=st.integers(0, 2**64 - 1))
@examples
def test_an_epoch_is_a_permutation(n, size, seed):
    batches = Batches(np.arange(n), size, seed)
    parts = list(batches)
    assert len(parts) == len(batches)
    assert all(len(p) == size for p in parts[:-1])
    assert sorted(np.concatenate(parts)) == list(range(n))


def test_orders_differ_by_epoch_and_by_seed_and_are_reproducible():
    def orders(seed):
        batches = Batches(np.arange(100), 7, seed)
        return [tuple(np.concatenate(list(batches))) for _ in range(3)]

    assert orders(1) == orders(1)
    assert len({*orders(1), *orders(2)}) == 6


def test_orders_are_uniform():
    """Where image 0 ends up over 3,000 epochs, in ten equal classes: chi-squared (9 degrees) is below 27.9 (0.1 %)."""
    batches = Batches(np.arange(10), 10)
    counts = np.bincount([int(np.argmin(batches.order(e))) for e in range(3000)], minlength=10)
    assert ((counts - 300) ** 2 / 300).sum() < 27.9


def test_without_shuffling_the_order_is_that_of_the_data():
    np.testing.assert_array_equal(np.concatenate(list(Batches(np.arange(10), 3, shuffle=False))), np.arange(10))


@given(n=st.integers(1, 30), size=st.integers(1, 8), stop=st.integers(0, 40))
@examples
def test_a_saved_state_goes_on_with_the_next_batch(n, size, stop):
    def stream(batches):
        while True:
            yield from batches

    whole = Batches(np.arange(n), size, seed=3)
    source = stream(whole)
    for _ in range(stop):
        next(source)
    restored = Batches(np.arange(n), size)
    restored.load_state_dict(whole.state_dict())
    for (a, b), _ in zip(zip(source, stream(restored), strict=False), range(12), strict=False):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Batches(np.zeros((0, 2)), 3), ValueError, r"\(0, 2\)"),
        (lambda: Batches(np.zeros(3), 0), ValueError, "at least 1, got 0"),
        (lambda: Batches(np.zeros(3), 2.5), TypeError, "2.5"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 1), (4999, 59, 27)])
def test_the_first_bad_number_is_named(bad, place):
    x = np.zeros((5000, 60, 28), np.float32)  # more than the check looks at in one piece
    check_finite(x, "images")
    x[place] = bad
    x[4999, 59, 27] = bad
    with pytest.raises(
        ValueError,
        match=f"images must be finite: there is {bad} at index {place}".replace("(", r"\(").replace(")", r"\)"),
    ):
        check_finite(x, "images")
