"""Mini-batches: every image occurs once per epoch, in an order that is seeded, saved and restored."""

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
    """Image 0 is equally often at each of 10 positions in 3,000 epochs: chi-squared (9 degrees) < 27.9 (0.1 %)."""
    batches = Batches(np.arange(10), 10)
    counts = np.bincount([int(np.argmin(batches.order(e))) for e in range(3000)], minlength=10)
    assert ((counts - 300) ** 2 / 300).sum() < 27.9


def test_ties_keep_the_order_of_the_data(monkeypatch):
    words = np.arange(1000, dtype=np.uint32) * 7 % 5
    monkeypatch.setattr("minivae.data.batches.random_bits", lambda count, noise: words[:count])
    np.testing.assert_array_equal(Batches(np.arange(1000), 10).order(0), sorted(range(1000), key=lambda i: words[i]))


def test_without_shuffling_the_order_is_that_of_the_data():
    np.testing.assert_array_equal(np.concatenate(list(Batches(np.arange(10), 3, shuffle=False))), np.arange(10))


@given(n=st.integers(1, 30), size=st.integers(1, 8), stop=st.integers(0, 40))
@examples
def test_a_restored_state_continues_with_the_next_batch(n, size, stop):
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


def test_labels_go_with_their_images():
    x = np.arange(23)
    pairs = list(Batches(x, 5, seed=1, y=x * 10))
    for images, labels in pairs:
        np.testing.assert_array_equal(labels, images * 10)
    for (images, _), alone in zip(pairs, Batches(x, 5, seed=1), strict=True):
        np.testing.assert_array_equal(images, alone)


def test_drop_last_leaves_out_the_short_batch_alone():
    kept, all_of_them = (list(Batches(np.arange(23), 5, seed=1, drop_last=drop)) for drop in (True, False))
    assert [len(batch) for batch in all_of_them] == [5, 5, 5, 5, 3]
    assert len(Batches(np.arange(23), 5, drop_last=True)) == len(kept) == 4
    np.testing.assert_array_equal(kept, all_of_them[:4])


def test_a_state_saved_in_the_last_batch_names_the_first_batch_of_the_next_epoch():
    """Otherwise a run that was saved there would continue with an epoch without batches."""
    batches = Batches(np.arange(10), 4)
    for _ in batches:
        state = batches.state_dict()
    restored = Batches(np.arange(10), 4)
    restored.load_state_dict(state)
    assert sum(len(batch) for batch in restored) == 10
    np.testing.assert_array_equal(next(iter(restored)), restored.order(2)[:4])


@pytest.mark.parametrize(
    ("name", "other"), [("examples", Batches(np.arange(11), 4)), ("batch_size", Batches(np.arange(10), 5))]
)
def test_a_state_of_other_batches_is_refused(name, other):
    with pytest.raises(ValueError, match=name):
        other.load_state_dict(Batches(np.arange(10), 4).state_dict())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Batches(np.zeros((0, 2)), 3), ValueError, r"\(0, 2\)"),
        (lambda: Batches(np.zeros(3), 2, y=np.zeros(4)), ValueError, r"\(3,\) and \(4,\)"),
        (lambda: Batches(np.zeros(3), 4, drop_last=True), ValueError, "at least 4 examples for a batch, got 3"),
        (lambda: Batches(np.zeros(3), 2, seed=-1), ValueError, r"\[0, 2\*\*64\), got -1"),
        (lambda: Batches(np.zeros(3), 2, seed=2**64), ValueError, "18446744073709551616"),
        (lambda: Batches(np.zeros(3), 2, seed=None), TypeError, "seed must be an int, got None"),
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
    x = np.zeros((5000, 60, 28), np.float32)  # more than the check reads in one piece
    check_finite(x, "images")
    x[place] = bad
    x[4999, 59, 27] = bad
    with pytest.raises(
        ValueError,
        match=f"images must be finite: there is {bad} at index {place}".replace("(", r"\(").replace(")", r"\)"),
    ):
        check_finite(x, "images")
