"""Shards: a batch that is computed in parts, and what the parts have to know of each other.

A *shard* is a run of examples of a batch. Where a batch is divided (training/team.py), each shard goes through the
model by itself, as if it were a batch, and most of a model need not know: an example's activations depend on no other
example, a loss is a mean over examples, and the gradient of the batch is the sum of what the shards add to it. A layer
or a loss that looks at the whole batch, such as the mean and variance of batch normalisation, asks for it:

    shard = current_shard()
    counts = shard.sum(counts)          # of the whole batch; every shard gets the same array
    if shard.leads: ...                 # what is kept in the model is changed by one of them

F.batch_sum(), batch_mean() and batch_cat() are the same for Tensors, through which gradients flow (ops/batch.py). All
shards must ask for the same sums in the same order. Where a batch is not divided, the current shard is WHOLE, whose
sums are the arrays themselves.

**Why the result does not depend on who computes a shard.** Sums are the only way from one shard to another, and a sum
has one order whoever computes it: that of a tree. The sum of the shards 0, 1, 2, 3 is (0 + 1) + (2 + 3), be they
computed by one process, two or four. (Floating-point addition is not associative: in float32 (1 + 1e8) - 1e8 is 0, and
1 + (1e8 - 1e8) is 1.) Noise belongs to an example of the batch, not to a shard: kernels.contract.Noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from minivae.kernels import backend_of
from minivae.kernels.contract import Array


class Shard(NamedTuple):
    """A Shard is the examples first, ..., first + examples - 1 of a batch of `batch`.

    leads: whether this shard changes what is kept in the model, such as running averages. Of the shards that share the
    model's memory one does. add_up: see sum(). For WHOLE first is 0, and examples and batch are None.
    """

    first: int
    examples: int | None
    batch: int | None
    leads: bool
    add_up: Callable[[Array], Array]

    @property
    def share(self) -> float:
        """The part of the batch that this shard is, in (0, 1]."""
        return 1.0 if self.batch is None or self.examples is None else self.examples / self.batch

    def sum(self, array: Array) -> Array:
        """Return the sum over all shards of the arrays that each of them gives, which have one shape and dtype."""
        return self.add_up(array)


WHOLE = Shard(0, None, None, True, lambda array: array)
_current: ContextVar[Shard] = ContextVar("shard", default=WHOLE)


def current_shard() -> Shard:
    """Return the shard that is computed here, WHOLE where the batch is not divided."""
    return _current.get()


@contextmanager
def use_shard(shard: Shard) -> Iterator[None]:
    """Let the code of a with block compute this shard, in this thread."""
    token = _current.set(shard)
    try:
        yield
    finally:
        _current.reset(token)


def tree_sum(arrays: Sequence[Array], out: Array | None = None) -> Array:
    """Return the sum of arrays, at least one, as that of its two halves, which are summed in the same way.

    out: an array to write it to.
    """
    half, xp = len(arrays) // 2, backend_of(arrays[0]).xp
    if half:
        return xp.asarray(xp.add(tree_sum(arrays[:half]), tree_sum(arrays[half:]), out=out))
    if out is None:
        return arrays[0]
    out[...] = arrays[0]
    return out
