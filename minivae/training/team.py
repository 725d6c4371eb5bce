"""Team: the processes that train one model together, and the shards into which they cut each batch.

Each process, a *rank*, has the whole model and computes a part of every batch. A batch is cut into a number of shards
that does not depend on the number of ranks; rank 0 takes the first of them, rank 1 the next, and so on. What the shards
add to the gradient is summed up in one order (minivae/shards.py), so all ranks make the same step, bit by bit, and it
is the same however many they are:

    shards          0   1   2   3
    1 rank          0   0   0   0        (g0 + g1) + (g2 + g3), all by rank 0
    2 ranks         0   0   1   1        each rank makes one of the two brackets
    4 ranks         0   1   2   3

So the sum is a tree, and what a rank has is a whole branch of it: the number of ranks is a power of two that divides
the number of shards, or there are as many ranks as shards. A batch of fewer examples than shards, the last of an epoch,
is not cut; each rank computes all of it, and they need not talk.

A rank knows nothing but its own part of the data and the sums. All else that decides how a training goes on is computed
by all alike (weights, moments, schedule, early stopping), or decided by rank 0 and told to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from minivae.autograd.graph import Leaf
from minivae.kernels import checks
from minivae.kernels.contract import Array
from minivae.random import current_generator, use_generator
from minivae.shards import Shard, tree_sum, use_shard

from .lockstep import Sum, in_lockstep
from .ranks import world
from .world import World

T = TypeVar("T")
SHARDS = 4  # of a batch under mpiexec, unless somebody asks for another number


class Team:
    """The ranks of a world, and `shards`, the number of parts of a batch.

    Raises ValueError for a number of shards that these ranks cannot divide among them.
    """

    def __init__(self, world: World, shards: int) -> None:
        self.world, self.shards, ranks = world, checks.integer("shards", shards, 1), world.size
        if shards % ranks or (ranks & (ranks - 1) and ranks != shards):
            raise ValueError(
                f"{ranks} ranks cannot share {shards} shards: the ranks must be a power of two that divides the number "
                f"of shards, or as many as there are shards; shards={ranks} would fit"
            )

    @property
    def alone(self) -> bool:
        """Return whether batches are not cut and nobody else takes part."""
        return self.shards == 1

    def check_batch(self, batch_size: int) -> None:
        """Raise ValueError for batches that have fewer examples than shards."""
        if batch_size < self.shards:
            raise ValueError(
                f"a batch of {batch_size} examples cannot be cut into {self.shards} shards, one for each of "
                f"{self.world.size} ranks or more; batch_size must be at least {self.shards}"
            )

    def cut(self, examples: int) -> bool:
        """Return whether a batch of so many examples is cut into shards."""
        return not self.alone and examples >= self.shards

    def own(self, examples: int) -> slice:
        """Return which examples of a batch this rank computes."""
        if not self.cut(examples):
            return slice(0, examples)
        numbers = self._numbers()
        return slice(self._start(numbers[0], examples), self._start(numbers[-1] + 1, examples))

    def each(self, function: Callable[..., T], examples: int, *rows: Any) -> list[T]:
        """Call function(*rows) for each shard of this rank, with its rows, and return the results.

        rows: arrays of the examples that own() says. In the function the shards can ask for sums; noise is that of the
        current generator, which moves on as if one function had drawn it. Raises RuntimeError if the shards of a batch
        draw differently often or ask for different sums.
        """
        if not self.cut(examples):
            return [function(*rows)]
        generator, numbers = current_generator(), self._numbers()
        generators = [generator.copy() for _ in numbers]
        begin = self._start(numbers[0], examples)

        def of(i: int, add_up: Sum) -> T:
            first, end = (self._start(number, examples) for number in (numbers[i], numbers[i] + 1))
            shard = Shard(first, end - first, examples, i == 0, add_up)
            with use_shard(shard), use_generator(generators[i]):
                return function(*(array[first - begin : end - begin] for array in rows))

        functions = [lambda add_up, i=i: of(i, add_up) for i in range(len(numbers))]
        results = in_lockstep(functions, self.total)
        if len(draws := {each.draw for each in generators}) > 1:
            raise RuntimeError(f"all shards of a batch must draw equally often, got {sorted(draws)} draws")
        generator.draw = generators[0].draw
        return results

    def total(self, arrays: Sequence[Array]) -> Array:
        """Return the sum over all shards of all ranks; arrays: those of this rank's shards, in order."""
        return self.world.sum(tree_sum(arrays))

    def add_up(self, gradients: Sequence[dict[Leaf, Array]]) -> None:
        """Give each leaf the sum of its gradients over all shards; gradients: those of this rank's shards, in order.

        Raises RuntimeError if the loss of one of them depends on other parameters than that of another.
        """
        if any(of_shard.keys() != gradients[0].keys() for of_shard in gradients):
            raise RuntimeError("the losses of all shards of a batch must depend on the same parameters")
        by_dtype: dict[str, list[Leaf]] = {}
        for leaf, gradient in gradients[0].items():
            by_dtype.setdefault(gradient.dtype.str, []).append(leaf)
        for leaves in by_dtype.values():
            self._add_up(leaves, [[of_shard[leaf] for of_shard in gradients] for leaf in leaves])

    def _add_up(self, leaves: list[Leaf], gradients: list[list[Array]]) -> None:
        """Sum gradients[i], those of leaf i, in one array that travels between the ranks at once."""
        ends, end = [], 0
        for of_leaf in gradients:
            ends.append(end := end + of_leaf[0].size)
        flat = self.world.buffer(end, gradients[0][0])
        parts = [slice(end - of_leaf[0].size, end) for of_leaf, end in zip(gradients, ends, strict=True)]
        for part, of_leaf in zip(parts, gradients, strict=True):
            tree_sum(of_leaf, out=flat[part].reshape(of_leaf[0].shape))
        total = self.world.sum(flat)
        for leaf, part, of_leaf in zip(leaves, parts, gradients, strict=True):
            leaf.grad = total[part].reshape(of_leaf[0].shape)

    def _numbers(self) -> range:
        """The numbers of this rank's shards."""
        each = self.shards // self.world.size
        return range(self.world.rank * each, (self.world.rank + 1) * each)

    def _start(self, number: int, examples: int) -> int:
        """Return the first example of a shard."""
        return number * examples // self.shards


ALONE = Team(World(), 1)
_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone(value: bool = True) -> Iterator[None]:
    """In the with block this process trains by itself; with False, again together with the other ranks."""
    token = _alone.set(value)
    try:
        yield
    finally:
        _alone.reset(token)


def team(shards: int | None = None) -> Team:
    """Return the Team of all ranks that were started together; a single process that mpiexec did not start is alone.

    shards: 1 makes a process train by itself, whoever else there is. None: 4 where they fit the ranks, else as many as
    there are ranks; 1 for a single process that mpiexec did not start.
    Raises ValueError for shards that do not fit the number of ranks, ImportError where mpiexec has started several
    processes and there is no mpi4py, RuntimeError where its MPI is not that of mpiexec.
    """
    if shards == 1 or (shards is None and _alone.get()):
        return ALONE
    ranks = World() if _alone.get() else world()
    if shards is None:
        shards = 1 if not ranks.launched else SHARDS if ranks.size in (1, 2, 4) else ranks.size
    return Team(ranks, shards)
