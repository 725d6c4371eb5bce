"""Sums over the GPUs of all ranks, by NCCL, NVIDIA's library for messages between GPUs. No GPU has run this yet.

Messages go from one GPU to the other, in the order of the current stream and without waiting for the hosts, so a
training step that is captured as a CUDA graph (kernels/cuda/steps.py) contains them. MPI could do neither.

NCCL only carries. Its own sum has an order of its own, which depends on the number of ranks; here the order is that of
tree_sum(). As on CPUs (mpi.py), each rank sums one part of the array and then all exchange the sums:

    rank 0   a0 a1      a0, b0 to rank 0      rank 0 makes a0 + b0      all get (a0 + b0, a1 + b1)
    rank 1   b0 b1      a1, b1 to rank 1      rank 1 makes a1 + b1

The arrays are made anew for each sum. What a capture makes stays where it is as long as the graph lives.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from minivae.kernels.contract import Array
from minivae.kernels.cuda.engine import Engine
from minivae.shards import tree_sum

from .world import World

SMALL = 2**14  # bytes; a smaller array is sent whole to all ranks, each of which makes the sum
ALIGNED = 64  # numbers; where a part begins


class NcclSum:
    """It makes sums of arrays on the GPUs of a world, one GPU for each rank. All ranks make one together.

    Raises RuntimeError on all ranks if one of them lacks NCCL, or if two of them have the same GPU.
    """

    def __init__(self, world: World, engine: Engine) -> None:
        self._engine, self._rank, self._size = engine, world.rank, world.size
        self._nccl = self._loaded(world)
        identity = world.broadcast(self._nccl.get_unique_id() if world.rank == 0 else None)
        self._messages = self._nccl.NcclCommunicator(self._size, identity, self._rank)
        self._try()

    def _loaded(self, world: World) -> Any:
        """Return the module of NCCL, or raise RuntimeError on all ranks if one of them cannot take part."""
        nccl, lack = None, None
        try:
            nccl = self._engine.nccl()
        except RuntimeError as error:
            lack = str(error)
        _check(world.gather((platform.node(), self._engine.gpu(), lack)))
        return nccl

    def make(self, array: Array) -> Array:
        """Return the sum of the arrays of all ranks, which have one shape and dtype."""
        xp = self._engine.xp
        flat = xp.ascontiguousarray(array).reshape(-1)
        if flat.nbytes <= SMALL:
            every = xp.empty((self._size, flat.size), flat.dtype)
            self._all_gather(flat, every)
            return tree_sum(list(every)).reshape(array.shape)
        length = -(-flat.size // (self._size * ALIGNED)) * ALIGNED
        parts = [flat[rank * length : (rank + 1) * length] for rank in range(self._size)]
        received = xp.empty((self._size, parts[self._rank].size), flat.dtype)
        self._exchange(parts, received)
        total = xp.empty(self._size * length, flat.dtype)
        own = total[self._rank * length : (self._rank + 1) * length]  # the last ranks may have less to sum
        tree_sum(list(received), out=own[: parts[self._rank].size])
        self._all_gather(own, total)
        return total[: flat.size].reshape(array.shape)

    def _exchange(self, parts: list[Array], received: Array) -> None:
        """Send part i to rank i, and receive what the others have for this one, row i from rank i."""
        stream = self._engine.stream()
        self._nccl.groupStart()
        for rank, (part, row) in enumerate(zip(parts, received, strict=True)):
            if part.size:
                self._messages.send(*self._bytes(part), rank, stream)
            if row.size:
                self._messages.recv(*self._bytes(row), rank, stream)
        self._nccl.groupEnd()

    def _all_gather(self, own: Array, every: Array) -> None:
        """Fill `every` with the arrays `own` of all ranks in order. It may be that `own` is its place in `every`."""
        address, count, kind = self._bytes(own)
        self._messages.allGather(address, self._engine.address(every), count, kind, self._engine.stream())

    def _bytes(self, array: Array) -> tuple[int, int, int]:
        """Return address, count and type of an array for NCCL, to which all numbers are bytes, as it adds none."""
        return self._engine.address(array), array.nbytes, self._nccl.NCCL_UINT8

    def _try(self) -> None:
        """Make a sum of each kind, which connects the GPUs before a step is captured. RuntimeError if one is wrong."""
        for count in (1, SMALL):
            sums = self._engine.xp.asnumpy(self.make(self._engine.xp.ones(count, np.float32)))
            if not (sums == self._size).all():
                raise RuntimeError(f"NCCL carries wrong numbers between the GPUs: {self._size} ones add up to {sums}")


def _check(ranks: list[tuple[str, str, str | None]]) -> None:
    """Raise RuntimeError unless all ranks have NCCL and a GPU of their own. A rank is (machine, GPU, what it lacks)."""
    first: dict[tuple[str, str], int] = {}
    for rank, (machine, gpu, lack) in enumerate(ranks):
        if lack is not None:
            raise RuntimeError(f"rank {rank} on {machine}: {lack}")
        if (other := first.setdefault((machine, gpu), rank)) != rank:
            raise RuntimeError(
                f"ranks {other} and {rank} are both on GPU {gpu} of {machine}, but NCCL needs one GPU for each rank: "
                "start no more ranks on a machine than it has GPUs, and let fit(device='cuda') choose a rank's GPU, "
                "with the model still on the CPU"
            )
