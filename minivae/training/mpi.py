"""The ranks of MPI: sums by shared memory on one machine, by messages between machines, by NCCL on GPUs (nccl.py).

Both sums have the same order. Each rank sums one part of the array, and gets the other parts from the others, so that
the work is divided. On one machine the arrays lie in memory that all ranks see: nothing is sent.

    rank 0   a0 a1      rank 0 makes a0 + b0, rank 1 makes a1 + b1,
    rank 1   b0 b1      and then both have (a0 + b0, a1 + b1)
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from mpi4py import MPI

from minivae.kernels import cpu_choice
from minivae.kernels.contract import Array
from minivae.kernels.cuda import launcher
from minivae.kernels.native.library import set_num_threads
from minivae.shards import tree_sum

from .nccl import NcclSum
from .world import World

SMALL = 2**14  # bytes; a smaller array is sent whole to all ranks, each of which makes the sum
PATIENCE = 1.0  # seconds that the others give rank 0 to tell of an error
ALIGNED = 16  # numbers; where a part begins


class MpiWorld(World):
    """The ranks of MPI's COMM_WORLD. shared: whether all are on one machine and may share memory."""

    launched = True

    def __init__(self, shared: bool = True) -> None:
        self.comm = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self.comm.rank, self.comm.size
        self.node: Any = self.comm.Split_type(MPI.COMM_TYPE_SHARED)  # the ranks of this machine
        self.local = self.node.rank
        self._on_gpus: NcclSum | None = None
        self._sums: dict[str, _Sum] = {}
        self._make: Any = _SharedSum if shared and self.node.size == self.size else _MessageSum

    @property
    def library(self) -> str:
        """The name and version of the MPI."""
        return MPI.Get_library_version().split("\n")[0].strip("\x00 ")

    def connect(self, like: Array) -> None:
        if self.size > 1 and not isinstance(like, np.ndarray):
            self._nccl_sum()

    def sum(self, array: Array) -> Array:
        if self.size == 1:
            return array
        if not isinstance(array, (np.ndarray, np.generic)):
            return self._nccl_sum().make(array)
        host = np.ascontiguousarray(array)  # which makes (1,) of ()
        if host.nbytes <= SMALL:
            every = np.empty((self.size, *array.shape), host.dtype)
            self.comm.Allgather(host, every)
            return tree_sum([every[rank, ...] for rank in range(self.size)])
        sums = self._sum(host.size, host.dtype)
        if not sums.holds(host):
            sums.own[: host.size] = host.reshape(-1)
        total = sums.make(host.size).reshape(array.shape)
        return total if sums.holds(host) else total.copy()

    def buffer(self, count: int, like: Array) -> Array:
        if self.size == 1 or not isinstance(like, np.ndarray) or count * like.itemsize <= SMALL:
            return super().buffer(count, like)
        return self._sum(count, like.dtype).own[:count]

    def let_the_first_speak(self) -> None:
        time.sleep(PATIENCE * (self.rank > 0))

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.comm.Abort(code)

    def end_together(self) -> None:
        """From now on an exception that nobody catches ends all ranks, with one message: the others would wait."""
        tell = sys.excepthook

        def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            self.let_the_first_speak()
            tell(kind, error, trace)
            print(f"minivae: rank {self.rank} of {self.size} has ended all ranks by the error above", file=sys.stderr)
            self.abort(1)

        sys.excepthook = hook

    def share_cores(self) -> None:
        """Divide the cores of this machine among its ranks, unless MINIVAE_NUM_THREADS says how many threads to use.

        A starter may have given each rank cores of its own; it then has as many threads as these.
        """
        if "MINIVAE_NUM_THREADS" in os.environ or not hasattr(os, "sched_getaffinity"):
            return
        own = os.sched_getaffinity(0)
        every = set().union(*self.node.allgather(own))
        threads = max(1, min(len(own), len(every) // self.node.size))
        if cpu_choice().name == "native":
            set_num_threads(threads)
        with suppress(ImportError):
            from threadpoolctl import threadpool_limits

            threadpool_limits(threads, "blas")

    def broadcast(self, value: Any) -> Any:
        return self.comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        return self.comm.allgather(value)

    def _nccl_sum(self) -> NcclSum:
        """Return what makes sums on GPUs; the first time all ranks ask for it together."""
        self._on_gpus = self._on_gpus or NcclSum(self, launcher.engine())
        return self._on_gpus

    def _sum(self, count: int, dtype: np.dtype[Any]) -> _Sum:
        """Return what makes sums of so many numbers; all ranks ask for the same, so all make a new one together.

        The memory of a smaller one before it is kept: gradients may lie in it.
        """
        if dtype.str not in self._sums or len(self._sums[dtype.str].own) < count:
            self._sums[dtype.str] = self._make(self, count, dtype)
        return self._sums[dtype.str]


class _Sum:
    """It makes sums of up to `capacity` numbers, those that each rank has put into its array `own`."""

    own: np.ndarray

    def __init__(self, world: MpiWorld, capacity: int, dtype: np.dtype[Any]) -> None:
        self._comm, self._rank, self._size = world.comm, world.rank, world.size
        self._part = -(-capacity // (world.size * ALIGNED)) * ALIGNED  # numbers that each rank sums

    def holds(self, array: np.ndarray) -> bool:
        """Return whether this is the beginning of the rank's own array."""
        return array.ctypes.data == self.own.ctypes.data

    def make(self, count: int) -> np.ndarray:
        """Return the sum of the first `count` numbers of all ranks; it holds until the next sum is made."""
        raise NotImplementedError


class _SharedSum(_Sum):
    """The arrays of all ranks, and their sum, lie in one piece of memory."""

    def __init__(self, world: MpiWorld, capacity: int, dtype: np.dtype[Any]) -> None:
        super().__init__(world, capacity, dtype)
        length, rows = self._part * self._size, self._size + 1
        whole = rows * length * dtype.itemsize if world.rank == 0 else 0
        self._window = MPI.Win.Allocate_shared(whole, dtype.itemsize, comm=world.node)
        self._window.Lock_all()
        memory: Any = self._window.Shared_query(0)[0]
        self._rows = np.frombuffer(memory, dtype, rows * length).reshape(rows, length)
        self.own = self._rows[world.rank]
        self.own[...] = 0

    def make(self, count: int) -> np.ndarray:
        *given, total = self._rows
        part = slice(self._rank * self._part, (self._rank + 1) * self._part)
        self._wait()
        tree_sum([array[part] for array in given], out=total[part])
        self._wait()
        return total[:count]

    def _wait(self) -> None:
        """Wait until all ranks are here and each sees what the others have written."""
        self._window.Sync()
        self._comm.Barrier()
        self._window.Sync()


class _MessageSum(_Sum):
    """Each rank sends every other one the part that that one sums, and gets back the sum."""

    def __init__(self, world: MpiWorld, capacity: int, dtype: np.dtype[Any]) -> None:
        super().__init__(world, capacity, dtype)
        self.own = np.zeros(self._part * self._size, dtype)
        self._received = np.empty((self._size, self._part), dtype)
        self._total = np.empty_like(self.own)

    def make(self, count: int) -> np.ndarray:
        self._comm.Alltoall(self.own, self._received)
        own = tree_sum(list(self._received), out=np.empty(self._part, self.own.dtype))
        self._comm.Allgather(own, self._total)
        return self._total[:count]
