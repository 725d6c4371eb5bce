"""Sums over a batch that is computed in shards: their values, and gradients that reach all shards."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import host, numbers

import minivae as mv
import minivae.functional as F
from minivae.autograd import Function
from minivae.ops import batch
from minivae.shards import current_shard, tree_sum
from minivae.training.team import Team
from minivae.training.world import World

pytestmark = pytest.mark.usefixtures("differentiated")

N = 7
OPERATIONS = {
    "batch_sum": lambda x: F.batch_sum(F.tanh(x).sum(axis=0)),  # (D,)
    "batch_sum-scalar": lambda x: F.batch_sum(F.tanh(x).sum()),  # ()
    "batch_mean": lambda x: F.batch_mean(F.tanh(x)),  # (D,)
    "batch_cat": lambda x: F.batch_cat(F.tanh(x)),  # (N, D)
    "batch_norm": lambda x: F.batch_sum((F.batch_norm(x, training=True) ** 3).sum(axis=0)),  # (D,)
}
every = pytest.mark.parametrize("name", OPERATIONS)
cut = pytest.mark.parametrize("shards", [2, 3, 4])


def in_shards(function, shards, *arrays):
    """Return function(Tensor, ...) of each shard, in float64, and the tensors that it got."""

    def of_shard(*rows):
        tensors = [mv.Tensor(a, requires_grad=True) for a in rows]
        return function(*tensors), tensors

    return Team(World(), shards).each(of_shard, len(arrays[0]), *arrays)


def weighted(operation):
    """The sum of what the operation gives, each number with a weight of its own, which differs between shards."""

    def loss(x):
        y = operation(x)
        loss = (y * mv.Tensor(numbers(*y.shape, seed=1 + current_shard().first))).sum()
        loss.backward()
        return loss.item()

    return loss


@every
@cut
def test_all_shards_get_the_value_of_the_whole_batch(name, shards):
    x = numbers(N, 3)
    expected = OPERATIONS[name](mv.Tensor(x)).numpy()
    for found, _ in in_shards(OPERATIONS[name], shards, x):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


@every
@cut
def test_gradients_reach_the_examples_of_all_shards(name, shards):
    """By finite differences of the sum of all shards' losses, along random directions."""
    x, loss, eps = numbers(N, 3), weighted(OPERATIONS[name]), 1e-6
    gradient = np.concatenate([host(t.grad) for _, (t,) in in_shards(loss, shards, x)])
    for seed in range(3):
        direction = numbers(N, 3, seed=5 + seed)
        above, below = (
            sum(value for value, _ in in_shards(loss, shards, x + step * direction)) for step in (eps, -eps)
        )
        assert (gradient * direction).sum() == pytest.approx((above - below) / (2 * eps), rel=1e-6)


@cut
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_in_shards_is_that_of_the_whole_batch(shards, affine):
    """Output, gradients and running averages, for images."""
    x, dy = numbers(N, 3, 2, 2), numbers(N, 3, 2, 2, seed=2)
    scales = [numbers(3, seed=3, low=0.5, high=2), numbers(3, seed=4)] if affine else []

    def normalised(count):
        mean, var = mv.Tensor(np.zeros(3)), mv.Tensor(np.ones(3))

        def of_shard(rows, gradient):
            x, *own = (mv.Tensor(a, requires_grad=True) for a in (rows, *scales))
            y = F.batch_norm(x, mean, var, *own, training=True)
            y.backward(mv.Tensor(gradient).data)
            return [host(a) for a in (y.data, x.grad)], [host(t.grad) for t in own]

        results = Team(World(), count).each(of_shard, N, x, dy)
        rows = [np.concatenate(parts) for parts in zip(*(r for r, _ in results), strict=True)]
        sums = [sum(parts) for parts in zip(*(s for _, s in results), strict=True)]
        return [*rows, *sums, mean.numpy(), var.numpy()]

    for found, expected in zip(normalised(shards), normalised(1), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.cpu_only("the same on every device")
def test_a_sum_has_the_order_of_the_tree():
    """In float32 1e8 + 1 is 1e8, so the order shows in the sum."""
    given = [np.array([a], np.float32) for a in (1, 1e8, -1e8, 1, 3)]
    a, b, c, d, e = given
    np.testing.assert_array_equal(tree_sum(given), (a + b) + (c + (d + e)))
    np.testing.assert_array_equal(tree_sum(given[:4]), (a + b) + (c + d))
    assert tree_sum(given[:4])[0] == 0
    assert ((a + b) + c) + d == a + (b + (c + d)) == 1  # from the left, and from the right
    out = np.zeros(1, np.float32)
    assert tree_sum(given[:3], out=out) is out
    assert tree_sum([a], out=out) is out
    assert out[0] == a[0]


@pytest.mark.cpu_only("the same on every device")
def test_a_tree_sum_of_numbers_is_an_array_and_of_integers_exact():
    large = np.array(2**60 + 1)
    found = tree_sum([large, large, large])
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype, int(found)) == ((), np.int64, 3 * 2**60 + 3)


def test_every_sum_has_been_differentiated_by_this_file(differentiated):
    wanted = {f.__name__ for f in Function.__subclasses__() if f.__module__ == batch.__name__}
    assert wanted
    assert wanted <= differentiated
