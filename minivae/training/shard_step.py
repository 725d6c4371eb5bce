"""What one shard of a batch adds to a training step: its loss and its gradients. A batch that is not cut is one shard.

The loss of a batch is a mean over its examples. With n_s examples in shard s and n in the batch,

    L = sum_s (n_s / n) L_s,        dL/dw = sum_s (n_s / n) dL_s/dw,

so a shard's backward pass begins with n_s / n in the place of 1. A term of L_s that is computed from the whole batch is
the same in all shards, and as the n_s / n add up to 1 it counts once.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from minivae.autograd import Tensor
from minivae.autograd.graph import Leaf, leaf_gradients
from minivae.kernels import checks
from minivae.kernels.contract import Array
from minivae.shards import current_shard


def shard_step(model: Any, *batch: Any, watched: bool) -> tuple[Any, dict[Leaf, Array]]:
    """Return the loss of the whole batch, and what this shard adds to the gradient of each leaf.

    watched: make no backward pass, and return no gradients, if the loss is not finite.
    """
    result = checked_loss(model, model.loss(*batch))
    whole = of_batch(result)
    if watched and not isfinite(float(whole.loss)):
        return whole, {}
    loss = result.loss
    if loss._node is None:
        raise RuntimeError(f"{type(model).__name__}.loss() must depend on a parameter that requires gradients")
    dy = loss.backend.xp.full(loss.shape, current_shard().share, loss.dtype)
    return whole, dict(leaf_gradients(loss._node, dy))


def of_batch(result: Any) -> Any:
    """Return the loss of the whole batch, for a result of loss() of this shard: the mean of each field."""
    shard = current_shard()
    if shard.batch is None:
        return result
    xp = result.loss.backend.xp
    means = shard.sum(xp.stack([field.data.reshape(()) for field in result]) * shard.share)
    return type(result)(*(Tensor.wrap(means[i : i + 1].reshape(field.shape)) for i, field in enumerate(result)))


def checked_loss(model: Any, result: Any) -> Any:
    """Return the result of loss(); TypeError unless it is a named tuple that begins with a scalar Tensor `loss`."""
    names = getattr(type(result), "_fields", ("",))
    if names[0] != "loss" or not isinstance(result[0], Tensor) or result[0].size != 1:
        expected = "a named tuple whose first field is `loss`, a Tensor with one element"
        raise TypeError(f"{type(model).__name__}.loss() must return {expected}, got {checks.shown(result)}")
    return result
