"""World: the ranks that train together, as the rest of the training sees them. Here is a process that is alone."""

from __future__ import annotations

from typing import Any

from minivae.kernels import backend_of
from minivae.kernels.contract import Array


class World:
    """A process that is alone. The ranks of mpiexec have the same methods (mpi.py).

    rank: the number of this process, 0 <= rank < size. launched: whether mpiexec has started it.
    local: its number among the ranks of its machine.
    """

    rank, size, launched, local = 0, 1, False, 0

    def connect(self, like: Array) -> None:
        """Prepare sums of arrays like this one; all ranks call this before a training.

        Raises RuntimeError on all ranks where GPUs are to be used and one of them lacks NCCL or shares its GPU.
        """

    def sum(self, array: Array) -> Array:
        """Return the sum of the arrays of all ranks, in the order of a tree (minivae/shards.py)."""
        return array

    def buffer(self, count: int, like: Array) -> Array:
        """Return an array (count,) of the backend and dtype of another one, for sums of that many numbers.

        It may be the same one each time, and so may be what sum() makes of it.
        """
        array: Array = backend_of(like).xp.empty(count, like.dtype)
        return array

    def broadcast(self, value: Any) -> Any:
        """Return the value that rank 0 has given."""
        return value

    def let_the_first_speak(self) -> None:
        """Wait, on all ranks but the first, before an error is told: one that all ranks share is told by the first."""

    def abort(self, code: int) -> None:
        """End all ranks at once, with this exit code."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values that all ranks have given, in their order."""
        return [value]
