"""Threads of our own, for work that NumPy leaves to one.

A product of matrices runs on all cores, inside of BLAS; copies, sums and every other ufunc run on one. Since NumPy
releases the interpreter's lock while it computes, two Python threads with half of the examples each keep two cores busy
in all of it. BLAS must not have threads of its own meanwhile: they would fight ours for the cores, and OpenBLAS's wait
for each other by spinning, which on a busy machine costs more than they bring.

    with use_threads():        # a training does so
        ...                    # kernels of this package share their work, and BLAS runs in each thread by itself

How many: MINIVAE_NUM_THREADS, else as many as BLAS has. With one, or a BLAS that cannot be told, nothing changes. Each
thread writes its own part of a result, or returns a sum that is added in order, so for one number of threads results
are equal bit by bit.

Two things about the interpreter's lock. A thread that wants it while another holds it goes to sleep, so work that is to
be shared comes in long calls: ReLUs and likelihoods, in calls of 30 microseconds, took twice as long in two threads as
in one, and are not shared. And to wake a thread takes long: on a virtual machine, handing over nothing and getting it
back took 245 microseconds, in which a small product is finished. So threads stay awake for two milliseconds when they
have nothing to do. Then it takes 50 to 90.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import numpy as np

R = TypeVar("R")
LEAST = 500  # microseconds of work: less is not shared; a convolution of 300 took a third longer in two threads
LOOKS = 1 << 21  # into an empty mailbox before the reader sleeps, about a nanosecond each

_lock = threading.RLock()
_team: _Team | None = None  # of all users
_mine = threading.local()  # .team, inside of use_threads()


@contextmanager
def use_threads(count: int | None = None) -> Iterator[int]:
    """Share work among `count` threads; yields how many it became. ValueError for MINIVAE_NUM_THREADS that is no count.

    Inside of another use_threads(), of this thread or another one, it changes nothing. The last to leave ends them.
    """
    global _team
    wanted = count or _wanted()
    with _lock:
        if _team is None:
            _team = _Team(wanted)
        team = _team
        team.users += 1
    outer, _mine.team = getattr(_mine, "team", None), team
    try:
        yield len(team.workers) + 1
    finally:
        _mine.team = outer
        with _lock:
            team.users -= 1
            if not team.users:
                if _team is team:  # there may be a new one, in a child that was forked in here
                    _team = None
                team.disband()


def _begin_child() -> None:
    """A forked process has no thread but the one that forked: no workers, and BLAS as it was before they came."""
    global _team
    team, _team = _team, None
    if team is not None:
        if team.workers:
            team.set_blas_threads(team.blas_threads)
        team.workers, team.threads = [], []
    _lock.release()


if hasattr(os, "register_at_fork"):  # with the lock held no team is half made or half disbanded
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_begin_child)


class _Team:
    """Workers beside the thread that calls them, and a BLAS of one thread as long as they live."""

    users = 0

    def __init__(self, count: int) -> None:
        blas = _blas_threads()
        self.workers: list[_Mailbox] = [_Mailbox() for _ in range(count - 1 if blas else 0)]
        self.threads = [threading.Thread(target=_work_off, args=(tasks,), daemon=True) for tasks in self.workers]
        for thread in self.threads:
            thread.start()
        if blas and self.workers:
            get, self.set_blas_threads = blas
            self.blas_threads = get()
            self.set_blas_threads(1)

    def disband(self) -> None:
        for tasks in self.workers:
            tasks.put(None)
        for thread in self.threads:
            thread.join()
        if self.workers:
            self.set_blas_threads(self.blas_threads)


def share(count: int, microseconds: float, work: Callable[[slice], R]) -> list[R]:
    """work(part) for parts of range(count), one for each thread; its results, in order.

    `microseconds` is about how long one thread would take for all of it. A thread shares inside of use_threads() only;
    what workers do they do alone.
    """
    team: _Team | None = getattr(_mine, "team", None)
    workers = team.workers if team is not None else []
    parts = min(len(workers) + 1, count)
    if parts < 2 or microseconds < LEAST:
        return [work(slice(0, count))]
    first, *others = (slice(*edges) for edges in pairwise(count * k // parts for k in range(parts + 1)))
    outcomes: _Mailbox[tuple[int, Any, BaseException | None]] = _Mailbox()
    for k, (worker, part) in enumerate(zip(workers, others, strict=False)):
        worker.put((k, work, part, outcomes))
    try:
        result = work(first)
    finally:
        done = sorted(outcomes.get() for _ in others)
    for _, _, error in done:
        if error is not None:
            raise error
    return [result, *(each[1] for each in done)]


def _work_off(tasks: _Mailbox) -> None:
    while (task := tasks.get()) is not None:
        _work(*task)
        del task  # or its arrays would live until the next one comes


def _work(k: int, work: Callable[[slice], Any], part: slice, outcomes: _Mailbox[Any]) -> None:
    try:
        outcomes.put_and_yield((k, work(part), None))
    except BaseException as error:
        outcomes.put_and_yield((k, None, error))


class _Mailbox(Generic[R]):
    """A queue whose reader waits awake, and after a moment asleep.

    np.any of an array whose elements are all one and the same byte reads it until it is set, without the interpreter's
    lock: a loop of Python would take the lock from the threads that work.
    """

    def __init__(self) -> None:
        self.queue: SimpleQueue[R] = SimpleQueue()
        self.filled = np.zeros(1 << 16, bool)
        self.looks = np.ndarray(LOOKS, bool, self.filled, strides=(0,))

    def put(self, thing: R) -> None:
        """For a writer that goes on working: it keeps the lock until it computes."""
        self.queue.put(thing)
        self.filled[0] = True

    def put_and_yield(self, thing: R) -> None:
        """For a writer that is done. The byte is the first of many that are set without the lock: while the writer is
        busy with the others the reader finds the lock free, and need not sleep until it is."""
        self.queue.put(thing)
        self.filled[:] = True

    def get(self) -> R:
        self.filled[0] = False
        if self.queue.empty():
            self.looks.any()
        return self.queue.get()


def _wanted() -> int:
    text = os.environ.get("MINIVAE_NUM_THREADS")
    if text is None:
        blas = _blas_threads()
        return blas[0]() if blas else 1
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"MINIVAE_NUM_THREADS must be a number of threads, got {text!r}")
    return int(text)


@lru_cache
def _blas_threads() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """The functions that read and set the number of threads of NumPy's OpenBLAS; None where they are not found."""
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    for path in sorted(folder.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("get")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None
