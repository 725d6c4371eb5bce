"""A GPU in Python, for lesson 9: it runs kernels thread by thread and counts what a real one would have to move.

A kernel is a function of a Thread and of arrays, and is written as in CUDA: `t.thread` is threadIdx.x, `t.block` is
blockIdx.x, and `yield` is a barrier, __syncthreads(): where a kernel has one, it goes on when all threads of its block
are there. `t.shared(name, size)` is an array in the shared memory of the thread's block.

Two numbers are counted, as the hardware handles the loads and stores of a *warp*, 32 threads, together:

* sectors: global memory is moved in sectors of 32 bytes. 32 neighbouring float32 are 4 sectors; 32 that lie far apart
  are 32 sectors, of which seven eighths are of no use.
* passes: shared memory has 32 banks, word i in bank i mod 32, and each gives one word at a time. A warp's access takes
  as many passes as the bank with the most different words that were asked for.

The n-th access of each thread to an array is taken to be in the same instruction as the n-th of the other threads of
its warp, which holds if the threads of a warp take the same way through the kernel.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

WARP, WORD, SECTOR, BANKS = 32, 4, 32, 32  # threads; bytes of a float32 and of a sector; banks

Kernel = Callable[..., Any]


class Access(NamedTuple):
    """One load or store: by thread `thread` of block `block`, of one number of an array, after `barriers` barriers.

    memory: the name of the array, 'argument 0' for the first argument of the kernel or the name of a shared one.
    """

    block: int
    thread: int
    memory: str
    number: int
    barriers: int


@dataclass
class Counts:
    """What a launch did: loads and stores of single numbers, and what the hardware makes of them."""

    accesses: int = 0  # of global memory
    sectors: int = 0
    shared_accesses: int = 0
    passes: int = 0
    blocks: int = 0
    barriers: int = 0


@dataclass
class _Launch:
    """A launch that is under way. thread: the one that runs now."""

    thread: Thread | None = None
    # For each instruction of a warp: the words that its threads ask for. An instruction is known by (array, block,
    # warp, n), n the number of the access among those of a thread to this array.
    words: dict[Any, set[int]] = field(default_factory=lambda: defaultdict(set))
    number: Counter[Any] = field(default_factory=Counter)
    accesses: Counter[bool] = field(default_factory=Counter)
    shared: dict[Any, Memory] = field(default_factory=dict)
    barriers: int = 0
    trace: list[Access] | None = None

    def note(self, memory: Memory, index: int) -> None:
        t = self.thread
        if t is None:
            raise RuntimeError("memory of a GPU is for its threads, in a kernel")
        place = memory.name, memory.is_shared, t.block
        self.number[place, t.thread] += 1
        self.words[place, t.thread // WARP, self.number[place, t.thread]].add(index)
        self.accesses[memory.is_shared] += 1
        if self.trace is not None:
            self.trace.append(Access(t.block, t.thread, memory.name, index, self.barriers))

    def counts(self, blocks: int) -> Counts:
        counts = Counts(self.accesses[False], 0, self.accesses[True], 0, blocks, self.barriers)
        for ((_, is_shared, _), *_), words in self.words.items():
            if is_shared:
                counts.passes += max(Counter(word % BANKS for word in words).values())
            else:
                counts.sectors += len({word * WORD // SECTOR for word in words})
        return counts


class Memory:
    """An array as kernels see it, flat: m[i] loads a number, m[i] = x stores one, m[i] += x does both."""

    def __init__(self, launch: _Launch, name: str, values: np.ndarray, is_shared: bool) -> None:
        self.launch, self.name, self.values, self.is_shared = launch, name, values, is_shared

    def __len__(self) -> int:
        return len(self.values)

    def _checked(self, i: int) -> int:
        if not 0 <= i < len(self.values):
            raise IndexError(f"{self.name} has {len(self.values)} numbers, a thread asked for number {i}")
        self.launch.note(self, int(i))
        return int(i)

    def __getitem__(self, i: int) -> Any:
        return self.values[self._checked(i)]

    def __setitem__(self, i: int, value: float) -> None:
        self.values[self._checked(i)] = value


@dataclass(frozen=True)
class Thread:
    """Where a thread stands: its number in its block, its block's number in the grid, and the sizes of both."""

    thread: int
    block: int
    block_size: int
    grid_size: int
    launch: _Launch = field(repr=False)

    def shared(self, name: str, size: int) -> Memory:
        """Return the array of this name in the shared memory of the thread's block, at first full of NaN."""
        key = self.block, name
        if key not in self.launch.shared:
            self.launch.shared[key] = Memory(self.launch, name, np.full(size, np.nan, np.float32), True)
        return self.launch.shared[key]


def launch(kernel: Kernel, grid: int, block: int, *arguments: Any, trace: list[Access] | None = None) -> Counts:
    """Run a kernel on `grid` blocks of `block` threads and return the counts. Arrays among the arguments change.

    Arrays must be float32 and contiguous; a kernel sees them flat. Blocks run one after the other, which no kernel may
    rely on. trace: a list to which every access is added, in the order in which they happen; its barriers are counted
    over all blocks. Raises RuntimeError if some threads of a block wait at a barrier that others never reach.
    """
    under_way = _Launch(trace=trace)
    given = [_memory(under_way, i, a) if isinstance(a, np.ndarray) else a for i, a in enumerate(arguments)]
    for b in range(grid):
        _run_block(kernel, under_way, [Thread(i, b, block, grid, under_way) for i in range(block)], given)
    return under_way.counts(grid)


def _memory(under_way: _Launch, number: int, array: np.ndarray) -> Memory:
    if array.dtype != np.float32 or not array.flags.c_contiguous:
        raise TypeError(f"arrays must be contiguous float32, argument {number} is {array.dtype}")
    return Memory(under_way, f"argument {number}", array.reshape(-1), False)


def _run_block(kernel: Kernel, under_way: _Launch, threads: list[Thread], given: list[Any]) -> None:
    """Run the threads of a block from barrier to barrier."""
    running: list[tuple[Thread, Generator[None, None, None]]] = []
    for t in threads:
        under_way.thread = t
        started = kernel(t, *given)
        if isinstance(started, Generator):
            running.append((t, started))  # a kernel with barriers has not begun yet
    while running:
        waiting = [(t, rest) for t, rest in running if _reaches_a_barrier(under_way, t, rest)]
        if waiting and len(waiting) < len(running):
            raise RuntimeError(f"{len(running) - len(waiting)} threads ended where {len(waiting)} wait at a barrier")
        under_way.barriers += bool(waiting)
        running = waiting
    under_way.thread = None


def _reaches_a_barrier(under_way: _Launch, t: Thread, rest: Generator[None, None, None]) -> bool:
    under_way.thread = t
    try:
        next(rest)
    except StopIteration:
        return False
    return True
