"""Sums over a batch that is computed in shards: minivae/shards.py says what shards are.

Let x_s be what shard s gives, and y = sum_s x_s what all of them get. A loss L is the sum of what the shards compute
from their copies of y, so the gradients that they send back add up:

    dL/dx_s = sum over shards t of dL/dy as t sees it,

which is the same for all s, and again a sum over shards. Where a batch is not divided, y is x_0 itself.
"""

from __future__ import annotations

from typing import Any

from minivae.autograd import Function, Tensor
from minivae.autograd.tensor import as_tensor
from minivae.kernels.contract import Array
from minivae.shards import current_shard

from .reduce import mean
from .shape import cat


class BatchSum(Function):
    def forward(self, x: Array) -> Array:
        self.shard = current_shard()
        return self.shard.sum(x)

    def backward(self, dy: Array) -> Array:
        return self.shard.sum(dy)


def batch_sum(x: Any) -> Tensor:
    """Return the sum of x over the shards of the batch; all shards must give the same shape."""
    x = as_tensor(x)
    return x if current_shard().batch is None else BatchSum.apply(x)


def batch_mean(x: Any) -> Tensor:
    """Return the mean over all examples of the batch: x (N, ...), the examples of this shard -> (...)."""
    own = mean(x, axis=0)
    return own if current_shard().batch is None else batch_sum(own * current_shard().share)


def batch_cat(x: Any) -> Tensor:
    """Return the examples of all shards, in the order of the batch: x (N, ...), those of this shard -> (batch, ...).

    Each shard gives zeros in the places of the others, and the sum of these is what all give.
    """
    x, shard = as_tensor(x), current_shard()
    if shard.batch is None:
        return x
    before, after = shard.first, shard.batch - shard.first - x.shape[0]
    xp = x.backend.xp
    zeros = [xp.zeros((n, *x.shape[1:]), x.dtype) for n in (before, after)]
    return batch_sum(cat([zeros[0], x, zeros[1]]))
