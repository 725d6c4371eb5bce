"""Lockstep: several shards that one process computes, each in a thread of its own, one at a time.

A shard runs until it asks for a sum over all shards. Then the next one runs to the same point, and so on; the last one
makes the sum of what all have given, with the other ranks if there are any, and the first goes on. The threads never
run side by side. They are there because a function can be left in its middle, inside a layer of a model, only while
another thread goes on. The order is always the same, so what the shards change in common is always changed alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar

from minivae.kernels import thread_context
from minivae.kernels.contract import Array

T = TypeVar("T")
Sum: TypeAlias = Callable[[Array], Array]
Total: TypeAlias = Callable[[Sequence[Array]], Array]


def in_lockstep(functions: Sequence[Callable[[Sum], T]], total: Total) -> list[T]:
    """Call each function with the sum that it may ask for, and return their results, in order.

    total: makes the sum of the arrays that the functions have given, in order. Raises the first exception of a function
    after all have ended, and RuntimeError if some ask for more sums than others.
    """
    if len(functions) == 1:
        return [functions[0](lambda array: total([array]))]
    turns = _Turns(len(functions), total)
    results: list[Any] = [None] * len(functions)
    context = thread_context()

    def run(number: int) -> None:
        try:
            turns.wait(number)
            with context():
                results[number] = functions[number](lambda array: turns.sum(number, array))
        except BaseException as error:
            turns.fail(error)
        finally:
            turns.end(number)

    threads = [threading.Thread(target=copy_context().run, args=(run, i), daemon=True) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    try:
        turns.begin()
        for thread in threads:
            thread.join()
    except BaseException as interrupt:  # Ctrl-C comes to this thread; the others end when their turn comes
        turns.fail(interrupt)
        for thread in threads:
            thread.join()
    if turns.error is not None:
        raise turns.error
    return results


class _Ended(BaseException):
    """Another shard has failed, so this one ends too."""


class _Turns:
    """It says whose turn it is, and makes the sums. error: the first that a shard has ended with."""

    def __init__(self, count: int, total: Total) -> None:
        self._count, self._total = count, total
        self._turn = [threading.Semaphore(0) for _ in range(count)]
        self._given: list[Array] = []
        self._sum: Array = None
        self._some_ended = False
        self.error: BaseException | None = None

    def begin(self) -> None:
        self._turn[0].release()

    def wait(self, number: int) -> None:
        """Sleep until it is this shard's turn."""
        self._turn[number].acquire()
        if self.error is not None:
            raise _Ended

    def sum(self, number: int, array: Array) -> Array:
        """Give an array to the sum, let the others do the same, and return the sum."""
        if self._some_ended:
            raise RuntimeError(
                f"all shards of a batch must ask for the same sums, but shard {number} asks for one more"
            )
        self._given.append(array)
        if len(self._given) == self._count:
            self._sum = self._total(self._given)
            self._given = []
        self._pass_on(number)
        self.wait(number)
        return self._sum

    def fail(self, error: BaseException) -> None:
        if self.error is None and not isinstance(error, _Ended):
            self.error = error

    def end(self, number: int) -> None:
        """Let the next shard go on, as this one has ended."""
        self._some_ended = True
        if self._given:
            self.fail(RuntimeError(f"all shards of a batch must ask for the same sums, but shard {number} did not"))
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        self._turn[(number + 1) % self._count].release()
