"""An experiment: does it pay to send gradients while others are still computed? Two shards a rank, by messages.

    blocking   compute both shards, add them up, send the parts, sum, gather      (as minivae does)
    shard      send the first shard's gradient while the second shard is computed: twice as much is sent
    buckets    send what is complete while the backward pass of the second shard goes on: in two halves, the layers next
               to the loss first, as DistributedDataParallel does

All use MPI's non-blocking all-to-all, and look after it (Test) between parts of the computation, as MPI moves data only
in its calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from mpi4py import MPI

from minivae.autograd.graph import Leaf, leaf_gradients
from minivae.kernels.contract import Array
from minivae.shards import tree_sum
from minivae.training.loop import Trainer

Gradients = dict[Leaf, Array]


class Message:
    """The gradients of some leaves, in one array; each rank sends the other one the half that that one sums."""

    def __init__(self, leaves: Gradients) -> None:
        self._comm, count, self._parts = MPI.COMM_WORLD, 0, {}
        for leaf, gradient in leaves.items():
            self._parts[leaf] = (slice(count, count + gradient.size), gradient.shape)
            count += gradient.size
        self.own = np.zeros(count + count % self._comm.size, np.float32)
        self.received = np.empty((self._comm.size, len(self.own) // self._comm.size), np.float32)
        self._total = np.empty_like(self.own)

    def put(self, leaf: Leaf, *gradients: Array) -> None:
        """Put the sum of one or two gradients of a leaf into the array."""
        part, shape = self._parts[leaf]
        tree_sum(gradients, out=self.own[part].reshape(shape))

    def start(self) -> None:
        self._request = self._comm.Ialltoall(self.own, self.received)

    def look_after(self) -> None:
        self._request.Test()

    def finish(self, *others: Message) -> None:
        """Wait, sum what came, of other messages of the same leaves too, and give the leaves the total of all ranks."""
        for message in (self, *others):
            message._request.Wait()
        self._comm.Allgather(sum(array for message in (self, *others) for array in message.received), self._total)
        for leaf, (part, shape) in self._parts.items():
            leaf.grad = self._total[part].reshape(shape)


class Blocking(Trainer):
    """A Trainer with a step of its own, for two shards a rank."""

    _messages: list[Message]

    def step(self, *batch: Any, watched: bool) -> Any:
        self.zero_grad()
        half = len(batch[0]) // 2
        result = self._exchange(batch[0][:half], batch[0][half:])
        self.optimizer.step()
        return result

    def _exchange(self, first: Array, second: Array) -> Any:
        _, gradients = self._shard(first)
        message = self._made(dict(gradients))[0]
        result, others = self._shard(second)
        later = dict(others)
        for leaf, gradient in self._first.items():
            message.put(leaf, gradient, later[leaf])
        message.start()
        message.finish()
        return result

    def _shard(self, x: Array) -> tuple[Any, Iterator[tuple[Leaf, Array]]]:
        """The loss of a shard, and its share of the gradients as they become ready."""
        result = self.model.loss(x)
        node = result.loss._node
        assert node is not None
        return result, leaf_gradients(node, np.full(result.loss.shape, 1 / self.team.shards, np.float32))

    def _made(self, gradients: Gradients) -> list[Message]:
        """Keep the first shard's gradients, and return the messages, which the first step makes."""
        self._first = gradients
        if not hasattr(self, "_messages"):
            self._messages = self._new(gradients)
        return self._messages

    def _new(self, gradients: Gradients) -> list[Message]:
        return [Message(gradients)]


class ByShard(Blocking):
    def _exchange(self, first: Array, second: Array) -> Any:
        _, gradients = self._shard(first)
        early, late = self._made(dict(gradients))
        for leaf, gradient in self._first.items():
            early.put(leaf, gradient)
        early.start()
        result, others = self._shard(second)
        early.look_after()
        for leaf, gradient in others:
            late.put(leaf, gradient)
            early.look_after()
        late.start()
        early.finish(late)
        return result

    def _new(self, gradients: Gradients) -> list[Message]:
        return [Message(gradients), Message(gradients)]


class ByBuckets(Blocking):
    def _exchange(self, first: Array, second: Array) -> Any:
        _, gradients = self._shard(first)
        messages = self._made(dict(gradients))
        result, others = self._shard(second)
        begun: list[Message] = []
        for leaf, gradient in others:
            message = messages[len(begun)]
            message.put(leaf, self._first[leaf], gradient)
            for earlier in begun:
                earlier.look_after()
            if leaf is list(message._parts)[-1]:
                message.start()
                begun.append(message)
        for message in begun:
            message.finish()
        return result

    def _new(self, gradients: Gradients) -> list[Message]:
        """Two messages: leaves in the order in which they become ready, until there is half of the numbers."""
        half, count, early = sum(g.size for g in gradients.values()) / 2, 0, {}
        for leaf, gradient in gradients.items():
            if count + gradient.size > 1.2 * half:
                break
            early[leaf] = gradient
            count += gradient.size
        return [Message(early), Message({leaf: g for leaf, g in gradients.items() if leaf not in early})]


EXCHANGES = {"blocking": Blocking, "shard": ByShard, "buckets": ByBuckets}
